"""Making the node of a call, and finding the calls of a module."""

from __future__ import annotations

import weakref
from typing import Any

from torch import nn

from ...errors import BuildError
from ..inference import shapes
from ..inference.shape_cache import changed_setting, settings_of
from ..modes import current_modes, refuse_hooks
from ..node import Inferred, Node, current_trial
from .build_errors import build_error
from .interception import refuse_autograd_forward

# the nodes that call a module, in the order of recording; each leaves when it dies
_inbound: weakref.WeakKeyDictionary[nn.Module, dict[weakref.ref[Node], None]] = (
    weakref.WeakKeyDictionary()
)


def make_node(
    op: str,
    target: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    name: str | None = None,
    inferred: Inferred | None = None,
    like: Node | None = None,
) -> Node:
    """Make the node of a call, and infer what is known of its result.

    Args:
        op: `"module"` or `"function"`.
        target: what is called.
        args, kwargs: its arguments, with a `Ref` for each symbolic value.
        name: an explicit name.
        inferred: what is known of the result; worked out by running on meta tensors if `None`.
        like: the node whose name, place in the order and modes the new one takes over.

    Raises:
        BuildError: torch refuses the arguments, or the result's shape cannot be inferred.
    """
    refuse_hooks()
    refuse_autograd_forward()
    trial = current_trial()
    if trial is not None:
        args, kwargs = trial.with_choices(args, kwargs, make_node)
    node = Node(op, target, args, kwargs, name=name)
    node.declared = inferred is not None
    if op == "module":
        node.settings = settings_of(target)
    if like is None:
        node.modes = current_modes()
    else:
        node.name, node.modes, node.seq, node.scope = like.name, like.modes, like.seq, like.scope
        node.operation = like.operation
    try:
        node.specs, node.structure, node.effects = inferred or shapes.infer(node)
    except Exception as error:
        raise build_error(op, target, node.refs(), name, error) from error
    if like is None and node.scope is not None and name is None:
        at = node.scope
        node.name = at.home.free(f"{at.name}.{node.kind}" if at.name else node.kind)
    _register(node, replaces=like is not None)
    if trial is not None:
        trial.nodes.append(node)
    return node


def _register(node: Node, replaces: bool) -> None:
    """Let the modules that a call uses know of it."""
    for module in node.modules():
        calls = _inbound.get(module)
        if calls is None:
            calls = _inbound[module] = {}
        elif module is node.target and not replaces:
            last = next(reversed(calls), None)
            _refuse_other_settings(node, None if last is None else last())
        calls[weakref.ref(node, calls.__delitem__)] = None


def _refuse_other_settings(node: Node, last: Node | None) -> None:
    """Refuse a call of a module whose settings were others in its last call of the same graph."""
    if last is None or last.settings is node.settings or not {*last.sources} & {*node.sources}:
        return
    kind = type(node.target)
    changed = changed_setting(last.settings, node.settings)
    if changed is not None and kind.__module__.startswith("torch.nn."):
        raise BuildError(
            f"{node.target!r} is called with another {changed}= than before in the same graph, "
            "where both calls would find the settings of run time: make two modules, or write the "
            "function of torch.nn.functional"
        )


def inbound_nodes(module: nn.Module) -> list[Node]:
    """Return the nodes that call `module` in graphs that still exist, in call order."""
    found = [node for call in [*_inbound.get(module, ())] if (node := call()) is not None]
    return sorted(found, key=lambda node: node.seq)
