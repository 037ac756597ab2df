"""What a training step needs beside a model's outputs: logits behind probabilities, and masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from ..graph import Ref
from ..graph.graph import Graph
from ..graph.node import ancestors
from ..training.output_losses import annotate
from . import codegen
from .naming import Naming

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


@dataclass
class TrainingView:
    """A second forward of a model, for training steps.

    Attributes:
        forward: returns a flat list: the outputs, then the logits, then the masks.
        count: the number of outputs.
        activations: the outputs that hold probabilities.
        masked: the outputs that carry a mask.
    """

    forward: Callable[..., Any]
    count: int
    activations: list[Activation]
    masked: list[int]

    def outputs_of(self, values: list[Any]) -> list[Any]:
        """Return the outputs among what `forward` returned, with their logits and masks."""
        outputs, rest = values[: self.count], values[self.count :]
        for found, logits in zip(self.activations, rest, strict=False):
            annotate(outputs[found.output], logits=(found.kind, logits, found.axis))
        for index, mask in zip(self.masked, rest[len(self.activations) :], strict=True):
            annotate(outputs[index], mask=mask)
        return outputs


def training_view(graph: Graph, naming: Naming, parameters: list[str]) -> TrainingView | None:
    """Make the view of a graph; `None` where no output has logits or a mask.

    Args:
        graph: the model's graph.
        naming: its names.
        parameters: the names of the inputs in the signature.
    """
    activations = output_activations(graph)
    masks = _output_masks(graph)
    if not activations and not masks:
        return None
    refs = [*graph.outputs, *(found.logits for found in activations), *masks.values()]
    wide = Graph(graph.inputs, refs)
    known = {
        id(node): (name, path)
        for node, name, path in zip(graph.nodes, naming.nodes, naming.paths, strict=True)
    }
    # what only computes masks has no name in the model
    rows = [known.get(id(node), ("mask", None)) for node in wide.nodes]
    names = Naming(naming.inputs, [r[0] for r in rows], [r[1] for r in rows], naming.children)
    source = codegen.generate(wide, names, refs, parameters)
    forward = codegen.compile_forward(source, "with logits")
    return TrainingView(forward, len(graph.outputs), activations, list(masks))


def _output_masks(graph: Graph) -> dict[int, Ref]:
    """Find the masks of outputs, where functions compute them from the model's own inputs."""
    found: dict[int, Ref] = {}
    inner = {id(node) for node in graph.nodes}
    for index, ref in enumerate(graph.outputs):
        mask = (ref.node.masks or {}).get(ref.index)
        if mask is None:
            continue
        needed = ancestors([mask], graph.inputs)
        if all(id(n) in inner or n.op == "function" for n in needed):
            found[index] = mask
    return found


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
