"""Shape inference: run one call on `meta` tensors, twice, without a trace in the real world.

Every unknown size is stood in for by two different numbers; a call is run once with each, and a
size of the result that differs is unknown too. Nothing real is touched: modules are replaced by
shadows (their attributes, none of their hooks), every real tensor that an operation meets by a
`meta` tensor of its shape, and factories are sent to `meta` as well, so that no random number is
drawn, no buffer is updated and no memory is taken.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from .names import torch_name
from .node import Constant, Ref, SizeSpec, Spec, TensorSpec
from .structure import iter_leaves, map_leaves

# Stand-ins for an unknown batch size and for any other unknown size. Both pairs have many small
# divisors, for code that folds or halves sizes; the second one is large enough for a deep stack of
# poolings and small enough for a table of positions.
BATCH = (24, 36)
OTHER = (192, 288)

Inferred = tuple[list[Spec], "pytree.TreeSpec | None"]


def spec_of(shape: tuple[int | None, ...], dtype: torch.dtype) -> TensorSpec:
    """Make the spec of a tensor whose unknown sizes are `None`; the first size is the batch."""
    first, second = (
        tuple(
            size if size is not None else (BATCH if axis == 0 else OTHER)[which]
            for axis, size in enumerate(shape)
        )
        for which in (0, 1)
    )
    return TensorSpec(first, second, dtype)


def infer(op: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inferred:
    """Return the specs of the leaves of `target(*args, **kwargs)`, and the result's structure.

    Results of torch's own modules and functions are remembered by their settings and the specs of
    their inputs.

    Raises:
        Exception: whatever the call itself raises when the shapes do not fit.
    """
    key = _cache_key(op, target, args, kwargs)
    if key is not None and (known := _cache.get(key)) is not None:
        return known
    result = _infer(target, args, kwargs)
    if key is not None:
        if len(_cache) >= _CACHE_SIZE:
            _cache.clear()
        _cache[key] = result
    return result


_CACHE_SIZE = 4096
_cache: dict[Any, Inferred] = {}


def _infer(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inferred:
    first = _run(target, args, kwargs, 0)
    known = all(
        leaf.spec.first == leaf.spec.second
        for leaf in iter_leaves((args, kwargs))
        if type(leaf) is Ref
    )
    second = first if known else _run(target, args, kwargs, 1)
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return [_pair(first, second)], None
    first_leaves, structure = pytree.tree_flatten(first)
    second_leaves, other = pytree.tree_flatten(second)
    if structure != other:
        raise TypeError(
            "the structure of the result depends on sizes that are not known until run time"
        )
    return [_pair(a, b) for a, b in zip(first_leaves, second_leaves, strict=True)], structure


def _pair(first: Any, second: Any) -> Spec:
    """Merge one leaf of both runs into what is known of it."""
    if isinstance(first, Tensor):
        if first.dim() != second.dim():
            raise TypeError("the number of dimensions depends on a size not known until run time")
        return TensorSpec(tuple(first.shape), tuple(second.shape), first.dtype)
    if type(first) is int and first != second:
        return SizeSpec(first, second)
    return Constant(first)


def _run(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], which: int) -> Any:
    """Call `target` on meta tensors, with the `which`-th stand-in for each unknown size."""
    mode = _MetaMode()

    def concrete(leaf: Any) -> Any:
        if type(leaf) is Ref:
            spec = leaf.spec
            if type(spec) is SizeSpec:
                return spec[which]
            return torch.empty(spec[which], dtype=spec[2], device="meta")
        return mode.to_meta(leaf) if isinstance(leaf, Tensor) else leaf

    args, kwargs = map_leaves(concrete, args), map_leaves(concrete, kwargs)
    call = shadow_call(target) if isinstance(target, nn.Module) else target
    with torch.no_grad(), mode:
        return call(*args, **kwargs)


# ------------------------------------------------------------------ running without a trace

_FACTORIES = frozenset(
    getattr(torch, name)
    for name in (
        "arange", "bartlett_window", "blackman_window", "empty", "empty_permuted",
        "empty_strided", "eye", "full", "hamming_window", "hann_window", "kaiser_window",
        "linspace", "logspace", "normal", "ones", "rand", "randint", "randn", "randperm",
        "range", "scalar_tensor", "tril_indices", "triu_indices", "zeros",
    )
)  # fmt: skip
_READS = frozenset({"item", "tolist", "numpy", "__array__"}) | frozenset(
    {"__bool__", "__int__", "__float__", "__index__", "__complex__", "__repr__", "__format__"}
)
_MOVES = frozenset({Tensor.to, Tensor.cuda, Tensor.cpu, Tensor.pin_memory})
# torch's meta kernels of these unroll the sequence: half a second for 140 steps
_RECURRENT = frozenset({torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu})


class _MetaMode(TorchFunctionMode):
    """Replaces real tensors by meta tensors in everything that runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self._meta: dict[int, tuple[Tensor, Tensor]] = {}  # keeps the keys' tensors alive

    def to_meta(self, tensor: Tensor) -> Tensor:
        """Return the meta tensor that stands for `tensor` in this run."""
        if tensor.device.type == "meta" and type(tensor) is Tensor:
            return tensor
        found = self._meta.get(id(tensor))
        if found is None:
            found = self._meta[id(tensor)] = (tensor, _meta_like(tensor))
        return found[1]

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func` with everything real in its arguments replaced."""
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") in _READS and args[0].device.type != "meta":
            return func(*args, **kwargs)  # a real value that decides the way: read it
        if func in _FACTORIES:
            kwargs["device"] = "meta"
            kwargs.pop("generator", None)
            kwargs.pop("pin_memory", None)
        args = map_leaves(self._leaf, args)
        kwargs = {name: map_leaves(self._leaf, value) for name, value in kwargs.items()}
        if func in _MOVES:
            return _cast_only(*args, **kwargs)
        if func in _RECURRENT:
            return _one_step(func, args, kwargs)
        return func(*args, **kwargs)

    def _leaf(self, leaf: Any) -> Any:
        return self.to_meta(leaf) if isinstance(leaf, Tensor) else leaf


def _meta_like(tensor: Tensor) -> Tensor:
    if tensor.layout is torch.strided and not tensor.is_quantized:
        return torch.empty_strided(
            tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta"
        )
    return tensor.to("meta")


def _cast_only(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to` and its kin on meta: the dtype counts, the device does not."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.dtype):
            return tensor.to(value)
        if isinstance(value, Tensor):
            return tensor.to(value.dtype)
    return tensor


def _one_step(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a recurrent kernel on the first step only, and give its output the full length.

    `args` are those of `torch.lstm` and its kin: `(input, hx, params, has_biases, num_layers,
    dropout, train, bidirectional, batch_first)`. Packed sequences have a tensor second to
    `input`'s data and pass through.
    """
    if len(args) != 9 or not isinstance(args[3], bool):
        return func(*args, **kwargs)
    sequence, time = args[0], 1 if args[8] else 0
    length = sequence.shape[time]
    if length < 2:
        return func(*args, **kwargs)
    output, *states = func(sequence.narrow(time, 0, 1), *args[1:], **kwargs)
    shape = list(output.shape)
    shape[time] = length
    return (output.new_empty(shape), *states)


# ------------------------------------------------------------------ shadows of modules


def shadow_call(module: nn.Module) -> Callable[..., Any]:
    """Return a callable that does what `module.forward` does, on a shadow of it.

    The shadow shares everything with the module but the dictionaries that a forward could write
    to, and fires no hook: whatever the forward sets on `self` is forgotten.
    """
    if isinstance(module, torch.jit.ScriptModule):
        import copy

        return cast(Callable[..., Any], copy.deepcopy(module).to("meta"))
    return cast(Callable[..., Any], _shadow(module)._compiled_call_impl)


def _shadow(module: nn.Module) -> nn.Module:
    shadows: dict[int, nn.Module] = {}
    stack = [module]
    while stack:
        real = stack.pop()
        if id(real) in shadows:
            continue
        shadows[id(real)] = _shadow_one(real)
        stack.extend(child for child in real._modules.values() if child is not None)
    for shadow in shadows.values():
        shadow.__dict__["_modules"] = {
            name: None if child is None else shadows[id(child)]
            for name, child in shadow._modules.items()
        }
    return shadows[id(module)]


def _shadow_one(real: nn.Module) -> nn.Module:
    shadow: nn.Module = object.__new__(type(real))
    for name, value in real.__dict__.items():
        shadow.__dict__[name] = value.copy() if type(value) in (dict, list, set) else value
    # what nn.Module.__call__ prefers over hooks and forward
    impl: Any = shadow.forward
    if _is_uninitialised(real):
        impl = _initialising_call(real)
    elif (compiled := real._modules.get("_orig_mod")) is not None:  # torch.compile's wrapper
        impl = _shadow(compiled)._compiled_call_impl
    shadow.__dict__["_compiled_call_impl"] = impl
    return shadow


def _is_uninitialised(module: nn.Module) -> bool:
    return isinstance(module, LazyModuleMixin) and module.has_uninitialized_params()  # type: ignore[misc]


def _initialising_call(real: nn.Module) -> Callable[..., Any]:
    """Initialise a lazy module for real when its shadow is called, then run a fresh shadow."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if _is_uninitialised(real):
            with torch._C.DisableTorchFunction():
                real._infer_parameters(real, args, kwargs)
        return shadow_call(real)(*args, **kwargs)

    return call


# ------------------------------------------------------------------ remembering results

_Uncacheable = type("_Uncacheable", (Exception,), {})
_PLAIN = (int, float, bool, str, complex, type(None), torch.dtype, torch.Size, type(Ellipsis))
_PLAIN_TYPES = frozenset({*_PLAIN, torch.device, torch.memory_format, torch.layout})
_BOOKKEEPING = frozenset(nn.Module().__dict__) - {"training"}


def _cache_key(op: str, target: Any, args: Any, kwargs: Any) -> Any:
    """Return what a call's result shape depends on, or `None` where that is not known."""
    try:
        if op == "module":
            head = _module_key(target)
        elif torch_name(target) is not None:
            head = target
        else:
            return None
        return (head, _value_key(args), _value_key(kwargs) if kwargs else None)
    except _Uncacheable:
        return None


def _value_key(value: Any) -> Any:
    kind = type(value)
    if kind is Ref:
        return value.spec
    if kind in _PLAIN_TYPES:
        return (kind, value)
    if kind is tuple or kind is list:
        return (kind, *[_value_key(item) for item in value])
    if kind is dict:
        return (kind, *[(key, _value_key(item)) for key, item in value.items()])
    if kind is slice:
        return (kind, _value_key((value.start, value.stop, value.step)))
    raise _Uncacheable


def _module_key(module: nn.Module) -> Any:
    """Key a module of `torch.nn` by its class, its attributes, and those of its children."""
    kind = type(module)
    if not kind.__module__.startswith("torch.nn.modules."):
        raise _Uncacheable
    attributes = module.__dict__
    settings = [
        (name, _setting_key(value))
        for name, value in attributes.items()
        if name not in _BOOKKEEPING
    ]
    tensors = [
        (name, _setting_key(value))
        for group in ("_parameters", "_buffers")
        for name, value in attributes[group].items()
    ]
    children = [
        (name, None if child is None else _module_key(child))
        for name, child in attributes["_modules"].items()
    ]
    return (kind, (*settings,), (*tensors,), (*children,))


def _setting_key(value: Any) -> Any:
    kind = type(value)
    if kind is nn.Parameter or kind is Tensor:
        return (kind, value.shape, value.dtype)
    if kind in _PLAIN_TYPES:
        return (kind, value)
    if kind is tuple or kind is list:
        return (kind, *[_setting_key(item) for item in value])
    if kind is weakref.ReferenceType:  # recurrent modules hold their weights so, a second time
        return None
    if callable(value) and torch_name(value) is not None:
        return value
    raise _Uncacheable
