"""The base of layers that change images at random during training; checks of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Unpack

from ..errors import BuildError
from .arguments import LayerOptions, one_of
from .base import Layer
from .data_format import image, is_channels_last
from .input_checks import Expects
from .modules.image_sampling import INSIDE, ORDERS
from .preprocessing import _floating
from .training_mode import fixed_mode


class RandomImageLayer(Layer):
    """Base of the layers whose module changes images in training mode."""

    unsupported: ClassVar = {
        "bounding_box_format": "change images and boxes together where they are loaded, by "
        "`torchvision.transforms.v2`"
    }

    colors: tuple[int, ...] = ()  # the numbers of channels that are colors

    def __init__(self, data_format: str | None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.channels_last = is_channels_last(type(self).__name__, data_format)
        self.expects = Expects(image(2, self.channels_last).axes)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Record the module.

        Raises:
            BuildError: The images have other channels than colors.
        """
        channels = inputs.spec.shape[-1 if self.channels_last else 1]
        if self.colors and channels not in (None, *self.colors):
            raise BuildError(
                f"{type(self).__name__} expects red, green and blue, got {channels} channels in "
                f"{inputs.shape}"
            )
        return self._module(_floating(inputs), **fixed_mode(training))


def bounds(
    owner: str, argument: str, value: Any, low: float = -1.0, floor: float | None = None
) -> tuple[float, float]:
    """Return the bounds of a random number: two numbers, or one for both directions.

    Args:
        value: Two numbers between `low` and 1, or one, which is the upper bound.
        low: The least that is allowed.
        floor: The smallest lower bound if `value` is a single number. Defaults to `low`.

    Raises:
        ValueError: It is something else.
    """
    given = value if isinstance(value, (list, tuple)) else (value,)
    numbers = all(isinstance(n, Real) and low <= float(n) <= 1 for n in given)
    if len(given) not in (1, 2) or not numbers:
        raise ValueError(
            f"{owner}: {argument}= expects one or two numbers between {low:g} and 1, got {value!r}"
        )
    if len(given) == 2:
        return min(given), max(given)
    size = abs(float(given[0]))
    return max(-size, low if floor is None else floor), size


def values(owner: str, value_range: Any) -> tuple[float, float]:
    """Return the least and the largest value of pixels.

    Raises:
        ValueError: There are not two different numbers.
    """
    given = value_range if isinstance(value_range, Sequence) else ()
    if len(given) != 2 or not all(isinstance(n, Real) for n in given) or given[0] == given[1]:
        raise ValueError(f"{owner}: value_range= expects two numbers, got {value_range!r}")
    return min(given), max(given)


def outside(
    layer: Layer, interpolation: str, fill_mode: str, fill_value: float
) -> tuple[str, str, float]:
    """Return the checked settings for values between and outside of pixels.

    Raises:
        ValueError: A name is not known.
    """
    kind = type(layer).__name__
    return (
        one_of(kind, "interpolation", interpolation, tuple(ORDERS)),
        one_of(kind, "fill_mode", fill_mode, tuple(INSIDE)),
        float(fill_value),
    )
