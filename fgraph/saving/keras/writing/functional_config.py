"""Writes graphs of calls in the form of Keras's configurations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ....errors import SaveError
from ....graph import Call, Node, Ref
from ....graph.nested import filled, iter_leaves, map_leaves
from ....graph.specs import TensorSpec
from ....interface.keras_order import flat
from ....layers import Lambda
from ....layers.base import snake_case
from ....model import Model
from .call_entries import (
    allowed_name,
    call_places,
    input_entry,
    listed,
    mask_of,
    operation_entry,
    outside,
    part_name,
    with_calls,
    with_masks,
)  # fmt: skip
from .graph_entries import GraphEntry, Output, sorted_entries
from .keras_config import dtype_name, keras_object
from .keras_op import KerasOp
from .layer_config import label
from .torch_operations import expressed, is_narrow, result_of
from .weight_groups import WeightGroup, number

ADVICE = (
    "write it with layers and fgraph.ops, or save it as .fgraph, which holds whatever torch has"
)


class Functional:
    """Writes one graph.

    Args:
        writer: the `ModelWriter` of models within.
        model: the model.
        name: its name.
        group: collects its weights and their places.
    """

    def __init__(self, writer: Any, model: Model, name: str, group: WeightGroup) -> None:
        self.writer, self.model, self.name, self.group = writer, model, name, group
        self.graph = model._live_graph("save")
        self.values: dict[Ref, Output] = {}
        self.parts: dict[int, GraphEntry] = {}
        self.calls: set[int] = set()
        self.dtypes = dtypes_made(self.graph.nodes)
        makers = zip(self.graph.nodes, model._node_names, strict=True)
        self.names = {id(node.maker): allowed_name(name) for node, name in makers}
        self.taken = {allowed_name(name) for name in (*model.input_names, *model._node_names)}
        self.given: set[str] = set()
        self.refused: dict[Ref, str] = {}

    def run(self) -> dict[str, Any]:
        """Return class and configuration."""
        inputs = []
        for ref, name in zip(self.graph.inputs, self.model.input_names, strict=True):
            own = allowed_name(name)
            self.given.add(own)
            made = GraphEntry(own, input_entry(ref, own))
            made.calls.append(([], {}))
            inputs.append(self._output(made, 0, ref))
            self.values[ref] = inputs[-1]
        for node in self.graph.nodes:
            if any(isinstance(spec, TensorSpec) for spec in node.specs):
                self._write(node)
        outputs = [self.value(ref) for ref in self.graph.outputs]
        taken = filled(self.model._input_template, inputs)
        returned = filled(self.model._output_template, outputs)
        ordered = sorted_entries(inputs, returned)
        number(ordered, self.group)
        places = call_places(ordered, returned)
        config = {
            "name": self.name,
            "trainable": is_trainable(self.model),
            "layers": [with_calls(made, places) for made in ordered],
            "input_layers": listed(taken, lambda leaf: outside(leaf, places)),
            "output_layers": listed(returned, lambda leaf: outside(leaf, places)),
        }
        return keras_object("Functional", config, "keras.src.models.functional", "Functional")

    # ------------------------------------------------------------------ values

    def value(self, ref: Ref) -> Output:
        """Return a written output; write calls that only a mask needs."""
        if ref not in self.values:
            if ref.node.op == "input":
                raise SaveError(f"model {self.name!r}: a mask needs an input that the model does "
                                "not have")  # fmt: skip
            if not isinstance(ref.spec, TensorSpec):
                raise SaveError(self._refusal(ref.node, "it is a number or other value of run "
                                              "time; graphs of Keras have none"))  # fmt: skip
            self._write(ref.node, alone=True)
        if ref in self.refused:
            raise SaveError(self._refusal(ref.node, self.refused[ref]))
        if ref not in self.values:
            raise SaveError(self._refusal(ref.node, "a value within it is used outside"))
        return self.values[ref]

    def _refusal(self, node: Node, why: str) -> str:
        if node.call is not None:
            owner = node.call.outermost.owner
            what = label(owner, self.names.get(id(owner), owner.name))
        else:
            what = f"{self.names.get(id(node), node.kind)!r} ({node.kind})"
        return f"{what} of model {self.name!r}: {why}"

    def _output(self, made: GraphEntry, call: int, ref: Ref, index: int = 0) -> Output:
        spec = ref.spec
        return Output(made, call, index, list(spec.shape), dtype_name(spec.dtype))

    def _unique(self, name: str, taken: bool = False) -> str:
        """Return a unique name in the graph."""
        number, made = 1, name
        while made in self.given or (not taken and made in self.taken):
            number, made = number + 1, f"{name}_{number}"
        self.given.add(made)
        return made

    # ------------------------------------------------------------------ calls

    def _write(self, node: Node, alone: bool = False) -> None:
        """Write the call that a node is, or is part of.

        Args:
            node: the node.
            alone: whether to write it separately even if a layer made it, as the mask of its
                output.
        """
        call = node.call.outermost if node.call is not None else None
        if node.modes is not None:
            raise SaveError(
                self._refusal(
                    node,
                    "it was recorded under torch.no_grad() or autocast; "
                    "detach the result instead: fgraph.ops.stop_gradient",
                )
            )
        inside = alone and call is not None and id(call) in self.calls
        if call is not None and not inside and not _is_opened(call.owner):
            if id(call) not in self.calls:
                self.calls.add(id(call))
                self._layer(call)
        elif node.op == "function":
            self._function(node)
        else:
            self._module(node)

    def _layer(self, call: Call) -> None:
        layer = call.owner
        args, kwargs = map_leaves(self._now, with_masks(call))
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        made, number = self._called(layer, list(args), kwargs)
        for index, ref in enumerate(_refs(call.outputs)):
            self.values.setdefault(ref, self._output(made, number, ref, index))

    def _called(self, part: Any, args: list[Any], kwargs: dict[str, Any]) -> tuple[GraphEntry, int]:
        """Add a call of a layer, model or module."""
        if id(part) not in self.parts:
            name = part_name(self.names.get(id(part)) or part.name)
            name = self._unique(name, taken=name == self.names.get(id(part)))
            self.parts[id(part)] = self.writer.part(part, name, self.model, iter(self.dtypes(part)))
        made = self.parts[id(part)]
        made.calls.append((args, kwargs))
        return made, len(made.calls) - 1

    def _now(self, leaf: Any) -> Any:
        return self.value(leaf) if type(leaf) is Ref else leaf

    def _module(self, node: Node) -> None:
        """Write a call of a nested model, or of a torch module."""
        target = node.target
        refs = list(node.args)
        if isinstance(target, Model):
            args = [filled(target._input_template, map(self._now, refs))]
            masks = [mask_of(ref) for ref in refs]
            options = {key: value for key, value in node.kwargs.items() if key != "masks"}
            if any(mask is not None for mask in masks):
                found = [None if mask is None else self.value(mask) for mask in masks]
                options["mask"] = filled(target._input_template, found)
            count = len(target._live_graph("save").outputs)
            order = list(flat(filled(target._output_template, range(count))))
        else:
            if node.kwargs or len(refs) != 1 or type(refs[0]) is not Ref:
                raise SaveError(self._refusal(node, f"a module that is called like this: {ADVICE}"))
            args, options, order = [self.value(refs[0])], {}, [0]
            if type(target) is nn.Sequential and len(target):
                args, target = [self._stack(node, target, args[0])], target[-1]
        made, number = self._called(target, args, options)
        for index, own in enumerate(order):
            ref = Ref(node, own)
            self.values[ref] = self._output(made, number, ref, index)

    def _stack(self, node: Node, stack: nn.Sequential, value: Output) -> Output:
        """Write the calls of all modules of a stack but the last."""
        name = self.names.get(id(stack), "sequential")
        for key, part in stack._modules.items():
            self.names.setdefault(id(part), f"{name}_{key}")
        for part in list(stack)[:-1]:
            made, number = self._called(part, [value], {})
            value = self._output(made, number, Ref(node))
        return value

    def _function(self, node: Node) -> None:
        """Write a function of torch as operations of Keras."""
        try:
            found = expressed(node)
        except SaveError as error:
            raise SaveError(self._refusal(node, f"{error}; {ADVICE}")) from error
        specs = [spec for spec in node.specs if isinstance(spec, TensorSpec)]
        if isinstance(found, list):
            for index, (one, spec) in enumerate(zip(found, specs, strict=True)):
                if isinstance(one, str):
                    self.refused[Ref(node, index)] = one
                else:
                    self._results(node, one, [spec], index)
        else:
            self._results(node, found, specs)

    def _results(self, node: Node, op: KerasOp, specs: list[TensorSpec], first: int = 0) -> None:
        """Write an operation whose results are outputs of a node, with casts where needed."""
        try:
            result = result_of(op)
        except SaveError as error:
            raise SaveError(self._refusal(node, f"{error}; {ADVICE}")) from error
        leaves = [leaf for leaf in iter_leaves(result) if hasattr(leaf, "spec")]
        if len(leaves) != len(specs) or not all(map(_fits, leaves, specs)):
            raise SaveError(self._refusal(
                node, f"Keras's {op.kind} would return {[leaf.spec.shape for leaf in leaves]}, not "
                f"{[spec.shape for spec in specs]}; {ADVICE}"
            ))  # fmt: skip
        made = self._operation(op, self.names.get(id(node)))
        narrow = any(spec.dtype.itemsize > 4 for spec in specs) and is_narrow(op)
        if narrow:
            self.writer.narrowed.append(made.name)
        for index, (leaf, spec) in enumerate(zip(leaves, specs, strict=True)):
            ref = Ref(node, first + index)
            output = self._output(made, 0, ref, index)
            if leaf.dtype != spec.dtype or narrow:
                output.dtype = dtype_name(leaf.dtype)
                own = self._unique("cast")
                wanted = {"dtype": dtype_name(spec.dtype)}
                cast = GraphEntry(own, operation_entry(KerasOp("core", "Cast", wanted), own))
                cast.calls.append(([output], {}))
                output = self._output(cast, 0, ref)
            self.values[ref] = output

    def _operation(self, op: KerasOp, name: str | None) -> GraphEntry:
        """Write an operation, and those that its arguments are made by."""
        own = self._unique(name, taken=True) if name else self._unique(snake_case(op.kind))
        made = GraphEntry(own, operation_entry(op, own))

        def leaf(found: Any) -> Any:
            if isinstance(found, KerasOp):
                inner = self._operation(found, None)
                result = result_of(found)
                return Output(inner, 0, 0, list(result.spec.shape), dtype_name(result.dtype))
            return self._now(found)

        args, kwargs = map_leaves(leaf, (list(op.args), dict(op.kwargs)))
        made.calls.append((args, kwargs))
        return made


def is_trainable(model: Model) -> bool:
    """Return whether training may change any layer of a model."""
    return model.trainable or any(p.requires_grad for p in model.parameters())


def dtypes_made(nodes: Iterable[Node]) -> Any:
    """Return a function from a layer to the dtypes of its results in a graph."""
    found: dict[int, list[torch.dtype]] = {}
    for node in nodes:
        of = [spec.dtype for spec in node.specs if isinstance(spec, TensorSpec)]
        found.setdefault(id(node.maker), []).extend(reversed(of))
    return lambda layer: reversed(found.get(id(layer), ()))


def _is_opened(layer: Any) -> bool:
    """Return whether the calls inside a layer are written instead of the layer."""
    return isinstance(layer, Lambda)


def _fits(leaf: Any, spec: TensorSpec) -> bool:
    """Return whether a result of `fgraph.ops` is known to have this shape."""
    shape = leaf.spec.shape
    return len(shape) == len(spec.shape) and all(
        a is None or b is None or a == b for a, b in zip(shape, spec.shape, strict=True)
    )


def _refs(structure: Any) -> list[Ref]:
    """Return the outputs of a layer in Keras's order."""
    return [leaf for leaf in flat(structure) if type(leaf) is Ref]
