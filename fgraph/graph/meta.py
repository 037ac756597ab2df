"""Running a call on `meta` tensors, without side effects.

Every real tensor that an operation meets is replaced by a `meta` tensor of its shape, modules by
shallow copies, and factories are sent to `meta` as well: no random number is drawn, no buffer is
updated and no memory is taken.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from .closures import LiftedFunction
from .memory import Watch
from .modes import Autocast, Modes, under
from .module_copies import call_of_copy, copy_without_hooks
from .nested import iter_leaves, map_leaves
from .node import Node, Ref
from .plain_calls import is_plain
from .sized_by_values import SIZED_BY_VALUES, pack
from .specs import DeviceSpec, TensorSpec
from .torch_functions import torch_name


def run_on_meta(
    node: Node, lane: Mapping[Ref, Any], watch: Watch | None = None, number: int = 0
) -> tuple[Any, _MetaMode]:
    """Run a call on meta tensors; return the result and what was seen on the way.

    Args:
        node: the call.
        lane: for each `Ref` the shape of the meta tensor, or the number, that stands for it.
        watch: is told what the call does to memory.
        number: the number of the lane, on which stand-ins for sizes decided by values depend.

    Where the way depends on the truth value of a tensor, which has none here, the call is run for
    both answers. An answer that ends in an error is left out, as the check of values that it is.

    Raises:
        NotImplementedError: the answers lead to results of different shapes.
    """
    results = []
    for answer in (False, True):
        mode = _MetaMode(answer, number)
        outer, _inferring.now = _inferring.now, True
        try:
            try:
                with _autocasting(mode, node.autocast):
                    results.append(_run(node, lane, mode, watch))
            except NotImplementedError as error:
                if mode.device != "meta" or not _lacks_kernel(error):
                    raise
                mode = _MetaMode(answer, number)
                results.append(_run_on_fakes(node, lane, mode, watch, error))
        except Exception:
            if not mode.asked or (answer and not results):
                raise
        finally:
            _inferring.now = outer
        if not mode.asked:
            break
    if len(results) == 2 and _outline(results[0]) != _outline(results[1]):
        raise NotImplementedError("the shape of the result depends on values")
    return results[0], mode


class _Inferring(threading.local):
    """Whether this thread runs a call on meta tensors."""

    now = False


_inferring = _Inferring()


def is_inferring() -> bool:
    """Return whether this thread runs a call on meta tensors now."""
    return _inferring.now


def _run(node: Node, lane: Mapping[Ref, Any], mode: _MetaMode, watch: Watch | None) -> Any:
    target, args, kwargs = node.target, node.args, node.kwargs
    given: list[tuple[Any, Any]] = []

    def concrete(leaf: Any) -> Any:
        if type(leaf) is Ref:
            spec, stand_in = leaf.spec, lane[leaf]
            if type(spec) is not TensorSpec:
                given.append((None, None))
                return torch.device(mode.device) if type(spec) is DeviceSpec else stand_in
            made = torch.empty(stand_in, dtype=spec.dtype, device=mode.device)
            given.append((made, stand_in))
            return made
        if isinstance(leaf, nn.Module):
            return copy_without_hooks(leaf)
        return mode.to_meta(leaf) if isinstance(leaf, Tensor) else leaf

    known = [leaf for leaf in iter_leaves((args, kwargs)) if isinstance(leaf, (Tensor, nn.Module))]
    with torch.inference_mode(False), torch.no_grad():
        if isinstance(target, LiftedFunction):
            with contextlib.suppress(RuntimeError):  # else it runs with the real modules
                target = target.with_captured(tuple(map(concrete, args[0])))
            target, args, kwargs = target.original_call((target.captured, *args[1:]), kwargs)
        args, kwargs = map_leaves(concrete, args), map_leaves(concrete, kwargs)
        call = target
        if isinstance(target, nn.Module):
            call = call_of_copy(target, watch is not None and watch.evaluating)
        with mode, warnings.catch_warnings(action="ignore"):  # they come at run time
            result = call(*args, **kwargs)
        if watch is not None:
            watch.see(given, result, mode.stand_ins())
    if torch_name(target) is None and not isinstance(target, nn.Module):
        mode.refuse_strangers(known)
    return result


def _lacks_kernel(error: NotImplementedError) -> bool:
    """Whether an operation cannot run on meta tensors, for lack of a kernel."""
    return "Meta" in str(error) or "fake impl" in str(error)


def _run_on_fakes(
    node: Node,
    lane: Mapping[Ref, Any],
    mode: _MetaMode,
    watch: Watch | None,
    error: Exception,
) -> Any:
    """Run on torch's fake tensors, which call the kernels of the CPU on zeros if need be.

    They refuse operations whose results have sizes that values decide.

    Raises:
        Exception: `error`, if that fails as well, or the result is a sparse tensor.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode  # slow to import, seldom needed

    mode.device = "cpu"
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            result = _run(node, lane, mode, watch)
    except Exception:
        raise error from None
    leaves = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
    if any(leaf.layout is not torch.strided for leaf in leaves):
        raise error
    return result


@contextmanager
def _autocasting(mode: _MetaMode, autocast: tuple[Autocast, ...]) -> Iterator[None]:
    """Run on torch's fake tensors of the device that `autocast` is for: meta tensors ignore it."""
    device = next((settings.device for settings in reversed(autocast) if settings.enabled), None)
    if device is None:
        yield
        return
    from torch._subclasses.fake_tensor import FakeTensorMode  # slow to import, seldom needed

    mode.device = device
    with FakeTensorMode(allow_non_fake_inputs=True), under(Modes("", autocast)):
        yield


def _outline(result: Any) -> Any:
    """Return all that is known of a result: its structure, shapes, dtypes and plain values."""
    leaves, structure = pytree.tree_flatten(result)
    return structure, [
        (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves
    ]


FACTORIES = frozenset(
    getattr(torch, name)
    for name in (
        "arange", "bartlett_window", "blackman_window", "empty", "empty_permuted",
        "empty_strided", "eye", "full", "hamming_window", "hann_window", "kaiser_window",
        "linspace", "logspace", "normal", "ones", "rand", "randint", "randn", "randperm",
        "range", "scalar_tensor", "tril_indices", "triu_indices", "zeros",
    )
)  # fmt: skip
# their values may be read later on, to decide the way
_FROM_DATA = frozenset({torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy})
_READS = frozenset({"item", "tolist", "numpy", "__array__"}) | frozenset(
    {"__bool__", "__int__", "__float__", "__index__", "__complex__", "__repr__", "__format__"}
)
_TRUTH_VALUES = frozenset(
    {Tensor.__bool__, Tensor.__contains__, Tensor.is_nonzero, Tensor.equal, Tensor.allclose}
    | {torch.is_nonzero, torch.equal, torch.allclose}
    | {torch._nested_tensor_from_mask_left_aligned}  # asked by nn.TransformerEncoder
)
_MOST_QUESTIONS = 250  # in one run: a loop that waits for a condition would never end
_MOVES = frozenset({Tensor.to, Tensor.cuda, Tensor.cpu, Tensor.pin_memory})


class _MetaMode(TorchFunctionMode):
    """Replaces real tensors by meta tensors in everything that runs inside.

    Args:
        answer: the truth value of every meta tensor that is asked for one.
        number: the number of the lane.

    Attributes:
        asked: how often a truth value was asked for.
        device: where the stand-ins are.
        calls: how many torch functions were called.
        counted: whether values decide on a size: how many elements a mask selects.
        plain: whether all that was called are functions whose results have the sizes of their
            arguments or settings, and no size was read.
    """

    def __init__(self, answer: bool, number: int) -> None:
        super().__init__()
        self.asked = 0
        self.counted = False
        self.plain = True
        self._number = number
        self.device = "meta"
        self.calls = 0
        self._answer = answer
        self._batch_sizes: dict[int, Tensor] = {}  # those of packed sequences, which are read
        self._stand_ins: dict[Any, tuple[Tensor, Tensor]] = {}  # keeps the keys' tensors alive

    def stand_ins(self) -> list[Tensor]:
        """Return the tensors that stood for real ones in this run."""
        return [stand_in for _, stand_in in self._stand_ins.values()]

    def to_meta(self, tensor: Tensor) -> Tensor:
        """Return the meta tensor that stands for `tensor` in this run."""
        if id(tensor) in self._batch_sizes:
            return tensor
        if not _has_values(tensor) and not isinstance(tensor, nn.Parameter):
            return tensor
        return self._stand_in(tensor, self._meta_like)

    def _meta_like(self, tensor: Tensor) -> Tensor:
        if tensor.layout is torch.strided and not tensor.is_quantized:
            return torch.empty_strided(
                tensor.size(), tensor.stride(), dtype=tensor.dtype, device=self.device
            )
        return tensor.to(self.device)

    def _stand_in(self, tensor: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        key = (id(tensor), make)
        found = self._stand_ins.get(key)
        if found is None:
            found = self._stand_ins[key] = (tensor, make(tensor))
        return found[1]

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func` with everything real in its arguments replaced."""
        self.calls += 1
        kwargs = dict(kwargs or {})
        self.plain = self.plain and is_plain(func, args, kwargs)
        tensors = [leaf for leaf in iter_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if len(tensors) == 1 and id(tensors[0]) in self._batch_sizes:
            return func(*args, **kwargs)
        if tensors and all(map(_is_count, tensors)):
            return func(*map_leaves(self._count, args), **map_leaves(self._count, kwargs))
        if getattr(func, "__name__", "") in _READS and _has_values(args[0]):
            return func(*args, **kwargs)  # a real value that decides the way: read it
        if func in _TRUTH_VALUES:
            self.plain = False
            return self._decide()
        if self._takes_device(func, tensors, kwargs):
            kwargs["device"] = self.device
            kwargs.pop("pin_memory", None)
        kwargs.pop("generator", None)
        args, kwargs = map_leaves(self._meta, args), map_leaves(self._meta, kwargs)
        if func in _MOVES:
            return _cast_only(*args, **kwargs)
        if (rule := _RULES.get(func)) is not None:
            return rule(func, *args, **kwargs)
        if (by_values := SIZED_BY_VALUES.get(getattr(func, "__name__", ""))) is not None:
            found = by_values(self._count_of, func, *args, **kwargs)
            if by_values is pack:
                self._batch_sizes[id(found[1])] = found[1]
            return found
        return func(*args, **kwargs)

    def _count_of(self, most: int) -> int:
        """Return what stands for the number of elements of `most` that some values select.

        It is not the same in any two of the main lanes (-2 and -1); multiples of `most` can be
        reshaped as masks of rows of one length are, and small numbers show what limits do.
        """
        self.counted = True
        if self._number < 0:
            return most * -self._number
        again, lane = divmod(self._number, LANES)
        return most * (1 + again) if lane % 2 else min(lane, most) + again

    @staticmethod
    def _takes_device(func: Any, tensors: list[Tensor], kwargs: dict[str, Any]) -> bool:
        if kwargs.get("device") is not None:
            return func not in _FROM_DATA
        return func in FACTORIES and not (func is torch.normal and tensors)

    def refuse_strangers(self, known: list[Tensor | nn.Module]) -> None:
        """Refuse a call that met parameters which are not those of `known`."""
        ids = {id(p) for part in known for p in _parameters(part)}
        for tensor, _ in self._stand_ins.values():
            if isinstance(tensor, nn.Parameter) and _has_values(tensor) and id(tensor) not in ids:
                raise TypeError(
                    f"it uses a parameter of shape {tuple(tensor.shape)} that is not among its "
                    "arguments, and would not be trained: make the parameter, or the module that "
                    "it belongs to, an argument, as in `fgraph.apply(function, x, module)`"
                )

    def _decide(self) -> bool:
        self.asked += 1
        if self.asked > _MOST_QUESTIONS:
            raise NotImplementedError("a loop depends on values")
        return self._answer

    def _meta(self, leaf: Any) -> Any:
        return self.to_meta(leaf) if isinstance(leaf, Tensor) else leaf

    def _count(self, leaf: Any) -> Any:
        return self._stand_in(leaf, Tensor.clone) if isinstance(leaf, Tensor) else leaf


def _parameters(part: Tensor | nn.Module) -> Iterable[Tensor]:
    return part.parameters() if isinstance(part, nn.Module) else (part,)


def _has_values(tensor: Tensor) -> bool:
    """Whether a tensor is real: neither a meta tensor nor one of torch's fake tensors."""
    return tensor.device.type != "meta" and type(tensor).__name__ != "FakeTensor"


def _is_count(tensor: Tensor) -> bool:
    """Whether `tensor` is a real counter or flag: these keep their values, in private copies.

    Modules count their calls in buffers and read them (`BatchNorm2d(momentum=None)`), or mark
    there that they are initialised.
    """
    return (
        tensor.dim() == 0
        and tensor.device.type == "cpu"
        and not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized)
    )


def _cast_only(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to` and its kin on meta: the dtype counts, the device does not."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.dtype):
            return tensor.to(value)
        if isinstance(value, Tensor):
            return tensor.to(value.dtype)
    return tensor


def _recurrent(func: Callable[..., Any], *args: Any) -> Any:
    """Return what a recurrent kernel returns, from the shapes of its input and states.

    torch's meta kernel unrolls the sequence: half a second for 140 steps.

    Args:
        func: `torch.lstm` or its kin.
        *args: `(input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
            batch_first)`; for packed sequences `(input, batch_sizes, hx, ..., bidirectional)`.
    """
    is_packed = not isinstance(args[3], bool)
    sequence, states, bidirectional = args[0], args[1 + is_packed], args[7 + is_packed]
    states = states if isinstance(states, (tuple, list)) else (states,)
    width = states[0].shape[-1] * (2 if bidirectional else 1)
    dtype, device = sequence.dtype, sequence.device.type
    if device != "meta" and (device, func) != ("cpu", torch.gru):  # under autocast
        dtype = torch.get_autocast_dtype(device)
    output = sequence.new_empty((*sequence.shape[:-1], width), dtype=dtype)
    return (output, *(torch.empty_like(state, dtype=dtype) for state in states))


LANES = 15  # probe lanes; a number beyond stands for a lane with other counts


def _gradients(func: Any, outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what `torch.autograd.grad` returns: no gradients are followed on meta tensors."""
    if kwargs.get("is_grads_batched"):
        raise NotImplementedError("batched gradients are not followed")
    inputs = (inputs,) if isinstance(inputs, Tensor) else inputs
    return tuple(map(torch.empty_like, inputs))


def _batch_norm(
    func: Callable[..., Any],
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    *settings: Any,
    **named: Any,
) -> Any:
    """Return what `batch_norm` returns; torch's meta kernel is Python, and takes milliseconds.

    What is unusual, and may be refused, is left to torch.
    """
    given = [t for t in (mean, variance, weight, bias) if t is not None]
    usual = x.device.type == "meta" and all(
        t.shape == x.shape[1:2] and t.dtype == x.dtype for t in given
    )
    if not usual or x.numel() == x.shape[1] or (not training and len(given) < 2):
        return func(x, mean, variance, weight, bias, training, *settings, **named)
    if training:  # counts as a change where the statistics are inputs
        for statistic in (mean, variance):
            if statistic is not None:
                statistic.zero_()
    return torch.empty_like(x)


def _inverse_stft(
    func: Any,
    x: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """Return what `torch.istft` returns, which looks at the values of the window."""
    whole = n_fft + (hop_length or n_fft // 4) * (x.shape[-1] - 1)
    found = (whole - n_fft // 2 * 2 if center else whole) if length is None else length
    return x.new_empty((*x.shape[:-2], found), dtype=x.dtype if return_complex else x.real.dtype)


def _ctc_loss(func: Any, scores: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return what `ctc_loss` returns for scores of shape `(steps, batch, classes)`."""
    reduction = args[4] if len(args) > 4 else kwargs.get("reduction", "mean")
    return scores.new_empty(scores.shape[1:-1] if reduction in ("none", 0) else ())


def _grouped_mm(
    func: Any, a: Tensor, b: Tensor, *, offs: Tensor | None = None, **settings: Any
) -> Tensor:
    """Return what `grouped_mm` returns, whose meta kernel takes no dtype but bfloat16."""
    if offs is None:
        shape = torch.bmm(a, b).shape
    else:
        groups = offs.shape[:1] if a.dim() == b.dim() else ()
        shape = torch.Size((*groups, a.shape[-2], b.shape[-1]))
    return a.new_empty(shape, dtype=settings.get("out_dtype"))


def _no_hook(func: Any, tensor: Tensor, *args: Any) -> RemovableHandle | None:
    """Return what registering a hook on the gradient returns: no gradients are followed here."""
    return None if func is Tensor.retain_grad else RemovableHandle(OrderedDict())


_RULES: dict[Any, Callable[..., Any]] = dict.fromkeys(
    (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu), _recurrent
) | {
    torch.autograd.grad: _gradients,
    nn.functional.batch_norm: _batch_norm,
    torch.ctc_loss: _ctc_loss,
    **{
        function: _grouped_mm
        for function in (
            getattr(torch, "_grouped_mm", None),
            getattr(nn.functional, "grouped_mm", None),
        )
    },
    nn.functional.ctc_loss: _ctc_loss,
    torch.istft: _inverse_stft,
    Tensor.istft: _inverse_stft,
    Tensor.register_hook: _no_hook,
    Tensor.retain_grad: _no_hook,
}
