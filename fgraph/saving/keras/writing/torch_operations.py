"""torch functions as Keras's operations: a table, and a check of each result.

Each operation found is run by `fgraph.ops` on symbolic tensors: Keras's result must have the shape
of torch's, and is cast if its dtype differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ....errors import SaveError
from ....graph import Node, Ref, memory
from ....graph.nested import iter_leaves, map_leaves
from ....graph.recording.input import input_like
from ....graph.torch_functions import torch_name
from ..keras_values import Values
from ..operations import operation
from . import torch_numbers, torch_shapes
from .keras_op import Found, KerasOp
from .torch_arguments import Rule, bound, rules

# operations that Keras on torch computes in 32 bits whatever it is given
NARROW = frozenset(
    "Arctan2 Ceil DotProductAttention Dot Floor FloorDivide Fmax Fmin Heaviside Hypot Inner Ldexp "
    "Logaddexp Logaddexp2 Matmul Maximum Median Minimum Nanmean Nanmedian Nanquantile Nanstd "
    "Nanvar Prod Quantile Std Var Vdot".split()
)
# methods that share the name of another function
_OTHERS = ("torch.Tensor.unfold", "torch.equal", "torch.linalg.cross")


def expressed(node: Node) -> KerasOp | list[KerasOp | str]:
    """Return Keras's equivalent of a torch function.

    Returns:
        An operation; or one for each output, or the reason why there is none.

    Raises:
        SaveError: there is nothing, or not for these arguments.
    """
    name = torch_name(node.target)
    if name is None:
        raise SaveError(
            "it was changed in place, seen through another tensor: write that out of place"
            if getattr(node.target, "__module__", "") == memory.__name__ else
            "it is a function of your own, which Keras does not have"
        )  # fmt: skip
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


def _by_rule(rule: Rule, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> KerasOp:
    given, config = bound(rule, name, args, kwargs)
    return KerasOp(rule.room, rule.kind, config, *given)


def is_narrow(op: KerasOp) -> bool:
    """Return whether Keras on torch computes an operation, or one inside it, in 32 bits."""
    leaves = iter_leaves((list(op.args), dict(op.kwargs)))
    return op.kind in NARROW or any(
        isinstance(leaf, KerasOp) and is_narrow(leaf) for leaf in leaves
    )


def result_of(op: KerasOp) -> Any:
    """Return the results of an operation, as symbolic tensors.

    Raises:
        SaveError: it refuses its arguments.
    """
    inputs: dict[Ref, Any] = {}

    def leaf(found: Any) -> Any:
        if isinstance(found, KerasOp):
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


_SPECIAL: dict[str, Callable[..., Found]] = {**torch_shapes.TABLE, **torch_numbers.TABLE}
