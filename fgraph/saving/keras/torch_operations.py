"""torch's functions as Keras's operations: one table, of which each result is compared.

What is found is run once more by `fgraph.ops`, on symbolic tensors: Keras's result has the shape
of torch's, and is cast where it has another dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import SaveError
from ...graph import Node, Ref
from ...graph.input import input_like
from ...graph.nested import iter_leaves, map_leaves
from ...graph.node import TensorSpec
from ...graph.torch_functions import torch_name
from .keras_values import Values
from .operations import operation
from .torch_arguments import Rule, bound, rules

Made = Any  # an `Op`, a `Ref`, or a real tensor


class Op:
    """An operation of Keras, whose arguments may be made by others.

    Args:
        room: the module of its class.
        kind: its class.
        config: its settings.
        args, kwargs: what it is called with.
    """

    def __init__(
        self, room: str, kind: str, config: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        self.room, self.kind, self.config = room, kind, dict(config)
        self.args, self.kwargs = args, kwargs


# methods that share the name of another function
_OTHERS = ("torch.Tensor.unfold", "torch.equal", "torch.linalg.cross")


def expressed(node: Node) -> Op | list[Op | str]:
    """Return what Keras has for a function of torch.

    Returns:
        An operation; or for each output one by itself, or why there is none.

    Raises:
        SaveError: there is nothing, or not for these arguments.
    """
    name = torch_name(node.target)
    if name is None:
        raise SaveError("it is a function of your own, which Keras does not have")
    args, kwargs = node.args, node.kwargs
    if any(isinstance(leaf, nn.Parameter) for leaf in iter_leaves((args, kwargs))):
        raise SaveError("it uses a parameter itself: put it into a layer, by add_weight")
    base = name.rpartition(".")[2].strip("_")
    if name == "getattr":
        base, args = f".{args[1]}", args[:1]
    special = _SPECIAL.get(base)
    if special is not None:
        found = special(node, *args, **kwargs)
        if found is not None:
            return found
    rule = RULES.get(base)
    if rule is None or name in _OTHERS:
        raise SaveError(f"Keras has no operation that is torch's {name}")
    return _by_rule(rule, name, args, kwargs)


def _by_rule(rule: Rule, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Op:
    given, config = bound(rule, name, args, kwargs)
    return Op(rule.room, rule.kind, config, *given)


def result_of(op: Op) -> Any:
    """Return what an operation makes, as symbolic tensors.

    Raises:
        SaveError: it refuses its arguments.
    """
    inputs: dict[Ref, Any] = {}

    def leaf(found: Any) -> Any:
        if isinstance(found, Op):
            return result_of(found)
        if type(found) is Ref:
            return inputs.setdefault(found, input_like(found.spec))
        return found

    args, kwargs = map_leaves(leaf, (list(op.args), dict(op.kwargs)))
    entry = {"class_name": op.kind, "module": f"keras.src.ops.{op.room}", "config": op.config}
    if not any(hasattr(found, "spec") for found in iter_leaves((args, kwargs))):
        raise SaveError("it depends on no input")
    try:
        return operation(entry, Values({}), op.kind)(*args, **kwargs)
    except Exception as error:
        raise SaveError(f"Keras's {op.kind} does not take this: {error}") from error


# ---------------------------------------------------------------------- functions with one rule

RULES = rules(
    {
        # element by element, of one tensor
        "numpy": (
            "Absolute:abs,absolute Arccos:arccos,acos Arccosh:arccosh,acosh Arcsin:arcsin,asin "
            "Arcsinh:arcsinh,asinh Arctan:arctan,atan Arctanh:arctanh,atanh Angle:angle "
            "BitwiseInvert:bitwise_not Ceil:ceil Conjugate:conj_physical Copy:clone Cos:cos "
            "Cosh:cosh Deg2rad:deg2rad Rad2deg:rad2deg Exp:exp Exp2:exp2 Expm1:expm1 Fliplr:fliplr "
            "Flipud:flipud Floor:floor I0:i0 Isfinite:isfinite Isinf:isinf Isnan:isnan "
            "Isneginf:isneginf Isposinf:isposinf Log:log Log10:log10 Log1p:log1p Log2:log2 "
            "LogicalNot:logical_not Negative:neg,negative Ravel:ravel Real:real "
            "Reciprocal:reciprocal Sign:sign,sgn Signbit:signbit Sin:sin Sinc:sinc Sinh:sinh "
            "Sqrt:sqrt Square:square Tan:tan Tanh:tanh Trunc:trunc,fix"
        ),
        "nn": (
            "Relu6:relu6 Sigmoid:sigmoid,expit HardSilu:hardswish LogSigmoid:logsigmoid Selu:selu "
            "Softsign:softsign TanhShrink:tanhshrink Relu:relu HardSigmoid:hardsigmoid Silu:silu"
        ),
        "math": "Rsqrt:rsqrt Erf:erf Erfc:erfc Erfinv:erfinv",
        "core": "StopGradient:detach",
    },
    {
        # element by element, of two
        "numpy": (
            "Arctan2:arctan2,atan2 BitwiseAnd:bitwise_and BitwiseOr:bitwise_or "
            "BitwiseXor:bitwise_xor BitwiseLeftShift:bitwise_left_shift,lshift "
            "BitwiseRightShift:bitwise_right_shift,rshift Equal:eq "
            "NotEqual:ne,not_equal Greater:gt,greater GreaterEqual:ge,greater_equal Less:lt,less "
            "LessEqual:le,less_equal Fmax:fmax Fmin:fmin Fmod:fmod Gcd:gcd Lcm:lcm "
            "Heaviside:heaviside Hypot:hypot Inner:inner Kron:kron Ldexp:ldexp "
            "Logaddexp:logaddexp Logaddexp2:logaddexp2 LogicalAnd:logical_and "
            "LogicalOr:logical_or LogicalXor:logical_xor Matmul:matmul,bmm,mm,mv "
            "Mod:mod,remainder Multiply:mul,multiply Maximum:maximum Minimum:minimum "
            "Power:pow,power Outer:outer Vdot:vdot FloorDivide:floordiv,floor_divide "
            "TrueDivide:truediv,true_divide Nextafter:nextafter"
        ),
        "math": "CDist:cdist",
    },
    """
    leaky_relu    nn LeakyRelu    x negative_slope=0.01 inplace!
    elu           nn Elu          x alpha=1.0 inplace!
    celu          nn Celu         x alpha=1.0 inplace!
    glu           nn Glu          x dim:axis=-1
    hardshrink    nn HardShrink   x lambd:threshold=0.5
    softshrink    nn SoftShrink   x lambd:threshold=0.5
    threshold     nn Threshold    x threshold value:default_value inplace!
    softmax       nn Softmax      x dim:axis _stacklevel? dtype!
    log_softmax   nn LogSoftmax   x dim:axis _stacklevel? dtype!
    softplus      nn Softplus     x beta!1 threshold!20
    sum           numpy Sum       x dim:axis=None keepdim:keepdims=False dtype!
    mean          numpy Mean      x dim:axis=None keepdim:keepdims=False dtype!
    nansum        numpy Nansum    x dim:axis=None keepdim:keepdims=False dtype!
    nanmean       numpy Nanmean   x dim:axis=None keepdim:keepdims=False dtype!
    amax          numpy Amax      x dim:axis=None keepdim:keepdims=False
    amin          numpy Amin      x dim:axis=None keepdim:keepdims=False
    all           numpy All       x dim:axis=None keepdim:keepdims=False
    any           numpy Any       x dim:axis=None keepdim:keepdims=False
    argmax        numpy Argmax    x dim:axis=None keepdim:keepdims=False
    argmin        numpy Argmin    x dim:axis=None keepdim:keepdims=False
    argsort       numpy Argsort   x dim:axis=-1 descending! stable?
    count_nonzero numpy CountNonzero x dim:axis=None
    cumsum        numpy Cumsum    x dim:axis dtype!
    cumprod       numpy Cumprod   x dim:axis dtype!
    logsumexp     math Logsumexp  x dim:axis keepdim:keepdims=False
    diff          numpy Diff      x n=1 dim:axis=-1 prepend! append!
    tril          numpy Tril      x diagonal:k=0
    triu          numpy Triu      x diagonal:k=0
    diagonal      numpy Diagonal  x offset=0 dim1:axis1=0 dim2:axis2=1
    flip          numpy Flip      x dims*:axis
    moveaxis      numpy Moveaxis  x source destination
    movedim       numpy Moveaxis  x source destination
    swapaxes      numpy Swapaxes  x axis0:axis1 axis1:axis2
    transpose     numpy Swapaxes  x dim0:axis1 dim1:axis2
    swapdims      numpy Swapaxes  x dim0:axis1 dim1:axis2
    unsqueeze     numpy ExpandDims x dim:axis
    cat           numpy Concatenate x dim:axis=0
    concat        numpy Concatenate x dim:axis=0
    concatenate   numpy Concatenate x dim:axis=0
    stack         numpy Stack     x dim:axis=0
    hstack        numpy Hstack    x
    vstack        numpy Vstack    x
    dstack        numpy Dstack    x
    roll          numpy Roll      x shifts:shift dims:axis=None
    tile          numpy Tile      x dims*:repeats
    repeat        numpy Tile      x dims*:repeats
    unbind        core Unstack    x dim:axis=0
    rot90         numpy Rot90     x k=1 dims:axes=(0,1)
    nan_to_num    numpy NanToNum  x nan=0.0 posinf=None neginf=None
    trapezoid     numpy Trapezoid x
    zeros_like    numpy ZerosLike x dtype=None layout? device? pin_memory? requires_grad!
    ones_like     numpy OnesLike  x dtype=None layout? device? pin_memory? requires_grad!
    take_along_dim numpy TakeAlongAxis x @indices dim:axis=None
    pixel_shuffle nn DepthToSpace x upscale_factor:block_size +data_format=channels_first
    pixel_unshuffle nn SpaceToDepth x downscale_factor:block_size +data_format=channels_first
    cholesky      linalg Cholesky x upper=False
    inv           linalg Inv      x
    inverse       linalg Inv      x
    det           linalg Det      x
    logdet        math Logdet     x
    solve         linalg Solve    x @b left!True
    view_as_real  math ViewAsReal x
    unfold        nn Unfold       x kernel_size dilation=1 padding=0 stride=1
    fold          nn Fold         x output_size kernel_size dilation=1 padding=0 stride=1
    isin          numpy IsIn      @elements @test_elements assume_unique=False invert=False
    isclose       numpy Isclose   @x1 @x2 @rtol=1e-05 @atol=1e-08 equal_nan=False
    searchsorted  numpy SearchSorted @a @b out_int32? right! side=left sorter!
    """,
)  # fmt: skip


# ---------------------------------------------------------------------- functions with several

Found = Op | list[Op | str] | None


def _numpy(kind: str, *args: Any, **config: Any) -> Op:
    return Op("numpy", kind, config, *args)


def _cast(x: Any, dtype: torch.dtype) -> Op:
    return Op("core", "Cast", {"dtype": str(dtype).removeprefix("torch.")}, x)


def _spec(node: Node) -> TensorSpec:
    found: TensorSpec = node.specs[0]  # type: ignore[assignment]
    return found


def _dtype(x: Any) -> torch.dtype | None:
    return x.spec.dtype if type(x) is Ref else x.dtype if isinstance(x, Tensor) else None


def _truth(kind: str, other: str) -> Callable[..., Found]:
    """Choose between the operations on truth values and on bits."""

    def made(node: Node, *xs: Any) -> Op:
        if all(_dtype(x) in (torch.bool, None) for x in xs):
            return _numpy(kind, *xs)
        return _numpy(other, *xs)

    return made


def _reshaped(node: Node, x: Any, *_: Any, **__: Any) -> Op:
    """Return a reshape to the shape that is known, which may have one size of run time."""
    if any(isinstance(leaf, torch.dtype) for leaf in _):
        raise SaveError("it reads the memory as another dtype")
    shape = _spec(node).shape
    if shape.count(None) > 1:
        raise SaveError(f"its shape {shape} has several sizes that are known at run time only, "
                        "Keras's reshape finds one")  # fmt: skip
    return _numpy("Reshape", x, newshape=[-1 if size is None else size for size in shape])


def _transposed(node: Node, x: Any, *dims: Any, **kwargs: Any) -> Op:
    order = kwargs.get("dims", dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims)
    return _numpy("Transpose", x, axes=[dim % len(order) for dim in order])


def _matrix_transposed(node: Node, x: Any) -> Op:
    return _numpy("Swapaxes", x, axis1=-2, axis2=-1)


def _all_transposed(node: Node, x: Any) -> Op:
    return _numpy("Transpose", x, axes=None)


def _squeezed(node: Node, x: Any, *dims: Any, **kwargs: Any) -> Op:
    given = dims[0] if len(dims) == 1 else kwargs.get("dim")
    if given is None:
        if None in x.spec.shape:
            raise SaveError("without dim= it depends on sizes of run time")
        return _reshaped(node, x)
    shape = x.spec.shape
    axes = [given] if isinstance(given, int) else list(given)
    unknown = [axis for axis in axes if shape[axis] is None]
    if unknown:
        raise SaveError(f"the size of axis {unknown[0]} is known at run time only")
    kept = [axis % len(shape) for axis in axes if shape[axis] == 1]
    return _numpy("Squeeze", x, axis=kept) if kept else _numpy("Copy", x)


def _item(node: Node, x: Any, key: Any) -> Found:
    if type(x) is not Ref:
        return None
    for leaf in key if isinstance(key, tuple) else (key,):
        if isinstance(leaf, slice):
            if any(not isinstance(part, int | None) for part in (leaf.start, leaf.stop, leaf.step)):
                raise SaveError("it slices by sizes of run time")
        elif not (leaf is None or leaf is ... or (isinstance(leaf, int) and not
                                                 isinstance(leaf, bool))):  # fmt: skip
            raise SaveError("it takes elements by tensors or lists: use torch.gather or ops.take")
    return _numpy("GetItem", x, list(key) if isinstance(key, tuple) else key)


def _to(node: Node, x: Any, *args: Any, **kwargs: Any) -> Op:
    wanted = _spec(node).dtype
    return _numpy("Copy", x) if wanted == _dtype(x) else _cast(x, wanted)


def _clamped(node: Node, x: Any, *args: Any, **kwargs: Any) -> Op:
    low = kwargs.get("min", args[0] if args else None)
    high = kwargs.get("max", args[1] if len(args) > 1 else None)
    if all(isinstance(bound, (int, float)) for bound in (low, high)):
        return _numpy("Clip", x, x_min=low, x_max=high)
    made = x if low is None else _numpy("Maximum", x, low)
    return made if high is None else _numpy("Minimum", made, high)


def _scaled(kind: str) -> Callable[..., Found]:
    """Return `x + alpha * y`, or with a minus."""

    def made(node: Node, x: Any, other: Any, alpha: Any = 1) -> Op:
        return _numpy(kind, x, other if alpha == 1 else _numpy("Multiply", other, alpha))

    return made


def _reversed(kind: str) -> Callable[..., Found]:
    return lambda node, x, other: _numpy(kind, other, x)


def _divided(node: Node, x: Any, other: Any, rounding_mode: str | None = None) -> Op:
    if rounding_mode == "trunc":
        made = _numpy("Trunc", _numpy("TrueDivide", x, other))
        return (
            made if (_dtype(x) or torch.int64).is_floating_point else _cast(made, _spec(node).dtype)
        )
    return _numpy("FloorDivide" if rounding_mode else "TrueDivide", x, other)


def _where(node: Node, condition: Any, *values: Any, **kwargs: Any) -> Op:
    values = (*values, *(kwargs[key] for key in ("input", "self", "other") if key in kwargs))
    if len(values) != 2:
        raise SaveError("with a condition alone, the size of its result is known at run time only")
    return _numpy("Where", condition, *values)


def _masked(node: Node, x: Any, mask: Any, value: Any) -> Op:
    return _numpy("Where", mask, value, x)


def _einsum(node: Node, equation: str, *operands: Any) -> Op:
    given = (
        operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    )
    if not isinstance(equation, str):
        raise SaveError("einsum with lists of axes: write the equation as a text")
    return Op("numpy", "Einsum", {"subscripts": equation}, *given)


def _padded(node: Node, x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Op:
    if any(not isinstance(size, int) or size < 0 for size in pad):
        raise SaveError("it cuts off, or pads by sizes of run time")
    rank, known = len(_spec(node).shape), {"constant": "constant", "reflect": "reflect",
                                           "replicate": "edge"}  # fmt: skip
    if mode not in known:
        raise SaveError(f"Keras does not pad by mode={mode!r}")
    sizes = [[0, 0] for _ in range(rank)]
    for which in range(len(pad) // 2):
        sizes[rank - 1 - which] = [pad[2 * which], pad[2 * which + 1]]
    if mode != "constant":
        return _numpy("Pad", x, pad_width=sizes, mode=known[mode])
    return Op("numpy", "Pad", {"pad_width": sizes, "mode": "constant"}, x, value or 0.0)


def _gelu(node: Node, x: Any, approximate: str = "none") -> Op:
    return Op("nn", "Gelu", {"approximate": approximate == "tanh"}, x)


def _hardtanh(node: Node, x: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: Any = None
              ) -> Op:  # fmt: skip
    return _numpy("Clip", x, x_min=float(min_val), x_max=float(max_val))


def _extreme(kind: str, pair: str) -> Callable[..., Found]:
    """Return `x.max()`, `torch.max(x, y)`, or the values and indices of `x.max(dim)`."""

    def made(node: Node, x: Any, *args: Any, **kwargs: Any) -> Found:
        second = args[0] if args else kwargs.get("other", kwargs.get("dim"))
        if second is None:
            return _numpy(kind, x)
        if type(second) is Ref or isinstance(second, Tensor):
            return _numpy(pair, x, second)
        kept = args[1] if len(args) > 1 else kwargs.get("keepdim", False)
        return [
            _numpy(name, x, axis=second, keepdims=kept) for name in (kind, f"Arg{kind.lower()}")
        ]

    return made


def _sorted(node: Node, x: Any, dim: int = -1, descending: bool = False, **kwargs: Any) -> Found:
    values = _numpy("Sort", x, axis=dim)
    if not descending:
        return [values, _numpy("Argsort", x, axis=dim)]
    return [_numpy("Flip", values, axis=dim), "Keras sorts upwards: use ops.argsort(-x)"]


def _both(second: str, first: str = "Mean") -> Callable[..., Found]:
    """Return what `torch.var_mean` and its kin do."""

    def made(node: Node, x: Any, *args: Any, **kwargs: Any) -> Found:
        dim = args[0] if args else kwargs.get("dim")
        spread = _deviation(second)(node, x, *args, **kwargs)
        return [spread, _numpy(first, x, axis=dim, keepdims=kwargs.get("keepdim", False))]  # type: ignore[list-item]

    return made


def _deviation(kind: str) -> Callable[..., Found]:
    """Return variance or standard deviation, which Keras does not correct."""

    def made(node: Node, x: Any, dim: Any = None, unbiased: Any = True, keepdim: bool = False,
             correction: Any = None) -> Op:  # fmt: skip
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        by = correction if correction is not None else int(bool(unbiased))
        plain_config = {"axis": list(dim) if isinstance(dim, (tuple, list)) else dim,
                        "keepdims": keepdim}  # fmt: skip
        found = Op("numpy", kind, plain_config, x)
        if by == 0:
            return found
        shape = x.spec.shape
        axes = range(len(shape)) if dim is None else [dim] if isinstance(dim, int) else dim
        count = 1
        for axis in axes:
            if shape[axis] is None:
                raise SaveError("it divides by a size of run time less one: pass correction=0")
            count *= shape[axis]
        if count <= by:
            raise SaveError(f"it divides by {count - by}: pass correction=0")
        factor = count / (count - by)
        return _numpy("Multiply", found, factor if kind == "Var" else factor**0.5)

    return made


def _product(node: Node, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Op:
    if dtype is not None:
        x = _cast(x, dtype)
    return _numpy("Prod", x, axis=dim, keepdims=keepdim)


def _split(node: Node, x: Any, sizes: Any, dim: int = 0, **kwargs: Any) -> Op:
    given = kwargs.get("split_size_or_sections", sizes)
    parts = [spec.shape[dim] for spec in node.specs]  # type: ignore[index, union-attr]
    if None in parts:
        raise SaveError(f"the size of axis {dim} is known at run time only")
    ends, at = [], 0
    for size in parts[:-1]:
        at += size or 0
        ends.append(at)
    del given
    return _numpy("Split", x, indices_or_sections=ends, axis=dim)


def _chunked(node: Node, x: Any, chunks: Any = None, dim: int = 0, **kwargs: Any) -> Op:
    return _split(node, x, chunks, dim)


def _expanded(node: Node, x: Any, *sizes: Any, **kwargs: Any) -> Op:
    shape = _spec(node).shape
    own = (None,) * (len(shape) - len(x.spec.shape)) + tuple(x.spec.shape)
    if None not in shape:
        return _numpy("BroadcastTo", x, shape=list(shape))
    if len(x.spec.shape) < len(shape):
        raise SaveError("it adds an axis beside sizes of run time")
    repeats = []
    for before, after in zip(own, shape, strict=True):
        if before == 1 and after is None:
            raise SaveError("it repeats by a size of run time")
        repeats.append(after if before == 1 and after is not None else 1)
    return _numpy("Tile", x, repeats=repeats)


def _linear(node: Node, x: Any, weight: Any, bias: Any = None) -> Op:
    other = _numpy("Transpose", weight, axes=None) if type(weight) is Ref else weight.mT
    made = _numpy("Matmul", x, other)
    return made if bias is None else _numpy("Add", made, bias)


def _selected(node: Node, x: Any, dim: int, index: Any) -> Op:
    rank = len(x.spec.shape)
    if type(index) is Ref:
        return Op("numpy", "Take", {"axis": dim}, x, index)
    return _numpy("GetItem", x, [*[slice(None)] * (dim % rank), index])


def _narrowed(node: Node, x: Any, dim: int, start: Any, length: Any) -> Op:
    if not (isinstance(start, int) and isinstance(length, int)):
        raise SaveError("it slices by sizes of run time")
    end = start + length if start >= 0 or start + length else None
    rank = len(x.spec.shape)
    return _numpy("GetItem", x, [*[slice(None)] * (dim % rank), slice(start, end)])


def _gathered(node: Node, x: Any, dim: int, index: Any, **kwargs: Any) -> Op:
    shapes = zip(x.spec.shape, index.spec.shape if type(index) is Ref else index.shape, strict=True)
    if any(a is None or b is None or a != b for at, (a, b) in enumerate(shapes)
           if at not in (dim % len(x.spec.shape), 0)):  # fmt: skip
        raise SaveError("the sizes of values and indices differ")
    return Op("numpy", "TakeAlongAxis", {"axis": dim}, x, index)


def _index_selected(node: Node, x: Any, dim: int, index: Any) -> Op:
    return Op("numpy", "Take", {"axis": dim}, x, index)


def _one_hot(node: Node, x: Any, num_classes: int = -1) -> Op:
    if num_classes < 0:
        raise SaveError("without num_classes= it depends on the values")
    return Op("nn", "OneHot", {"num_classes": num_classes, "axis": -1, "dtype": "int32"}, x)


def _full(node: Node, x: Any, fill_value: Any, **kwargs: Any) -> Op:
    wanted = str(_spec(node).dtype).removeprefix("torch.")
    return Op("numpy", "FullLike", {"dtype": wanted}, x, fill_value)


def _rounded(node: Node, x: Any, decimals: int = 0) -> Op:
    return _numpy("Round", x, decimals=decimals)


def _top(node: Node, x: Any, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True
         ) -> Op:  # fmt: skip
    if not isinstance(k, int) or not largest or dim not in (-1, len(x.spec.shape) - 1):
        raise SaveError("Keras's top_k takes the largest along the last axis")
    return Op("math", "TopK", {"k": k, "sorted": sorted}, x)


def _norm(node: Node, x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False,
          **kwargs: Any) -> Op:  # fmt: skip
    order = kwargs.get("ord", p)
    if (
        torch_name(node.target) == "torch.linalg.norm"
        and order is not None
        and (isinstance(dim, (tuple, list)) or (dim is None and len(x.spec.shape) == 2))
    ):
        raise SaveError("Keras has no norm of matrices that is torch's")
    if order not in (2, 2.0, "fro", None):
        raise SaveError(f"Keras has no norm of order {order!r} that is torch's")
    axis = list(dim) if isinstance(dim, (tuple, list)) else dim
    return _numpy("Sqrt", _numpy("Sum", _numpy("Square", x), axis=axis, keepdims=keepdim))


def _vector_norm(node: Node, x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False,
                 dtype: Any = None) -> Op:  # fmt: skip
    if dtype is not None:
        raise SaveError("dtype= is not written")
    return _norm(node, x, ord, dim, keepdim)


def _normalized(node: Node, x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12,
                out: Any = None) -> Op:  # fmt: skip
    size = _norm(node, x, p, dim, True)
    return _numpy("TrueDivide", x, _numpy("Maximum", size, eps))


def _addmm(node: Node, x: Any, first: Any, second: Any, **kwargs: Any) -> Op:
    if any(value != 1 for value in kwargs.values()):
        raise SaveError("beta= and alpha= are not written")
    return _numpy("Add", x, _numpy("Matmul", first, second))


def _fused(kind: str) -> Callable[..., Found]:
    """Return `x + value * first * second`, or by a quotient."""

    def made(node: Node, x: Any, first: Any, second: Any, value: Any = 1) -> Op:
        found = _numpy(kind, first, second)
        return _numpy("Add", x, found if value == 1 else _numpy("Multiply", found, value))

    return made


def _layer_norm(node: Node, x: Any, shape: Any, weight: Any = None, bias: Any = None,
                eps: float = 1e-5) -> Op:  # fmt: skip
    sizes = [shape] if isinstance(shape, int) else list(shape)
    axes = list(range(-len(sizes), 0))
    mean = _numpy("Mean", x, axis=axes, keepdims=True)
    variance = _numpy("Var", x, axis=axes, keepdims=True)
    shifted = _numpy("Subtract", x, mean)
    made = _numpy("Multiply", shifted, Op("math", "Rsqrt", {}, _numpy("Add", variance, eps)))
    if weight is not None:
        made = _numpy("Multiply", made, weight)
    return made if bias is None else _numpy("Add", made, bias)


def _lerped(node: Node, x: Any, end: Any, weight: Any) -> Op:
    return _numpy("Add", x, _numpy("Multiply", weight, _numpy("Subtract", end, x)))


def _quantile(kind: str) -> Callable[..., Found]:
    def made(node: Node, x: Any, q: Any, dim: Any = None, keepdim: bool = False,
             interpolation: str = "linear") -> Op:  # fmt: skip
        config = {"axis": dim, "keepdims": keepdim, "method": interpolation}
        return Op("numpy", kind, config, x, q)

    return made


def _mish(node: Node, x: Any, inplace: Any = None) -> Op:
    return _numpy("Multiply", x, _numpy("Tanh", Op("nn", "Softplus", {}, x)))


def _repeated_each(node: Node, x: Any, repeats: Any, dim: Any = None, **kwargs: Any) -> Op:
    if not isinstance(repeats, int):
        raise SaveError("Keras on torch repeats each element as often as the others")
    return _numpy("Repeat", x, repeats=repeats, axis=dim)


def _real_numbers(node: Node, x: Any, **kwargs: Any) -> Op:
    return _numpy("Real" if (_dtype(x) or torch.float32).is_complex else "Copy", x)


def _attended(
    node: Node, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: Any = None, enable_gqa: bool = False,
) -> Op:  # fmt: skip
    if len(query.spec.shape) != 4 or dropout_p != 0.0 or enable_gqa:
        raise SaveError("Keras has attention without dropout, of (batch, heads, steps, features)")
    parts = [_numpy("Swapaxes", part, axis1=1, axis2=2) for part in (query, key, value)]
    masks = (None, attn_mask) if _dtype(attn_mask) == torch.bool else (attn_mask, None)
    found = Op("nn", "DotProductAttention", {"is_causal": is_causal}, *parts, *masks, scale)
    return _numpy("Swapaxes", found, axis1=1, axis2=2)


def _pairs(value: Any, rank: int) -> list[int]:
    return [value] * rank if isinstance(value, int) else list(value)


def _convolved(rank: int) -> Callable[..., Found]:
    """Return a convolution of channels-first images by a kernel that is a value of the graph."""

    def made(node: Node, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
             dilation: Any = 1, groups: int = 1) -> Op:  # fmt: skip
        if len(x.spec.shape) != rank + 2:
            raise SaveError("Keras's convolution needs an axis for the batch")
        order = [*range(2, rank + 2), 1, 0]
        kernel = (_numpy("Transpose", weight, axes=order) if type(weight) is Ref
                  else weight.permute(order))  # fmt: skip
        if not isinstance(padding, str) and any(_pairs(padding, rank)):
            x = _numpy("Pad", x, 0.0, pad_width=[[0, 0], [0, 0], *([p, p] for p in
                       _pairs(padding, rank))], mode="constant")  # fmt: skip
        config = {
            "strides": _pairs(stride, rank), "dilation_rate": _pairs(dilation, rank),
            "padding": padding if isinstance(padding, str) else "valid",
            "data_format": "channels_first",
        }  # fmt: skip
        found = Op("nn", "Conv", config, x, kernel)
        if bias is None:
            return found
        column = [-1, *[1] * rank]
        other = (_numpy("Reshape", bias, newshape=column) if type(bias) is Ref
                 else bias.reshape(column))  # fmt: skip
        return _numpy("Add", found, other)

    return made


def _pooled(kind: str, rank: int) -> Callable[..., Found]:
    def made(node: Node, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
             *args: Any, **kwargs: Any) -> Op:  # fmt: skip
        known = {"dilation": (1,), "ceil_mode": (False,), "return_indices": (False,),
                 "count_include_pad": (True, False), "divisor_override": (None,)}  # fmt: skip
        odd = [k for k, v in kwargs.items() if v not in known[k] and v != (1,) * rank]
        if args or odd or any(_pairs(padding, rank)) or len(x.spec.shape) != rank + 2:
            raise SaveError("Keras's pooling has no padding by numbers, dilation or ceil_mode")
        sizes = _pairs(kernel_size, rank)
        steps = sizes if stride is None or stride == [] else _pairs(stride, rank)
        config = {"pool_size": sizes, "strides": steps, "padding": "valid",
                  "data_format": "channels_first"}  # fmt: skip
        return Op("nn", kind, config, x)

    return made


_SPECIAL: dict[str, Callable[..., Found]] = {
    **dict.fromkeys(("and", "__and__"), _truth("LogicalAnd", "BitwiseAnd")),
    **dict.fromkeys(("or",), _truth("LogicalOr", "BitwiseOr")),
    **dict.fromkeys(("xor",), _truth("LogicalXor", "BitwiseXor")),
    **dict.fromkeys(("invert",), _truth("LogicalNot", "BitwiseInvert")),
    **dict.fromkeys(("add",), _scaled("Add")),
    **dict.fromkeys(("sub", "subtract"), _scaled("Subtract")),
    "rsub": _reversed("Subtract"), "rdiv": _reversed("TrueDivide"),
    "rpow": _reversed("Power"), "div": _divided, "divide": _divided,
    **dict.fromkeys(("reshape", "view", "flatten", "unflatten", "view_as", "reshape_as"),
                    _reshaped),
    "permute": _transposed, ".mT": _matrix_transposed, ".T": _all_transposed,
    "t": _all_transposed, "adjoint": _matrix_transposed, "squeeze": _squeezed,
    "getitem": _item,
    **dict.fromkeys(
        ("to", "type", "float", "double", "half", "bfloat16", "int", "long", "short", "bool",
         "char", "byte", "type_as"), _to),
    **dict.fromkeys(("contiguous", "real", ".real", "alias"), _real_numbers),
    **dict.fromkeys(("clamp", "clip"), _clamped),
    "clamp_min": lambda node, x, min: _clamped(node, x, min),
    "clamp_max": lambda node, x, max: _clamped(node, x, None, max),
    "where": _where, "masked_fill": _masked, "einsum": _einsum, "pad": _padded, "gelu": _gelu,
    "hardtanh": _hardtanh, "max": _extreme("Max", "Maximum"),
    "min": _extreme("Min", "Minimum"), "sort": _sorted,
    "var_mean": _both("Var"), "std_mean": _both("Std"), "var": _deviation("Var"),
    "std": _deviation("Std"), "prod": _product, "split": _split, "chunk": _chunked,
    "tensor_split": _chunked, "unsafe_split": _split, "expand": _expanded,
    "expand_as": _expanded, "broadcast_to": _expanded, "linear": _linear, "select": _selected,
    "narrow": _narrowed, "gather": _gathered, "index_select": _index_selected,
    "one_hot": _one_hot, "full_like": _full, "round": _rounded, "topk": _top, "norm": _norm,
    "vector_norm": _vector_norm, "normalize": _normalized, "addmm": _addmm,
    "baddbmm": _addmm, "layer_norm": _layer_norm, "lerp": _lerped,
    "quantile": _quantile("Quantile"), "nanquantile": _quantile("Nanquantile"), "mish": _mish,
    "addcmul": _fused("Multiply"), "addcdiv": _fused("TrueDivide"),
    "repeat_interleave": _repeated_each, "pos": _real_numbers,
    "scaled_dot_product_attention": _attended,
    **{f"conv{rank}d": _convolved(rank) for rank in (1, 2, 3)},
    **{f"max_pool{rank}d": _pooled("MaxPool", rank) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": _pooled("AveragePool", rank) for rank in (1, 2, 3)},
}  # fmt: skip
