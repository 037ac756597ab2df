"""`fgraph.ops` computes what `keras.ops` does, on real tensors and in graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import fgraph
from fgraph import Input, Model, ops
from keras_oracle import keras

RNG = np.random.default_rng(0)
X = torch.tensor(RNG.normal(size=(2, 3, 4)).astype("float32"))
Y = torch.tensor(RNG.normal(size=(2, 3, 4)).astype("float32"))
P = torch.tensor(RNG.uniform(0.1, 0.9, size=(2, 3, 4)).astype("float32"))  # positive
Q = torch.softmax(Y, -1)
I = torch.tensor(RNG.integers(-3, 9, size=(2, 3, 4)), dtype=torch.int32)  # noqa: E741
J = torch.tensor(RNG.integers(1, 5, size=(2, 3, 4)), dtype=torch.int32)
B = X > 0
C = B.roll(1, 2)
N = torch.where(X > 0.8, torch.nan, X)  # with what is not a number
M = torch.tensor(RNG.normal(size=(3, 3, 3)).astype("float32"))  # matrices
S = M @ M.mT + 3 * torch.eye(3)  # positive definite
R = torch.tensor(RNG.normal(size=(3, 3, 2)).astype("float32"))  # right-hand sides
IMG = torch.tensor(RNG.normal(size=(2, 7, 6, 4)).astype("float32"))
SEQ = torch.tensor(RNG.normal(size=(2, 8, 3)).astype("float32"))
SIG = torch.tensor(RNG.normal(size=(2, 32)).astype("float32"))
V = torch.tensor(RNG.normal(size=(6,)).astype("float32"))
L = torch.tensor([[1, 3, 0], [2, 0, 2]], dtype=torch.int32)
K2 = torch.tensor(RNG.normal(size=(3, 2, 4, 5)).astype("float32"))
RGB = torch.tensor(RNG.uniform(size=(2, 7, 6, 3)).astype("float32"))
BYTES = (255 * RGB).to(torch.uint8)
AFFINE = torch.tensor([[0.9, 0.2, -1.3, -0.1, 1.1, 0.7, 0, 0], [1.2, 0, 0.5, 0.3, 0.8, -2, 0, 0]])
CORNERS = torch.tensor([[[0.0, 0.0], [5.0, 0.0], [0.0, 6.0], [5.0, 6.0]]] * 2)
SHIFTS = torch.tensor(RNG.normal(scale=0.4, size=(2, 4, 2)).astype("float32"))
BIAS = np.tri(5, dtype="float32")[None, None]
SEGMENTS = np.array([0, 2, 0, 5, -1, 1])
QKV = [torch.tensor(RNG.normal(size=(2, 5, n, 8)).astype("float32")) for n in (4, 2, 2)]

Row = tuple[str, Any]
ROWS: list[Row] = [
    # one tensor, element by element
    *[
        (f"{name}", lambda o, x, name=name: getattr(o, name)(x), X)
        for name in (
            "abs absolute fabs angle arcsinh arctan cos cosh sin sinc sinh tan tanh deg2rad "
            "rad2deg exp exp2 expm1 square reciprocal negative sign signbit ceil floor trunc "
            "round erf erfc i0 conj conjugate real isfinite isinf isnan isneginf isposinf isreal "
            "relu relu6 leaky_relu elu celu selu gelu glu sigmoid log_sigmoid hard_sigmoid silu "
            "swish hard_silu hard_swish hard_tanh hard_shrink soft_shrink tanh_shrink softplus "
            "softsign sparse_plus sparse_sigmoid squareplus softmax log_softmax cbrt nan_to_num "
            "copy ravel transpose flip fliplr flipud logical_not zeros_like ones_like sum mean "
            "prod max min amax amin all any var std ptp median logsumexp argmax argmin argsort "
            "sort cumsum cumprod count_nonzero diff tril triu trace diagonal normalize "
            "rms_normalization layer_normalization average stop_gradient convert_to_tensor array "
            "trapezoid nansum nanmean nanmax nanmin squeeze"
        ).split()
    ],
    *[
        (f"{name} of positive numbers", lambda o, x, name=name: getattr(o, name)(x), P)
        for name in "arccos arcsin arctanh log log10 log1p log2 sqrt rsqrt erfinv".split()
    ],
    *[
        (f"{name} of whole numbers", lambda o, x, name=name: getattr(o, name)(x), I)
        for name in (
            "abs fabs exp sin ceil floor round trunc square mean sum prod max var std argmax "
            "cumsum bitwise_not bitwise_invert median sort logical_not sign average argsort trace"
        ).split()
    ],
    *[
        (f"{name} of truth values", lambda o, x, name=name: getattr(o, name)(x), B)
        for name in "abs sum mean prod all any argmax cumsum square count_nonzero".split()
    ],
    *[
        (f"{name} with missing values", lambda o, x, name=name: getattr(o, name)(x, axis=1), N)
        for name in (
            "nansum nanmean nanmax nanmin nanprod nanvar nanstd nanmedian nanargmax nanargmin "
            "nancumsum nancumprod"
        ).split()
    ],
    ("arccosh", lambda o, x: o.arccosh(x), P + 1),
    ("round to decimals", lambda o, x: o.round(x, 2), X),
    ("round to tens", lambda o, x: o.round(x, decimals=-1), I),
    ("clip", lambda o, x: o.clip(x, -0.5, 0.5), X),
    ("clip by tensors", lambda o, x, y: o.clip(x, y - 1, y), X, Y),
    ("clip whole numbers", lambda o, x: o.clip(x, 0, 4), I),
    ("nan_to_num all", lambda o, x: o.nan_to_num(x, nan=2.0, posinf=3.0), N),
    ("leaky_relu slope", lambda o, x: o.leaky_relu(x, 0.3), X),
    ("elu alpha", lambda o, x: o.elu(x, 0.7), X),
    ("celu alpha", lambda o, x: o.celu(x, alpha=0.7), X),
    ("gelu exact", lambda o, x: o.gelu(x, approximate=False), X),
    ("glu axis", lambda o, x: o.glu(x, axis=0), X),
    ("hard_shrink threshold", lambda o, x: o.hard_shrink(x, 0.2), X),
    ("soft_shrink threshold", lambda o, x: o.soft_shrink(x, 0.2), X),
    ("threshold", lambda o, x: o.threshold(x, 0.2, 5.0), X),
    ("squareplus b", lambda o, x: o.squareplus(x, b=2), X),
    ("softmax axis", lambda o, x: o.softmax(x, axis=1), X),
    ("softmax none", lambda o, x: o.softmax(x, axis=None), X),
    ("log_softmax none", lambda o, x: o.log_softmax(x, axis=None), X),
    # two tensors
    *[
        (f"{name}", lambda o, x, y, name=name: getattr(o, name)(x, y), X, Y)
        for name in (
            "add subtract multiply divide true_divide divide_no_nan floor_divide mod fmod maximum "
            "minimum fmax fmin arctan2 hypot logaddexp logaddexp2 heaviside equal not_equal "
            "greater greater_equal less less_equal isclose logical_and logical_or logical_xor "
            "outer append"
        ).split()
    ],
    *[
        (f"{name} of whole numbers", lambda o, x, y, name=name: getattr(o, name)(x, y), I, J)
        for name in (
            "add subtract multiply divide floor_divide mod fmod maximum minimum power gcd lcm "
            "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift left_shift "
            "right_shift less equal arctan2 hypot logaddexp divide_no_nan"
        ).split()
    ],
    *[
        (f"{name} with a number", lambda o, x, name=name: getattr(o, name)(x, 2), X)
        for name in (
            "add subtract multiply divide floor_divide mod maximum minimum power less equal "
            "arctan2 logaddexp fmax greater_equal divide_no_nan"
        ).split()
    ],
    *[
        (f"{name} of a number", lambda o, x, name=name: getattr(o, name)(2.5, x), P)
        for name in (
            "add subtract multiply divide floor_divide mod maximum minimum power less equal "
            "arctan2 logaddexp fmin greater_equal divide_no_nan"
        ).split()
    ],
    *[
        (f"{name} of two types", lambda o, x, y, name=name: getattr(o, name)(x, y), I, X)
        for name in "add subtract multiply divide maximum less".split()
    ],
    ("maximum of whole numbers and 0.5", lambda o, x: o.maximum(x, 0.5), I),
    ("multiply by an array", lambda o, x: o.multiply(x, np.arange(4, dtype="float32")), X),
    ("add a list", lambda o, x: o.add([1, 2, 3, 4], x), X),
    ("subtract truth values", lambda o, x, y: o.subtract(x, y), B, X),
    ("ldexp", lambda o, x, y: o.ldexp(x, y), X, J),
    ("power of positive numbers", lambda o, x, y: o.power(x, y), P, Y),
    ("isclose wide", lambda o, x, y: o.isclose(x, y, rtol=0.5, atol=0.1), X, Y),
    ("allclose", lambda o, x, y: o.allclose(x, y), X, X + 1e-7),
    ("isin", lambda o, x: o.isin(x, [0, 3, 5]), I),
    ("isin inverted", lambda o, x: o.isin(x, [0, 3, 5], invert=True), I),
    ("where", lambda o, c, x, y: o.where(c, x, y), B, X, Y),
    ("where number", lambda o, c, x: o.where(c, x, 0.0), B, X),
    ("where numbers", lambda o, c: o.where(c, 1, 0), B),
    ("select", lambda o, a, b, x, y: o.select([a, b], [x, y], 3.0), B, C, X, Y),
    # along axes
    *[
        (f"{name} along {axis}", lambda o, x, n=name, a=axis: getattr(o, n)(x, axis=a), X)
        for name in "sum mean prod max min amax amin all any var std ptp logsumexp median".split()
        for axis in (1, -1, (0, 2))
    ],
    *[
        (f"{name} keepdims", lambda o, x, n=name: getattr(o, n)(x, axis=1, keepdims=True), X)
        for name in (

            "sum mean prod max min amax amin all any var std ptp logsumexp median argmax argmin"
        ).split()
    ],
    ("argmax axis", lambda o, x: o.argmax(x, axis=1), X),
    ("max initial", lambda o, x: o.max(x, axis=1, initial=0.5), X),
    ("min initial", lambda o, x: o.min(x, initial=-0.5), X),
    ("sum of nothing", lambda o, x: o.sum(x, axis=()), X),
    ("prod dtype", lambda o, x: o.prod(x, axis=1, dtype="float64"), X),
    ("count_nonzero axis", lambda o, x: o.count_nonzero(x, axis=0), I[0]),
    ("average weights", lambda o, x: o.average(x, axis=-1, weights=[1.0, 2.0, 3.0, 4.0]), X),
    ("moments", lambda o, x: o.moments(x, axes=[0, 1]), X),
    ("moments keepdims", lambda o, x: o.moments(x, axes=[1], keepdims=True), X),
    ("quantile", lambda o, x: o.quantile(x, 0.3, axis=1), X),
    ("quantiles", lambda o, x: o.quantile(x, [0.3, 0.6], axis=(0, 2), keepdims=True), X),
    ("quantile lower", lambda o, x: o.quantile(x, 0.3, method="lower"), X),
    ("percentile", lambda o, x: o.percentile(x, 30, axis=-1, keepdims=True), X),
    ("nanquantile", lambda o, x: o.nanquantile(x, 0.3, axis=1), N),
    ("nanpercentile", lambda o, x: o.nanpercentile(x, 30, axis=1), N),
    ("cumsum axis", lambda o, x: o.cumsum(x, axis=1), X),
    ("cumsum dtype", lambda o, x: o.cumsum(x, axis=1, dtype="float32"), I),
    ("cumprod axis", lambda o, x: o.cumprod(x, axis=-1), X),
    ("sort axis", lambda o, x: o.sort(x, axis=0), X),
    ("sort none", lambda o, x: o.sort(x, axis=None), X),
    ("argsort axis", lambda o, x: o.argsort(x, axis=1), X),
    ("trapezoid dx", lambda o, x: o.trapezoid(x, dx=0.5, axis=1), X),
    ("trace axes", lambda o, x: o.trace(x, offset=1, axis1=1, axis2=2), X),
    ("corrcoef", lambda o, x: o.corrcoef(x), X[0]),
    ("diff", lambda o, x: o.diff(x, n=2, axis=1), X),
    # shapes
    ("reshape", lambda o, x: o.reshape(x, (-1, 6)), X),
    ("reshape shape", lambda o, x: o.reshape(x, (o.shape(x)[0], 12)), X),
    ("reshape one", lambda o, x: o.reshape(x, -1), X),
    ("transpose axes", lambda o, x: o.transpose(x, (0, 2, 1)), X),
    ("moveaxis", lambda o, x: o.moveaxis(x, 1, -1), X),
    ("moveaxes", lambda o, x: o.moveaxis(x, [0, 1], [2, 0]), X),
    ("swapaxes", lambda o, x: o.swapaxes(x, 1, 2), X),
    ("expand_dims", lambda o, x: o.expand_dims(x, 1), X),
    ("expand_dims several", lambda o, x: o.expand_dims(x, [0, -1]), X),
    ("squeeze axis", lambda o, x: o.squeeze(x[:, :1], axis=1), X),
    ("broadcast_to", lambda o, x: o.broadcast_to(x[:, :1], (2, 5, 4)), X),
    ("concatenate", lambda o, x, y: o.concatenate([x, y], axis=-1), X, Y),
    ("concatenate whole", lambda o, x, y: o.concatenate([x, y]), X, I),
    ("append axis", lambda o, x, y: o.append(x, y, axis=1), X, Y),
    ("stack", lambda o, x, y: o.stack([x, y], axis=1), X, Y),
    ("hstack", lambda o, x, y: o.hstack([x, y]), X, Y),
    ("vstack", lambda o, x, y: o.vstack([x, y]), X, Y),
    ("dstack", lambda o, x, y: o.dstack([x, y]), X, Y),
    ("unstack", lambda o, x: o.unstack(x, axis=1), X),
    ("unstack num", lambda o, x: o.unstack(x, num=4, axis=-1), X),
    ("split", lambda o, x: o.split(x, 2, axis=-1), X),
    ("split at", lambda o, x: o.split(x, [1, 2], axis=1), X),
    ("array_split", lambda o, x: o.array_split(x, 3, axis=2), X),
    ("hsplit", lambda o, x: o.hsplit(x, 3), X),
    ("vsplit", lambda o, x: o.vsplit(x, [1]), X),
    ("dsplit", lambda o, x: o.dsplit(x, 2), X),
    ("tile", lambda o, x: o.tile(x, (1, 2)), X),
    ("tile more", lambda o, x: o.tile(x, (2, 1, 2, 1)), X),
    ("repeat", lambda o, x: o.repeat(x, 2, axis=1), X),
    ("repeat flat", lambda o, x: o.repeat(x, 2), X),
    ("repeat each", lambda o, x: o.repeat(x, np.array([1, 2, 0]), axis=1), X),
    ("flip axis", lambda o, x: o.flip(x, axis=(0, -1)), X),
    ("roll", lambda o, x: o.roll(x, 2, axis=-1), X),
    ("roll flat", lambda o, x: o.roll(x, 3), X),
    ("rot90", lambda o, x: o.rot90(x, k=3, axes=(1, 2)), X),
    ("pad", lambda o, x: o.pad(x, ((0, 0), (1, 2), (0, 1))), X),
    ("pad constant", lambda o, x: o.pad(x, ((1, 1), (0, 0), (0, 0)), constant_values=5), X),
    ("pad reflect", lambda o, x: o.pad(x, ((0, 0), (2, 1), (1, 3)), mode="reflect"), X),
    ("meshgrid", lambda o, x, y: o.meshgrid(x, y), V, V[:2]),
    ("meshgrid ij", lambda o, x, y: o.meshgrid(x, y, indexing="ij"), V, V[:2]),
    ("rearrange", lambda o, x: o.rearrange(x, "a b (c d) -> (a c) d b", c=2), X),
    ("diag", lambda o, x: o.diag(x, k=1), V),
    ("diagflat", lambda o, x: o.diagflat(x, k=-1), V[:2]),
    ("diagonal axes", lambda o, x: o.diagonal(x, offset=1, axis1=1, axis2=2), X),
    ("tril k", lambda o, x: o.tril(x, k=-1), X),
    ("triu k", lambda o, x: o.triu(x, 1), X),
    # indices
    ("get_item", lambda o, x: o.get_item(x, (slice(None), 1, slice(None, 2))), X),
    ("take", lambda o, x: o.take(x, [0, -1, 1], axis=1), X),
    ("matmul of bytes", lambda o, x: o.matmul(x, x), (50 * M).to(torch.int8)),
    ("einsum of bytes", lambda o, x: o.einsum("aij,ajk->aik", x, x), (50 * M).to(torch.int8)),
    ("median of 16 bits", lambda o, x: o.median(x, axis=1), X.to(torch.bfloat16)),
    ("transpose of a number", lambda o, x: o.transpose(o.max(x)), X),
    ("take flat", lambda o, x: o.take(x, [[0, 5], [7, 2]]), X),
    ("take tensor", lambda o, x, i: o.take(x, i, axis=2), X, L),
    ("take one", lambda o, x: o.take(x, 1, axis=-1), X),
    ("take rows", lambda o, x: o.take(x, [2, 0], axis=0), V.reshape(3, 2)),
    ("take_along_axis", lambda o, x, i: o.take_along_axis(x, i - 1, axis=2), X, J[:, :, :2] % 4),
    ("slice", lambda o, x: o.slice(x, (0, 1, 2), (2, 2, 1)), X),
    ("slice_update", lambda o, x, y: o.slice_update(x, (0, 1, 2), y[:, :2, :1]), X, Y),
    ("scatter", lambda o, v: o.scatter([[0, 1], [2, 0], [0, 1]], v, (3, 2)), V[:3]),
    ("scatter_update", lambda o, x, v: o.scatter_update(x, [[0, 1, 2], [1, 0, 0]], v), X, V[:2]),
    *[
        (
            f"scatter_update {how}",
            lambda o, x, v, h=how: o.scatter_update(x, [[0, 1], [1, 0], [0, 1]], v, reduction=h),
            X,
            Y.reshape(6, 4)[:3],
        )
        for how in ("add", "mul", "max", "min")
    ],
    ("one_hot", lambda o, i: o.one_hot(i, 4), L),
    ("one_hot axis", lambda o, i: o.one_hot(i - 1, 4, axis=1, dtype="int32"), L),
    ("multi_hot", lambda o, i: o.multi_hot(i, 4), L),
    ("top_k", lambda o, x: tuple(o.top_k(x, 2)), X),
    ("in_top_k", lambda o, i, x: o.in_top_k(i, x, 2), L[:, 0], X[:, 0]),
    ("searchsorted", lambda o, v: o.searchsorted(torch.tensor([-1.0, 0.0, 1.0]), v), V),
    ("digitize", lambda o, x: o.digitize(x, [-1.0, 0.0, 0.7]), X),
    ("unravel_index", lambda o, i: o.unravel_index(i, (2, 4)), L),
    *[
        (
            f"segment_{how}",
            lambda o, x, h=how: getattr(o, f"segment_{h}")(x, SEGMENTS, num_segments=3),
            torch.arange(12.0).reshape(6, 2) - 3,
        )
        for how in ("sum", "max", "min")
    ],
    # products
    ("matmul", lambda o, x, y: o.matmul(x, o.swapaxes(y, 1, 2)), X, Y),
    ("matmul whole", lambda o, x, y: o.matmul(x, y), I, torch.ones(4, 2)),
    ("dot vectors", lambda o, x, y: o.dot(x, y), V, V),
    ("dot matrix", lambda o, x, y: o.dot(x, y), X, R[0, :, :1].reshape(3)[[0, 1, 2, 0]]),
    ("inner", lambda o, x, y: o.inner(x, y), X[0], Y[0]),
    ("vdot", lambda o, x, y: o.vdot(x, y), V, V + 1),
    ("tensordot", lambda o, x, y: o.tensordot(x, y, axes=[[1, 2], [1, 2]]), X, Y),
    ("tensordot one", lambda o, x, y: o.tensordot(x, y, axes=(2, 2)), X, Y),
    ("einsum", lambda o, x, y: o.einsum("bij,bkj->bik", x, y), X, Y),
    ("einsum three", lambda o, x, y, z: o.einsum("bij,bij,bij->b", x, y, z), X, Y, P),
    ("kron", lambda o, x, y: o.kron(x, y), M[0], M[1]),
    ("cross", lambda o, x, y: o.cross(x, y, axis=1), X, Y),
    ("correlate", lambda o, x, y: o.correlate(x, y), V, V[:3]),
    ("correlate same", lambda o, x, y: o.correlate(x, y, mode="same"), V, V[:3]),
    ("correlate full", lambda o, x, y: o.correlate(x, y, mode="full"), V, V[:3]),
    ("cdist", lambda o, x, y: o.cdist(x, y), X, Y),
    # linear algebra
    *[
        (name, lambda o, x, name=name: getattr(o, name)(x), S)
        for name in "cholesky det slogdet logdet inv pinv matrix_rank lu_factor".split()
    ],
    ("cholesky upper", lambda o, x: o.cholesky(x, upper=True), S),
    ("cholesky_inverse", lambda o, x: o.cholesky_inverse(x), S),
    ("eigh", lambda o, x: o.eigh(x)[0], S),
    ("eig", lambda o, x: o.abs(o.eig(x)[0]), S),
    ("qr", lambda o, x: o.matmul(*o.qr(x)), M),
    ("qr complete", lambda o, x: o.abs(o.qr(x, mode="complete")[1]), R),
    ("svd", lambda o, x: o.svd(x, compute_uv=False), M),
    ("svd reduced", lambda o, x: o.svd(x, full_matrices=False)[1], R),
    ("solve", lambda o, x, y: o.solve(x, y), S, R),
    ("solve_triangular", lambda o, x, y: o.solve_triangular(x, y, lower=True), S, R),
    ("lstsq", lambda o, x, y: o.lstsq(x, y), S[0], R[0]),
    ("norm", lambda o, x: o.norm(x, axis=-1), X),
    ("norm all", lambda o, x: o.norm(x), X),
    ("norm 1", lambda o, x: o.norm(x, ord=1, axis=1, keepdims=True), X),
    ("norm fro", lambda o, x: o.linalg.norm(x, ord="fro", axis=(1, 2)), X),
    # Fourier
    ("fft", lambda o, x, y: o.fft((x, y)), X, Y),
    ("fft2", lambda o, x, y: o.fft2((x, y)), X, Y),
    ("ifft2", lambda o, x, y: o.ifft2((x, y)), X, Y),
    ("rfft", lambda o, x: o.rfft(x, fft_length=6), X),
    ("irfft", lambda o, x, y: o.irfft((x, y)), X, Y),
    ("stft", lambda o, x: o.stft(x, 8, 4, 8), SIG),
    ("stft hamming", lambda o, x: o.stft(x, 6, 3, 8, window="hamming", center=False), SIG),
    ("istft", lambda o, x: o.istft(o.stft(x, 8, 4, 8), 8, 4, 8), SIG),
    ("istft length", lambda o, x: o.istft(o.stft(x, 6, 3, 8), 6, 3, 8, length=24), SIG),
    ("extract_sequences", lambda o, x: o.extract_sequences(x, 5, 2), SIG),
    ("view_as_complex", lambda o, x: o.view_as_real(o.view_as_complex(x)), R[..., :2]),
    ("polar", lambda o, x, y: o.real(o.polar(x, y)), P, Y),
    # windows
    ("conv 1d", lambda o, x: o.conv(x, K2[:, 0, :3], padding="same"), SEQ),
    ("conv 2d", lambda o, x: o.conv(x, K2, strides=2, padding="same"), IMG),
    ("conv 2d dilated", lambda o, x: o.conv(x, K2, dilation_rate=(2, 1)), IMG),
    ("conv 2d groups", lambda o, x: o.conv(x, K2[:, :, :2, :4]), IMG),
    (
        "conv 2d first",
        lambda o, x: o.conv(x, K2, data_format="channels_first"), IMG.permute(0, 3, 1, 2),
    ),
    ("conv of a kernel", lambda o, x, k: o.conv(x, k), IMG, K2),
    ("depthwise_conv", lambda o, x: o.depthwise_conv(x, K2[..., :2], 2, "same"), IMG),
    (
        "separable_conv",
        lambda o, x: o.separable_conv(x, K2[..., :1].clone(), K2[:1, :1].clone()), IMG,
    ),
    ("conv_transpose", lambda o, x: o.conv_transpose(x, K2.mT, strides=2), IMG),
    ("conv_transpose same", lambda o, x: o.conv_transpose(x, K2.mT, 2, "same"), IMG),
    ("conv_transpose padded", lambda o, x: o.conv_transpose(x, K2.mT, 2, output_padding=1), IMG),
    ("max_pool", lambda o, x: o.max_pool(x, 2), IMG),
    ("max_pool same", lambda o, x: o.max_pool(x, 3, 2, "same"), IMG),
    ("max_pool 1d", lambda o, x: o.max_pool(x, 2, 1), SEQ),
    ("average_pool", lambda o, x: o.average_pool(x, (2, 3), 1), IMG),
    ("average_pool same", lambda o, x: o.average_pool(x, 3, 1, "same"), IMG),
    ("adaptive_average_pool", lambda o, x: o.adaptive_average_pool(x, (3, 2)), IMG),
    ("adaptive_max_pool", lambda o, x: o.adaptive_max_pool(x, 3), IMG),
    ("unfold", lambda o, x: o.unfold(x, 2, stride=2), IMG),
    ("fold", lambda o, x: o.fold(o.unfold(x, 2), (7, 6), 2), IMG.permute(0, 3, 1, 2)),
    ("depth_to_space", lambda o, x: o.depth_to_space(x, 2), IMG),
    ("depth_to_space first", lambda o, x: o.depth_to_space(x, 2, "channels_first"), IMG[:, :4]),
    ("space_to_depth", lambda o, x: o.space_to_depth(x, 2), IMG[:, :6]),
    ("space_to_depth first", lambda o, x: o.space_to_depth(x, 2, "channels_first"), IMG[..., :4]),
    # normalization, attention, losses
    ("normalize 1", lambda o, x: o.normalize(x, axis=1, order=1), X),
    ("normalize 3", lambda o, x: o.normalize(x, order=3), X),
    ("layer_normalization weights", lambda o, x: o.layer_normalization(x, P[0, 0], Y[0, 0]), X),
    ("layer_normalization axes", lambda o, x: o.layer_normalization(x, axis=(1, 2)), X),
    ("layer_normalization inner", lambda o, x: o.layer_normalization(x, axis=1), X),
    ("rms_normalization scale", lambda o, x: o.rms_normalization(x, P[0, 0], epsilon=0.1), X),
    ("rms_normalization inner", lambda o, x: o.rms_normalization(x, axis=1), X),
    (
        "batch_normalization",
        lambda o, x: o.batch_normalization(x, Y[0, 0], P[0, 0], -1, Y[0, 1], P[0, 1]), X,
    ),
    ("attention", lambda o, q, k, v: o.dot_product_attention(q, k, v), *QKV),
    ("attention causal", lambda o, q, k, v: o.dot_product_attention(q, k, v, is_causal=True), *QKV),
    (
        "attention mask",
        lambda o, q, k, v: o.dot_product_attention(
            q, k, v, mask=np.tri(5, dtype=bool)[None, None], scale=0.3
        ),
        *QKV,
    ),
    (
        "attention bias",
        lambda o, q, k, v: o.dot_product_attention(q, k, v, bias=BIAS),
        *QKV,
    ),
    ("categorical_crossentropy", lambda o, t, p: o.categorical_crossentropy(t, p), Q, P),
    (
        "categorical_crossentropy logits",
        lambda o, t, p: o.categorical_crossentropy(t, p, from_logits=True, axis=1), Q, X,
    ),
    (
        "sparse_categorical_crossentropy",
        lambda o, t, p: o.sparse_categorical_crossentropy(t, p), J[..., 0] - 1, P,
    ),
    (
        "sparse_categorical_crossentropy logits",
        lambda o, t, p: o.sparse_categorical_crossentropy(t, p, True), J[..., :1] - 1, X,
    ),
    ("binary_crossentropy", lambda o, t, p: o.binary_crossentropy(t, p), Q, P),
    ("binary_crossentropy logits", lambda o, t, p: o.binary_crossentropy(t, p, True), Q, X),
    ("ctc_loss", lambda o, t, x: o.ctc_loss(t, x, [2, 1], [7, 8]), L[:, :2] % 2 + 1, SEQ),
    ("ctc_decode", lambda o, x: o.ctc_decode(x, [7, 8]), SEQ),
    ("psnr", lambda o, x, y: o.psnr(x, y, 2.0), X, Y),
    # types and shapes
    ("cast", lambda o, x: o.cast(x, "int32"), X),
    ("cast bool", lambda o, x: o.cast(x, "bool"), I),
    ("saturate_cast", lambda o, x: o.saturate_cast(300 * x, "uint8"), X),
    ("full_like", lambda o, x: o.full_like(x, 3), X),
    ("view", lambda o, x: o.view(x, dtype="int32"), X),
    # images
    ("resize", lambda o, x: o.image.resize(x, (5, 9)), IMG),
    ("resize smooth", lambda o, x: o.image.resize(x, (5, 4), "bicubic", antialias=True), IMG),
    ("resize nearest", lambda o, x: o.image.resize(x, (9, 4), interpolation="nearest"), IMG),
    ("resize crop", lambda o, x: o.image.resize(x, (5, 5), crop_to_aspect_ratio=True), IMG),
    (
        "resize pad",
        lambda o, x: o.image.resize(x, (8, 4), pad_to_aspect_ratio=True, fill_value=2.0), IMG,
    ),
    ("resize bytes", lambda o, x: o.image.resize(x, (5, 9)), BYTES),
    ("resize one", lambda o, x: o.image.resize(x, (5, 9), data_format="channels_first"), IMG[0]),
    *[
        (
            f"affine {fill} {how}",
            lambda o, x, f=fill, h=how: o.image.affine_transform(x, AFFINE, h, f, 0.5),
            IMG,
        )
        for fill in ("constant", "nearest", "wrap", "mirror", "reflect")
        for how in ("bilinear", "nearest")
    ],
    ("affine one", lambda o, x: o.image.affine_transform(x, AFFINE[0] + 0), IMG[0]),
    (
        "affine first",
        lambda o, x: o.image.affine_transform(x, AFFINE, data_format="channels_first"), IMG,
    ),
    (
        "perspective",
        lambda o, x: o.image.perspective_transform(x, CORNERS, CORNERS + SHIFTS, fill_value=0.3),
        IMG,
    ),
    (
        "map_coordinates",
        lambda o, x, c: o.image.map_coordinates(x, o.unstack(c), 1, "reflect"), X[0], 4 * Y[:, 0],
    ),
    (
        "map_coordinates nearest",
        lambda o, x, c: o.image.map_coordinates(x, o.unstack(c), 0, "constant", 2.0),
        X[0],
        2 * Y[:, 0],
    ),
    (
        "gaussian_blur",
        lambda o, x: o.image.gaussian_blur(x, (5, 5), (1.0, 2.0), data_format="channels_last"), IMG,
    ),
    ("rgb_to_grayscale", lambda o, x: o.image.rgb_to_grayscale(x), RGB),
    ("rgb_to_hsv", lambda o, x: o.image.rgb_to_hsv(x), RGB),
    ("hsv_to_rgb", lambda o, x: o.image.hsv_to_rgb(x), RGB),
    (
        "hsv_to_rgb first",
        lambda o, x: o.image.hsv_to_rgb(x, data_format="channels_first"), RGB.permute(0, 3, 1, 2),
    ),
    ("extract_patches", lambda o, x: o.image.extract_patches(x, (3, 2), 2, padding="same"), IMG),
    ("extract_patches one", lambda o, x: o.image.extract_patches(x, 2), IMG[0]),
    ("extract_patches_3d", lambda o, x: o.image.extract_patches_3d(x, 2), IMG[None]),
    ("pad_images", lambda o, x: o.image.pad_images(x, 1, 2, target_height=9, target_width=9), IMG),
    (
        "crop_images",
        lambda o, x: o.image.crop_images(x, 1, bottom_cropping=2, left_cropping=0, target_width=3),
        IMG,
    ),
    *[
        (
            f"scale_and_translate {method}",
            lambda o, x, m=method: o.image.scale_and_translate(
                x, (2, 5, 9, 4), np.array([0.6, 1.5], "f"), np.array([0.5, -1.0], "f"), (1, 2), m
            ),
            IMG,
        )
        for method in ("linear", "cubic", "lanczos3", "lanczos5")
    ],
    ("sobel_edges", lambda o, x: o.image.sobel_edges(x), IMG),
    ("ssim", lambda o, x: o.image.ssim(x, o.sqrt(x), filter_size=5), RGB),
    # control flow with known lengths
    ("scan", lambda o, x: o.scan(lambda c, s: (c + s, c * s), x[0], x), V.reshape(3, 2)),
    ("scan reversed", lambda o, x: o.scan(lambda c, s: (c + s, c), x[0], x, reverse=True), X),
    ("map", lambda o, x: o.map(lambda s: s * 2, x), X),
    ("associative_scan", lambda o, x: o.associative_scan(lambda a, b: a + b, x, axis=1), X),
    ("fori_loop", lambda o, x: o.fori_loop(0, 3, lambda i, v: v + i, x), X),
]  # fmt: skip


# the first axis is not one of samples: its size decides on the calls
KNOWN_SIZES = {
    "matmul whole", "broadcast_to", "conv of a kernel", "segment_sum", "segment_max", "segment_min",
    "correlate", "correlate same", "scan", "scan reversed", "map", "scatter_update max",
    "scatter_update min", "scatter_update mul", "dot matrix", "ctc_decode", "perspective",
    "map_coordinates", "map_coordinates nearest", "affine first",
    *(row[0] for row in ROWS if row[0].startswith("affine ") and row[0] != "affine one"),
}  # fmt: skip


def compare(found: Any, expected: Any, *, dtypes: bool = True) -> None:
    own = pytree.tree_leaves(found)
    theirs = pytree.tree_leaves(expected)
    assert len(own) == len(theirs)
    for mine, reference in zip(own, theirs, strict=True):
        reference = torch.as_tensor(reference)
        assert tuple(mine.shape) == tuple(reference.shape)
        if dtypes:
            assert mine.dtype == reference.dtype
        torch.testing.assert_close(
            mine, reference, rtol=1e-5, atol=2e-5, equal_nan=True, check_dtype=False
        )


# Keras on torch raises an error of its own for these axes
FAIL_IN_KERAS = {"layer_normalization inner", "rms_normalization inner"}


@pytest.mark.filterwarnings("ignore:.*`?T`? (on tensors|is deprecated).*:UserWarning")
@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_operations_compute_what_keras_computes(row):
    name, call, *values = row
    if name in FAIL_IN_KERAS:
        with pytest.raises(RuntimeError, match="normalized_shape"):
            call(keras.ops, *values)
        return
    compare(call(ops, *values), call(keras.ops, *values))


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_operations_in_a_graph_compute_the_same(row):
    name, call, *values = row
    known = name in KNOWN_SIZES
    shapes = [value.shape if known else (None, *value.shape[1:]) for value in values]
    inputs = [Input(batch_shape=s, dtype=v.dtype) for s, v in zip(shapes, values, strict=True)]
    outputs = call(ops, *inputs)
    model = Model(inputs, outputs)
    compare(model(*values), call(ops, *values))
    expected = pytree.tree_leaves(call(ops, *values))
    given = [leaf.spec for leaf in fgraph.graph.nested.iter_leaves(outputs)]
    for spec, x in zip(given, expected, strict=True):
        assert len(spec.shape) == x.ndim
        assert all(size in (None, n) for size, n in zip(spec.shape, x.shape, strict=True))
    assert [spec.dtype for spec in given] == [x.dtype for x in expected]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_graphs_of_operations_are_saved_and_become_plain_torch(row, tmp_path):
    _, call, *values = row
    inputs = [Input(batch_shape=value.shape, dtype=value.dtype) for value in values]
    model = Model(inputs, call(ops, *inputs))
    model.save(tmp_path / "model.fgraph")
    source = model.to_source("Net")
    names: dict[str, Any] = {}
    exec(source, names)
    net = names["Net"]()
    net.load_state_dict(model.state_dict())
    for made in (fgraph.load_model(tmp_path / "model.fgraph"), net):
        compare(made(*values), model(*values))
    assert "fgraph" not in source


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: ops.custom_gradient(x), AttributeError, "torch.autograd.Function"),
        (lambda x: ops.unique(x), TypeError, "its result depends on the values"),
        (lambda x: ops.nonzero(x), TypeError, "nonzero expects a real tensor"),
        (lambda x: ops.bincount(x), TypeError, "ops.one_hot"),
        (lambda x: ops.segment_sum(x, x), TypeError, "write `num_segments=`"),
        (lambda x: ops.convert_to_numpy(x), TypeError, "has no values yet"),
        (lambda x: ops.cond(ops.sum(x) > 0, list, list), TypeError, "ops.where"),
        (lambda x: ops.while_loop(lambda v: ops.sum(v) > 0, abs, x), TypeError, "Python's own"),
        (lambda x: ops.map(abs, x), TypeError, "known only at run time"),
        (lambda x: ops.vectorized_map(abs, x), TypeError, "torch.vmap"),
        (lambda x: ops.split(x, 3, axis=1), ValueError, "4 of axis 1 is not divisible by 3"),
        (lambda x: ops.squeeze(x, 1), ValueError, "expects size 1 along axis 1"),
        (lambda x: ops.pad(x, 1, mode="magic"), ValueError, "unknown mode 'magic'"),
        (lambda x: ops.pad(x, ((0, 0), (4, 0)), mode="reflect"), ValueError, "do not fit"),
        (lambda x: ops.sum(x, axis=5), Exception, "range"),
        (lambda x: ops.one_hot(x, 3, sparse=True), ValueError, "dense tensor"),
        (lambda x: ops.ctc_decode(x, x, "beam_search"), ValueError, "torchaudio"),
        (lambda x: ops.rearrange(x, "a b -> a c"), ValueError, "name the same axes"),
        (lambda x: ops.image.resize(x, (2, 2)), ValueError, "an image, 3 axes"),
        (lambda x: ops.conv(x, x), ValueError, "3, 4 or 5 axes"),
        (lambda x: ops.fft(x), ValueError, "a pair of tensors"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call(Input((4,)))


def test_padding_mirrors_and_repeats_as_numpy_does():
    """Keras on torch pads `symmetric` by the last value."""
    for mode in ("reflect", "symmetric", "edge"):
        found = ops.pad(X, ((1, 0), (2, 1), (0, 3)), mode=mode)
        np.testing.assert_array_equal(found, np.pad(X, ((1, 0), (2, 1), (0, 3)), mode=mode))
    np.testing.assert_array_equal(ops.pad(X, 1), np.pad(X, 1))


def test_numbers_are_arrays_of_keras_types():
    for given in (3, 2.5, True, [1, 2], [1.0, 2.0], np.arange(3), np.ones(2, "float64")):
        compare(ops.convert_to_tensor(given), keras.ops.convert_to_tensor(given))
    for make in (
        lambda o: o.arange(5),
        lambda o: o.arange(1.0, 4.0, 0.5),
        lambda o: o.zeros((2, 3)),
        lambda o: o.ones(4, dtype="int32"),
        lambda o: o.full((2, 2), 7),
        lambda o: o.eye(3, 4, k=1),
        lambda o: o.tri(3, 4, k=-1),
        lambda o: o.linspace(0, 1, 5),
        lambda o: o.linspace(0.0, 1.0, 5, endpoint=False, retstep=True)[0],
        lambda o: o.logspace(0.0, 2.0, 4),
        lambda o: o.geomspace(1.0, 100.0, 4),
        lambda o: o.identity(3, dtype="float64"),
        lambda o: o.vander(V, 3, increasing=True),
        lambda o: o.bartlett(7),
        lambda o: o.kaiser(7, 3.0),
        lambda o: o.bincount(torch.tensor([1, 2, 2]), minlength=5),
        lambda o: o.unique(torch.tensor([3, 1, 3]), return_counts=True, return_index=True),
        lambda o: o.nonzero(B),
        lambda o: o.histogram(V, bins=4, range=(-2.0, 2.0)),
        lambda o: o.vectorized_map(lambda v: v * 2, X),
        lambda o: o.while_loop(lambda v: v < 10, lambda v: v * 2, torch.tensor(3)),
        lambda o: o.switch(1, [lambda v: v, lambda v: v + 1], X),
        lambda o: o.cond(True, lambda: X, lambda: Y),
    ):
        compare(make(ops), make(keras.ops))


def test_operations_are_loaded_on_first_use_and_listed():
    assert "ops" in dir(fgraph)
    assert {"relu", "add", "image", "linalg", "nn", "numpy"} <= set(dir(ops))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: ops.multiply(x, np.ones(4, "float32")),
        lambda x: ops.add([1.0, 2.0, 3.0, 4.0], x),
        lambda x: ops.maximum(x, [1.0, 2.0, 3.0, 4.0]),
        lambda x: ops.average(x, -1, [1.0, 2.0, 3.0, 4.0]),
        lambda x: ops.median(x, 1),
        lambda x: ops.percentile(x, [10, 20], 1),
        lambda x: ops.take(x, [1, 0], axis=1),
        lambda x: ops.one_hot(ops.cast(x, "int32"), 3),
        lambda x: ops.slice_update(x, (0, 1, 0), x[:, :1]),
        lambda x: ops.batch_normalization(x, [0.0] * 4, [1.0] * 4, -1, scale=[2.0] * 4),
        lambda x: ops.image.affine_transform(x, [1.0, 0, 0, 0, 1, 0, 0, 0]),
        lambda x: ops.image.map_coordinates(x, np.zeros((3, 5), "float32"), 1),
        lambda x: ops.image.extract_patches(x, 2),
        lambda x: ops.linspace(x, 1.0, 3),
    ],
)
def test_values_beside_a_tensor_go_to_its_device(call):
    """The meta device stands for another one: a mixture of devices is an error there, too."""
    assert call(X.to("meta")).device.type == "meta"


def lower(x):
    return ops.tril(ops.ones((ops.shape(x)[1], ops.shape(x)[1]), dtype="bool"))


SIZES = {
    "arange": lambda x: x * ops.cast(ops.arange(ops.shape(x)[1]), "float32")[:, None],
    "zeros": lambda x: ops.concatenate([ops.zeros((ops.shape(x)[0], 1, 4)), x], 1),
    "causal": lambda x: ops.where(lower(x), ops.einsum("bnd,bmd->bnm", x, x), -1e9),
    "broadcast": lambda x: ops.broadcast_to(ops.sum(x, 1, keepdims=True), ops.shape(x)),
    "tile": lambda x: ops.tile(x[:, :1], (1, ops.shape(x)[1], 1)),
    "reshape": lambda x: ops.reshape(x, (ops.shape(x)[0] * ops.shape(x)[1], 4)),
    "divide": lambda x: ops.divide(ops.sum(x, 1), ops.shape(x)[1]),
    "size": lambda x: x / ops.cast(ops.size(x), "float32"),
    "slice": lambda x: ops.slice(x, (0, 0, 1), (*ops.shape(x)[:2], 2)),
    "slice_update": lambda x: ops.slice_update(x, (0, 0, 1), 0 * x[:, :1, :2]),
    "split": lambda x: ops.split(x, np.int64(2), axis=-1)[1],
    "take": lambda x: ops.take(x, -1, axis=1),
    "pad": lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 0]], mode="reflect"),
    "rearrange": lambda x: ops.rearrange(x, "b n (h d) -> b h n d", h=2),
    "meshgrid": lambda x: ops.meshgrid(x[0, :, 0], x[0, 0])[0],
    "conv": lambda x: ops.conv(x, np.ones((3, 4, 2), "float32"), 2, "same"),
    "average_pool": lambda x: ops.average_pool(x, 2, 2, "same"),
    "softmax": lambda x: ops.softmax(x, axis=(1, 2)),
}


@pytest.mark.parametrize("call", SIZES.values(), ids=SIZES)
def test_sizes_may_be_known_at_run_time_only(call):
    x = Input((None, 4))
    model = Model(x, call(x))
    for steps in (3, 5):
        values = torch.randn(2, steps, 4)
        compare(model(values), call(values))


@pytest.mark.parametrize(
    "key",
    [
        (..., slice(None, None, -1)), slice(None, None, -1), (slice(None), slice(-1, 0, -2)),
        (0, None, slice(9, -9, -1)), (slice(None, None, -1), ..., None, slice(2, None, -1)),
        (slice(2), slice(None, 1, -1), -1),
    ],
)  # fmt: skip
def test_slices_go_backwards_as_in_numpy(key: Any) -> None:
    expected = X.numpy()[key]
    np.testing.assert_array_equal(ops.get_item(X, key), expected)
    x = Input(batch_shape=(2, 3, 4))
    np.testing.assert_array_equal(Model(x, ops.get_item(x, key))(X), expected)


def causal(o, x):
    """The mask of many of Keras's examples: its repeats are joined tensors."""
    size, steps = o.shape(x)[0], o.shape(x)[1]
    places = o.arange(steps)
    mask = o.reshape(o.cast(places[:, None] >= places, "int32"), (1, steps, steps))
    times = o.concatenate([o.expand_dims(size, -1), o.convert_to_tensor([1, 1])], axis=0)
    return o.tile(mask, times)


SHAPES = {
    "causal": causal,
    "reshape": lambda o, x: o.reshape(x, o.convert_to_tensor([o.shape(x)[0], o.shape(x)[1] * 4])),
    "reshape parts": lambda o, x: o.reshape(x, (o.convert_to_tensor(o.shape(x)[0]), -1)),
    "broadcast": lambda o, x: o.broadcast_to(x[:, :1], o.stack([o.shape(x)[0], o.shape(x)[1], 4])),
    "zeros": lambda o, x: x + o.zeros(o.convert_to_tensor([o.shape(x)[0], 1, 4])),
    "slice": lambda o, x: o.slice(x, [0, 1, 0], o.convert_to_tensor([o.shape(x)[0], 2, 3])),
    "computed": lambda o, x: o.tile(x, o.cast(o.stack([1, o.shape(x)[1], 1]) * 2, "int64")),
    "element": lambda o, x: o.reshape(x, (o.convert_to_tensor([o.shape(x)[0], 7])[0], -1)),
}


@pytest.mark.parametrize("compute", SHAPES.values(), ids=SHAPES)
def test_shapes_may_be_tensors_made_of_sizes(compute):
    x = Input((None, 4))
    model = Model(x, compute(ops, x))
    for values in (X, SIG.reshape(4, 4, 4)):
        torch.testing.assert_close(model(values), compute(ops, values))
        if compute is causal:  # Keras on torch takes no tensors in the others
            torch.testing.assert_close(model(values), compute(keras.ops, values))


@pytest.mark.parametrize("count", [lambda x: ops.sum(x), lambda x: ops.cast(x[0, 0, :1], "int32")])
def test_shapes_that_are_values_are_refused(count):
    x = Input((None, 4))
    with pytest.raises(fgraph.SymbolicError, match="tile: repeats is a tensor whose values"):
        ops.tile(x, count(x))
