"""A device `"other"` without hardware, which refuses what a GPU would refuse.

Tensors on it are held on the host inside a tensor subclass that claims to be on a PrivateUse1
backend, so that factories, modules, autograd, autocast and optimizers take their ways of an
accelerator. Unlike torch's fake tensors they have values, so that results can be compared with the
host's, and `fit` runs to its end. Operations on tensors of different devices raise, with CUDA's
exceptions for numbers and indices; so do generators of another device. What would make the host
wait for the device is counted, and refused inside `refusing(waits=True)`.

A name for PrivateUse1 belongs to the whole process, and torch takes the device for the machine's
accelerator from then on. So `install` is for a process of its own: see `tests/devices/conftest.py`.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch

NAME = "other"
MISSING = (
    ""
    if hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
    else "this torch makes no device in Python"
)
aten = torch.ops.aten


class DeviceError(RuntimeError):
    """What CUDA would refuse, or would wait for."""


class Refused:
    """What is refused at the moment, and how often the host has waited."""

    waits = False
    double = False
    waited = 0


@contextmanager
def refusing(waits: bool = False, double: bool = False) -> Iterator[None]:
    """Refuse what makes the host wait for the device, or what computes in float64."""
    before = Refused.waits, Refused.double
    Refused.waits, Refused.double = waits, double
    try:
        yield
    finally:
        Refused.waits, Refused.double = before


class _OnDevice(torch._C.Generator):
    """A generator of the device, which torch does not make for a backend in Python."""

    # by their addresses, which are all that reaches an operation; kept, so that these stay theirs
    known: ClassVar[dict[int, torch._C.Generator]] = {}

    def __init__(self, device: torch.device) -> None:
        self.known[self._cdata] = self
        self._device = _numbered(device)

    def __new__(cls, device: torch.device) -> _OnDevice:
        return super().__new__(cls)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self._device


class _AnyGenerator(type):
    """Makes generators of all devices; all of them are instances of what it makes."""

    def __call__(cls, device: Any = "cpu") -> torch._C.Generator:
        device = torch.device(device)
        return _OnDevice(device) if device.type == NAME else torch._C.Generator(device)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, torch._C.Generator)


class _Generator(metaclass=_AnyGenerator):
    """Stands for `torch.Generator`."""


class OtherTensor(Tensor):
    """A tensor on the device, with its values in `host`."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: Tensor, device: torch.device) -> OtherTensor:
        made = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=device,
        )
        made.host = host
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OtherTensor({self.host}, device='{self.device}')"

    def tolist(self) -> Any:
        """Return the values as Python's numbers, as torch does for tensors on CUDA."""
        return self.cpu().tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        """Return the memory, which tells views from copies."""
        return self.host.untyped_storage()

    def data_ptr(self) -> int:
        """Return the address of the memory."""
        return self.host.data_ptr()

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse, as for tensors on CUDA."""
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy: use Tensor.cpu()"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError("only leaves of the graph of gradients can be copied deeply")
        made: Any = OtherTensor(self.detach().host.clone(), self.device)
        if isinstance(self, nn.Parameter):
            made = nn.Parameter(made, self.requires_grad)
        elif self.requires_grad:
            made.requires_grad_()
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        arguments = (self.detach().host, self.dtype, str(self.device), self.requires_grad)
        rebuild = (torch._utils._rebuild_device_tensor_from_cpu_tensor, arguments)
        if not isinstance(self, nn.Parameter):
            return rebuild
        return torch._utils._rebuild_parameter, (self.detach(), self.requires_grad, {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """Check the devices of a call, compute it on the host, and return its result."""
    tensors = [t for t in pytree.arg_tree_leaves(*args, **kwargs) if isinstance(t, Tensor)]
    device = _result_device(func, args, kwargs, tensors)
    _check_generator(func, kwargs.get("generator"), device)
    _check_wait(func, args, kwargs, device)
    host_args, host_kwargs = pytree.tree_map_only(OtherTensor, lambda t: t.host, (args, kwargs))
    if host_kwargs.get("device") is not None:
        host_kwargs["device"] = torch.device("cpu") if device.type == NAME else device
    result = _CELLS.get(func, func)(*host_args, **host_kwargs)
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # changes the shape of the tensor on the device as well
            func(*args, **kwargs)
    for tensor in tensors:
        if isinstance(tensor, OtherTensor) and tensor.shape != tensor.host.shape:
            raise NotImplementedError(f"{func} resizes a tensor, which the stand-in cannot follow")
    written = _written_returns(func)
    if written is not None:  # the arguments themselves are returned
        if device.type != NAME:
            _arriving(func, args, kwargs, args[0])
        found = [args[i] if isinstance(i, int) and i < len(args) else kwargs[n] for i, n in written]
        return found[0] if len(found) == 1 else tuple(found)
    if device.type != NAME:
        return _arriving(func, args, kwargs, result)
    if Refused.double and any(
        t.dtype == torch.float64 for t in pytree.tree_leaves(result) if isinstance(t, Tensor)
    ):
        raise DeviceError(f"{func} computes in float64")
    with torch.inference_mode(_makes_inference_tensors(func, args)):
        return pytree.tree_map_only(Tensor, lambda t: OtherTensor(t, device), result)


def _makes_inference_tensors(func: Any, args: Any) -> bool:
    """Return whether what a call makes belongs to inference mode; a view is as its base."""
    if torch.is_inference_mode_enabled() and any(r.alias_info for r in func._schema.returns):
        return bool(args[0].is_inference())
    return bool(torch.is_inference_mode_enabled())


@functools.cache
def _written_returns(func: Any) -> list[tuple[int, str]] | None:
    """Return which arguments a call in place, or with `out=`, returns; `None` for all others."""
    names = [argument.name for argument in func._schema.arguments]
    aliases = {
        frozenset(a.alias_info.before_set): (i, names[i])
        for i, a in enumerate(func._schema.arguments)
        if a.alias_info is not None and a.alias_info.is_write
    }
    found = [
        aliases.get(frozenset(r.alias_info.before_set))
        for r in func._schema.returns
        if r.alias_info is not None and r.alias_info.is_write
    ]
    return [entry for entry in found if entry is not None] or None


# numbers on the host are numbers to most operations, but not to these
_NO_NUMBERS = (
    "embedding", "index_select", "gather", "scatter", "nll_loss", "cat", "stack", "mm", "addmm",
    "bmm", "linear", "convolution", "_fused_", "bincount", "searchsorted", "bucketize", "nextafter",
)  # fmt: skip


def _result_device(func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> torch.device:
    """Return where the result is.

    Raises:
        DeviceError: the arguments are on different devices.
    """
    name = func._schema.name.removeprefix("aten::")
    if name == "copy_":
        return args[0].device  # type: ignore[no-any-return]
    if name == "_to_copy" or not tensors:
        return _numbered(kwargs.get("device") or args[0].device)
    if name == "_foreach_copy_":
        return args[0][0].device  # type: ignore[no-any-return]
    if name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"):
        indices = [i for i in args[1] if i is not None]
        if all(i.device.type == "cpu" for i in indices):
            tensors = [t for t in tensors if not any(t is i for i in indices)] or tensors
        elif not isinstance(args[0], OtherTensor):
            raise DeviceError(f"{name}: indices should be on cpu, as the indexed tensor is")
    found = {t.device for t in tensors if not _is_number(t, name)}
    found = found or {tensors[0].device}
    if len(found) > 1:
        listed = ", ".join(sorted(map(str, found)))
        raise DeviceError(f"{name}: expected all tensors to be on the same device, found {listed}")
    device = found.pop()
    written = _written_returns(func) or []
    for i, _ in written:
        if i < len(args) and isinstance(args[i], Tensor) and args[i].device != device:
            raise DeviceError(
                f"{name}: the result on {device} cannot be written to {args[i].device}"
            )
    return _numbered(kwargs.get("device") or device)


def _numbered(device: torch.device) -> torch.device:
    needs = device.type == NAME and device.index is None
    return torch.device(NAME, _Backend.current) if needs else device


def _is_number(tensor: Tensor, name: str) -> bool:
    """Return whether a tensor on the host is a number to an operation on the device."""
    numbers = not any(name.startswith(prefix) for prefix in _NO_NUMBERS)
    return numbers and tensor.device.type == "cpu" and tensor.dim() == 0


def _check_generator(func: Any, generator: Any, device: Any) -> None:
    if generator is None or device.type != NAME or generator._cdata in _OnDevice.known:
        return
    raise DeviceError(f"{func}: expected a generator of {NAME!r}, found one of the host")


_READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim",
          "unique_consecutive", "is_nonzero", "repeat_interleave", "bincount")  # fmt: skip


_under_way: list[tuple[Tensor, Tensor]] = []


def _arriving(func: Any, args: Any, kwargs: Any, result: Any) -> Any:
    """Leave what is copied to the host without waiting undefined until the host waits."""
    name = func._schema.name.removeprefix("aten::")
    non_blocking = kwargs.get("non_blocking", name == "copy_" and len(args) > 2 and args[2])
    if name in ("_to_copy", "copy_") and non_blocking:
        _under_way.append((result, result.clone()))
        result.fill_(torch.nan if result.is_floating_point() else 0)
    return result


def _check_wait(func: Any, args: Any, kwargs: Any, device: torch.device) -> None:
    """Count what makes the host wait; refuse it where nothing should."""
    name = func._schema.name.removeprefix("aten::")
    waits = name in _READS and not (name == "repeat_interleave" and "output_size" in kwargs)
    if name == "copy_":
        non_blocking = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
        waits = args[1].device.type != args[0].device.type and not non_blocking
    elif name == "_to_copy":
        waits = device.type != args[0].device.type and not kwargs.get("non_blocking", False)
    elif name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        waits = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    if not waits:
        return
    Refused.waited += 1
    for target, value in _under_way:
        target.copy_(value)
    _under_way.clear()
    if Refused.waits:
        raise DeviceError(f"{func} makes the host wait for the device")


def _lstm_cell(
    from_input: Tensor, from_state: Tensor, cell: Tensor, *biases: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what CUDA's fused kernel computes: the new state and cell, and a workspace."""
    gates = sum((bias for bias in biases if bias is not None), from_input + from_state)
    i, f, g, o = gates.chunk(4, -1)
    new = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * new.tanh(), new, gates.detach()


def _gru_cell(
    from_input: Tensor,
    from_state: Tensor,
    state: Tensor,
    input_bias: Tensor | None = None,
    state_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute what CUDA's fused kernel computes: the new state, and a workspace."""
    if input_bias is not None and state_bias is not None:
        from_input, from_state = from_input + input_bias, from_state + state_bias
    (ir, iz, ic), (hr, hz, hc) = from_input.chunk(3, -1), from_state.chunk(3, -1)
    reset, update = (ir + hr).sigmoid(), (iz + hz).sigmoid()
    candidate = (ic + reset * hc).tanh()
    return (state - candidate) * update + candidate, candidate.detach()


_CELLS = {
    aten._thnn_fused_lstm_cell.default: _lstm_cell,
    aten._thnn_fused_gru_cell.default: _gru_cell,
}


class _Backend:
    """The module that torch asks about the device."""

    current = 0

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def current_device(self) -> int:
        return _Backend.current

    def set_device(self, device: int) -> None:
        _Backend.current = device

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: Any = NAME) -> Tensor:
        return torch.zeros(16, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: Any = NAME) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


# made on the device from no tensor at all
_FACTORIES = [
    "empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step", "eye",
    "eye.m", "linspace", "logspace", "randperm", "randperm.generator", "tril_indices",
    "triu_indices", "full", "scalar_tensor",
]  # fmt: skip

# by https://docs.pytorch.org/docs/stable/amp.html#cuda-op-specific-behavior
_AUTOCAST_LOW = [
    "linear", "matmul", "mm", "bmm", "addmm", "addbmm", "baddbmm", "addmv", "mv", "einsum",
    "conv1d", "conv2d.padding", "conv2d", "conv3d", "conv1d.padding", "conv3d.padding",
    "conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input", "prelu",
    "scaled_dot_product_attention", "lstm_cell", "gru_cell", "rnn_tanh_cell",
]  # fmt: skip
_AUTOCAST_FULL = [
    "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal",
    "rsqrt", "sinh", "tan", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "softplus",
    "layer_norm", "group_norm", "frobenius_norm.dim", "nuclear_norm", "cosine_similarity",
    "poisson_nll_loss", "cosine_embedding_loss", "nll_loss", "nll_loss_nd", "hinge_embedding_loss",
    "kl_div", "l1_loss", "smooth_l1_loss", "huber_loss", "mse_loss", "margin_ranking_loss",
    "multilabel_margin_loss", "soft_margin_loss", "triplet_margin_loss", "multi_margin_loss",
    "binary_cross_entropy_with_logits", "dist", "pdist", "cdist", "renorm", "cross_entropy_loss",
    "softmax.int", "log_softmax.int", "cumprod", "cumsum", "sum", "sum.dim_IntList", "prod",
    "prod.dim_int", "norm.ScalarOpt_dim", "norm.Scalar",
]  # fmt: skip
_AUTOCAST_REFUSED = ["binary_cross_entropy"]

_libraries: list[torch.library.Library] = []


def install() -> None:
    """Make the device, once a process."""
    if _libraries:
        return
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Backend())
    torch.Generator = _Generator  # type: ignore[assignment, misc]
    nn.Module._apply = _keeping_parameters(nn.Module._apply)  # type: ignore[method-assign]
    library = torch.library.Library("aten", "IMPL")
    everything = torch.library.Library("_", "IMPL")
    _libraries.extend((library, everything))
    for name in _FACTORIES:
        library.impl(name, functools.partial(_factory, _operation(name)), "PrivateUse1")
    for func, cell in _CELLS.items():
        library.impl(func, cell, "AutogradPrivateUse1")
    for func in (aten.copy_.default, aten._to_copy.default):  # torch.tensor goes around subclasses
        library.impl(func, functools.partial(_called, func), "PrivateUse1")
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for names, kernel in (
        (_AUTOCAST_LOW, _in_low_precision),
        (_AUTOCAST_FULL, _in_full_precision),
        (_AUTOCAST_REFUSED, _refused_in_autocast),
    ):
        for name in names:
            kernel_of = functools.partial(kernel, _operation(name))
            library.impl(name, kernel_of, "AutocastPrivateUse1")


def _keeping_parameters(apply: Any) -> Any:
    """Let modules keep their parameter objects when they move, as they do on CUDA."""

    @functools.wraps(apply)
    def wrapped(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return apply(module, *args, **kwargs)
        except RuntimeError:  # garbage that refers to a parameter is in the way
            gc.collect()
            return apply(module, *args, **kwargs)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    return wrapped


def _operation(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(aten, packet), overload or "default")


def _called(func: Any, *args: Any, **kwargs: Any) -> Any:
    return _run(func, args, kwargs)


def _factory(func: Any, *args: Any, **kwargs: Any) -> OtherTensor:
    """Make a tensor on the device."""
    _check_generator(func, kwargs.get("generator"), torch.device(NAME))
    kwargs.pop("pin_memory", None)
    device = _numbered(kwargs.pop("device", None) or torch.device(NAME))
    host = func(*args, **kwargs, device=torch.device("cpu"))
    if Refused.double and host.dtype == torch.float64:
        raise DeviceError(f"{func} makes a tensor of float64")
    return OtherTensor(host, device)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    def cast(tensor: Tensor) -> Tensor:
        floats = tensor.is_floating_point() and tensor.dtype != torch.float64
        return tensor.to(dtype) if floats and tensor.device.type == NAME else tensor

    return pytree.tree_map_only(Tensor, cast, value)


def _without_autocast(func: Any, args: Any, kwargs: Any) -> Any:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
    with torch._C._ExcludeDispatchKeyGuard(keys):
        return func(*args, **kwargs)


def _in_low_precision(func: Any, *args: Any, **kwargs: Any) -> Any:
    dtype = torch.get_autocast_dtype(NAME)
    return _without_autocast(func, _cast(args, dtype), _cast(kwargs, dtype))


def _in_full_precision(func: Any, *args: Any, **kwargs: Any) -> Any:
    return _without_autocast(func, _cast(args, torch.float32), _cast(kwargs, torch.float32))


def _refused_in_autocast(func: Any, *args: Any, **kwargs: Any) -> Any:
    raise DeviceError(f"{func} is unsafe to autocast: use the loss that takes logits")
