"""Makes the calls of a functional model from its configuration."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import torch

from ....errors import LoadError
from ....graph import SymbolicSize, SymbolicTensor
from ....graph.nested import iter_leaves, map_leaves
from ....interface.keras_order import flat
from ....layers.base import Layer
from ....layers.layer_weights import symbolic
from ....layers.masks import attach_masks, mask_of
from ....model import Model
from ..keras_values import Values, dtype_of, refusal
from ..tensorflow_shapes import Sizes
from .parsed_parts import label_of, name_of, nodes_of

MOST_NODES = 100_000
_RESULTS = (SymbolicTensor, SymbolicSize, Sizes, int)  # the others are shapes


class _Reference:
    """An output of a call in the file: layer, number of the call, number of the output."""

    __slots__ = ("index", "layer", "node")

    def __init__(self, layer: str, node: int, index: int) -> None:
        self.layer, self.node, self.index = layer, node, index


class Calls:
    """The calls of a functional model; each is made when its inputs exist."""

    def __init__(self, values: Values, entries: list[Any], where: str) -> None:
        self.values = values
        self.entries = entries
        self.where = where
        self.names = [name_of(entry, k) for k, entry in enumerate(entries)]
        if len(set(self.names)) != len(self.names):
            raise LoadError(f"{where}: two layers have one name")
        self.kinds = {
            name: e.get("class_name") for name, e in zip(self.names, entries, strict=True)
        }
        self.parts: dict[str, Any] = {}
        self.outputs: dict[str, list[Any]] = {}
        self.has_old = any(isinstance(node, list) for e in entries for node in nodes_of(e))

    def run(self) -> None:
        """Make all calls, if possible in the order of the file."""
        waiting: dict[tuple[str, int], list[int]] = {}
        calls: list[tuple[str, int, Any, str]] = []
        missing: list[int] = []
        for name, entry in zip(self.names, self.entries, strict=True):
            if name in self.outputs:
                continue
            for node, written in enumerate(nodes_of(entry)):
                if len(calls) >= MOST_NODES:
                    raise LoadError(f"{self.where} has more than {MOST_NODES} calls")
                label = label_of(entry)
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
            # Keras 3 gives every layer the mode of the model, regardless of its call
            kwargs = {k: v for k, v in kwargs.items() if _is_given(v) and
                      (k != "training" or self.values.is_old)}  # fmt: skip
            args = list(args)
            while args and args[-1] is None:
                args.pop()
            if isinstance(part, Model) and isinstance(kwargs.get("mask"), dict):
                kwargs["mask"] = _masks_in_order(part._input_template, kwargs["mask"])
            if isinstance(part, Layer):
                args, kwargs = map_leaves(lambda x: _argument_of(part, x), (args, kwargs))
        if self.has_old and args and "initial_state" in kwargs:  # Keras 3 passes no mask then
            kwargs.setdefault("mask", mask_of(args[0]))
        try:
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
        tensors = [t for t in flat(made[ref.node]) if isinstance(t, _RESULTS)]
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
        # models count the call that made them
        kind = self.kinds[name]
        first = kind in ("Functional", "Model") or (kind == "Sequential" and self.has_old)
        count = max(1, len(nodes_of(self.entries[self.names.index(name)])))
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
        """Read a call of Keras 2."""
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
    """Return whether an argument is given: it is not `None`, or a list of `None`."""
    return any(leaf is not None for leaf in iter_leaves(value))


def _argument_of(layer: Layer, value: Any) -> Any:
    """Return an argument of a layer, with a handle for a constant, cast to its dtype."""
    made = symbolic(value) if isinstance(value, torch.Tensor) else value
    if not isinstance(made, SymbolicTensor) or not made.dtype.is_floating_point:
        return made
    wanted = layer.dtype
    if wanted is None or not wanted.is_floating_point or wanted == made.dtype:
        return made
    cast: Any = made.to(wanted)
    attach_masks(cast, made.mask)
    return cast


def _constant(written: Mapping[str, Any], where: str) -> Any:
    if written.get("class_name") in ("DTypePolicy", "Policy"):
        return dtype_of(written, where)[0]
    raise refusal(written, where)
