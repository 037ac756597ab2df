"""Random changes of images in training mode: the base, and changes of where pixels are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .image_sampling import (
    affine,
    blur,
    grid,
    homography,
    perspective,
    radians,
    rotation,
    sample_images,
)
from .noise import Noise
from .preprocessing import crop_to_ratio

Range = Sequence[float]


class Augmentation(Noise):
    """Changes images in training mode, or where a call says so.

    `draw` draws random numbers for a batch of channels-last images, and `change` makes new images
    by them.

    Args:
        channels_last: where the channels of the images are.
        seed: gives the module random numbers of its own.
    """

    def __init__(self, channels_last: bool = True, seed: int | None = None) -> None:
        super().__init__(seed)
        self.channels_last = channels_last

    def noisy(self, x: Tensor) -> Tensor:
        """Return changed images, `(batch, height, width, channels)` or channels first."""
        if x.is_meta:  # no change of values changes the shape
            return x.clone()
        if self.channels_last:
            return self.change(x, **self.draw(x))
        last = x.permute(0, 2, 3, 1)
        return self.change(last, **self.draw(last)).permute(0, 3, 1, 2)

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return random numbers, the arguments of `change`."""
        return {}

    def change(self, x: Tensor, **numbers: Any) -> Tensor:
        """Return images changed by these numbers."""
        raise NotImplementedError

    def uniform(self, x: Tensor, bounds: Range = (0.0, 1.0), *shape: int) -> Tensor:
        """Return random numbers between bounds, one for each image unless a shape is given."""
        size = shape or (x.shape[0],)
        made = torch.rand(size, dtype=x.dtype, device=x.device, generator=self.generator(x))
        return made * (bounds[1] - bounds[0]) + bounds[0]

    def chosen(self, x: Tensor, bounds: Range) -> Tensor:
        """Return, for each image, whether it is changed, with a probability between bounds."""
        return self.uniform(x) < self.uniform(x, bounds)

    def sign(self, x: Tensor) -> Tensor:
        """Return -1 or 1 for each image."""
        return torch.where(self.uniform(x) > 0.5, -1.0, 1.0)


def each(numbers: Tensor) -> Tensor:
    """Return a number for each image in a shape that broadcasts with the images."""
    return numbers.reshape(-1, 1, 1, 1)


class Flip(Augmentation):
    """Mirrors half of the images.

    Args:
        horizontal: whether left and right change places.
        vertical: whether top and bottom do.
        channels_last: where the channels of the images are.
        seed: gives the module random numbers of its own.
    """

    def __init__(
        self, horizontal: bool, vertical: bool, channels_last: bool = True, seed: int | None = None
    ) -> None:
        super().__init__(channels_last, seed)
        self.horizontal, self.vertical = horizontal, vertical

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return which images are mirrored."""
        return {"flips": self.uniform(x) <= 0.5}

    def change(self, x: Tensor, *, flips: Tensor) -> Tensor:  # type: ignore[override]
        """Return the images, some of them mirrored."""
        axes = [2] * self.horizontal + [1] * self.vertical
        return torch.where(each(flips), x.flip(axes), x)


class Crop(Augmentation):
    """Cuts a part of one size out of images: at a random place in training, else the middle.

    Args:
        size: the height and width.
        channels_last: where the channels of the images are.
        seed: gives the module random numbers of its own.
    """

    def __init__(
        self, size: Sequence[int], channels_last: bool = True, seed: int | None = None
    ) -> None:
        super().__init__(channels_last, seed)
        self.size = size

    def forward(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Return images of the size; smaller images are cut to its proportions and scaled."""
        first = x.permute(0, 3, 1, 2) if self.channels_last else x
        (height, width), (rows, columns) = self.size, first.shape[2:]
        active = self.training if training is None else training
        if active and rows > height and columns > width:
            made = first.index_select(2, self._places(x, rows, height))
            made = made.index_select(3, self._places(x, columns, width))
        else:
            cut = crop_to_ratio(first, (height, width))
            same = tuple(cut.shape[2:]) == (height, width)
            made = cut if same else F.interpolate(cut, size=(height, width), mode="bilinear")
        return made.permute(0, 2, 3, 1) if self.channels_last else made

    def _places(self, x: Tensor, given: int, kept: int) -> Tensor:
        """Return which rows or columns to keep, without waiting for the device."""
        places = torch.arange(kept, device=x.device)
        if x.is_meta:
            return places
        starts = given - kept + 1
        return places + torch.randint(starts, (), device=x.device, generator=self.generator(x))


class Affine(Augmentation):
    """Base of the changes that turn, move, scale or shear images.

    Args:
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: how to fill outside of the image: a key of `INSIDE`.
        fill_value: that value, for `"constant"`.
        channels_last: where the channels of the images are.
        seed: gives the module random numbers of its own.
    """

    def __init__(
        self,
        interpolation: str,
        fill_mode: str,
        fill_value: float,
        channels_last: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(channels_last, seed)
        self.interpolation, self.fill_mode, self.fill_value = interpolation, fill_mode, fill_value

    def change(self, x: Tensor, **numbers: Any) -> Tensor:
        """Return images that the transforms for these numbers make."""
        made: Tensor = affine(
            x, self.transform(x, **numbers), self.interpolation, self.fill_mode, self.fill_value
        )
        return made

    def transform(self, x: Tensor, **numbers: Any) -> Tensor:
        """Return the numbers that `affine` takes."""
        raise NotImplementedError


def _rows(*parts: Tensor) -> Tensor:
    """Return affine transforms, of which the last two numbers are 0."""
    zero = torch.zeros_like(parts[0])
    return torch.stack([*parts, zero, zero], dim=-1)


class Rotation(Affine):
    """Turns images around their middle.

    Args:
        bounds: the least and the largest fraction of a turn.
        interpolation, fill_mode, fill_value, channels_last, seed: as for `Affine`.
    """

    def __init__(
        self,
        bounds: Range,
        interpolation: str,
        fill_mode: str,
        fill_value: float,
        channels_last: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, channels_last, seed)
        self.bounds = bounds

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return the fraction of a turn for each image."""
        return {"turn": self.uniform(x, self.bounds)}

    def transform(self, x: Tensor, *, turn: Tensor) -> Tensor:  # type: ignore[override]
        """Return the rotations."""
        made: Tensor = rotation(x.shape[1], x.shape[2], radians(turn))
        return made


class Translation(Affine):
    """Moves images.

    Args:
        rows: bounds of how far down, as a fraction of the height.
        columns: bounds of how far to the right, as a fraction of the width.
        interpolation, fill_mode, fill_value, channels_last, seed: as for `Affine`.
    """

    def __init__(
        self,
        rows: Range,
        columns: Range,
        interpolation: str,
        fill_mode: str,
        fill_value: float,
        channels_last: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, channels_last, seed)
        self.rows, self.columns = rows, columns

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return how many pixels each image is moved."""
        down = self.uniform(x, self.rows) * x.shape[1]
        return {"down": down, "right": self.uniform(x, self.columns) * x.shape[2]}

    def transform(self, x: Tensor, *, down: Tensor, right: Tensor) -> Tensor:  # type: ignore[override]
        """Return the translations."""
        one, zero = torch.ones_like(down), torch.zeros_like(down)
        return _rows(one, zero, -right, zero, one, -down)


class Zoom(Affine):
    """Shows more of images, or less.

    Args:
        rows: bounds of the change in height; positive numbers show more.
        columns: bounds of the change in width; `None` for that in height.
        interpolation, fill_mode, fill_value, channels_last, seed: as for `Affine`.
    """

    def __init__(
        self,
        rows: Range,
        columns: Range | None,
        interpolation: str,
        fill_mode: str,
        fill_value: float,
        channels_last: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, channels_last, seed)
        self.rows, self.columns = rows, columns

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return the factors of height and width."""
        rows = self.uniform(x, self.rows) + 1
        return {
            "rows": rows,
            "columns": rows if self.columns is None else self.uniform(x, self.columns) + 1,
        }

    def transform(self, x: Tensor, *, rows: Tensor, columns: Tensor) -> Tensor:  # type: ignore[override]
        """Return the scalings around the middle."""
        zero = torch.zeros_like(rows)
        right = (x.shape[2] - 1) / 2 * (1 - columns)
        return _rows(columns, zero, right, zero, rows, (x.shape[1] - 1) / 2 * (1 - rows))


class Shear(Affine):
    """Shears images.

    Args:
        horizontal, vertical: bounds of the shear along width and height.
        interpolation, fill_mode, fill_value, channels_last, seed: as for `Affine`.
    """

    def __init__(
        self,
        horizontal: Range,
        vertical: Range,
        interpolation: str,
        fill_mode: str,
        fill_value: float,
        channels_last: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, channels_last, seed)
        self.horizontal, self.vertical = horizontal, vertical

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return the shears, of one sign for each image."""
        sign = self.sign(x)
        return {
            "horizontal": sign * self.uniform(x, self.horizontal),
            "vertical": sign * self.uniform(x, self.vertical),
        }

    def transform(  # type: ignore[override]
        self, x: Tensor, *, horizontal: Tensor, vertical: Tensor
    ) -> Tensor:
        """Return the shears."""
        one, zero = torch.ones_like(vertical), torch.zeros_like(vertical)
        return _rows(one, horizontal, zero, vertical, one, zero)


class Perspective(Augmentation):
    """Projects images as if seen from the side.

    Args:
        bounds: bounds of the probability that an image is changed.
        scale: how far corners move.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: what is outside.
        channels_last: where the channels of the images are.
        seed: gives the module random numbers of its own.
    """

    def __init__(
        self,
        bounds: Range,
        scale: float,
        interpolation: str,
        fill_value: float,
        channels_last: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(channels_last, seed)
        self.bounds, self.scale = bounds, scale
        self.interpolation, self.fill_value = interpolation, fill_value

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return which images are changed, and how far their corners move."""
        reach = 0.5 * self.scale
        moves = self.uniform(x, (-reach, reach), x.shape[0], 4, 2)
        return {"chosen": self.chosen(x, self.bounds), "moves": moves}

    def change(self, x: Tensor, *, chosen: Tensor, moves: Tensor) -> Tensor:  # type: ignore[override]
        """Return the images, some of them projected."""
        bottom, right = x.shape[1] - 1, x.shape[2] - 1
        corner = torch.arange(4, device=x.device)  # (x, y): 0 0, 1 0, 0 1, 1 1
        start = torch.stack((corner % 2 * right, corner // 2 * bottom), -1).to(x.dtype)
        start = start.expand_as(moves)
        numbers = homography(start, start + start * moves)
        made = perspective(x, numbers, self.interpolation, self.fill_value)
        return torch.where(each(chosen), made, x)


class Elastic(Augmentation):
    """Moves pixels by smooth random amounts (Simard et al., 2003).

    Args:
        bounds: bounds of the probability that an image is changed.
        scale: bounds of the strength.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: how to fill outside of the image: a key of `INSIDE`.
        fill_value: that value, for `"constant"`.
        value_range: the least and the largest value of pixels.
        channels_last: where the channels of the images are.
        seed: gives the module random numbers of its own.
    """

    def __init__(
        self,
        bounds: Range,
        scale: Range,
        interpolation: str,
        fill_mode: str,
        fill_value: float,
        value_range: Range,
        channels_last: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(channels_last, seed)
        self.bounds, self.scale, self.value_range = bounds, scale, value_range
        self.interpolation, self.fill_mode, self.fill_value = interpolation, fill_mode, fill_value

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return which images are changed, the strength, and noise for rows and columns."""
        noise = torch.empty(x.shape[0], 2, *x.shape[1:3], dtype=x.dtype, device=x.device)
        noise.normal_(generator=self.generator(x))
        host = torch.empty(0, dtype=x.dtype, device="cpu")  # the size of a kernel depends on it
        strength = float(self.uniform(host, self.scale, 1))
        return {"chosen": self.chosen(x, self.bounds), "strength": strength, "noise": noise}

    def change(  # type: ignore[override]
        self, x: Tensor, *, chosen: Tensor, strength: float, noise: Tensor
    ) -> Tensor:
        """Return the images, some of them distorted."""
        if not strength:
            return x
        alpha = max(x.shape[1:3]) * 0.1 * strength
        sigma = min(x.shape[1:3]) * 0.05 * strength
        size = int(6 * sigma) | 1
        moves = alpha * blur(noise * sigma, (size, size), (sigma, sigma))
        rows, columns = grid(x, x.dtype)
        made = sample_images(
            x, rows + moves[:, 0], columns + moves[:, 1], self.interpolation, self.fill_mode,
            self.fill_value,
        )  # fmt: skip
        return torch.where(each(chosen), made, x).clamp(*self.value_range)


class Erasing(Augmentation):
    """Fills a rectangle of images (Zhong et al., 2020).

    Args:
        bounds: bounds of the probability that an image is changed.
        scale: bounds of the fraction of the area.
        fill_value: the value, one for each channel, or `None` for noise.
        value_range: the least and the largest value of pixels.
        channels_last: where the channels of the images are.
        seed: gives the module random numbers of its own.
    """

    def __init__(
        self,
        bounds: Range,
        scale: Range,
        fill_value: float | Sequence[float] | None,
        value_range: Range,
        channels_last: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(channels_last, seed)
        self.bounds, self.scale = bounds, scale
        self.fill_value, self.value_range = fill_value, value_range

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return which images are changed, and the first and last row and column of each."""
        found: dict[str, Any] = {"chosen": self.chosen(x, self.bounds)}
        for name, size in (("rows", x.shape[1]), ("columns", x.shape[2])):
            length = self.uniform(x, self.scale).sqrt() * size
            start = self.uniform(x) * (size - length)
            found[name] = torch.stack([start, start + length])
        return found

    def change(  # type: ignore[override]
        self, x: Tensor, *, chosen: Tensor, rows: Tensor, columns: Tensor
    ) -> Tensor:
        """Return the images, some of them with a rectangle."""
        y, z = grid(x, x.dtype)
        top, bottom, left, right = (part.reshape(-1, 1, 1) for part in (*rows, *columns))
        inside = (y >= top) & (y < bottom) & (z >= left) & (z < right)
        if self.fill_value is None:
            value = torch.empty_like(x).normal_(generator=self.generator(x)) * self.value_range[1]
        else:
            value = torch.tensor(self.fill_value, dtype=x.dtype, device="cpu")
            value = value.to(x.device, non_blocking=True)
        value = value.clamp(*self.value_range)
        return torch.where(inside.unsqueeze(-1) & each(chosen), value, x)
