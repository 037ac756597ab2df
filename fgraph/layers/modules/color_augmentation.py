"""Random changes of the colors of images in training mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .augmentation import Augmentation, Range, each
from .image_colors import grayscale, hsv_planes, rgb_planes
from .image_sampling import blur


class ColorChange(Augmentation):
    """Base of the changes of colors by one random number for each image.

    Args:
        bounds: the least and the largest number.
        value_range: the least and the largest value of pixels.
        channels_last: where the channels of the images are.
        seed: gives the module random numbers of its own.
    """

    def __init__(
        self,
        bounds: Range,
        value_range: Range = (0, 255),
        channels_last: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(channels_last, seed)
        self.bounds, self.value_range = bounds, value_range

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return a number for each image."""
        return {"factor": self.uniform(x, self.bounds)}

    def clipped(self, x: Tensor) -> Tensor:
        """Return `x`, cut off at the range of values."""
        return x.clamp(*self.value_range)

    def scaled(self, x: Tensor, high: float, back: bool = False) -> Tensor:
        """Return values of the range between 0 and `high`, or back."""
        low, top = self.value_range
        if (low, top) == (0, high):
            return x
        return x / high * (top - low) + low if back else (x - low) / (top - low) * high


class Brightness(ColorChange):
    """Adds a fraction of the range of values."""

    def change(self, x: Tensor, *, factor: Tensor) -> Tensor:  # type: ignore[override]
        """Return brighter or darker images."""
        low, high = self.value_range
        return self.clipped(x + each(factor) * (high - low))


class Contrast(ColorChange):
    """Multiplies the distance from the mean of each channel."""

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return the factors."""
        return {"factor": self.uniform(x, (1 - self.bounds[0], 1 + self.bounds[1]))}

    def change(self, x: Tensor, *, factor: Tensor) -> Tensor:  # type: ignore[override]
        """Return images of more or less contrast."""
        mean = x.mean((1, 2), keepdim=True)
        return self.clipped((x - mean) * each(factor) + mean)


class Hue(ColorChange):
    """Turns the circle of colors."""

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return the fraction of a turn for each image, in either direction."""
        return {"factor": self.sign(x) * self.uniform(x, self.bounds) * 0.5}

    def change(self, x: Tensor, *, factor: Tensor) -> Tensor:  # type: ignore[override]
        """Return images of other colors."""
        hue, saturation, value = hsv_planes(self.scaled(x, 1).unbind(-1))
        turned = hue + factor.reshape(-1, 1, 1)
        turned = torch.where(turned > 1, turned - 1, turned)
        turned = torch.where(turned < 0, turned + 1, turned)
        made = torch.stack(rgb_planes((turned, saturation, value)), dim=-1).clamp(0, 1)
        return self.scaled(made, 1, back=True)


class Saturation(ColorChange):
    """Multiplies the saturation."""

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return the factors."""
        share = self.uniform(x, self.bounds)
        return {"factor": share / (1 - share + 1e-7)}

    def change(self, x: Tensor, *, factor: Tensor) -> Tensor:  # type: ignore[override]
        """Return images of stronger or weaker colors."""
        hue, saturation, value = hsv_planes(x.unbind(-1))
        stronger = self.clipped(saturation * factor.reshape(-1, 1, 1))
        return torch.stack(rgb_planes((hue, stronger, value)), dim=-1)


class Sharpness(ColorChange):
    """Blurs below 0.5, and sharpens above."""

    def change(self, x: Tensor, *, factor: Tensor) -> Tensor:  # type: ignore[override]
        """Return sharper or softer images."""
        kernel = x.new_full((1, 1, 3, 3), 1 / 13)
        kernel[0, 0, 1, 1] = 5 / 13
        first = x.permute(0, 3, 1, 2)
        flat = F.conv2d(first.flatten(0, 1).unsqueeze(1), kernel, padding=1)
        smooth = flat.reshape(first.shape).permute(0, 2, 3, 1)
        return self.clipped(x + (1 - 2 * each(factor)) * (smooth - x))


class Degeneration(ColorChange):
    """Mixes images with their gray ones."""

    def change(self, x: Tensor, *, factor: Tensor) -> Tensor:  # type: ignore[override]
        """Return images of less color."""
        gray = x if x.shape[-1] == 1 else grayscale(x.unbind(-1)).unsqueeze(-1)
        return self.clipped(x + each(factor) * (gray - x))


class Grayscale(ColorChange):
    """Makes images gray, of as many channels; `bounds` is the probability, twice."""

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return which images become gray."""
        return {"chosen": self.chosen(x, self.bounds)}

    def change(self, x: Tensor, *, chosen: Tensor) -> Tensor:  # type: ignore[override]
        """Return the images, some of them gray."""
        gray = x if x.shape[-1] == 1 else grayscale(x.unbind(-1)).unsqueeze(-1)
        return torch.where(each(chosen), gray, x)


class Invert(ColorChange):
    """Makes negatives; `bounds` are those of the probability."""

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return which images are inverted."""
        return {"chosen": self.chosen(x, self.bounds)}

    def change(self, x: Tensor, *, chosen: Tensor) -> Tensor:  # type: ignore[override]
        """Return the images, some of them inverted."""
        return torch.where(each(chosen), self.value_range[1] - x, x)


class Posterization(ColorChange):
    """Keeps some bits of each value, between the bounds; the upper one is not drawn."""

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return the numbers of bits."""
        low, high = (int(bound) for bound in self.bounds)
        size, generator = (x.shape[0],), self.generator(x)
        bits = torch.randint(low, max(high, low + 1), size, device=x.device, generator=generator)
        return {"bits": bits}

    def change(self, x: Tensor, *, bits: Tensor) -> Tensor:  # type: ignore[override]
        """Return images of fewer colors."""
        step = 2 ** (8 - each(bits)).to(x.dtype)
        return self.scaled((self.scaled(x, 255) / step).floor() * step, 255, back=True)


class Blur(ColorChange):
    """Blurs images by a Gaussian; `bounds` are those of the probability.

    Args:
        bounds: bounds of the probability that an image is changed.
        value_range: the least and the largest value of pixels.
        channels_last: where the channels of the images are.
        seed: gives the module random numbers of its own.
        kernel_size: the height and width of the window.
        sigma: bounds of the standard deviation, in pixels.
    """

    def __init__(
        self,
        bounds: Range,
        value_range: Range = (0, 255),
        channels_last: bool = True,
        seed: int | None = None,
        kernel_size: Sequence[int] = (3, 3),
        sigma: Range = (0.0, 1.0),
    ) -> None:
        super().__init__(bounds, value_range, channels_last, seed)
        self.kernel_size, self.sigma = kernel_size, sigma

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return which images are changed, and standard deviations along width and height."""
        sigma = self.uniform(x, self.sigma, 2) + 1e-6
        return {"chosen": self.chosen(x, self.bounds), "sigma": sigma}

    def change(self, x: Tensor, *, chosen: Tensor, sigma: Tensor) -> Tensor:  # type: ignore[override]
        """Return the images, some of them blurred."""
        made = blur(x.permute(0, 3, 1, 2), self.kernel_size, tuple(sigma))
        return self.clipped(torch.where(each(chosen), made.permute(0, 2, 3, 1), x))


class Solarize(Augmentation):
    """Adds to values, and inverts those above a threshold.

    Args:
        additions: bounds of what is added.
        thresholds: bounds of the threshold; both for values between 0 and 255.
        value_range: the least and the largest value of pixels.
        channels_last: where the channels of the images are.
        seed: gives the module random numbers of its own.
    """

    def __init__(
        self,
        additions: Range,
        thresholds: Range,
        value_range: Range = (0, 255),
        channels_last: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(channels_last, seed)
        self.additions, self.thresholds, self.value_range = additions, thresholds, value_range

    def draw(self, x: Tensor) -> dict[str, Any]:
        """Return what is added and the threshold for each image."""
        additions = self.uniform(x, self.additions)
        return {"additions": additions, "thresholds": self.uniform(x, self.thresholds)}

    def change(  # type: ignore[override]
        self, x: Tensor, *, additions: Tensor, thresholds: Tensor
    ) -> Tensor:
        """Return solarized images."""
        low, high = self.value_range
        made = ((x - low) / (high - low) * 255 + each(additions)).clamp(0, 255)
        made = torch.where(made < each(thresholds), made, 255 - made)
        return made / 255 * (high - low) + low


class Jitter(nn.Module):
    """Changes several things about colors, one after the other.

    Args:
        changes: the modules.
    """

    def __init__(self, changes: Sequence[nn.Module]) -> None:
        super().__init__()
        self.changes = nn.ModuleList(changes)

    def forward(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Return changed images; `training` fixes the mode."""
        for change in self.changes:
            x = change(x, training=training)
        return x


class Equalize(Augmentation):
    """Spreads the values of each channel evenly, in training mode.

    Args:
        value_range: the least and the largest value of pixels.
        bins: the number of values that are told apart.
        channels_last: where the channels of the images are.
    """

    def __init__(self, value_range: Range, bins: int, channels_last: bool = True) -> None:
        super().__init__(channels_last)
        self.value_range, self.bins = value_range, bins

    def change(self, x: Tensor, **numbers: Any) -> Tensor:
        """Return equalized images."""
        low, high = self.value_range
        channels = [self._channel((c - low) / (high - low) * 255) for c in x.unbind(-1)]
        return torch.stack(channels, dim=-1) / 255 * (high - low) + low

    def _channel(self, x: Tensor) -> Tensor:
        """Return one channel of all images, between 0 and 255."""
        places = (x * (self.bins - 1) / 255).long().clamp(0, self.bins - 1)
        counts = torch.zeros(self.bins, dtype=x.dtype, device=x.device)
        counts = counts.index_add(0, places.flatten(), torch.ones_like(x).flatten())
        total = counts.cumsum(0)
        least = torch.where(total > 0, total, torch.inf).amin()
        spread = total[-1] - least
        table = ((total - least) * 255 / torch.where(spread == 0, 1.0, spread)).round()
        return torch.where((counts > 0).sum() <= 1, x, table.clamp(0, 255)[places])
