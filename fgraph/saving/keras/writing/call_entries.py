"""Writes calls, inputs and outputs of a graph in the form of Keras's configurations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ....common.configured import is_of_fgraph
from ....errors import SaveError
from ....graph import Call, Ref
from ....graph.nested import iter_leaves
from ....interface.keras_order import flat
from .graph_entries import GraphEntry, Output
from .keras_config import dtype_name, keras_object, plain, with_lists
from .keras_op import KerasOp

_NO_MASK = (
    "Multiply",
    "Maximum",
    "Minimum",
)  # Keras's layers read the masks of their inputs themselves


def mask_of(ref: Any) -> Ref | None:
    """Return the mask that goes with a tensor of the graph, `None` if there is none."""
    return ref.mask if type(ref) is Ref else None


def with_masks(call: Call) -> tuple[Any, dict[str, Any]]:
    """Return the arguments of a layer's call in Keras's form, with the masks given to it.

    Masks that Keras finds by itself count as inputs, too, since they affect the order of its
    layers.
    """
    args, kwargs = call.inputs
    layer = call.owner
    takes = layer._parameters("call")
    kwargs = dict(kwargs)

    def masks(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [masks(item) for item in value]
        return mask_of(value)

    def fill(key: str, value: Any) -> None:
        found = masks(value)
        if kwargs.get(key) is None and any(m is not None for m in iter_leaves(found)):
            kwargs[key] = found

    given = {**dict(zip(takes, args, strict=False)), **kwargs}
    tensors = [name for name, value in given.items() if _has_tensors(value)]
    looks = is_of_fgraph(type(layer)) and type(layer).__name__ in _NO_MASK
    if "mask" in takes and len(tensors) == 1 and not looks:
        fill("mask", given[tensors[0]])
    for name in tensors:
        if f"{name}_mask" in takes:
            fill(f"{name}_mask", given[name])
    if "training" in kwargs and not isinstance(kwargs["training"], bool):
        del kwargs["training"]
    return args, kwargs


def _has_tensors(value: Any) -> bool:
    return any(isinstance(leaf, (Ref, Tensor)) for leaf in iter_leaves(value))


def free_name(name: str, taken: set[str]) -> str:
    """Return a name, or the next of `name_2`, `name_3` that is not taken, and take it."""
    number, made = 1, name
    while made in taken:
        number, made = number + 1, f"{name}_{number + 1}"
    taken.add(made)
    return made


def part_name(name: str) -> str:
    """Return the name of a layer without dots, which Keras on torch cannot load."""
    return allowed_name(name).replace(".", "_")


def allowed_name(name: str) -> str:
    """Return a name without the characters that Keras does not allow."""
    return name.replace("/", "_")


def input_entry(ref: Ref, name: str) -> dict[str, Any]:
    """Return the `InputLayer` of an input."""
    config = {
        "batch_shape": list(ref.spec.shape), "dtype": dtype_name(ref.spec.dtype), "sparse": False,
        "ragged": False, "name": name, "optional": False,
    }  # fmt: skip
    return keras_object("InputLayer", config, "keras.layers")


def operation_entry(op: KerasOp, name: str) -> dict[str, Any]:
    """Return the operation of `keras.ops` for a call of a function."""
    config = {"name": name, **plain(op.config, f"operation {name!r}")}
    return keras_object(op.kind, config, f"keras.src.ops.{op.room}", op.kind)


_Places = dict[tuple[int, int], int]


def call_places(ordered: Iterable[GraphEntry], returned: Any) -> _Places:
    """Return, for each layer or operation, the indices of the calls that the outputs need."""
    needed: set[tuple[int, int]] = set()
    stack = [leaf for leaf in flat(returned) if isinstance(leaf, Output)]
    while stack:
        output = stack.pop()
        key = (id(output.operation), output.call)
        if key not in needed:
            needed.add(key)
            arguments = output.operation.calls[output.call]
            stack += [leaf for leaf in flat(arguments) if isinstance(leaf, Output)]
    found: _Places = {}
    for made in ordered:
        kept = [n for n in range(len(made.calls)) if (id(made), n) in needed]
        found.update({(id(made), n): place for place, n in enumerate(kept)})
    return found


def with_calls(made: GraphEntry, places: _Places) -> dict[str, Any]:
    """Return an operation with its calls."""

    def leaf(found: Any, where: str) -> Any:
        if not isinstance(found, Output):
            raise SaveError(f"{where}: {found!r:.80} cannot be written")
        place = [found.operation.name, places[id(found.operation), found.call], found.index]
        config = {"shape": found.shape, "dtype": found.dtype, "keras_history": place}
        return {"class_name": "__keras_tensor__", "config": config}

    where = f"the call of {made.name!r}"
    nodes = [
        {
            "args": plain(with_lists(args), where, leaf),
            "kwargs": plain(with_lists(kwargs), where, leaf),
        }
        for n, (args, kwargs) in enumerate(made.calls)
        if (id(made), n) in places and made.entry["class_name"] != "InputLayer"
    ]
    return {**made.entry, "name": made.name, "inbound_nodes": nodes}


def outside(output: Output, places: _Places) -> list[Any]:
    """Return an input or output of a model; Keras counts a call that makes a functional model."""
    made = output.operation
    first = int(made.entry["class_name"] == "Functional")
    return [made.name, places.get((id(made), output.call), 0) + first, output.index]


def listed(structure: Any, leaf: Any) -> Any:
    """Return the inputs or outputs of a model in their structure, with lists for tuples."""
    if isinstance(structure, Output):
        return leaf(structure)
    if isinstance(structure, dict):
        return {key: listed(item, leaf) for key, item in structure.items()}
    return [listed(item, leaf) for item in structure]
