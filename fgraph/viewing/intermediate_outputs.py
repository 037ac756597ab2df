"""`model.activations()`: intermediate results by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import unknown_name
from ..graph import Ref
from ..graph.graph import Graph
from ..graph.nested import iter_leaves, map_leaves
from ..model import Model
from .node_values import replay
from .outline import Outline, OutlineStep


def activations(
    model: Model, inputs: Sequence[Any], names: Iterable[str] | str | None = None
) -> dict[str, Any]:
    """Return the outputs of a model's layers: see `Model.activations`."""
    outline = Outline(model, "activations", expanded=True)
    chosen = _chosen(model, outline.steps, names)
    values = model._bind_inputs(tuple(inputs), {})
    refs = [
        leaf
        for step in chosen
        for leaf in iter_leaves(step.outputs)
        if type(leaf) is Ref
    ]  # fmt: skip
    found = replay(Graph(outline.graph.inputs, refs), values, refs)
    return {
        step.name: map_leaves(
            lambda leaf: found.get(leaf, leaf) if type(leaf) is Ref else leaf, step.outputs
        )
        for step in chosen
    }


def _chosen(
    model: Model, steps: list[OutlineStep], names: Iterable[str] | str | None
) -> list[OutlineStep]:
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
