"""Second forwards of a model, on its own modules and tensors, that return more than its outputs."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from ..graph import Ref
from ..graph.graph import Graph
from ..graph.nested import iter_leaves
from ..training.output_losses import annotate
from ..training.trainer import compile_options
from .codegen import compile_forward

_HOOKS = ("_forward_pre_hooks", "_backward_pre_hooks", "_backward_hooks", "_forward_hooks")


class OutputActivation(NamedTuple):
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


class SecondForward:
    """A second forward of a model, which returns a flat tuple.

    Args:
        model: the model.
        inputs: what it takes: the inputs of the model, and perhaps others.
        outputs: the outputs of the model, which come first.
        more: what comes after them: the logits of `activations`, the masks of `masked`, or others.
        title: what it is called in tracebacks.
        more_inputs: the names of the inputs that the model does not have.
        segments: the nodes that it computes again for gradients, in the graph of the model.
        activations: the outputs that hold probabilities.
        masked: the outputs that carry a mask.

    Attributes:
        graph, naming: what it runs, and the names of all that is in it.
        source, forward: its source, and the function.
    """

    def __init__(
        self,
        model: Any,
        inputs: Sequence[Ref],
        outputs: Sequence[Ref],
        more: Iterable[Ref],
        title: str,
        more_inputs: Iterable[str] = (),
        segments: Any = None,
        activations: Sequence[OutputActivation] = (),
        masked: Sequence[int] = (),
    ) -> None:
        self.graph = Graph(inputs, [*outputs, *more])
        self.naming = model._naming(self.graph, more_inputs)
        self.activations, self.masked = activations, masked
        self.more = self.graph.outputs[len(outputs) :]
        if segments is not None:
            segments = segments.moved(model._graph, self.graph)
        returned = tuple(self.graph.outputs)
        self.source = model._generate(self.graph, self.naming, returned, segments)
        self.forward = compile_forward(self.source, title)
        self._made_for: tuple[Any, Any] = (None, None)
        self._class: type = object

    def stand_in(self, model: Any) -> Any:
        """Return an object with the attributes and hooks of the model, but this forward.

        The model itself stays as it is: other threads may call it meanwhile.
        """
        made_for = type(model), model._compiled_call_impl
        if self._made_for != made_for:
            self._class, self._made_for = self._class_for(model), made_for
        stand_in: Any = object.__new__(self._class)
        object.__setattr__(stand_in, "__dict__", model.__dict__)  # not a copy: they are one
        return stand_in

    def _class_for(self, model: Any) -> type:
        """Return a subclass of the model's class; its forward is compiled if the model is."""
        kind, owner, forward = type(model), weakref.ref(model), self.forward
        if model._compiled_call_impl is not None:
            forward = torch.compile(forward, **compile_options.get(model, {}))
        body: dict[str, Any] = {
            "_generated": self.forward,
            # compiled code and hooks know the model, and would take a stand-in for another one
            "forward": lambda _, *inputs: forward(owner(), *inputs),
            "_compiled_call_impl": property(lambda _: None),
        }
        body |= {name: property(self._hooks(owner, name)) for name in _HOOKS}
        return type(kind.__name__, (kind,), body)

    def _hooks(self, owner: Callable[[], Any], name: str) -> Callable[[Any], Any]:
        """Return what finds hooks of a model; these are given it itself, not the stand-in."""

        def wrapped(hook: Callable[..., Any]) -> Callable[..., Any]:
            # gradients come through the other values, too, which those of torch look for
            of_torch = str(getattr(hook, "__module__", "")).startswith("torch.distributed")
            if name == "_forward_hooks" and not of_torch:
                return lambda _, *given: self._see_outputs(hook, owner(), *given)
            return lambda _, *given: hook(owner(), *given)

        return lambda stand_in: OrderedDict(
            (key, wrapped(hook)) for key, hook in stand_in.__dict__[name].items()
        )

    def _see_outputs(self, hook: Callable[..., Any], model: Any, *given: Any) -> Any:
        """Call a forward hook with the outputs of the model alone; it may return others."""
        *arguments, values = given
        result = hook(model, *arguments, self.outputs(model, values))
        if result is None:
            return None
        outputs, more = [*iter_leaves(result)], list(values[len(values) - len(self.more) :])
        for place, found in enumerate(self.activations):
            if outputs[found.output] is not values[found.output]:
                more[place] = None
        return (*outputs, *more)

    def outputs(self, model: Any, values: Sequence[Any]) -> Any:
        """Return the outputs among what `forward` returned, with their logits and masks."""
        count = len(values) - len(self.more)
        logits, masks = values[count:], values[count + len(self.activations) :]
        for (output, kind, _, axis), value in zip(self.activations, logits, strict=False):
            if value is not None:
                annotate(values[output], logits=(kind, value, axis))
        for output, mask in zip(self.masked, masks, strict=False):
            annotate(values[output], mask=mask)
        return model._output_structure(values[:count])
