"""Batch normalization is not run to infer its shape; torch's own kernel is the oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from fgraph import BuildError, Input, Model
from fgraph.graph.inference.kernel_rules import _batch_norm

SHAPES = {"two axes": (4, 3), "images": (2, 3, 5, 5), "no samples": (0, 3, 2)}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_result_is_that_of_torchs_kernel(
    shape: tuple[int, ...], training: bool, dtype: torch.dtype
) -> None:
    def given() -> list[Any]:
        x = torch.empty(shape, dtype=dtype, device="meta").movedim(-1, 1).contiguous()
        x = x.movedim(1, -1)
        return [x, *(torch.empty(3, dtype=dtype, device="meta") for _ in range(4))]

    own, theirs = given(), given()
    made = _batch_norm(F.batch_norm, *own, training)
    expected = F.batch_norm(*theirs, training)
    assert made.shape == expected.shape
    assert made.dtype == expected.dtype
    assert made.stride() == expected.stride()
    assert [bool(t._version) for t in own] == [False, training, training, False, False]


@pytest.mark.parametrize(
    ("shape", "sizes", "training", "text"),
    [((4, 5), (3,) * 4, False, "mean"), ((1, 3), (3,) * 4, True, "more than 1 value"),
     ((4, 3), (3, 3, 2, 3), True, "weight")],
    ids=["channels", "one value", "weight"],
)  # fmt: skip
def test_what_torch_refuses_is_refused(
    shape: tuple[int, ...], sizes: tuple[int, ...], training: bool, text: str
) -> None:
    given = [torch.ones(n) for n in sizes]
    with pytest.raises(BuildError, match=text):
        F.batch_norm(Input(batch_shape=shape), *given, training)
    with pytest.raises((RuntimeError, ValueError)):
        F.batch_norm(torch.ones(shape), *given, training)


def test_statistics_that_are_inputs_change() -> None:
    x, mean, variance = Input((3,)), Input(batch_shape=(3,)), Input(batch_shape=(3,))
    made = F.batch_norm(x, mean, variance, training=True, momentum=0.5)
    model = Model([x, mean, variance], [made, mean * 1.0])
    values = torch.randn(6, 3)
    expected = values.mean(0) * 0.5
    torch.testing.assert_close(model(values, torch.zeros(3), torch.ones(3))[1], expected)
