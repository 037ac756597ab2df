"""`model.activations()`: the results in between, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ._names import unknown_name
from .graph import Node, Ref
from .graph.graph import Graph
from .graph.structure import iter_leaves, map_leaves
from .outline import Outline, Step
from .replay import replay, run_node

if TYPE_CHECKING:
    from .model import Model


def activations(
    model: Model, inputs: Sequence[Any], names: Iterable[str] | str | None = None
) -> dict[str, Any]:
    """Run a model once and return what its layers give.

    The calls are run one by one, with the hooks of the layers but not those of the model.

    Args:
        model: a model that has a graph.
        inputs: what the model takes, as in a call.
        names: the names of layers, functions and inputs, as `model.summary()` writes them; all
            layers and functions by default. Only what these need is run.

    Returns:
        For each name, in the order given, the result of that call: a tensor, or the structure of
        tensors that the layer returns. Gradients flow through them unless grad mode is off.

    Raises:
        ValueError: there is no such name, or an input does not fit.
        AttributeError: the model has no graph.

    Example:
        >>> import torch
        >>> from fgraph import Input, Model
        >>> x = Input((3,))
        >>> model = Model(x, torch.relu(torch.nn.Linear(3, 2)(x)))
        >>> {name: tuple(y.shape) for name, y in activations(model, [torch.ones(5, 3)]).items()}
        {'linear_1': (5, 2), 'relu_1': (5, 2)}
    """
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
