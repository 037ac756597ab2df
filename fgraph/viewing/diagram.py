"""The content of a picture of a model: boxes, groups, arrows, and calls that share weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.utils import _pytree as pytree

from ..graph import Node, Ref
from ..graph.nested import iter_leaves
from ..model import Model
from .outline import Outline, OutlineStep, nested_call, parameters_of

_LONG = 44  # characters, beyond which the shapes of inputs and outputs take a line each


@dataclass(frozen=True)
class Show:
    """What to write into the boxes besides the type of layer; the names are those of Keras's
    `plot_model`.

    Attributes:
        show_shapes: the shapes of inputs and outputs.
        show_dtype: their dtypes.
        show_layer_names: the names of layers; those of nested models, and of inputs that were
            named by hand, are always written.
        expand_nested: the layers of nested models, in a frame.
        show_layer_activations: the activation functions of layers.
        show_trainable: whether the parameters are trained.
    """

    show_shapes: bool = False
    show_dtype: bool = False
    show_layer_names: bool = False
    expand_nested: bool = False
    show_layer_activations: bool = False
    show_trainable: bool = False


@dataclass(eq=False)
class Box:
    """One call, input or output.

    Attributes:
        id: unique in the diagram.
        family: `"input"`, `"output"`, `"weights"`, `"plain"` (a layer or module without weights),
            `"function"` or `"model"`.
        title: the kind of layer.
        lines: the text below the title.
        shared: the number of the set of weights, where several calls share one.
    """

    id: str
    family: str
    title: str
    lines: list[str]
    shared: int | None = None


@dataclass(eq=False)
class Group:
    """A nested model, shown with its contents.

    Attributes:
        id: unique in the diagram.
        lines: its name, its class, and which call of it this is.
        shared: the number of the set of weights, where several calls share one.
        items: the boxes and groups in it, in order.
    """

    id: str
    lines: list[str]
    shared: int | None = None
    items: list[Box | Group] = field(default_factory=list)

    def boxes(self) -> Iterator[Box]:
        """Yield the boxes in it, those of inner groups included."""
        for item in self.items:
            if isinstance(item, Group):
                yield from item.boxes()
            else:
                yield item


@dataclass(eq=False)
class Diagram:
    """A picture before it is drawn.

    Attributes:
        content: all boxes and groups.
        arrows: pairs of box ids, from the producer of a value to its consumer.
        ties: pairs of consecutive boxes or groups that share weights.
    """

    content: Group
    arrows: list[tuple[str, str]]
    ties: list[tuple[Box | Group, Box | Group]]


def diagram(model: Model, purpose: str, **show: bool) -> Diagram:
    """Return what a picture of `model` shows.

    Args:
        model: a model that has a graph.
        purpose: the calling method, for messages.
        **show: the fields of `Show`.

    Raises:
        AttributeError: the model has no graph.
    """
    return _Drawer(Show(**show)).draw(model, purpose)


class _Drawer:
    """Makes the boxes of one diagram."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._count = 0
        self._sets = 0
        self._arrows: dict[tuple[str, str], None] = {}
        self._ties: list[tuple[Box | Group, Box | Group]] = []

    def draw(self, model: Model, purpose: str) -> Diagram:
        """Return the diagram."""
        outline = Outline(model, purpose)
        content = Group("model", [model.name])
        tails: dict[Ref, str] = {}
        for step in outline.steps:
            if step.maker is None:
                named = step.outputs.node.name is not None
                box = self._box(content, step, "input", named)
                tails[step.outputs] = box.id
        self._add_steps(outline, content, tails)
        if len(outline.graph.outputs) > 1 or isinstance(model._output_template, dict):
            for name, ref in zip(model.output_names, outline.graph.outputs, strict=True):
                box = Box(self._id(), "output", "Output", [name])
                content.items.append(box)
                self._arrows[tails[ref], box.id] = None
        return Diagram(content, list(self._arrows), self._ties)

    def _add_steps(self, outline: Outline, group: Group, tails: dict[Ref, str]) -> None:
        """Draw the calls; `tails` has the box at which the arrow of each value begins."""
        sets: dict[str, int] = {}
        before: dict[str, Box | Group] = {}
        for step in outline.steps:
            if step.maker is None:
                continue
            shared = None
            if step.calls > 1 and parameters_of(step):
                if step.layer_name not in sets:
                    sets[step.layer_name], self._sets = self._sets, self._sets + 1
                shared = sets[step.layer_name]
            made = self._add(outline, step, group, tails, shared)
            if shared is not None:
                if step.layer_name in before:
                    self._ties.append((before[step.layer_name], made))
                before[step.layer_name] = made

    def _add(
        self,
        outline: Outline,
        step: OutlineStep,
        group: Group,
        tails: dict[Ref, str],
        shared: int | None,
    ) -> Box | Group:
        nested = nested_call(step)
        if step.level is not None and self._show.expand_nested:
            made = Group(self._id(), [step.layer_name, step.title], shared)
            group.items.append(made)
            self._add_steps(outline.inside(step), made, tails)
            return made
        if nested is not None and self._show.expand_nested and nested[1].nodes:
            return self._add_group(step, group, tails, shared)
        named = isinstance(step.maker, nn.Module) and nested is not None
        named |= step.level is not None
        box = self._box(group, step, _family(step), named, shared)
        for ref in step.inputs:
            if ref in tails:
                self._arrows[tails[ref], box.id] = None
        for node in step.nodes:
            tails.update((Ref(node, index), box.id) for index in range(len(node.specs)))
        return box

    def _add_group(
        self, step: OutlineStep, group: Group, tails: dict[Ref, str], shared: int | None
    ) -> Group:
        """Draw a nested model with its layers; arrows go straight to them."""
        lines = [step.layer_name, step.title]
        if shared is not None:
            lines.append(_place(step))
        made = Group(self._id(), lines, shared)
        group.items.append(made)
        for node in step.nodes:
            if node.target is step.module:
                self._add_inside(node, made, tails)
            else:  # what a wrapper computes around the model is left out
                tail = next((tails[ref] for ref in node.refs() if ref in tails), None)
                if tail is not None:
                    tails.update((Ref(node, index), tail) for index in range(len(node.specs)))
        return made

    def _add_inside(self, node: Node, group: Group, tails: dict[Ref, str]) -> None:
        """Draw the layers of the model that `node` calls."""
        model: Model = node.target
        outline = Outline(model, "plot_model")
        inner = {
            ref: tails[given]
            for ref, given in zip(outline.graph.inputs, node.args, strict=True)
            if type(given) is Ref and given in tails
        }
        self._add_steps(outline, group, inner)
        results = pytree.tree_leaves(model._output_structure(outline.graph.outputs))
        tails.update((Ref(node, i), inner[ref]) for i, ref in enumerate(results) if ref in inner)

    def _box(
        self, group: Group, step: OutlineStep, family: str, named: bool, shared: int | None = None
    ) -> Box:
        lines = [step.layer_name] if named or self._show.show_layer_names else []
        if shared is not None:
            lines.append(_place(step))
        lines += _details(step, self._show)
        box = Box(self._id(), family, step.title, lines, shared)
        group.items.append(box)
        return box

    def _id(self) -> str:
        self._count += 1
        return f"n{self._count}"


def _place(step: OutlineStep) -> str:
    return f"shared {step.call + 1} of {step.calls}"


def _family(step: OutlineStep) -> str:
    if nested_call(step) is not None or step.level is not None:
        return "model"
    if isinstance(step.maker, Node):
        return "function"
    return "weights" if parameters_of(step) else "plain"


def _details(step: OutlineStep, show: Show) -> list[str]:
    """Return the requested details of one call."""
    lines = []
    activation = getattr(step.maker, "activation", None)
    if show.show_layer_activations and (callable(activation) or isinstance(activation, str)):
        named = activation if isinstance(activation, str) else getattr(activation, "__name__", None)
        lines.append(f"activation: {named or type(activation).__name__}")
    if show.show_trainable and (parameters := parameters_of(step)):
        found = {parameter.requires_grad for parameter in parameters}
        lines.append(
            "partly trainable" if len(found) > 1 else "trainable" if found.pop() else "frozen"
        )
    outputs = [leaf for leaf in iter_leaves(step.outputs) if type(leaf) is Ref]
    if show.show_shapes:
        lines += _in_and_out(_listed(step.inputs, _shape), _listed(outputs, _shape))
    if show.show_dtype:
        taken, made = _listed(step.inputs, _dtype, False), _listed(outputs, _dtype, False)
        lines += [made] if taken == made else _in_and_out(taken, made)
    return lines


def _in_and_out(taken: str, made: str) -> list[str]:
    if not taken:
        return [made]
    if len(taken) + len(made) > _LONG:
        return [f"in: {taken}", f"out: {made}"]
    return [f"{taken} → {made}"]


def _listed(refs: Iterable[Ref], read: Any, numbers: bool = True) -> str:
    """Write a property of each value; equal texts once."""
    counts = Counter(read(ref) for ref in refs)
    return ", ".join(
        f"{n} \N{MULTIPLICATION SIGN} {text}" if n > 1 and numbers else text
        for text, n in counts.items()
    )


def _shape(ref: Ref) -> str:
    return str(getattr(ref.spec, "shape", "size"))


def _dtype(ref: Ref) -> str:
    return str(getattr(ref.spec, "dtype", "int")).removeprefix("torch.")
