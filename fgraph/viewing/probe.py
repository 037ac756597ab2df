"""`model.activations()`: the results in between, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import unknown_name
from ..graph import Node, Ref
from ..graph.graph import Graph
from ..graph.nested import iter_leaves, map_leaves
from ..model import Model
from .outline import Outline, Step
from .replay import replay, run_node


def activations(
    model: Model, inputs: Sequence[Any], names: Iterable[str] | str | None = None
) -> dict[str, Any]:
    """Return what the layers of a model give: see `Model.activations`."""
    outline = Outline(model, "activations")
    chosen = _chosen(model, outline.steps, names)
    values = model._bind_inputs(tuple(inputs), {})
    refs = [
        leaf
        for step in chosen
        for leaf in iter_leaves(step.outputs)
        if type(leaf) is Ref
    ]  # fmt: skip
    found = replay(Graph(outline.graph.inputs, refs), values, refs, _run_on_copies)
    return {
        step.name: map_leaves(
            lambda leaf: found.get(leaf, leaf) if type(leaf) is Ref else leaf, step.outputs
        )
        for step in chosen
    }


def _run_on_copies(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call what a node calls; where that works in place, what came before stays as it was."""
    parts = node.target.modules() if isinstance(node.target, nn.Module) else ()
    if kwargs.get("inplace") or any(getattr(part, "inplace", False) for part in parts):
        args, kwargs = map_leaves(lambda x: x.clone() if type(x) is Tensor else x, (args, kwargs))
    return run_node(node, args, kwargs)


def _chosen(model: Model, steps: list[Step], names: Iterable[str] | str | None) -> list[Step]:
    """Return the steps of these names."""
    if names is None:
        return [step for step in steps if step.nodes]
    by_name = {step.name: step for step in steps}
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in by_name:
            raise ValueError(
                f"activations of model {model.name!r}: {unknown_name('layer', name, by_name)}"
            )
    return [by_name[name] for name in wanted]
