"""Which modules FSDP2 shards together, for each layer that a pattern names.

`fully_shard` gathers the weights of a module when the module is called. So a layer whose call the
graph does not have, because `unfold` opened it or because it is a container, is sharded as the
modules in it that are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from ..graph.graph import Graph
from ..model import Model


def shard_groups(model: nn.Module, names: Iterable[str]) -> list[list[nn.Module]]:
    """Return the modules that are sharded together, parts of others before these.

    Layers that share a weight with another layer are left out: whatever holds both shards it.

    Args:
        model: the model.
        names: layers that hold parameters.
    """
    called = _called(model)
    owners = _owners(model)
    groups: list[list[nn.Module]] = []
    taken: set[int] = set()
    for name in sorted(set(names), key=lambda name: -name.count(".")):
        parts = _called_parts(model.get_submodule(name), called)
        group = [part for part in parts if id(part) not in taken]
        inside = {id(part) for module in group for part in module.modules()}
        held = [p for module in group for p in module.parameters()]
        if group and all(owners[id(p)] <= inside for p in held):
            groups.append(group)
            taken.update(map(id, group))
    return groups


def tied_weights(model: nn.Module) -> list[list[str]]:
    """Return the names of each weight that has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [found for found in names.values() if len(found) > 1]


def _owners(model: nn.Module) -> dict[int, set[int]]:
    """Return the ids of the modules that hold each parameter, by its id."""
    owners: dict[int, set[int]] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), set()).add(id(module))
    return owners


def _called(model: nn.Module) -> set[int]:
    """Return the ids of the modules whose `forward` runs when the model is called."""
    called = {id(model)}
    left: list[tuple[nn.Module, set[int] | None]] = [(model, _targets(model))]
    while left:
        module, targets = left.pop()
        for child in module._modules.values():
            if child is None:
                continue
            if id(child) in targets if targets is not None else not _is_container(child):
                called.add(id(child))
                left.append((child, _targets(child)))
            else:
                left.append((child, targets))
    return called


def _targets(module: nn.Module) -> set[int] | None:
    """Return the ids of the modules that a graph calls; `None` for a forward written by hand."""
    if not isinstance(module, Model) or not isinstance(module._graph, Graph):
        return None
    nodes = module._live_graph("nodes").nodes
    return {id(node.target) for node in nodes if node.op == "module"}


def _is_container(module: nn.Module) -> bool:
    return type(module).forward is nn.Module.forward


def _called_parts(module: nn.Module, called: set[int]) -> Iterator[nn.Module]:
    """Yield a module if it is called, else the outermost modules in it that are."""
    if id(module) in called:
        yield module
        return
    for child in module.children():
        if any(True for _ in child.parameters()):
            yield from _called_parts(child, called)
