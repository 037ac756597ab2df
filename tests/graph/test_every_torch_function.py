"""A sweep over all operators that torch itself tests, with torch's own sample inputs.

Needs `expecttest`, which torch's testing modules import. Slow: some six hundred operators.
"""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
from torch.utils import _pytree as pytree

from fgraph import Input, Model, SymbolicTensor

# their results' shapes, or what they give, depend on values: fgraph.apply(..., output_shape=) does
BY_VALUE = {
    "allclose", "combinations", "equal", "histogram", "histogramdd", "item",
    "tensor_split", "narrow",
}  # fmt: skip
# torch has no meta kernel for them
NO_META = {
    "corrcoef", "cov", "geqrf", "linalg.lstsq", "to_sparse", "sparse.mm", "sparse.sampled_addmm",
}  # fmt: skip
# they change their input
IN_PLACE = {"cauchy", "exponential", "geometric", "log_normal", "normal", "resize_", "resize_as_",
            "uniform", "zero_", "nn.functional.embedding_bag"}  # fmt: skip
# methods called through the class, `torch.Tensor.cfloat(x)`, which takes nothing but tensors
UNBOUND = {"__radd__", "__rmul__", "__rand__", "__ror__", "__rxor__", "__getitem__", "cdouble",
           "cfloat", "__rsub__", "__rdiv__", "__rmod__", "__rpow__", "__rmatmul__"}  # fmt: skip
# torch.masked.* asks for x.device; the others give no numbers that could be compared
OTHERS = {"empty_like", "new_empty", "new_empty_strided", "empty", "torch._scaled_mm", "chalf",
          "torch._scaled_mm_v2", "empty_strided", "empty_permuted"}  # fmt: skip
LEFT_OUT = BY_VALUE | NO_META | IN_PLACE | UNBOUND | OTHERS


@functools.lru_cache(maxsize=1)
def operators():
    """Return torch's table of operators by name."""
    pytest.importorskip("expecttest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal import common_methods_invocations as table

    # it would seed while the graph is built
    table.wrapper_set_seed = lambda op, *args, **kwargs: op(*args, **kwargs)
    return table.op_db


def samples(op):
    """Return a few sample inputs."""
    kinds = sorted(op.dtypes, key=str)
    if not kinds:
        return []  # not for this device
    dtype = torch.float32 if torch.float32 in kinds else kinds[0]
    found = list(op.sample_inputs("cpu", dtype, requires_grad=False))
    return found[:: max(1, len(found) // 4)][:5]


def check(op, sample) -> None:
    """Compare the graph's result with the direct one; one tensor argument is symbolic."""
    torch.manual_seed(0)
    try:
        expected = op.op(sample.input, *sample.args, **sample.kwargs)
    except Exception:
        return  # the sample needs another build of torch
    leaves, structure = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
    place = next((i for i, leaf in enumerate(leaves) if _takes(leaf)), None)
    if place is None:
        return
    real = leaves[place]
    symbol = Input(batch_shape=tuple(real.shape), dtype=real.dtype)
    arguments = [symbol if i == place else leaf for i, leaf in enumerate(leaves)]
    first, args, kwargs = pytree.tree_unflatten(arguments, structure)
    made = pytree.tree_leaves(op.op(first, *args, **kwargs))
    symbolic = [leaf for leaf in made if isinstance(leaf, SymbolicTensor)]
    if not symbolic:
        assert made == pytree.tree_leaves(expected)
        return
    model = Model(symbol, symbolic)
    torch.manual_seed(0)
    tensors = [leaf for leaf in pytree.tree_leaves(expected) if isinstance(leaf, torch.Tensor)]
    torch.testing.assert_close(model(real), tensors, rtol=0, atol=0, equal_nan=True)


def _takes(leaf) -> bool:
    return type(leaf) is torch.Tensor and leaf.layout is torch.strided and leaf.dim() > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_operator_that_torch_tests_can_be_recorded():
    """All samples of all operators, but for those that the lists above name."""
    failed, checked = {}, 0
    for op in operators():
        if op.name in LEFT_OUT or op.name.startswith("masked."):
            continue
        for sample in samples(op):
            checked += 1
            try:
                check(op, sample)
            except Exception as error:
                failed.setdefault(op.name, str(error)[:200])
    assert checked > 1500
    assert failed == {}
