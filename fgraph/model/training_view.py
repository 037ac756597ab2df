"""The forward for training steps, which also returns logits of probabilities, and masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..graph import Ref
from ..graph.ancestry import ancestors
from ..graph.graph import Graph
from .run_time_notes import add_run_time_note
from .second_forwards import OutputActivation, SecondForward

_SOFTMAX = {torch.softmax, torch.Tensor.softmax, nn.functional.softmax, torch.special.softmax}
_SIGMOID = {torch.sigmoid, torch.Tensor.sigmoid, nn.functional.sigmoid, torch.special.expit}


def run_for_loss(model: Any, view: SecondForward, inputs: Any) -> Any:
    """Call a model once; return its outputs, which keep their logits and masks.

    Where a call would do nothing but check the inputs and run the forward, that is done here.
    """
    arguments = inputs if type(inputs) in (list, tuple) else (inputs,)
    if not model._only_forwards(arguments):
        return view.outputs(model, view.stand_in(model)(*arguments))
    try:
        return view.outputs(model, view.forward(model, *arguments))
    except Exception as error:
        add_run_time_note(error, model)
        raise


def view_of(model: Any) -> SecondForward | None:
    """Return what a training step runs in place of the forward; `None` where that is enough.

    It is made anew if a child whose output is one of the model's was replaced: these decide on the
    logits.
    """
    if model._graph is None or "forward" in model.__dict__ or model._has_own_forward:
        return None
    made = model.__dict__.get("_view")
    if made is None or any(model._part_at(path) is not part for path, part in made[0].items()):
        graph = model._live_graph("training")
        last = {id(ref.node) for ref in graph.outputs}
        children = {
            path: node.target
            for node, path in zip(graph.nodes, model._node_paths, strict=True)
            if path is not None and id(node) in last
        }
        made = model.__dict__["_view"] = (children, _make_view(model, graph))
    view: SecondForward | None = made[1]
    return view


def _make_view(model: Any, graph: Graph) -> SecondForward | None:
    """Make the view of a model; `None` where no output has logits or a mask."""
    activations, masks = output_activations(graph), _output_masks(graph)
    if not activations and not masks:
        return None
    return SecondForward(
        model,
        graph.inputs,
        graph.outputs,
        (*(found.logits for found in activations), *masks.values()),
        "with logits",
        segments=model._segments,
        activations=activations,
        masked=list(masks),
    )


def _output_masks(graph: Graph) -> dict[int, Ref]:
    """Find the masks of outputs, where functions compute them from the model's own inputs."""
    inner = {id(node) for node in graph.nodes}
    return {
        index: ref.mask
        for index, ref in enumerate(graph.outputs)
        if ref.mask is not None
        and all(id(n) in inner or n.op == "function" for n in ancestors([ref.mask], graph.inputs))
    }


def output_activations(graph: Graph) -> list[OutputActivation]:
    """Find the outputs of a graph that a softmax or sigmoid makes."""
    found = (_activation(index, ref) for index, ref in enumerate(graph.outputs))
    return [activation for activation in found if activation is not None]


def _activation(index: int, ref: Ref) -> OutputActivation | None:
    node = ref.node
    if not node.args or type(node.args[0]) is not Ref:
        return None
    target, logits = node.target, node.args[0]
    if isinstance(target, nn.Sigmoid) or (node.op == "function" and target in _SIGMOID):
        return OutputActivation(index, "sigmoid", logits, -1)
    axis = None
    if isinstance(target, nn.Softmax):
        axis = target.dim
    elif node.op == "function" and target in _SOFTMAX:
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    return OutputActivation(index, "softmax", logits, axis) if isinstance(axis, int) else None
