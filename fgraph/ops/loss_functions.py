"""Losses, and the decoding of CTC."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..graph import SymbolicTensor, apply
from ..losses.base import EPSILON
from ..losses.crossentropy import log_probabilities
from .conversion import beside, cast, floating, known_shape, promoted, tensor

__all__ = [
    "binary_crossentropy", "categorical_crossentropy", "ctc_decode", "ctc_loss", "psnr",
    "sparse_categorical_crossentropy",
]  # fmt: skip


def categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """Return the cross-entropy between target and predicted class probabilities, for each row.

    Args:
        target: Probabilities, of the shape of `output`.
        output: Probabilities, or logits if `from_logits`.
        from_logits: Whether `output` holds logits.
        axis: The axis of the classes.
    """
    target, output = promoted(target, floating(output))
    return -(target * log_probabilities(output, from_logits, axis)).sum(axis)


def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """Return the cross-entropy of predicted class probabilities at labels, for each label.

    Args:
        target: Labels, of the shape of `output` without the axis, or with size 1 there.
        output: Probabilities, or logits if `from_logits`.
        from_logits: Whether `output` holds logits.
        axis: The axis of the classes.
    """
    output, labels = floating(output), tensor(target).long()
    if labels.ndim < output.ndim:
        labels = labels.unsqueeze(axis)
    return -torch.take_along_dim(
        log_probabilities(output, from_logits, axis), labels, axis
    ).squeeze(axis)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Tensor:
    """Return the cross-entropy between target and predicted probabilities, for each element.

    Args:
        target: Probabilities, of the shape of `output`.
        output: Probabilities, or logits if `from_logits`.
        from_logits: Whether `output` holds logits.
    """
    target, output = promoted(target, floating(output))
    if from_logits:
        return F.binary_cross_entropy_with_logits(output, target, reduction="none")
    return F.binary_cross_entropy(output.clamp(EPSILON, 1 - EPSILON), target, reduction="none")


def ctc_loss(
    target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0
) -> Tensor:
    """Return the loss of connectionist temporal classification (Graves et al., 2006).

    Args:
        target: Labels, `(batch, labels)`.
        output: Logits, `(batch, steps, classes)`.
        target_length, output_length: How many labels and steps each sample has, `(batch,)`.
        mask_index: The class of the blank.

    Returns:
        One value for each sample.
    """
    log_probs = F.log_softmax(floating(output), -1).transpose(0, 1)
    labels, steps, lengths = (
        beside(log_probs, x).long() for x in (target, output_length, target_length)
    )
    given = (log_probs, labels, steps, lengths, mask_index, "none")
    if not any(isinstance(x, SymbolicTensor) for x in given):
        return F.ctc_loss(*given)  # type: ignore[arg-type]
    return apply(F.ctc_loss, *given, output_shape=(known_shape(log_probs)[1],))


def ctc_decode(
    inputs: Any,
    sequence_lengths: Any,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return the labels of the best class of each step, without blanks.

    Args:
        inputs: Scores, `(batch, steps, classes)`.
        sequence_lengths: How many steps each sample has, `(batch,)`.
        strategy: `"greedy"`; a search with beams needs a decoder such as torchaudio's.
        beam_width, top_paths: Accepted for compatibility with Keras; for beam search only.
        merge_repeated: Whether equal labels of neighboring steps are one.
        mask_index: The class of the blank.

    Returns:
        Labels, `(1, batch, steps)`, filled up with -1, and scores, `(batch, 1)`.

    Raises:
        ValueError: The strategy is not `"greedy"`.
    """
    if strategy != "greedy":
        raise ValueError(
            f"ctc_decode: strategy={strategy!r} is not supported, only 'greedy'; for a search use "
            "torchaudio.models.decoder.ctc_decoder on the outputs"
        )
    scores, labels = floating(inputs).max(-1)
    steps = torch.arange(labels.shape[1], device=labels.device)
    beyond = steps >= beside(labels, sequence_lengths).unsqueeze(-1)
    labels, scores = labels.masked_fill(beyond, mask_index), scores.masked_fill(beyond, 0.0)
    blank = labels == mask_index
    if merge_repeated:
        blank = blank | F.pad(labels[:, 1:] == labels[:, :-1], (1, 0))
    order = torch.argsort(blank.to(torch.uint8), dim=-1, stable=True)
    labels = labels.masked_fill(blank, -1).take_along_dim(order, -1).to(torch.int32)
    return labels.unsqueeze(0), -scores.sum(1, keepdim=True)


def psnr(x1: Any, x2: Any, max_val: float) -> Tensor:
    """Return the peak signal-to-noise ratio in decibels, of values up to `max_val`."""
    first, second = promoted(x1, x2)
    error = torch.mean((first - second).square())
    return 20 * torch.log10(cast(max_val, first.dtype)) - 10 * torch.log10(error)
