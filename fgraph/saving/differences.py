"""What sets a module apart from the one that its constructor makes."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.base import Layer
from ..model import Model
from .comparing import same

# what nn.Module and its recurrent kinds keep for themselves
MODULE_KEYS = frozenset(nn.Module().__dict__) | {
    "_compiled_call_impl", "_flat_weights", "_flat_weight_refs",
}  # fmt: skip
# what a model has besides, made anew or written apart
MODEL_KEYS = MODULE_KEYS | {
    "explicit_name", "_graph", "_signature", "_input_template", "_output_template", "_node_names",
    "_node_paths", "_output_names", "_graph_tensors", "_forward_source", "_view",
    "_stack", "_trainer", "_added_outside", "history", "stop_training", "forward",
}  # fmt: skip
_LAYER_KEYS = frozenset({"_calls", "_arguments"})
_DERIVED = (weakref.ReferenceType, torch.Generator)  # made anew by whoever needs them


def slots(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield each parameter and buffer of a module by its full name, tied ones again."""
    for path, part in module.named_modules():
        for group in (part._parameters, part._buffers):
            for name, tensor in group.items():
                if tensor is not None:
                    yield (f"{path}.{name}" if path else name), tensor


def same_slots(first: nn.Module, second: nn.Module, shapes: bool = False) -> bool:
    """Whether two modules have parameters and buffers of the same names, and shapes."""

    def described(module: nn.Module) -> list[Any]:
        return [
            (name, None if tensor is None else tuple(tensor.shape) if shapes else True)
            for group in (module._parameters, module._buffers)
            for name, tensor in group.items()
        ]

    return described(first) == described(second)


def slot_kinds(module: nn.Module) -> dict[str, str]:
    """Say of each parameter and buffer which it is, by name."""
    kinds = dict.fromkeys(module._parameters, "parameter") | {
        name: "lost buffer" if name in module._non_persistent_buffers_set else "buffer"
        for name in module._buffers
    }
    tensors: dict[str, Any] = {**module._parameters, **module._buffers}
    return {name: f"no {kind}" if tensors[name] is None else kind for name, kind in kinds.items()}


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes that may have to be written."""
    own = getattr(type(value), "__getstate__", None)
    plain = getattr(object, "__getstate__", None)
    state = value.__getstate__() if own not in (None, plain) else vars(value)
    if not isinstance(state, dict):
        state = vars(value)
    skipped = (
        MODULE_KEYS if isinstance(value, nn.Module) else
        _LAYER_KEYS if isinstance(value, Layer) else frozenset()
    )  # fmt: skip
    if isinstance(value, Model):
        skipped = MODEL_KEYS
    return {key: item for key, item in state.items() if key not in skipped}


class Differences:
    """What has to be done to a made object, so that it becomes like the original.

    Args:
        encoder: writes the values.
        value: the original.
        made: what the constructor makes.

    Attributes:
        parts: the paths of the children that are made as they are, by the id of the original.
    """

    def __init__(self, encoder: Any, value: Any, made: Any) -> None:
        self._encoder = encoder
        self._value = value
        self.parts: dict[int, str] = {}
        self._attributes: dict[str, dict[str, Any]] = {}
        self._children: dict[str, nn.Module | None] = {}
        self._dropped: list[str] = []
        self._slots: dict[str, str] = {}
        if isinstance(value, nn.Module) and not same_slots(value, made, shapes=True):
            self._slots = slot_kinds(value)
        self._compare(value, made, "")

    def _compare(self, value: Any, made: Any, path: str) -> None:
        before = attributes_of(made)
        changed = {
            key: item
            for key, item in attributes_of(value).items()
            if not (key in before and same(item, before[key])) and not is_derived(item)
        }
        if changed:
            self._attributes[path] = changed
        if isinstance(value, nn.Module):
            for name in made._modules.keys() - value._modules.keys():
                self._dropped.append(_join(path, name))
            for name, child in value._modules.items():
                self._child(child, made._modules.get(name), _join(path, name))

    def _child(self, child: nn.Module | None, made: nn.Module | None, path: str) -> None:
        if child is None and made is None:
            return
        if (
            child is None
            or made is None
            or type(child) is not type(made)
            or isinstance(child, Model)
            or child is made
            or id(child) in self.parts
            or id(child) in self._encoder.parts
            or id(child) in self._encoder.numbers
            or not same_slots(child, made, shapes=True)
        ):
            self._children[path] = child
            return
        self.parts[id(child)] = path
        self._compare(child, made, path)

    def written(self) -> dict[str, Any]:
        """Return the differences as JSON."""
        encoder = self._encoder
        entry: dict[str, Any] = {}
        if self._slots:
            entry["slots"] = self._slots
        if self._children:
            entry["children"] = {
                path: None if child is None else encoder.reference(child)
                for path, child in self._children.items()
            }
        if self._dropped:
            entry["dropped"] = sorted(self._dropped)
        if self._attributes:
            entry["attributes"] = {
                path: {k: encoder.attribute(self._value, k, v) for k, v in changed.items()}
                for path, changed in self._attributes.items()
            }
        return entry


def is_derived(value: Any) -> bool:
    """Whether a value is made of others and need not be kept, such as a weak reference."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(is_derived, value))
    return isinstance(value, _DERIVED)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
