"""The logits behind probabilities: which outputs a softmax or sigmoid made, and of what."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from .graph import Ref
from .graph.graph import Graph

_SOFTMAX = {torch.softmax, torch.Tensor.softmax, nn.functional.softmax, torch.special.softmax}
_SIGMOID = {torch.sigmoid, torch.Tensor.sigmoid, nn.functional.sigmoid, torch.special.expit}


class Activation(NamedTuple):
    """An output that holds probabilities.

    Attributes:
        output: which output, in flat order.
        kind: `"softmax"` or `"sigmoid"`.
        logits: what the activation was applied to.
        axis: the axis that a softmax sums to one over.
    """

    output: int
    kind: str
    logits: Ref
    axis: int


def output_activations(graph: Graph) -> list[Activation]:
    """Find the outputs of a graph that a softmax or sigmoid makes."""
    found = (_activation(index, ref) for index, ref in enumerate(graph.outputs))
    return [activation for activation in found if activation is not None]


def _activation(index: int, ref: Ref) -> Activation | None:
    node = ref.node
    if not node.args or type(node.args[0]) is not Ref:
        return None
    target, logits = node.target, node.args[0]
    if isinstance(target, nn.Sigmoid) or (node.op == "function" and target in _SIGMOID):
        return Activation(index, "sigmoid", logits, -1)
    axis = None
    if isinstance(target, nn.Softmax):
        axis = target.dim
    elif node.op == "function" and target in _SOFTMAX:
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    return Activation(index, "softmax", logits, axis) if isinstance(axis, int) else None
