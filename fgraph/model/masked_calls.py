"""Calls of a model on masked tensors: as in Keras, layers inside see masks and pass them on.

The graph inside a model was recorded without the masks of its inputs. Where these matter, a call
gets them as `masks=`, and the model runs a second forward, made by calling its layers once more
on inputs that have masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..graph import Node, Ref, SymbolicTensor, symbol
from ..graph.ancestry import ancestors
from ..graph.graph import Graph
from ..graph.inference import shapes
from ..graph.nested import filled, iter_leaves
from ..graph.node import Inferred
from ..graph.recording.record import record, ref_of
from ..graph.specs import TensorSpec
from ..layers.masks import attach_masks
from ..layers.modules import KeptLoss
from .layer_replay import Replay
from .run_time_notes import add_run_time_note
from .second_forwards import SecondForward


class _Masked(NamedTuple):
    """The graph of a model on masked inputs.

    Attributes:
        graph: From the inputs, then their masks, to the outputs.
        matters: Whether the outputs depend on the masks.
        masks: The masks of outputs, by output.
        inside: The outputs whose masks depend on values of modules, not only on functions.
    """

    graph: Graph
    matters: bool
    masks: dict[int, Ref]
    inside: list[int]


def mask_list(values: Sequence[Any], given: dict[str, Any]) -> list[Any]:
    """Return the mask of each input of a call, or `None`.

    Args:
        values: The inputs.
        given: The `mask` or `masks` of the call; by default those that the inputs have.
    """
    if not given:
        return [v.mask if isinstance(v, SymbolicTensor) else None for v in values]
    masks = next(iter(given.values()))
    return list(masks) if isinstance(masks, (list, tuple)) else [masks]


def record_model(
    model: Any, values: Sequence[Any], masks: Sequence[Any], options: dict[str, Any]
) -> Any:
    """Record a call of a model as one layer of another graph.

    Args:
        model: The model.
        values: Its inputs, some of them symbolic.
        masks: For each input its mask, or `None`.
        options: Keyword arguments of the call that fix its mode.
    """
    if model._has_own_forward:
        masks = [None] * len(values)
    refs = tuple(map(ref_of, values))
    known = shapes.infer(Node("module", model, refs, {}))
    given = [mask for mask in masks if mask is not None]
    if not given and all(ref.mask is None for ref in model._graph.outputs):
        return record("module", model, tuple(values), options, inferred=known)
    own = zip(refs, model._graph.inputs, strict=True)
    specs = [(now if type(now) is Ref else ref).spec for now, ref in own]
    masked = _masked(model, specs, [None if mask is None else mask.ref.spec for mask in masks])
    inner: list[Any] = []
    if masked.matters or masked.inside:
        known = _with_masks(known, masked, len(refs), len(given))
        options = {**options, "masks": list(masks)}
    outputs = record("module", model, tuple(values), options, inferred=known)
    if "masks" in options:
        flat, inner = outputs
        outputs = filled(model._output_template, flat)
    found = dict(zip(masked.inside, inner, strict=True))
    outside = [ref for index, ref in masked.masks.items() if index not in found]
    taken = dict(zip(masked.graph.inputs, [*values, *given], strict=True))
    replay = Replay(taken, by_layers=False)
    replay.run(Graph(masked.graph.inputs, outside))
    leaves = list(iter_leaves(outputs))
    for index, ref in masked.masks.items():
        attach_masks(leaves[index], found.get(index, replay.values.get(ref)))
    return outputs


def infer_call(model: Any, refs: Sequence[Any], masks: Sequence[Any] | None) -> Inferred:
    """Return the specs of a call of a model that was recorded with these masks.

    Args:
        model: The model.
        refs: Its inputs, as a node has them.
        masks: For each input its mask, or `None`; `None` for a call without `masks=`.
    """
    known = shapes.infer(Node("module", model, tuple(refs), {}))
    if masks is None:
        return known
    given = [None if mask is None else mask.spec for mask in masks]
    masked = _masked(model, [ref.spec for ref in refs], given)
    return _with_masks(known, masked, len(refs), sum(mask is not None for mask in masks))


def _with_masks(known: Inferred, masked: _Masked, taken: int, more: int) -> Inferred:
    """Return the specs of a call that returns the masks of outputs as well."""
    specs, _, effects = known
    parts = [*specs, *(masked.masks[index].spec for index in masked.inside)]
    layout = [[0] * len(specs), [0] * len(masked.inside)]
    effects = effects and effects.with_more_taken(taken, more)
    return parts, pytree.tree_structure(layout), effects


def run_with_masks(model: Any, values: Sequence[Tensor], masks: Sequence[Tensor | None]) -> Any:
    """Run a model on masked inputs.

    Returns:
        A list of the outputs, and a list of the masks that depend on values inside the model.
    """
    second = masked_forward(model, tuple(None if mask is None else mask.dim() for mask in masks))
    given = (*values, *(mask for mask in masks if mask is not None))
    if torch.compiler.is_compiling():
        made = second.forward(model, *given)
    else:
        try:
            made = nn.Module.__call__(second.stand_in(model), *given)
        except Exception as error:
            add_run_time_note(error, model)
            raise
    count = len(made) - len(second.more)
    return [*made[:count]], [*made[count:]]


def mask_ranks(node: Node) -> MaskRanks | None:
    """Return the ranks of the masks that a model is called with; `None` for any other call."""
    if "masks" not in node.kwargs or not hasattr(node.target, "_forward_source"):
        return None
    masks = node.kwargs["masks"]
    return tuple(None if mask is None else len(mask.spec.first) for mask in masks)


def prepare(graph: Graph) -> None:
    """Make the forwards that a graph needs of the models in it, before torch traces a call."""
    for node in graph.nodes:
        if (ranks := mask_ranks(node)) is not None:
            masked_forward(node.target, ranks)


MaskRanks = tuple[int | None, ...]  # of the mask of each input, `None` where there is none


def masked_forward(model: Any, ranks: MaskRanks) -> SecondForward:
    """Return the forward of a model for masks of these ranks, which are inputs after its own."""
    made: dict[MaskRanks, SecondForward] = model.__dict__.setdefault("_masked", {})
    if ranks not in made:
        specs = [ref.spec for ref in model._graph.inputs]
        mask_specs = [
            None if rank is None else _leading(spec, rank)
            for spec, rank in zip(specs, ranks, strict=True)
        ]
        masked = _masked(model, specs, mask_specs)
        named = zip(model.input_names, ranks, strict=True)
        made[ranks] = SecondForward(
            model,
            masked.graph.inputs,
            masked.graph.outputs,
            [masked.masks[index] for index in masked.inside],
            f"{model.name} with masks",
            [f"{name}_mask" for name, rank in named if rank is not None],
        )
    return made[ranks]


def _masked(model: Any, specs: Sequence[Any], mask_specs: Sequence[Any]) -> _Masked:
    """Call the layers of a model once more, on inputs that have masks."""
    graph = model._live_graph("masks")
    values = [_input(spec) for spec in specs]
    masks = [None if spec is None else _input(spec) for spec in mask_specs]
    for value, mask in zip(values, masks, strict=True):
        attach_masks(value, mask)
    replay = Replay(dict(zip(graph.inputs, values, strict=True)))
    replay.run(graph)
    outputs = [ref_of(value) for value in replay.now(graph.outputs)]
    found = {i: made for i, ref in enumerate(outputs) if (made := ref.mask) is not None}
    given = {symbolic.ref for symbolic in masks if symbolic is not None}
    inputs = [symbolic.ref for symbolic in (*values, *masks) if symbolic is not None]
    whole = Graph(inputs, outputs)
    for now, before in zip(_kept_losses(whole), _kept_losses(graph), strict=True):
        now.target = before.target  # a layer records a new module for each of its calls
    for call in Graph(inputs, [*outputs, *found.values()]).calls:
        call.owner.forget_call(call)  # it is no call of the user's
    inside = [
        index
        for index, made in found.items()
        if any(node.op != "function" for node in ancestors([made], inputs))
    ]
    matters = any(ref in given for node in whole.nodes for ref in node.refs())
    return _Masked(whole, matters, found, inside)


def _kept_losses(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if isinstance(node.target, KeptLoss)]


def _leading(spec: TensorSpec, rank: int) -> TensorSpec:
    """Return the spec of a mask over the first axes of a tensor."""
    folded = tuple(axis for axis in spec.folded if axis < rank)
    return TensorSpec(spec.first[:rank], spec.second[:rank], torch.bool, folded)


def _input(spec: Any) -> Any:
    return symbol(Ref(Node("input", None, (), {}, [spec])))
