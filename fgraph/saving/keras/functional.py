"""Models from Keras's configurations: `Functional` and `Sequential`, nested as they are."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ...errors import LoadError
from ...graph import Input, SymbolicTensor
from ...graph.nested import iter_leaves, map_leaves
from ...layers.base import Layer
from ...layers.weights import symbolic
from ...model import Model, Sequential
from .filler import Filler
from .keras_layers import make_layer
from .keras_values import Values, dtype_of, refusal, text
from .layer_order import flat
from .operations import is_operation, operation
from .stored_weights import Place, counted

MOST_NODES = 100_000
_MODELS = ("Functional", "Model", "Sequential")


class _Reference:
    """An output of a call in the file: layer, number of the call, number of the output."""

    __slots__ = ("index", "layer", "node")

    def __init__(self, layer: str, node: int, index: int) -> None:
        self.layer, self.node, self.index = layer, node, index


def is_model(written: Mapping[str, Any]) -> bool:
    """Whether an object is a model."""
    return written.get("class_name") in _MODELS and "layers" in (
        {"layers": ()} if isinstance(written.get("config"), list) else written.get("config") or ()
    )


def has_models(written: Mapping[str, Any]) -> bool:
    """Whether there are models in a model, or in a layer of it."""
    config = written.get("config")
    waiting: list[Any] = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict) and part is not config and is_model(part):
            return True
        if isinstance(part, (dict, list)):
            waiting += part.values() if isinstance(part, dict) else part
    return False


class Builder:
    """Makes models of configurations, each layer filled when it is made.

    Args:
        values: the values of arguments.
        filler: learns where the weights of each layer are.
    """

    def __init__(self, values: Values, filler: Filler) -> None:
        self.values = values
        self.filler = filler

    def model(self, written: Mapping[str, Any], place: Place, where: str = "the model") -> Model:
        """Make a model.

        Args:
            written: its class and configuration.
            place: where its weights are.
            where: what it is, for errors.

        Raises:
            LoadError: it is of another kind, or a part of it is not known.
        """
        kind, config = written.get("class_name"), written.get("config")
        if not is_model(written):
            raise LoadError(
                f"{where} is of class {kind!r:.60}, not a Functional or Sequential model: a class "
                "whose graph is Python code cannot be read; build it here, and copy its weights "
                "by set_weights"
            )
        config = {"layers": config} if isinstance(config, list) else config
        if not isinstance(config, dict) or not isinstance(config["layers"], list):
            raise LoadError(f"{where} has no list of layers")
        entries = config["layers"]
        if not all(isinstance(entry, dict) for entry in entries):
            raise LoadError(f"{where}: a layer is no object")
        make = self._sequential if kind == "Sequential" else self._functional
        made = make(config, entries, place, where)
        if config.get("trainable") is False:
            made.trainable = False
        return made

    def _part(self, entry: Mapping[str, Any], place: Place, where: str) -> Any:
        """Make one layer, model or operation."""
        if is_model(entry):
            return self.model(entry, place, where)
        if is_operation(entry):
            return operation(entry, self.values, where)

        def inner(written: Mapping[str, Any], where: str) -> Any:
            return self._part(written, place.inner("layer"), where)

        layer = make_layer(entry, self.values, inner, where)
        self.filler.put(layer, place)
        return layer

    def _places(
        self, config: Mapping[str, Any], entries: list[Any], place: Place,
        skip: Callable[[Any], bool],
    ) -> list[Place]:  # fmt: skip
        """Return where the parts of a model are."""
        held = [e for e in entries if not is_operation(e) and not skip(e)]
        names = counted([text(e.get("class_name"), "a layer's class") for e in held])
        found = {id(e): f"layers/{name}" for e, name in zip(held, names, strict=True)}
        trained = config.get("trainable") is not False
        places = [place.inner(found.get(id(entry), ""), trained) for entry in entries]
        if place.top or place.group:
            return places
        return [p._replace(top=_name(entry, k)) for k, (p, entry) in
                enumerate(zip(places, entries, strict=True))]  # fmt: skip

    # ------------------------------------------------------------------ Sequential

    def _sequential(
        self, config: Mapping[str, Any], entries: list[Any], place: Place, where: str
    ) -> Model:
        places = self._places(config, entries, place, lambda e: e.get("class_name") == "InputLayer")
        stack: list[Any] = []
        for k, (entry, own) in enumerate(zip(entries, places, strict=True)):
            label = _label(entry, k)
            if entry.get("class_name") == "InputLayer":
                stack.append(_input(entry, label))
                continue
            part = self._part(entry, own, label)
            if is_operation(entry):
                raise LoadError(f"{label}: an operation in a Sequential")
            given = (entry.get("config") or {}).get("batch_input_shape") if isinstance(
                entry.get("config"), dict) else None  # fmt: skip
            if given is not None and not stack:
                stack.append(Input(batch_shape=_shape(given, label), dtype=_dtype(entry, label)))
            stack.append(part)
        shape = config.get("build_input_shape") or (config.get("build_config") or {}).get(
            "input_shape")  # fmt: skip
        name = config.get("name")
        if stack and not isinstance(stack[0], SymbolicTensor) and shape is not None:
            stack.insert(0, Input(batch_shape=_shape(shape, where), dtype=_wanted(stack[0])))
        stack = _with_casts(stack)
        try:
            return Sequential(stack, name=None if name is None else text(name, "a model's name"))
        except LoadError:
            raise
        except Exception as error:
            raise LoadError(f"{where} {name!r:.60}: {error}") from error

    # ------------------------------------------------------------------ Functional

    def _functional(
        self, config: Mapping[str, Any], entries: list[Any], place: Place, where: str
    ) -> Model:
        graph = _Calls(self.values, entries, where)
        places = self._places(config, entries, place, lambda e: False)
        for k, (entry, own) in enumerate(zip(entries, places, strict=True)):
            label, name = _label(entry, k), graph.names[k]
            if entry.get("class_name") == "InputLayer":
                graph.outputs[name] = [_input(entry, label)]
            else:
                graph.parts[name] = self._part(entry, own, label)
        graph.run()
        inputs = graph.tensors(config.get("input_layers"), f"{where}, input_layers")
        outputs = graph.tensors(config.get("output_layers"), f"{where}, output_layers")
        own_name = config.get("name")
        try:
            return Model(
                inputs, outputs, name=None if own_name is None else text(own_name, "a model's name")
            )
        except LoadError:
            raise
        except Exception as error:
            raise LoadError(f"{where} {own_name!r:.60}: {error}") from error


class _Calls:
    """The calls of a functional model, each made once its inputs are."""

    def __init__(self, values: Values, entries: list[Any], where: str) -> None:
        self.values = values
        self.entries = entries
        self.where = where
        self.names = [_name(entry, k) for k, entry in enumerate(entries)]
        if len(set(self.names)) != len(self.names):
            raise LoadError(f"{where}: two layers have one name")
        self.kinds = {
            name: e.get("class_name") for name, e in zip(self.names, entries, strict=True)
        }
        self.parts: dict[str, Any] = {}
        self.outputs: dict[str, list[Any]] = {}
        self.has_old = any(isinstance(node, list) for e in entries for node in _nodes(e))

    def run(self) -> None:
        """Make all calls, in the order of the file where it can be."""
        waiting: dict[tuple[str, int], list[int]] = {}
        calls: list[tuple[str, int, Any, str]] = []
        missing: list[int] = []
        for name, entry in zip(self.names, self.entries, strict=True):
            if name in self.outputs:
                continue
            for node, written in enumerate(_nodes(entry)):
                if len(calls) >= MOST_NODES:
                    raise LoadError(f"{self.where} has more than {MOST_NODES} calls")
                label = _label(entry, 0)
                arguments = self._arguments(written, label)
                needed = {(r.layer, r.node) for r in iter_leaves(arguments)
                          if isinstance(r, _Reference)}  # fmt: skip
                if node:
                    needed.add((name, node - 1))
                needed = {key for key in needed if not self._made(*key)}
                for key in needed:
                    waiting.setdefault(key, []).append(len(calls))
                calls.append((name, node, arguments, label))
                missing.append(len(needed))
        ready = [k for k, count in enumerate(missing) if not count]
        done = 0
        while ready:
            k = heapq.heappop(ready)
            name, node, (args, kwargs), label = calls[k]
            self.outputs.setdefault(name, []).append(self._call(name, args, kwargs, label))
            done += 1
            for follower in waiting.get((name, node), ()):
                missing[follower] -= 1
                if not missing[follower]:
                    heapq.heappush(ready, follower)
        if done < len(calls):
            names = sorted(
                {name for (name, *_), count in zip(calls, missing, strict=True) if count}
            )
            raise LoadError(f"{self.where}: the inputs of the layers {names[:5]} are missing, or "
                            "depend on their own outputs")  # fmt: skip

    def _made(self, name: str, node: int) -> bool:
        return node < len(self.outputs.get(name, ()))

    def _call(self, name: str, args: Any, kwargs: Any, label: str) -> Any:
        part = self.parts[name]
        args, kwargs = map_leaves(self._value, (args, kwargs))
        if isinstance(part, (Layer, torch.nn.Module)):
            # Keras 3 gives every layer the mode of the model, whatever its call says
            kwargs = {k: v for k, v in kwargs.items() if _is_given(v) and
                      (k != "training" or self.values.is_old)}  # fmt: skip
            args = list(args)
            while args and args[-1] is None:
                args.pop()
            if isinstance(part, Model) and isinstance(kwargs.get("mask"), dict):
                kwargs["mask"] = _masks_in_order(part._input_template, kwargs["mask"])
            if isinstance(part, Layer):
                args, kwargs = map_leaves(_symbolic, (args, kwargs))
                args = [_cast(part, arg) if k == 0 else arg for k, arg in enumerate(args)]
        # Keras 3 passes no mask beside states
        hidden = "initial_state" in kwargs and "mask" not in kwargs and not self.has_old
        try:
            with _without_masks(args if hidden else ()):
                return part(*args, **kwargs)
        except LoadError:
            raise
        except Exception as error:
            raise LoadError(f"{label}: {error}") from error

    def _value(self, leaf: Any) -> Any:
        return self._output(leaf) if isinstance(leaf, _Reference) else leaf

    def _output(self, ref: _Reference) -> Any:
        made = self.outputs.get(ref.layer, [])
        if ref.node >= len(made):
            raise LoadError(f"{self.where}: call {ref.node} of layer {ref.layer!r:.60} is missing")
        tensors = [t for t in flat(made[ref.node]) if isinstance(t, SymbolicTensor)]
        if ref.index >= len(tensors):
            raise LoadError(f"{self.where}: layer {ref.layer!r:.60} has no output {ref.index}")
        return tensors[ref.index]

    # ------------------------------------------------------------------ what is written

    def _reference(self, written: Any, offset: bool, where: str) -> _Reference:
        if not (isinstance(written, list) and len(written) >= 3 and isinstance(written[0], str)
                and all(type(n) is int and n >= 0 for n in written[1:3])):  # fmt: skip
            raise LoadError(f"{where}: {written!r:.80} is no output of a layer")
        name, node, index = written[:3]
        if name not in self.kinds:
            raise LoadError(f"{where}: there is no layer {name!r:.60}")
        # models count a call that made them
        kind = self.kinds[name]
        first = kind in ("Functional", "Model") or (kind == "Sequential" and self.has_old)
        count = max(1, len(_nodes(self.entries[self.names.index(name)])))
        if offset and first and (node >= count or (node > 0 and not self.has_old) or node):
            node -= 1
        return _Reference(name, node, index)

    def _arguments(self, written: Any, where: str) -> tuple[list[Any], dict[str, Any]]:
        if isinstance(written, list):
            return self._old_arguments(written, where)
        if not isinstance(written, dict):
            raise LoadError(f"{where}: a call that is none")

        def leaf(found: Mapping[str, Any], place: str) -> Any:
            if found.get("class_name") == "__keras_tensor__":
                config = found.get("config")
                history = config.get("keras_history") if isinstance(config, dict) else None
                return self._reference(history, False, place)
            return _constant(found, place)

        args = self.values.plain(written.get("args", []), where, leaf)
        kwargs = self.values.plain(written.get("kwargs", {}), where, leaf)
        if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
            raise LoadError(f"{where}: a call that is none")
        return list(args), kwargs

    def _old_arguments(self, written: list[Any], where: str) -> tuple[list[Any], dict[str, Any]]:
        """Read a call as Keras 2 writes it."""
        kwargs: dict[str, Any] = {}

        def tensors(item: Any) -> Any:
            if isinstance(item, dict):
                return {key: tensors(part) for key, part in item.items()}
            if not (isinstance(item, list) and item and isinstance(item[0], str)):
                return [tensors(part) for part in item] if isinstance(item, list) else item
            if len(item) > 3 and isinstance(item[3], dict):
                kwargs.update({key: self._old_value(v, where) for key, v in item[3].items()})
            if item[0] == "_CONSTANT_VALUE" and len(item) > 2:
                return self.values.plain(item[2], where)
            return self._reference(item, True, where)

        first = tensors(written)
        is_one = isinstance(first, list) and len(first) == 1
        return [first[0] if is_one else first] if first != [] else [], kwargs

    def _old_value(self, value: Any, where: str) -> Any:
        if isinstance(value, list):
            if len(value) == 3 and isinstance(value[0], str) and value[0] in self.kinds:
                return self._reference(value, True, where)
            if len(value) == 3 and value[0] == "_CONSTANT_VALUE":
                return self.values.plain(value[2], where)
            return [self._old_value(item, where) for item in value]
        if isinstance(value, dict) and "class_name" not in value:
            return {key: self._old_value(item, where) for key, item in value.items()}
        return self.values.plain(value, where)

    def tensors(self, written: Any, where: str) -> Any:
        """Return the inputs or outputs of the model, in their structure."""
        if isinstance(written, dict) and written.get("class_name") == "__tuple__":
            return tuple(self.tensors(item, where) for item in written.get("items", ()))
        if isinstance(written, dict):
            return {key: self.tensors(item, where) for key, item in written.items()}
        if isinstance(written, list) and len(written) in (3, 4) and isinstance(written[0], str):
            return self._output(self._reference(written, True, where))
        if not isinstance(written, list):
            raise LoadError(f"{where}: {written!r:.80} is no output of a layer")
        found = [self.tensors(item, where) for item in written]
        return found[0] if len(found) == 1 and self.has_old else found


@contextmanager
def _without_masks(args: Any) -> Iterator[None]:
    """Let inputs have no masks within the block."""
    nodes = [leaf.node for leaf in iter_leaves(args) if isinstance(leaf, SymbolicTensor)]
    kept = [(node, node.masks) for node in nodes]
    for node in nodes:
        node.masks = None
    try:
        yield
    finally:
        for node, masks in kept:
            node.masks = masks


def _masks_in_order(structure: Any, masks: Any) -> list[Any]:
    """Return the masks of a model's inputs in the order of the inputs."""
    if isinstance(structure, dict):
        pairs = [(item, masks[key]) for key, item in structure.items()]
    elif isinstance(structure, (list, tuple)):
        pairs = list(zip(structure, masks, strict=True))
    else:
        return [masks]
    return [mask for item, part in pairs for mask in _masks_in_order(item, part)]


def _is_given(value: Any) -> bool:
    """Whether an argument says something: `None`, also for each of several tensors, does not."""
    return any(leaf is not None for leaf in iter_leaves(value))


def _symbolic(leaf: Any) -> Any:
    """Return a handle on a constant of the graph, which a layer takes like any other."""
    return symbolic(leaf) if isinstance(leaf, torch.Tensor) else leaf


def _constant(written: Mapping[str, Any], where: str) -> Any:
    if written.get("class_name") in ("DTypePolicy", "Policy"):
        return dtype_of(written, where)[0]
    raise refusal(written, where)


def _nodes(entry: Mapping[str, Any]) -> list[Any]:
    nodes = entry.get("inbound_nodes")
    return nodes if isinstance(nodes, list) else []


def _name(entry: Mapping[str, Any], k: int) -> str:
    config = entry.get("config")
    name = entry.get("name") or (config.get("name") if isinstance(config, dict) else None)
    return text(name, f"the name of layer {k}")


def _label(entry: Mapping[str, Any], k: int) -> str:
    config = entry.get("config")
    name = entry.get("name") or (config.get("name") if isinstance(config, dict) else None)
    return f"layer {name!r:.60} ({entry.get('class_name')!s:.60})"


def _shape(written: Any, where: str) -> list[int | None]:
    if isinstance(written, dict):
        written = written.get("items")
    if not isinstance(written, list) or not all(
        size is None or (type(size) is int and size >= 0) for size in written
    ):
        raise LoadError(f"{where}: the shape {written!r:.80} is none")
    return written


def _dtype(entry: Mapping[str, Any], where: str) -> torch.dtype | None:
    config = entry["config"]
    wanted = "int32" if entry.get("class_name") == "Embedding" else config.get("dtype")
    return dtype_of(wanted, where)[0]


def _input(entry: Mapping[str, Any], where: str) -> SymbolicTensor:
    config = entry.get("config")
    if not isinstance(config, dict):
        raise LoadError(f"{where}: an input without configuration")
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    if config.get("sparse") or config.get("ragged") or config.get("optional"):
        raise LoadError(f"{where}: sparse, ragged and optional inputs cannot be read")
    name = config.get("name")
    try:
        return Input(
            batch_shape=_shape(shape, where),
            dtype=dtype_of(config.get("dtype"), where)[0],
            name=None if name is None else text(name, where),
        )
    except (TypeError, ValueError) as error:
        raise LoadError(f"{where}: {error}") from error


def _wanted(layer: Any) -> torch.dtype | None:
    return (
        torch.int64 if getattr(getattr(layer, "expects", None), "dtype", "") == "integer" else None
    )


def _cast(layer: Layer, value: Any) -> Any:
    """Cast an input as Keras does by itself: numbers to whole ones for ids, or the reverse."""
    if not isinstance(value, SymbolicTensor):
        return value
    if layer.expects.dtype == "integer" and value.dtype.is_floating_point:
        return value.to(torch.int64)
    if layer.expects.dtype == "floating" and not value.dtype.is_floating_point:
        return value.to(layer.dtype or torch.get_default_dtype())
    if layer.dtype is not None and layer.dtype.is_floating_point and (
        value.dtype.is_floating_point and value.dtype != layer.dtype
    ):  # fmt: skip
        return value.to(layer.dtype)
    return value


def _with_casts(stack: list[Any]) -> list[Any]:
    """Put casts that Keras does by itself behind the input of a stack."""
    if len(stack) < 2 or not isinstance(stack[0], SymbolicTensor):
        return stack
    first = stack[1]
    if not isinstance(first, Layer):
        return stack
    kind = first.expects.dtype
    floating = stack[0].dtype.is_floating_point
    if (kind == "integer" and floating) or (kind == "floating" and not floating):
        from ...layers import Lambda

        to = torch.int64 if kind == "integer" else torch.get_default_dtype()
        return [stack[0], Lambda(lambda x: x.to(to), name="cast"), *stack[1:]]
    return stack
