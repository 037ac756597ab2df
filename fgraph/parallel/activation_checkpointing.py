"""Activation checkpointing: parts of a generated forward that are run again for gradients.

`torch.utils.checkpoint` keeps the inputs of a function in place of what its gradients need, and
runs the function again in the backward pass. What it does not see is what modules keep between
calls: a `BatchNorm` would count each batch twice, and a second run under other weights or buffers
would give other numbers. So the second run gets them as they were, and what it writes is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class UsedPart(NamedTuple):
    """A module that a segment uses.

    Attributes:
        path: the names on the way from the model to it.
        whole: whether the modules inside of it are used too, not only its own tensors.
    """

    path: tuple[str, ...]
    whole: bool


def recomputed(model: Any, segment: Callable[..., Any], *args: Any) -> Any:
    """Run a segment of a generated forward; for gradients it will run once more.

    Args:
        model: the model that runs.
        segment: a function inside its forward.
        *args: what the segment takes.
    """
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        return checkpoint(segment, *args, use_reentrant=False)
    if not torch.is_grad_enabled() or _is_watched(args):
        return segment(*args)
    kept = _Kept(model, _parts_of(model, segment))
    return checkpoint(segment, *args, use_reentrant=False, context_fn=kept.contexts)


def _parts_of(model: Any, segment: Callable[..., Any]) -> Sequence[UsedPart]:
    parts: Sequence[UsedPart] = model._forward_source.segments[segment.__name__]
    return parts


@contextmanager
def undone(model: nn.Module) -> Iterator[None]:
    """Undo what a block that runs a model does to its buffers and to random numbers."""
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    cards = [device for device in devices if device.type not in ("cpu", "meta")]
    kind = {"device_type": cards[0].type} if cards else {}
    with torch.random.fork_rng(cards, **kind), _Kept(model, [UsedPart((), whole=True)]).again():
        yield


def _is_watched(args: tuple[Any, ...]) -> bool:
    """Return whether something traces or transforms the run, and checkpoints mean nothing to it."""
    return bool(
        torch.compiler.is_exporting()
        or torch._C._get_tracing_state()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
        or any(hasattr(arg, "tracer") for arg in args)  # torch.fx's
    )


class _Kept:
    """The weights, buffers and random generators of a segment, as they are before it runs.

    Args:
        model: the model.
        parts: what the segment uses.
    """

    def __init__(self, model: nn.Module, parts: Sequence[UsedPart]) -> None:
        modules = list({id(module): module for module in _modules(model, parts)}.values())
        self._slots: list[tuple[dict[str, Any], str, Tensor, int]] = [
            (group, name, tensor, _version(tensor))
            for module in modules
            for group in (module._parameters, module._buffers)
            for name, tensor in group.items()
            if tensor is not None
        ]
        self._buffers = {id(t) for module in modules for t in module._buffers.values()}
        self._copies = {
            id(t): t.detach().clone() for _, _, t, _ in self._slots if id(t) in self._buffers
        }
        self._generators = [
            (owner, {key: value.clone_state() for key, value in _generators(owner).items()})
            for module in modules
            for owner in _owners(module)
        ]

    def contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Return what the first run and the second run happen in."""
        return self.first(), _Each(self.again)

    @contextmanager
    def first(self) -> Iterator[None]:
        """Keep copies of those buffers alone that the run changes."""
        yield
        for group, name, tensor, version in self._slots:
            if group.get(name) is tensor and _version(tensor) == version:
                self._copies.pop(id(tensor), None)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Put everything where it was before the first run; undo that, and what is written."""
        now = [(group, name, group.get(name)) for group, name, _, _ in self._slots]
        generators = [(owner, _generators(owner)) for owner, _ in self._generators]
        stand_ins: dict[int, Tensor] = {}
        try:
            for group, name, tensor, version in self._slots:
                if id(tensor) in self._buffers:
                    self._check(name, tensor, version)
                    before = self._copies.get(id(tensor), tensor)
                    group[name] = stand_ins.setdefault(id(tensor), before.detach().clone())
                elif group.get(name) is tensor:
                    self._check(name, tensor, version)
                elif not hasattr(tensor, "device_mesh"):  # FSDP puts its own shards in place
                    group[name] = tensor
            for owner, states in self._generators:
                _replace(owner, {key: state.clone_state() for key, state in states.items()})
            yield
        finally:
            for group, name, value in now:
                group[name] = value
            for owner, found in generators:
                _replace(owner, found)

    def _check(self, name: str, tensor: Tensor, version: int) -> None:
        if id(tensor) not in self._copies and _version(tensor) != version:
            raise RuntimeError(
                f"{name!r} of shape {tuple(tensor.shape)} was changed in place after the forward "
                "pass, whose gradients need it as it was: call backward() first, or take the "
                "recomputation off by model.recompute(None)"
            )


class _Each:
    """A context that can be entered again and again, as a graph that is kept may need."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self._make = make
        self._open: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        self._open.append(self._make())
        self._open[-1].__enter__()

    def __exit__(self, *error: Any) -> None:
        self._open.pop().__exit__(*error)


def _modules(model: nn.Module, parts: Sequence[UsedPart]) -> Iterator[nn.Module]:
    for path, whole in parts:
        module = model.get_submodule(".".join(path))
        yield from module.modules() if whole else (module,)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _owners(module: nn.Module) -> Iterator[dict[Any, Any]]:
    """Yield the dicts of a module that hold random generators, or will once it has run."""
    own = module.__dict__
    if _generators(own):
        yield own
    if isinstance(own.get("_generators"), dict):  # one for each device
        yield own["_generators"]


def _generators(owner: dict[Any, Any]) -> dict[Any, torch.Generator]:
    return {key: value for key, value in owner.items() if isinstance(value, torch.Generator)}


def _replace(owner: dict[Any, Any], generators: dict[Any, torch.Generator]) -> None:
    """Let a dict hold these generators, and no others."""
    for key in _generators(owner):
        del owner[key]
    owner.update(generators)
