"""The torch function mode under which calls run on `meta` tensors: it replaces everything real."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from ..nested import iter_leaves, map_leaves
from .calls_without_probes import is_plain
from .kernel_rules import RULES
from .value_dependent_sizes import SIZED_BY_VALUES, pack

LANES = 15  # probe lanes; a number beyond stands for a lane with other counts
# the values of what these make may be read later on, to decide the way
_FROM_DATA = frozenset({torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy})
FACTORIES = frozenset({*_device_constructors(), torch.normal}) - _FROM_DATA
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


class MetaMode(TorchFunctionMode):
    """Replaces real tensors by meta tensors in everything that runs inside.

    Args:
        answer: the truth value of every meta tensor that is asked for one.
        number: the number of the lane.

    Attributes:
        asked: how often the truth value of a tensor was needed.
        device: the device of the stand-ins.
        calls: the number of torch functions called.
        counted: whether a size depends on values, such as the number of elements a mask selects.
        plain: whether every function called returns sizes of its arguments or settings, and no size
            was read.
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
        if not has_values(tensor) and not isinstance(tensor, nn.Parameter):
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
        if getattr(func, "__name__", "") in _READS and has_values(args[0]):
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
        if (rule := RULES.get(func)) is not None:
            return rule(func, *args, **kwargs)
        if (by_values := SIZED_BY_VALUES.get(getattr(func, "__name__", ""))) is not None:
            found = by_values(self._count_of, func, *args, **kwargs)
            if by_values is pack:
                self._batch_sizes[id(found[1])] = found[1]
            return found
        return func(*args, **kwargs)

    def _count_of(self, most: int) -> int:
        """Return a stand-in for the number of elements, out of `most`, that values select.

        It differs between the two main lanes (-2 and -1). Multiples of `most` can be reshaped like
        masks that select rows of one length; small numbers reveal limits.
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
            if isinstance(tensor, nn.Parameter) and has_values(tensor) and id(tensor) not in ids:
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


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor is real: neither a meta tensor nor one of torch's fake tensors."""
    return tensor.device.type != "meta" and type(tensor).__name__ != "FakeTensor"


def _is_count(tensor: Tensor) -> bool:
    """Return whether `tensor` is a real counter or flag, which keeps its value in a private copy.

    Modules count their calls in buffers and read them (`BatchNorm2d(momentum=None)`), or store a
    flag there that they are initialised.
    """
    return (
        tensor.dim() == 0
        and tensor.device.type == "cpu"
        and not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized)
    )


def _cast_only(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return what `Tensor.to` and similar methods return, without changing the device."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.dtype):
            return tensor.to(value)
        if isinstance(value, Tensor):
            return tensor.to(value.dtype)
    return tensor
