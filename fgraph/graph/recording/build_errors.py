"""The messages of errors while a graph is built: which call, on what, where in the graph."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn

from ...errors import BuildError
from ..ancestry import ancestors
from ..node import Node, Ref, current_call
from ..specs import TensorSpec
from ..torch_functions import torch_name


def build_error(
    op: str, target: Any, refs: Sequence[Ref], name: str | None, error: Exception
) -> BuildError:
    """Return the error for a call that was refused: on what, and what to do.

    Args:
        op: `"module"` or `"function"`.
        target: what was called.
        refs: the symbolic values among its arguments.
        name: the name given at the call.
        error: torch's own reason; its traceback is cut to the code that a user may know.
    """
    part = _inner_part(target, error)
    error.__traceback__ = _without_internals(error.__traceback__)
    what = _outline(target) if op == "module" else function_name(target)
    what = f"{name!r}: {what}" if name else what
    call = current_call()
    if call is not None:
        what = f"layer {call.outermost.owner!r}: {what}"
    given = ", ".join(_describe(ref) for ref in refs)
    text = f"{what} cannot be called on {given}: {part}{type(error).__name__}: {error}"
    text += _stand_ins(refs, str(error)) + place_in_graph(refs)
    if isinstance(error, NotImplementedError) or "meta" in str(error).lower():
        text += (
            ". If its shape depends on values, which are not known yet, write "
            "`fgraph.apply(fn, ..., output_shape=(None, ...))`"
        )
    return BuildError(text)


def function_name(func: Any) -> str:
    """Return the name of a function, that of torch's own with the module it is in."""
    return torch_name(func) or getattr(func, "__qualname__", None) or repr(func)


def place_in_graph(refs: Sequence[Ref]) -> str:
    """Return which call of the graph takes these values, and which calls made them, as text."""
    made: dict[int, Node] = {}
    for node in ancestors(refs):
        if node.op != "input":
            made.setdefault(_maker_id(node), node)
    if not made:
        return ""
    numbers = {key: number for number, key in enumerate(made, 1)}
    counts: Counter[str] = Counter()
    ordinals = {}
    for key, node in made.items():
        counts[_kind(node)] += 1
        ordinals[key] = counts[_kind(node)]
    texts = []
    for ref in dict.fromkeys(refs):
        key = _maker_id(ref.node)
        if key in numbers:
            kind = _kind(ref.node)
            which = f"{kind} {ordinals[key]} of {counts[kind]}" if counts[kind] > 1 else kind
            texts.append(f"call {numbers[key]}, {which},")
    return f". It is call {len(made) + 1} of the graph" + (
        f"; its input is made by {' and '.join(texts)[:-1]}" if texts else ""
    )


def _maker_id(node: Node) -> int:
    return id(node if node.call is None else node.call.outermost)


def _kind(node: Node) -> str:
    return node.kind if node.call is None else type(node.call.outermost.owner).__name__


def _outline(module: nn.Module) -> str:
    """Return a module's settings; of one that holds others, how many."""
    if next(module.children(), None) is None:
        return f"{module!r}"
    return f"{type(module).__name__} of {len(list(module.modules())) - 1} modules"


def _inner_part(target: Any, error: Exception) -> str:
    """Return in which module inside `target` an error arose, and what it was given, as text."""
    if not isinstance(target, nn.Module):
        return ""
    found = []
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and frame.f_code.co_name == "forward":
            found.append((owner, frame))
        traceback = traceback.tb_next
    if len(found) < 2:
        return ""
    (root, _), (inner, frame) = found[0], found[-1]
    path = next((path for path, part in root.named_modules() if part is inner), "")
    values = [frame.f_locals.get(key) for key in frame.f_code.co_varnames[1:]]
    shapes = [str(tuple(value.shape)) for value in values[:3] if isinstance(value, torch.Tensor)]
    given = f", given {', '.join(shapes)}" if shapes else ""
    return f"in its part {path!r}, {_outline(inner)}{given}: "


def _stand_ins(refs: Sequence[Ref], text: str) -> str:
    """Explain the numbers of an error that stand for sizes which are not known."""
    specs = [ref.spec for ref in refs if type(ref.spec) is TensorSpec]
    known = {size for spec in specs for size in spec.shape}
    written = {int(number) for number in re.findall(r"\d+", text)} - known
    first, second = (
        {
            number: "an unknown batch size" if axis == 0 else "any other unknown size"
            for spec in specs
            for axis, number in enumerate(getattr(spec, lane))
            if spec.shape[axis] is None
        }
        for lane in ("first", "second")
    )
    # a call that fits the first numbers by chance is refused for the second ones
    meanings = second if written & (second.keys() - first.keys()) else first
    parts = [
        f"{number} stands for {meaning}"
        for number, meaning in meanings.items()
        if any(n and n % number == 0 for n in written)
    ]
    return f" (here {', '.join(parts)})" if parts else ""


_GRAPH = Path(__file__).parent.parent
_TORCH = Path(torch.__file__).parent
_OF_TORCH = (
    "_prims_common _decomp _meta_registrations.py _refs _ops.py __init__.py _library _subclasses"
)
_INTERNAL = (str(_GRAPH), *(str(_TORCH / name) for name in _OF_TORCH.split()))


def _without_internals(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of shape inference."""
    frames = []
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(_INTERNAL):
            frames.append(traceback)
        traceback = traceback.tb_next
    kept = None
    for entry in reversed(frames):
        kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept


def _describe(ref: Ref) -> str:
    spec = ref.spec
    if type(spec) is not TensorSpec:
        return "an unknown size"
    return f"{spec.shape} {str(spec.dtype).removeprefix('torch.')}"
