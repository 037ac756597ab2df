"""What no constructor sets: shared tensors, dtypes, frozen parameters and modes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..constructions.shared_memory import views_among
from .source_forward import member, reach


def state_lines(
    model: nn.Module,
    nested: set[int],
    dtypes: dict[int, torch.dtype],
    frozen: set[int],
    outermost: bool,
) -> list[str]:
    """Return the statements that come after the children are made.

    Args:
        model: the model.
        nested: the ids of the models in it, which have classes, and such statements, of their own.
        dtypes: the dtype that each tensor has so far, by its id.
        frozen: the ids of the parameters that are frozen already.
        outermost: whether the model is the outermost one, which sets the modes.
    """
    slots = list(_slots(model, nested))
    lines = []
    for text, _, tensor in slots:
        if dtypes.get(id(tensor), tensor.dtype) != tensor.dtype:
            lines.append(f"{text}.data = {text}.data.to({tensor.dtype})")
    first: dict[int, tuple[str, str]] = {}
    for text, within, tensor in slots:
        before, owner = first.setdefault(id(tensor), (text, within))
        if before != text and not (owner and owner == within):
            lines.append(f"{text} = {before}")
    texts = {text: tensor for text, within, tensor in slots if first[id(tensor)][0] == text}
    views = views_among(texts)
    for owner in dict.fromkeys(view[0] for view in views.values()):
        whole = texts[owner]
        if not whole.is_contiguous():  # its strides tell which tensors are views
            made = f"torch.empty_strided({list(whole.shape)}, {list(whole.stride())}"
            lines.append(f"{owner}.data = {made}, dtype={whole.dtype}).copy_({owner}.data)")
    for text, (owner, offset, shape, stride) in views.items():
        lines.append(f"{text}.data = {owner}.data.as_strided({shape}, {stride}, {offset})")
    for text, within, tensor in slots:
        if tensor.requires_grad != isinstance(tensor, nn.Parameter) and not within:
            if id(tensor) not in frozen and first[id(tensor)][0] == text:
                lines.append(f"{text}.requires_grad_({tensor.requires_grad})")
    return [*lines, *(_modes(model) if outermost else ())]


def _slots(model: nn.Module, nested: set[int]) -> Iterator[tuple[str, str, Tensor]]:
    """Yield the source of each parameter and buffer, and the nested model that it is part of."""
    for name, part in model.named_modules():
        path = tuple(name.split(".")) if name else ()
        within, owner = "", model
        for place, step in enumerate(path, 1):
            owner = owner._modules[step]  # type: ignore[assignment]
            if id(owner) in nested:
                within = ".".join(path[:place])
                break
        for group in (part._parameters, part._buffers):
            for key, tensor in group.items():
                if tensor is not None:
                    yield member("self" + reach(model, path), key, part), within, tensor


def _modes(model: nn.Module) -> list[str]:
    """Write the modes of modules that differ from the mode of the module around them."""
    lines: list[str] = []
    modes: dict[str, bool] = {}
    for name, part in model.named_modules():
        outer = modes[name.rpartition(".")[0]] if name else True
        modes[name] = part.training
        if part.training != outer:
            path = tuple(name.split(".")) if name else ()
            lines.append(f"self{reach(model, path)}.{'train' if part.training else 'eval'}()")
    return lines
