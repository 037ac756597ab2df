"""A sharded model with whole tensors, for code that reads or writes its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..graph.nested import map_leaves
from .process_group import agreed_any, rank
from .sharded_tensors import is_dtensor, is_sharded, like_parameter, reshard


@contextmanager
def whole(model: Any, everywhere: bool = False, changes: bool = False) -> Iterator[bool]:
    """Context manager: give a sharded model whole tensors and its modules' own classes.

    All processes must enter it together. Models that are not sharded stay as they are.

    Args:
        model: the model; the state of its optimizer is gathered too, unless `everywhere`.
        everywhere: whether every process needs the tensors, or the first one alone.
        changes: whether changed values are copied back into the shards.

    Yields:
        Whether this process has the tensors; the others have nothing to do.

    Raises:
        RuntimeError: it failed in another process.
    """
    if not is_sharded(model):
        yield True
        return
    reshard(model)
    swap = _Swap(model, keeps=everywhere or rank() == 0, optimizer=not everywhere)
    failed = True
    try:
        yield swap.keeps
        failed = False
    finally:
        swap.undo(changes and not failed)
        anywhere = agreed_any(failed)
    if anywhere:
        raise RuntimeError("another process could not do its part of this; its error says why")


def whole_state_dict(model: nn.Module) -> dict[str, Any]:
    """Return a model's `state_dict` with whole tensors; all processes of a sharded one call it."""
    if not is_sharded(model):
        return model.state_dict()
    with whole(model, everywhere=True):
        return {name: _copied(value) for name, value in model.state_dict().items()}


def _copied(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


# prefixes of the attributes that `fully_shard` and `parallelize_module` set on modules
_MARKS = ("__composable_api", "_is_fsdp", "_fsdp", "_distribute_module_applied")


class _Swap:
    """Replaces DTensors by whole tensors, and restores them."""

    def __init__(self, model: Any, keeps: bool, optimizer: bool) -> None:
        self.keeps = keeps
        self._places: list[tuple[dict[str, Any], str, Any]] = []
        self._classes: list[tuple[nn.Module, type, dict[str, Any]]] = []
        self._made: dict[int, Any] = {}
        self._optimizer: Any = None
        for module in model.modules():
            for held in (module._parameters, module._buffers):
                self._swap_tensors(held)
            self._swap_class(module)
        state = getattr(model, "_trainer", None)
        if optimizer and state is not None and state.optimizer is not None:
            self._swap_optimizer(state.optimizer, model)

    def _swap_tensors(self, held: dict[str, Any]) -> None:
        for name, tensor in held.items():
            if not is_dtensor(tensor):
                continue
            if id(tensor) not in self._made:
                made = tensor.detach().full_tensor()
                if isinstance(tensor, nn.Parameter):
                    made = nn.Parameter(made, tensor.requires_grad)
                self._made[id(tensor)] = made
            self._places.append((held, name, tensor))
        if self.keeps:
            for place, name, tensor in self._places:
                place[name] = self._made[id(tensor)]
        else:
            self._made = dict.fromkeys(self._made)

    def _swap_class(self, module: nn.Module) -> None:
        from torch.distributed.fsdp import FSDPModule

        kind = type(module)
        of_torch = {k: v for k, v in vars(module).items() if k.startswith(_MARKS)}
        if not self.keeps or not (of_torch or isinstance(module, FSDPModule)):
            return
        self._classes.append((module, kind, of_torch))
        for key in of_torch:
            del module.__dict__[key]
        if isinstance(module, FSDPModule):
            # torch made it of FSDPModule and the module's own class
            module.__class__ = next(base for base in kind.__bases__ if base is not FSDPModule)

    def _swap_optimizer(self, optimizer: Any, model: Any) -> None:
        def whole_leaf(leaf: Any) -> Any:
            return leaf.full_tensor() if is_dtensor(leaf) else leaf

        state = {key: map_leaves(whole_leaf, value) for key, value in optimizer.state.items()}
        if not self.keeps:
            return
        self._optimizer = optimizer
        self._optimizer_held = optimizer.state, optimizer.param_groups
        optimizer.state = type(optimizer.state)(optimizer.state.default_factory)
        for key, value in state.items():
            optimizer.state[self._made.get(id(key), key)] = value
        order = {id(p): place for place, p in enumerate(model.parameters())}
        before = [self._made.get(id(p), p) for g in optimizer.param_groups for p in g["params"]]
        optimizer.param_groups = self._joined(optimizer.param_groups, order)
        places = {id(p): place for place, p in enumerate(before)}
        after = [places[id(p)] for g in optimizer.param_groups for p in g["params"]]
        for key, value in optimizer.state.items():
            if isinstance(key, str) and isinstance(value, list):  # one for each parameter
                optimizer.state[key] = [value[place] for place in after]

    def _joined(self, groups: list[dict[str, Any]], order: dict[int, int]) -> list[dict[str, Any]]:
        """Return groups of whole parameters; groups that only sharding separated are merged."""
        joined: list[dict[str, Any]] = []
        for group in groups:
            settings = {key: value for key, value in group.items() if key != "params"}
            params = [self._made.get(id(p), p) for p in group["params"]]
            same = [g for g in joined if {k: v for k, v in g.items() if k != "params"} == settings]
            if same:
                same[0]["params"] += params
            else:
                joined.append({**settings, "params": params})
        for group in joined:
            group["params"].sort(key=lambda p: order.get(id(p), -1))
        return joined

    def undo(self, changes: bool) -> None:
        """Restore the shards, if requested with the values that the whole tensors have now."""
        for module, kind, of_torch in self._classes:
            module.__class__ = kind
            module.__dict__.update(of_torch)
        for place, name, tensor in self._places if self.keeps else ():
            made, place[name] = place[name], tensor
            if changes:
                with torch.no_grad():
                    tensor.copy_(like_parameter(tensor, made.detach()))
        if self._optimizer is not None:
            self._optimizer.state, self._optimizer.param_groups = self._optimizer_held
