"""Graphs as Keras's configurations have them; `functional` reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import SaveError
from ...graph import Call, Node, Ref
from ...graph.nested import filled, iter_leaves, map_leaves
from ...graph.node import TensorSpec
from ...layers import Lambda, SpectralNormalization, TimeDistributed
from ...layers.base import Layer, snake_case
from ...model import Model, Sequential
from ...model.naming import maker_of
from .keras_config import dtype_name, dtype_policy, keras_object, plain
from .layer_config import dtype_of_layer, is_own, label, layer_entry, weights_of
from .layer_order import Operation, Output, flat, in_keras_order
from .stored_weights import counted, places
from .torch_layers import REASONS, as_layer
from .torch_operations import Op, expressed, result_of

_NO_MASK = ("Multiply",)  # Keras's looks at the masks of its inputs by itself
_ADVICE = (
    "write it with layers and fgraph.ops, or save it as .fgraph, which holds whatever torch has"
)


class Group:
    """Where the weights of a layer or model lie in the file.

    Attributes:
        name: the layer's name.
        weights: paths and values, in Keras's layout.
        links: other paths at which some version of Keras looks for a weight, and its own one.
        trained: the parts in torch of those that training changes: `(weight, module)`.
        inner: groups within, by path.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.weights: list[tuple[str, Tensor]] = []
        self.links: list[tuple[str, str]] = []
        self.trained: list[tuple[Any, nn.Module]] = []
        self.inner: list[tuple[str, Group]] = []

    def all_trained(self) -> Iterator[tuple[Any, nn.Module]]:
        """Yield the weights that training changes, in Keras's order."""
        yield from self.trained
        for _, group in self.inner:
            yield from group.all_trained()


class ModelWriter:
    """Writes models, those within others included."""

    def __init__(self) -> None:
        self._owners: dict[int, tuple[Any, str]] = {}

    def model(self, model: Model, name: str, group: Group) -> dict[str, Any]:
        """Return class and configuration of a model.

        Args:
            model: the model.
            name: its name.
            group: takes the places of its weights.

        Raises:
            SaveError: a part has no counterpart in Keras.
        """
        where = f"model {name!r}"
        if model._graph is None:
            raise SaveError(
                f"{where} has no graph" + (
                    ": call it once, or begin with Input(shape)" if model._is_unbuilt else
                    ", its forward is Python code: Keras's files hold graphs"
                )
            )  # fmt: skip
        if model._public_class().forward is not Model.forward:
            raise SaveError(f"{where}: its forward is written by hand; Keras's files hold graphs")
        graph = model._live_graph("save")
        for ref, given in zip(graph.inputs, model.input_names, strict=True):
            if not isinstance(ref.spec, TensorSpec):
                raise SaveError(f"{where}: its input {given!r} is no tensor; Keras's inputs are")
        if isinstance(model, Sequential) and _is_stack(model):
            return self._sequential(model, name, group)
        return _Functional(self, model, name, group).run()

    def claim(self, part: Any, owner: Any, where: str) -> None:
        """Note in which model a layer lies.

        Raises:
            SaveError: it lies in two.
        """
        before, name = self._owners.setdefault(id(part), (owner, where))
        if before is not owner:
            raise SaveError(
                f"{where} is also in {name}: a file of Keras keeps no layers that two models "
                "within each other share; use one model in the other, or save each by itself"
            )

    def layer(self, layer: Layer, name: str, dtype: torch.dtype, group: Group) -> dict[str, Any]:
        """Return class and configuration of a layer, and put its weights into `group`."""

        def inner(found: Any, where: str) -> Any:
            if isinstance(found, Layer):
                own = dtype_of_layer(found, iter((dtype,)))
                return layer_entry(found, part_name(found.name), own, inner)
            if isinstance(found, Model) and isinstance(layer, TimeDistributed):
                name = part_name(found.name)
                group.inner.append(("layer", made := Group(name)))
                return self.model(found, name, made)
            raise SaveError(f"{where}: {type(found).__name__} has no counterpart in Keras")

        entry = layer_entry(layer, name, dtype, inner)
        if group.inner:  # a model in TimeDistributed
            return entry
        weights = weights_of(layer) if layer.built else []
        found = places(layer, len(weights))
        if len(found) != len(weights):
            raise SaveError(f"{label(layer, name)}: it is not known where Keras keeps its weights")
        for (value, trained, at), paths in zip(weights, found, strict=True):
            group.weights.append((paths[0], value))
            group.links += [(path, paths[0]) for path in paths[1:]]
            if trained and any(tensor.requires_grad for tensor in at[0].tensors(at[1])):
                group.trained.append(at)
        if isinstance(layer, SpectralNormalization):  # Keras has the kernel once more
            group.links.append(("vars/0", found[0][0]))
        return entry

    def part(self, part: Any, name: str, owner: Any, dtypes: Iterator[torch.dtype]) -> Operation:
        """Return a layer, model or torch module as an operation of a graph, yet without calls."""
        kind = "model" if isinstance(part, Model) else "layer"
        self.claim(part, owner, f"{kind} {name!r} of model {owner.name!r}")
        group = Group(name)
        if isinstance(part, Model):
            return Operation(name, self.model(part, name, group), group)
        if isinstance(part, Layer):
            return Operation(name, self.layer(part, name, dtype_of_layer(part, dtypes), group),
                             group)  # fmt: skip
        made = as_layer(part, name, next(dtypes, torch.get_default_dtype()))
        if made is None:
            raise SaveError(
                f"{name!r} ({type(part).__name__} of torch) of model {owner.name!r} has no exact "
                f"counterpart in Keras: {REASONS.get(type(part), _ADVICE)}"
            )
        entry, weights = made
        for place, (value, weight, trained) in enumerate(weights):
            group.weights.append((f"vars/{place}", value))
            if trained:
                group.trained.append((weight, part))
        return Operation(name, entry, group)

    def _sequential(self, model: Sequential, name: str, group: Group) -> dict[str, Any]:
        """Write a stack of layers."""
        graph = model._live_graph("save")
        names = {id(layer): own for own, layer in model._layers_by_name().items()}
        first = _input(graph.inputs[0], _allowed(model.input_names[0]))
        entries, held = [first], []
        dtypes = _dtypes_made(graph.nodes)
        for layer in model.layers:
            if isinstance(layer, Lambda):  # a cast, which Keras makes by itself
                continue
            made = self.part(layer, part_name(names[id(layer)]), model, iter(dtypes(layer)))
            entries.append(made.entry)
            held.append(made)
        _number(held, group)
        config = {
            "name": name,
            "trainable": _is_trainable(model),
            "dtype": dtype_policy(torch.get_default_dtype()),
            "layers": entries,
            "build_input_shape": first["config"]["batch_shape"],
        }
        return keras_object("Sequential", config, "keras")


def _number(operations: Iterable[Operation], group: Group) -> None:
    """Put the groups of the layers of a model under the names that Keras gives them."""
    held = [made for made in operations if isinstance(made.part, Group)]
    names = counted([made.entry["class_name"] for made in held])
    group.inner += [(f"layers/{n}", made.part) for n, made in zip(names, held, strict=True)]


def _is_stack(model: Sequential) -> bool:
    """Whether Keras can hold a model as a stack: each item a layer, each once."""
    items = model.layers
    if len({id(item) for item in items}) < len(items):
        return False
    for item, after in zip(items, [*items[1:], None], strict=True):
        if isinstance(item, Lambda):
            if item.name != "cast" or not isinstance(after, Layer):
                return False
        elif not isinstance(item, (Layer, Model)) and as_layer(item, "") is None:
            return False
    return True


def _is_trainable(model: Model) -> bool:
    """Whether training may change any layer of a model."""
    return model.trainable or any(p.requires_grad for p in model.parameters())


def _allowed(name: str) -> str:
    """Return a name without what Keras's names cannot have."""
    return name.replace("/", "_")


def part_name(name: str) -> str:
    """Return the name of a layer, whose weights torch does not take with a dot in Keras."""
    return _allowed(name).replace(".", "_")


def _input(ref: Ref, name: str) -> dict[str, Any]:
    config = {
        "batch_shape": list(ref.spec.shape), "dtype": dtype_name(ref.spec.dtype), "sparse": False,
        "ragged": False, "name": name, "optional": False,
    }  # fmt: skip
    return keras_object("InputLayer", config, "keras.layers")


def _dtypes_made(nodes: Iterable[Node]) -> Any:
    """Return a function from a layer to the dtypes of what it makes in a graph."""
    found: dict[int, list[torch.dtype]] = {}
    for node in nodes:
        of = [spec.dtype for spec in node.specs if isinstance(spec, TensorSpec)]
        found.setdefault(id(maker_of(node)), []).extend(reversed(of))
    return lambda layer: reversed(found.get(id(layer), ()))


class _Functional:
    """Writes one graph.

    Args:
        writer: writes models within.
        model: the model.
        name: its name.
        group: takes the places of its weights.
    """

    def __init__(self, writer: ModelWriter, model: Model, name: str, group: Group) -> None:
        self.writer, self.model, self.name, self.group = writer, model, name, group
        self.graph = model._live_graph("save")
        self.values: dict[Ref, Output] = {}
        self.parts: dict[int, Operation] = {}
        self.calls: set[int] = set()
        self.dtypes = _dtypes_made(self.graph.nodes)
        makers = zip(self.graph.nodes, model._node_names, strict=True)
        self.names = {id(maker_of(node)): _allowed(name) for node, name in makers}
        self.taken = {_allowed(name) for name in (*model.input_names, *model._node_names)}
        self.given: set[str] = set()
        self.refused: dict[Ref, str] = {}

    def run(self) -> dict[str, Any]:
        """Return class and configuration."""
        inputs = []
        for ref, name in zip(self.graph.inputs, self.model.input_names, strict=True):
            own = _allowed(name)
            self.given.add(own)
            made = Operation(own, _input(ref, own))
            made.calls.append(([], {}))
            inputs.append(self._output(made, 0, ref))
            self.values[ref] = inputs[-1]
        for node in self.graph.nodes:
            if any(isinstance(spec, TensorSpec) for spec in node.specs):
                self._write(node)
        outputs = [self.value(ref) for ref in self.graph.outputs]
        taken = filled(self.model._input_template, inputs)
        returned = filled(self.model._output_template, outputs)
        ordered = in_keras_order(inputs, returned)
        _number(ordered, self.group)
        places = _places(ordered, returned)
        config = {
            "name": self.name,
            "trainable": _is_trainable(self.model),
            "layers": [_layer(made, places) for made in ordered],
            "input_layers": _listed(taken, lambda leaf: _outside(leaf, places)),
            "output_layers": _listed(returned, lambda leaf: _outside(leaf, places)),
        }
        return keras_object("Functional", config, "keras.src.models.functional", "Functional")

    # ------------------------------------------------------------------ values

    def value(self, ref: Ref) -> Output:
        """Return an output of what was written; write what a mask alone needs."""
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

    def _output(self, made: Operation, call: int, ref: Ref, index: int = 0) -> Output:
        spec = ref.spec
        return Output(made, call, index, list(spec.shape), dtype_name(spec.dtype))

    def _unique(self, name: str, taken: bool = False) -> str:
        """Return a name that nothing else in the graph has."""
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
            alone: whether to write it by itself where a layer made it, as the mask of its output.
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
        args, kwargs = map_leaves(self._now, _with_masks(call))
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        made, number = self._called(layer, list(args), kwargs)
        for index, ref in enumerate(_refs(call.outputs)):
            self.values.setdefault(ref, self._output(made, number, ref, index))

    def _called(self, part: Any, args: list[Any], kwargs: dict[str, Any]) -> tuple[Operation, int]:
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
        """Write a call of a model within, or of a torch module."""
        target = node.target
        refs = list(node.args)
        if isinstance(target, Model):
            args = [filled(target._input_template, map(self._now, refs))]
            masks = [_mask_of(ref) for ref in refs]
            options = {key: value for key, value in node.kwargs.items() if key != "masks"}
            if any(mask is not None for mask in masks):
                found = [None if mask is None else self.value(mask) for mask in masks]
                options["mask"] = filled(target._input_template, found)
            count = len(target._live_graph("save").outputs)
            order = list(flat(filled(target._output_template, range(count))))
        else:
            if node.kwargs or len(refs) != 1 or type(refs[0]) is not Ref:
                raise SaveError(
                    self._refusal(node, f"a module that is called like this: {_ADVICE}")
                )
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
            raise SaveError(self._refusal(node, f"{error}; {_ADVICE}")) from error
        specs = [spec for spec in node.specs if isinstance(spec, TensorSpec)]
        if isinstance(found, list):
            for index, (one, spec) in enumerate(zip(found, specs, strict=True)):
                if isinstance(one, str):
                    self.refused[Ref(node, index)] = one
                else:
                    self._results(node, one, [spec], index)
        else:
            self._results(node, found, specs)

    def _results(self, node: Node, op: Op, specs: list[TensorSpec], first: int = 0) -> None:
        """Write an operation whose results are outputs of a node, cast where they have to be."""
        try:
            result = result_of(op)
        except SaveError as error:
            raise SaveError(self._refusal(node, f"{error}; {_ADVICE}")) from error
        leaves = [leaf for leaf in iter_leaves(result) if hasattr(leaf, "spec")]
        if len(leaves) != len(specs) or not all(map(_fits, leaves, specs)):
            raise SaveError(self._refusal(
                node, f"Keras's {op.kind} would return {[leaf.spec.shape for leaf in leaves]}, not "
                f"{[spec.shape for spec in specs]}; {_ADVICE}"
            ))  # fmt: skip
        made = self._operation(op, self.names.get(id(node)))
        for index, (leaf, spec) in enumerate(zip(leaves, specs, strict=True)):
            ref = Ref(node, first + index)
            output = self._output(made, 0, ref, index)
            if leaf.dtype != spec.dtype:
                output.dtype = dtype_name(leaf.dtype)
                own = self._unique("cast")
                wanted = {"dtype": dtype_name(spec.dtype)}
                cast = Operation(own, _entry(Op("core", "Cast", wanted), own))
                cast.calls.append(([output], {}))
                output = self._output(cast, 0, ref)
            self.values[ref] = output

    def _operation(self, op: Op, name: str | None) -> Operation:
        """Write an operation, and those that its arguments are made by."""
        own = self._unique(name, taken=True) if name else self._unique(snake_case(op.kind))
        made = Operation(own, _entry(op, own))

        def leaf(found: Any) -> Any:
            if isinstance(found, Op):
                inner = self._operation(found, None)
                result = result_of(found)
                return Output(inner, 0, 0, list(result.spec.shape), dtype_name(result.dtype))
            return self._now(found)

        args, kwargs = map_leaves(leaf, (list(op.args), dict(op.kwargs)))
        made.calls.append((args, kwargs))
        return made


def _is_opened(layer: Any) -> bool:
    """Whether what a layer does is written, not the layer."""
    return isinstance(layer, Lambda)


def _fits(leaf: Any, spec: TensorSpec) -> bool:
    """Whether a result of `fgraph.ops` has a shape that is known to be this one."""
    shape = leaf.spec.shape
    return len(shape) == len(spec.shape) and all(
        a is None or b is None or a == b for a, b in zip(shape, spec.shape, strict=True)
    )


def _refs(structure: Any) -> list[Ref]:
    """Return the outputs of a layer in Keras's order."""
    return [leaf for leaf in flat(structure) if type(leaf) is Ref]


def _mask_of(ref: Any) -> Ref | None:
    return (ref.node.masks or {}).get(ref.index) if type(ref) is Ref else None


def _with_masks(call: Call) -> tuple[Any, dict[str, Any]]:
    """Return the arguments of a call of a layer, with the masks that it is given, as Keras has it.

    The masks that Keras would find by itself are its inputs as well, once they are known: that
    decides on the order of its layers.
    """
    args, kwargs = call.inputs
    layer = call.owner
    takes = layer._parameters("call")
    kwargs = dict(kwargs)

    def masks(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [masks(item) for item in value]
        return _mask_of(value)

    def fill(key: str, value: Any) -> None:
        found = masks(value)
        if kwargs.get(key) is None and any(m is not None for m in iter_leaves(found)):
            kwargs[key] = found

    if "mask" in takes and args and not (is_own(layer) and type(layer).__name__ in _NO_MASK):
        fill("mask", args[0])
    for name, value in {**dict(zip(takes, args, strict=False)), **kwargs}.items():
        if f"{name}_mask" in takes:
            fill(f"{name}_mask", value)
    if "training" in kwargs and not isinstance(kwargs["training"], bool):
        del kwargs["training"]
    return args, kwargs


# ---------------------------------------------------------------------- JSON


def _entry(op: Op, name: str) -> dict[str, Any]:
    config = {"name": name, **plain(op.config, f"operation {name!r}")}
    return keras_object(op.kind, config, f"keras.src.ops.{op.room}", op.kind)


_Places = dict[tuple[int, int], int]


def _places(ordered: Iterable[Operation], returned: Any) -> _Places:
    """Return the numbers of the calls that the outputs need, of those of each operation."""
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


def _layer(made: Operation, places: _Places) -> dict[str, Any]:
    """Return an operation with its calls."""

    def leaf(found: Any, where: str) -> Any:
        if not isinstance(found, Output):
            raise SaveError(f"{where}: {found!r:.80} cannot be written")
        place = [found.operation.name, places[id(found.operation), found.call], found.index]
        config = {"shape": found.shape, "dtype": found.dtype, "keras_history": place}
        return {"class_name": "__keras_tensor__", "config": config}

    where = f"the call of {made.name!r}"
    nodes = [
        {"args": plain(args, where, leaf), "kwargs": plain(kwargs, where, leaf)}
        for n, (args, kwargs) in enumerate(made.calls)
        if (id(made), n) in places and made.entry["class_name"] != "InputLayer"
    ]
    return {**made.entry, "name": made.name, "inbound_nodes": nodes}


def _outside(output: Output, places: _Places) -> list[Any]:
    """Return an input or output of a model; Keras counts a call that makes a functional model."""
    made = output.operation
    first = int(made.entry["class_name"] == "Functional")
    return [made.name, places.get((id(made), output.call), 0) + first, output.index]


def _listed(structure: Any, leaf: Any) -> Any:
    """Return the inputs or outputs of a model in their structure, of which JSON has no tuples."""
    if isinstance(structure, Output):
        return leaf(structure)
    if isinstance(structure, dict):
        return {key: _listed(item, leaf) for key, item in structure.items()}
    return [_listed(item, leaf) for item in structure]
