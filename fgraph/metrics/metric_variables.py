"""The state of custom metrics, as in Keras: variables with `assign` and `assign_add`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_OPERATORS = (
    "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod pow rpow neg abs "
    "lt le gt ge eq ne getitem len iter bool float int"
).split()  # fmt: skip


class MetricVariable:
    """A tensor of a metric's state (Keras: `Variable`). It works in arithmetic and torch functions.

    It moves to the device of what is added or assigned to it.

    Args:
        value: the initial value.
        name: a name, for messages.

    Example:
        >>> count = MetricVariable(torch.zeros(2), "count")
        >>> _ = count.assign_add([1.0, 2.0])
        >>> (count / 2).tolist()
        [0.5, 1.0]
    """

    def __init__(self, value: Tensor, name: str = "variable") -> None:
        self.value = value
        self.name = name

    def assign(self, value: Any) -> MetricVariable:
        """Replace the value by one of the same shape.

        Raises:
            ValueError: the shapes differ.
        """
        given = value.value if isinstance(value, MetricVariable) else torch.as_tensor(value)
        if given.shape != self.value.shape:
            raise ValueError(
                f"{self.name} has shape {tuple(self.value.shape)}, but was assigned a value of "
                f"shape {tuple(given.shape)}"
            )
        self.value = given.detach().to(self.value.dtype, copy=True)
        return self

    def assign_add(self, value: Any) -> MetricVariable:
        """Add to the value; see `assign`."""
        own, other = self._beside(value)
        return self.assign(own + other)

    def assign_sub(self, value: Any) -> MetricVariable:
        """Subtract from the value; see `assign`."""
        own, other = self._beside(value)
        return self.assign(own - other)

    def _beside(self, value: Any) -> tuple[Tensor, Any]:
        """Return the own value and another one, on the device of the other."""
        other = _value(value)
        if not isinstance(other, Tensor | int | float):
            other = torch.as_tensor(other, device=self.value.device)
        return self.value.to(other.device) if isinstance(other, Tensor) else self.value, other

    @property
    def shape(self) -> torch.Size:
        """The value's shape."""
        return self.value.shape

    @property
    def dtype(self) -> torch.dtype:
        """The value's dtype."""
        return self.value.dtype

    def numpy(self) -> Any:
        """Return the value as a numpy array."""
        return self.value.cpu().numpy()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """Return the value as a numpy array, for numpy's functions."""
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def __repr__(self) -> str:
        """Name the variable and show its value."""
        return f"MetricVariable({self.value!r}, name={self.name!r})"

    __hash__ = object.__hash__

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Give torch's functions the value."""
        plain = [_value(item) for item in args]
        return func(*plain, **{key: _value(item) for key, item in (kwargs or {}).items()})


def _value(item: Any) -> Any:
    if isinstance(item, list | tuple):
        return type(item)(map(_value, item))
    return item.value if isinstance(item, MetricVariable) else item


def _operator(name: str) -> Callable[..., Any]:
    def apply(self: MetricVariable, *others: Any) -> Any:
        return getattr(self.value, name)(*map(_value, others))

    return apply


for _name in _OPERATORS:
    setattr(MetricVariable, f"__{_name}__", _operator(f"__{_name}__"))
del _name


def initial_value(shape: Any, initializer: Any, dtype: Any) -> Tensor:
    """Return the initial value of a variable.

    Args:
        shape: its shape; a number for one axis.
        initializer: `"zeros"`, `"ones"`, `None` for zeros, or a function of a shape.
        dtype: a torch dtype or its name, float32 by default.

    Raises:
        ValueError: the initializer is another name.
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype or torch.float32
    if initializer in ("zeros", None):
        return torch.zeros(shape, dtype=dtype)
    if initializer == "ones":
        return torch.ones(shape, dtype=dtype)
    if not callable(initializer):
        raise ValueError(
            f"the initializer of a metric's variable must be 'zeros', 'ones' or a function of its "
            f"shape, got {initializer!r}"
        )
    return torch.as_tensor(initializer(shape)).to(dtype)
