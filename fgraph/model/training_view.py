"""A second forward for training steps, which also returns logits of probabilities, and masks."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from ..graph import Ref
from ..graph.ancestry import ancestors
from ..graph.graph import Graph
from ..graph.nested import iter_leaves
from ..training.output_losses import annotate
from ..training.trainer import compile_options
from . import codegen
from .naming import Naming
from .run_time_notes import add_run_time_note

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


_HOOKS = ("_forward_pre_hooks", "_backward_pre_hooks", "_backward_hooks", "_forward_hooks")


@dataclass
class TrainingView:
    """A second forward of a model, for training steps.

    Attributes:
        forward: returns a flat tuple: the outputs, then the logits, then the masks.
        activations: the outputs that hold probabilities.
        masked: the outputs that carry a mask.
        source, graph, names: what `forward` was made of, and the names of its nodes.
    """

    forward: Callable[..., Any]
    activations: list[Activation]
    masked: list[int]
    source: codegen.Source
    graph: Graph
    names: list[str]
    _compiled: tuple[Any, Any] = (None, None)
    _class: tuple[type | None, type | None] = (None, None)

    def run(self, model: Any, inputs: Any) -> Any:
        """Call the model once; return its outputs, which keep their logits and masks.

        Where a call would do nothing but check the inputs and run the forward, that is done here.
        Otherwise a stand-in is called, with the attributes and hooks of the model but this
        forward. The model itself stays as it is: other threads may call it meanwhile.
        """
        attributes = model.__dict__
        arguments = inputs if type(inputs) in (list, tuple) else (inputs,)
        if model._only_forwards(arguments):
            try:
                values = self.forward(model, *arguments)
            except Exception as error:
                add_run_time_note(error, model)
                raise
            return self._outputs(model, values)
        if model._compiled_call_impl is None and not any(map(attributes.get, _HOOKS)):
            stand_in: Any = object.__new__(self._class_for(type(model)))
            object.__setattr__(stand_in, "__dict__", attributes)  # not a copy: they are one
            return self._outputs(model, stand_in(*arguments))
        stand_in = object.__new__(type(model))
        stand_in.__dict__.update(attributes)
        for name in _HOOKS:
            wrap = self._wrapped_forward_hook if name == "_forward_hooks" else _wrapped_hook
            hooks = model.__dict__[name].items()
            stand_in.__dict__[name] = OrderedDict((key, wrap(hook, model)) for key, hook in hooks)
        stand_in.__dict__["_compiled_call_impl"] = None
        stand_in.__dict__["forward"] = functools.partial(self._forward_of(model), model)
        return self._outputs(model, stand_in(*arguments))

    def _class_for(self, kind: type) -> type:
        """Return a subclass of a model's class that has this forward."""
        if self._class[0] is not kind:
            body = {"forward": self.forward, "_generated": self.forward}
            self._class = (kind, type(kind.__name__, (kind,), body))
        return self._class[1]  # type: ignore[return-value]

    def _forward_of(self, model: Any) -> Callable[..., Any]:
        """Return the forward, compiled if the model was compiled in place."""
        compiled_model = model._compiled_call_impl
        if compiled_model is None:
            return self.forward
        if self._compiled[0] is not compiled_model:
            options = compile_options.get(model, {})
            self._compiled = (compiled_model, torch.compile(self.forward, **options))
        compiled: Callable[..., Any] = self._compiled[1]
        return compiled

    def _outputs(self, model: Any, values: Sequence[Any]) -> Any:
        """Return the outputs among what `forward` returned, with their logits and masks."""
        at = count = len(values) - len(self.activations) - len(self.masked)
        for output, kind, _, axis in self.activations:
            if values[at] is not None:
                annotate(values[output], logits=(kind, values[at], axis))
            at += 1
        for output in self.masked:
            annotate(values[output], mask=values[at])
            at += 1
        return model._output_structure(values[:count])

    def _wrapped_forward_hook(self, hook: Callable[..., Any], model: Any) -> Callable[..., Any]:
        """Give a forward hook the model and its outputs alone; it may return others."""
        if str(getattr(hook, "__module__", "")).startswith("torch.distributed"):
            return _wrapped_hook(hook, model)  # gradients come through the logits, too

        def call(_: nn.Module, *given: Any) -> Any:
            *arguments, values = given
            result = hook(model, *arguments, self._outputs(model, values))
            if result is None:
                return None
            outputs = [*iter_leaves(result)]
            logits, masks = values[len(outputs) :], values[len(values) - len(self.masked) :]
            kept = [
                value if outputs[found.output] is values[found.output] else None
                for found, value in zip(self.activations, logits, strict=False)
            ]
            return (*outputs, *kept, *masks)

        return call


def _wrapped_hook(hook: Callable[..., Any], model: Any) -> Callable[..., Any]:
    return lambda _, *given: hook(model, *given)


def view_of(model: Any) -> TrainingView | None:
    """Return what a training step runs in place of the forward; `None` where that is enough.

    It is made anew if a child whose output is one of the model's was replaced: these decide on the
    logits.
    """
    if model._graph is None or "forward" in model.__dict__:
        return None
    made = model.__dict__.get("_view")
    if made is None or any(model.get_submodule(at) is not part for at, part in made[0].items()):
        graph = model._live_graph("training")
        last = {id(ref.node) for ref in graph.outputs}
        children = {
            ".".join(path): node.target
            for node, path in zip(graph.nodes, model._node_paths, strict=True)
            if path is not None and id(node) in last
        }
        made = model.__dict__["_view"] = (children, _make_view(model, graph))
    view: TrainingView | None = made[1]
    return view


def _make_view(model: Any, graph: Graph) -> TrainingView | None:
    """Make the view of a model; `None` where no output has logits or a mask."""
    if model._has_own_forward:
        return None
    activations = output_activations(graph)
    masks = _output_masks(graph)
    if not activations and not masks:
        return None
    refs = (*graph.outputs, *(found.logits for found in activations), *masks.values())
    wide = Graph(graph.inputs, refs)
    naming: Naming = model._naming()
    known = {
        id(node): (name, path)
        for node, name, path in zip(graph.nodes, naming.nodes, naming.paths, strict=True)
    }
    # what only computes masks has no name in the model
    rows = [known.get(id(node), ("mask", None)) for node in wide.nodes]
    names = Naming(naming.inputs, [r[0] for r in rows], [r[1] for r in rows], naming.children)
    segments = model._segments
    source = model._generate(wide, names, refs, segments and segments.moved(graph, wide))
    forward = codegen.compile_forward(source, "with logits")
    return TrainingView(forward, activations, list(masks), source, wide, names.nodes)


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
