"""Operations on images: `fgraph.ops.image`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..graph import SymbolicTensor, apply
from ..layers.arguments import Sizes, integers, one_of
from ..layers.data_format import is_channels_last
from ..layers.modules import image_sampling as sampling
from ..layers.modules.image_colors import grayscale, hsv_planes, rgb_planes
from ..layers.modules.preprocessing import crop_to_ratio, pad_to_ratio
from .conversion import beside, floating, promoted, tensor
from .convolution_and_pooling import conv

__all__ = [
    "affine_transform", "crop_images", "elastic_transform", "extract_patches",
    "extract_patches_3d", "gaussian_blur", "hsv_to_rgb", "map_coordinates", "pad_images",
    "perspective_transform", "resize", "rgb_to_grayscale", "rgb_to_hsv", "scale_and_translate",
    "sobel_edges", "ssim",
]  # fmt: skip

_INTERPOLATIONS = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


def _images(name: str, images: Any) -> Tensor:
    """Return images as a tensor.

    Raises:
        ValueError: There are neither 3 axes nor 4.
    """
    x = tensor(images)
    if x.ndim not in (3, 4):
        raise ValueError(f"{name} expects an image, 3 axes, or a batch, 4, got shape {x.shape}")
    return x


def _on_batch(
    name: str, images: Any, data_format: str | None, function: Callable[[Any], Any], *, last: bool
) -> Tensor:
    """Call a function of a batch, channels last or first, on images of any format."""
    x = _images(name, images)
    channels_last = is_channels_last(name, data_format)
    batch = x.unsqueeze(0) if x.ndim == 3 else x
    if channels_last != last:
        batch = batch.permute(0, 2, 3, 1) if last else batch.permute(0, 3, 1, 2)
    made = function(batch)
    if channels_last != last:
        made = made.permute(0, 3, 1, 2) if last else made.permute(0, 2, 3, 1)
    return made.squeeze(0) if x.ndim == 3 else made


def _run(function: Callable[..., Any], x: Any, *rest: Any) -> Any:
    """Call a function of sizes, as one node of a graph where they are known at run time."""
    return apply(function, x, *rest) if isinstance(x, SymbolicTensor) else function(x, *rest)


def resize(
    images: Any,
    size: Sequence[int],
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Tensor:
    """Return images of another size.

    Args:
        images: `(batch, height, width, channels)`, or one image.
        size: New height and width.
        interpolation: `"bilinear"`, `"nearest"` or `"bicubic"`.
        antialias: Whether to average pixels if the image gets smaller.
        crop_to_aspect_ratio: Whether to crop images first, so that nothing is distorted.
        pad_to_aspect_ratio: Whether to pad them first instead.
        fill_mode: How to pad: `"constant"`.
        fill_value: Value to pad with.
        data_format: `"channels_last"`, the default, or `"channels_first"`.

    Raises:
        ValueError: A name is not known, or both of crop and pad are asked for.
    """
    mode = _INTERPOLATIONS[one_of("resize", "interpolation", interpolation, [*_INTERPOLATIONS])]
    one_of("resize", "fill_mode", fill_mode, ("constant",))
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("resize: give crop_to_aspect_ratio or pad_to_aspect_ratio, not both")
    height, width = integers("resize", "size", size, 2)
    dtype = tensor(images).dtype

    def resized(x: Any) -> Any:
        x = floating(x)
        if crop_to_aspect_ratio:
            x = _run(crop_to_ratio, x, (height, width))
        elif pad_to_aspect_ratio:
            x = _run(pad_to_ratio, x, (height, width), fill_value)
        smooth = antialias and mode != "nearest-exact"
        made = F.interpolate(x, size=(height, width), mode=mode, antialias=smooth)
        if dtype.is_floating_point:
            return made
        if mode == "bicubic" and dtype == torch.uint8:
            made = made.clamp(0, 255)
        return torch.round(made).to(dtype)

    return _on_batch("resize", images, data_format, resized, last=False)


def affine_transform(
    images: Any,
    transform: Any,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0,
    data_format: str | None = None,
) -> Tensor:
    """Return images turned, moved, sheared and scaled.

    Args:
        images: `(batch, height, width, channels)`, or one image.
        transform: Numbers `(a0, a1, a2, b0, b1, b2, c0, c1)`, 8 or `(batch, 8)`: the pixel at `(x,
            y)` comes from `(a0 x + a1 y + a2, b0 x + b1 y + b2)`. The last two have no effect.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: How to fill outside: `"constant"`, `"nearest"`, `"reflect"`, `"mirror"` or
            `"wrap"`.
        fill_value: That value, for `"constant"`.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
    """
    _check_sampling("affine_transform", interpolation, fill_mode)
    numbers = floating(beside(images, transform))
    numbers = numbers.unsqueeze(0) if numbers.ndim == 1 else numbers
    settings = (numbers, interpolation, fill_mode, fill_value)
    return _on_batch(
        "affine_transform",
        images,
        data_format,
        lambda x: sampling.affine(x, *settings),
        last=True,
    )


def _check_sampling(name: str, interpolation: str, fill_mode: str) -> None:
    one_of(name, "interpolation", interpolation, [*sampling.ORDERS])
    one_of(name, "fill_mode", fill_mode, [*sampling.INSIDE])


def perspective_transform(
    images: Any,
    start_points: Any,
    end_points: Any,
    interpolation: str = "bilinear",
    fill_value: float = 0,
    data_format: str | None = None,
) -> Tensor:
    """Return images projected so that four points come to lie on others.

    Args:
        images: `(batch, height, width, channels)`, or one image.
        start_points: Points `(x, y)` of the images, `(4, 2)` or `(batch, 4, 2)`.
        end_points: Their new positions, of the same shape.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: Value outside.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
    """
    _check_sampling("perspective_transform", interpolation, "constant")
    start, end = (floating(beside(images, points)) for points in (start_points, end_points))
    start, end = promoted(start, end)
    if start.ndim == 2:
        start, end = start.unsqueeze(0), end.unsqueeze(0)
    numbers = sampling.homography(start, end)
    return _on_batch(
        "perspective_transform",
        images,
        data_format,
        lambda x: sampling.perspective(x, numbers, interpolation, fill_value),
        last=True,
    )


def map_coordinates(
    inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: float = 0
) -> Tensor:
    """Return the values of a tensor at coordinates between its elements.

    Args:
        inputs: Values, of any number of axes.
        coordinates: Coordinates along each axis, `(axes of inputs, ...)`.
        order: 0 for the nearest element, 1 for linear interpolation.
        fill_mode: How to fill outside: `"constant"`, `"nearest"`, `"reflect"`, `"mirror"` or
            `"wrap"`.
        fill_value: That value, for `"constant"`.

    Raises:
        ValueError: The order or mode is not known, or there are too few coordinates.
    """
    x = tensor(inputs)
    given = [beside(x, c) for c in coordinates]
    one_of("map_coordinates", "fill_mode", fill_mode, [*sampling.INSIDE])
    if order not in (0, 1) or len(given) != x.ndim:
        raise ValueError(
            f"map_coordinates expects order 0 or 1 and {x.ndim} rows of coordinates, got {order} "
            f"and {len(given)}"
        )
    return sampling.sample(x, given, order, fill_mode, fill_value)


def gaussian_blur(
    images: Any,
    kernel_size: Sequence[int] = (3, 3),
    sigma: Sequence[float] = (1.0, 1.0),
    data_format: str | None = None,
) -> Tensor:
    """Return images blurred by a Gaussian window, zero outside.

    Args:
        images: `(batch, height, width, channels)`, or one image.
        kernel_size: Height and width of the window, odd.
        sigma: Standard deviations along width and height, in pixels.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
    """
    size = integers("gaussian_blur", "kernel_size", tuple(kernel_size), 2)
    return _on_batch(
        "gaussian_blur", images, data_format, lambda x: sampling.blur(x, size, sigma), last=False
    )


def elastic_transform(
    images: Any,
    alpha: float = 20.0,
    sigma: float = 5.0,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    seed: int | None = None,
    data_format: str | None = None,
) -> Tensor:
    """Return images whose pixels are moved by smooth random amounts (Simard et al., 2003).

    Args:
        images: `(batch, height, width, channels)`, or one image.
        alpha: How far pixels are moved.
        sigma: How smooth the movement is, in pixels.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: How to fill outside: `"constant"`, `"nearest"`, `"reflect"`, `"mirror"` or
            `"wrap"`.
        fill_value: That value, for `"constant"`.
        seed: Where random numbers begin, of real images. Defaults to torch's own.
        data_format: `"channels_last"`, the default, or `"channels_first"`.

    Raises:
        ValueError: `seed` is given with symbolic images, whose random numbers are the model's.
    """
    _check_sampling("elastic_transform", interpolation, fill_mode)
    if seed is not None and isinstance(images, SymbolicTensor):
        raise ValueError("elastic_transform: in a graph, call torch.manual_seed in place of seed=")

    def moved(x: Any) -> Any:
        size = int(6 * sigma) | 1
        columns, rows = (
            sampling.blur(_noise(x, seed, i) * sigma, (size, size), (sigma, sigma))[:, 0]
            for i in range(2)
        )
        own_rows, own_columns = sampling.grid(x, x.dtype)
        places = own_rows + alpha * rows, own_columns + alpha * columns
        return sampling.sample_images(x, *places, interpolation, fill_mode, fill_value)

    return _on_batch("elastic_transform", images, data_format, moved, last=True)


def _noise(x: Any, seed: int | None, stream: int) -> Any:
    """Return normal noise, `(batch, 1, height, width)`, for channels-last images."""
    like = x[..., 0].unsqueeze(1)
    if seed is None:
        return torch.randn_like(like)
    generator = torch.Generator(x.device).manual_seed(2 * seed + stream)
    return torch.randn(like.shape, dtype=x.dtype, device=x.device, generator=generator)


def rgb_to_grayscale(images: Any, data_format: str | None = None) -> Tensor:
    """Return images of one channel: `0.2989 R + 0.587 G + 0.114 B`."""
    x = _images("rgb_to_grayscale", images)
    axis = -1 if is_channels_last("rgb_to_grayscale", data_format) else -3
    if x.shape[axis] == 1:
        return x.clone()
    return grayscale(_planes("rgb_to_grayscale", x, axis)).to(x.dtype).unsqueeze(axis)


def _planes(name: str, x: Any, axis: int) -> tuple[Any, Any, Any]:
    if x.shape[axis] != 3:
        raise ValueError(f"{name} expects 3 channels, got {x.shape[axis]} in shape {x.shape}")
    return x.select(axis, 0), x.select(axis, 1), x.select(axis, 2)


def _floating_images(name: str, images: Any) -> Tensor:
    x = _images(name, images)
    if not x.dtype.is_floating_point:
        raise ValueError(f"{name} expects floating-point images, got {x.dtype}")
    return x


def rgb_to_hsv(images: Any, data_format: str | None = None) -> Tensor:
    """Return hue, saturation and value, between 0 and 1, of images between 0 and 1."""
    x = _floating_images("rgb_to_hsv", images)
    axis = -1 if is_channels_last("rgb_to_hsv", data_format) else -3
    return torch.stack(hsv_planes(_planes("rgb_to_hsv", x, axis)), dim=axis)


def hsv_to_rgb(images: Any, data_format: str | None = None) -> Tensor:
    """Return red, green and blue for hue, saturation and value, all between 0 and 1."""
    x = _floating_images("hsv_to_rgb", images)
    axis = -1 if is_channels_last("hsv_to_rgb", data_format) else -3
    return torch.stack(rgb_planes(_planes("hsv_to_rgb", x, axis)), dim=axis)


def extract_patches(
    images: Any,
    size: Sizes,
    strides: Sizes | None = None,
    dilation_rate: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """Return the patches of images, or of volumes if `size` has three numbers.

    Args:
        images: `(batch, height, width, channels)`, or one image.
        size: Height and width of a patch, or one number for both.
        strides: Step from one patch to the next. Defaults to `size`.
        dilation_rate: Distance between neighbors in a patch.
        padding: `"valid"`, none, or `"same"`: zeros around.
        data_format: `"channels_last"`, the default, or `"channels_first"`.

    Returns:
        Patches, each flattened with its channels last: `(batch, rows, columns, size)`.
    """
    rank = len(size) if isinstance(size, Sequence) else 2
    return _patches(images, size, strides, dilation_rate, padding, data_format, rank)


def extract_patches_3d(
    volumes: Any,
    size: Sizes,
    strides: Sizes | None = None,
    dilation_rate: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """Return the patches of volumes; see `extract_patches`."""
    return _patches(volumes, size, strides, dilation_rate, padding, data_format, 3)


def _patches(
    images: Any,
    size: Sizes,
    strides: Sizes | None,
    dilation_rate: Sizes,
    padding: str,
    data_format: str | None,
    rank: int,
) -> Tensor:
    x = tensor(images)
    window = integers("extract_patches", "size", size, rank)
    channels_last = is_channels_last("extract_patches", data_format)
    single = x.ndim == rank + 1
    channels = x.shape[-1 if channels_last else -rank - 1]
    count = math.prod(window) * channels
    kernel = torch.eye(count, dtype=x.dtype).reshape(*window, channels, count)
    steps = window if strides is None else strides
    made = conv(
        x.unsqueeze(0) if single else x,
        kernel.to(x.device) if isinstance(x, Tensor) else kernel,
        steps,
        padding,
        data_format,
        dilation_rate,
    )
    return made.squeeze(0) if single else made


def pad_images(
    images: Any,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Tensor:
    """Return images with zeros around.

    Args:
        images: `(batch, height, width, channels)`, or one image.
        top_padding, bottom_padding, target_height: Rows to add above and below, and the height to
            get: two of the three.
        left_padding, right_padding, target_width: Columns likewise.
        data_format: `"channels_last"`, the default, or `"channels_first"`.

    Raises:
        ValueError: Not exactly two are given, or a padding is negative.
    """

    def padded(x: Any) -> Any:
        rows = _two_of_three("pad_images", top_padding, bottom_padding, target_height, x.shape[2])
        columns = _two_of_three("pad_images", left_padding, right_padding, target_width, x.shape[3])
        return F.pad(x, (*columns, *rows))

    return _on_batch("pad_images", images, data_format, padded, last=False)


def crop_images(
    images: Any,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Tensor:
    """Return a part of images.

    Args:
        images: `(batch, height, width, channels)`, or one image.
        top_cropping, bottom_cropping, target_height: Rows to cut off above and below, and the
            height to get: two of the three.
        left_cropping, right_cropping, target_width: Columns likewise.
        data_format: `"channels_last"`, the default, or `"channels_first"`.

    Raises:
        ValueError: Not exactly two are given, or there are not so many rows or columns.
    """

    def cropped(x: Any) -> Any:
        name, (height, width) = "crop_images", x.shape[2:]
        top, bottom = _two_of_three(
            name, top_cropping, bottom_cropping, target_height, height, sign=-1
        )
        left, right = _two_of_three(
            name, left_cropping, right_cropping, target_width, width, sign=-1
        )
        return x[:, :, top : height - bottom, left : width - right]

    return _on_batch("crop_images", images, data_format, cropped, last=False)


def _two_of_three(
    name: str, before: Any, after: Any, target: Any, size: Any, sign: int = 1
) -> tuple[Any, Any]:
    """Return what to add, or to cut off, before and after, of which one or the target is `None`."""
    if [before, after, target].count(None) != 1:
        raise ValueError(
            f"{name} expects two of before, after and target along each axis, got {before}, "
            f"{after} and {target}"
        )
    if target is not None:
        total = sign * (target - size)
        before, after = (total - after, after) if before is None else (before, total - before)
    if any(isinstance(n, int) and n < 0 for n in (before, after)):
        raise ValueError(f"{name}: {before} before and {after} after do not fit a size of {size}")
    return before, after


_KERNELS = {
    **dict.fromkeys(("linear", "bilinear", "trilinear"), "linear"),
    **dict.fromkeys(("cubic", "bicubic", "tricubic"), "cubic"),
    "lanczos3": "lanczos3",
    "lanczos5": "lanczos5",
}


def scale_and_translate(
    images: Any,
    output_shape: Sequence[int],
    scale: Any,
    translation: Any,
    spatial_dims: Sequence[int],
    method: str,
    antialias: bool = True,
) -> Tensor:
    """Return images scaled and moved along some axes.

    Args:
        images: Values, of any number of axes.
        output_shape: The shape of the result.
        scale: A factor for each of the axes.
        translation: How far to move along each, in pixels of the result.
        spatial_dims: The axes.
        method: `"linear"`, `"cubic"`, `"lanczos3"` or `"lanczos5"`.
        antialias: Whether to average pixels if the image gets smaller.

    Raises:
        ValueError: The method is not known.
    """
    kernel = _KERNELS[one_of("scale_and_translate", "method", method, [*_KERNELS])]
    x = tensor(images)
    made = floating(x)
    factors, shifts = promoted(*(floating(beside(x, v)) for v in (scale, translation)))
    for i, dim in enumerate(spatial_dims):
        axis = dim % x.ndim
        weights = _resampling(
            x.shape[axis], output_shape[axis], factors[i], shifts[i], kernel, antialias
        )
        made = torch.tensordot(made, weights.to(made.dtype), dims=([axis], [0])).movedim(-1, axis)
    if x.dtype.is_floating_point:
        return made
    return torch.round(made).clamp(x.amin(), x.amax()).to(x.dtype)


def _resampling(size: Any, wanted: int, scale: Any, shift: Any, kernel: str, smooth: bool) -> Any:
    """Return what each of `size` values adds to each of `wanted` new ones."""
    inverse = 1.0 / scale
    width = inverse.clamp(min=1.0) if smooth else 1.0
    device = scale.device
    centers = torch.arange(wanted, dtype=scale.dtype, device=device) + 0.5 - shift
    centers = centers * inverse - 0.5
    places = torch.arange(size, dtype=scale.dtype, device=device).unsqueeze(1)
    weights = _kernel((centers - places).abs() / width, kernel)
    total = weights.sum(0, keepdim=True)
    enough = total.abs() > 1000 * torch.finfo(torch.float32).eps
    weights = torch.where(enough, weights / torch.where(total != 0, total, 1.0), 0.0)
    return torch.where((centers >= -0.5) & (centers <= size - 0.5), weights, 0.0)


def _kernel(x: Any, kind: str) -> Any:
    """Return the weight of a value at this distance."""
    if kind == "linear":
        return (1 - x).clamp(min=0.0)
    if kind == "cubic":  # Keys, 1981
        inner = ((1.5 * x - 2.5) * x) * x + 1.0
        outer = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
        return torch.where(x >= 2.0, 0.0, torch.where(x >= 1.0, outer, inner))
    radius = float(kind[-1])
    waves = radius * torch.sin(math.pi * x) * torch.sin(math.pi * x / radius)
    made = torch.where(x > 1e-3, waves / torch.where(x != 0, math.pi**2 * x**2, 1.0), 1.0)
    return torch.where(x > radius, 0.0, made)


def sobel_edges(images: Any, data_format: str | None = None) -> Tensor:
    """Return the slopes along height and width by Sobel's kernels, as a new last axis.

    Args:
        images: `(batch, height, width, channels)`.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
    """
    x = _floating_images("sobel_edges", images)
    channels_last = is_channels_last("sobel_edges", data_format)
    first = x.permute(0, 3, 1, 2) if channels_last else x
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=x.dtype)
    kernel = kernel.to(x.device) if isinstance(x, Tensor) else kernel
    flat = first.flatten(0, 1).unsqueeze(1)
    down, right = (F.conv2d(flat, k[None, None], padding=1) for k in (kernel.mT, kernel))
    made = torch.stack([down.reshape(first.shape), right.reshape(first.shape)], dim=-1)
    return made.permute(0, 2, 3, 1, 4) if channels_last else made


def ssim(
    image1: Any,
    image2: Any,
    max_val: float = 1.0,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    data_format: str | None = None,
) -> Tensor:
    """Return the structural similarity of images (Wang et al., 2004), one number for each.

    Args:
        image1, image2: `(batch, height, width, channels)`, or one image.
        max_val: The range of the values.
        filter_size: Size of the Gaussian window.
        filter_sigma: Its standard deviation, in pixels.
        k1, k2: Constants that keep divisions stable.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
    """
    first, second = promoted(_images("ssim", image1), _images("ssim", image2))
    dtype = first.dtype
    first, second = floating(first), floating(second)
    if is_channels_last("ssim", data_format):
        first, second = first.movedim(-1, -3), second.movedim(-1, -3)
    x, y = (v.flatten(0, -3).unsqueeze(1) for v in (first, second))
    window = sampling.gaussian(filter_size, filter_sigma, x)
    kernel = torch.outer(window, window)[None, None]
    mean_x, mean_y, xx, yy, xy = (F.conv2d(v, kernel) for v in (x, y, x * x, y * y, x * y))
    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    upper = (2 * mean_x * mean_y + c1) * (2 * (xy - mean_x * mean_y) + c2)
    lower = (mean_x**2 + mean_y**2 + c1) * (xx - mean_x**2 + yy - mean_y**2 + c2)
    by_channel = (upper / lower).mean((1, 2, 3)).reshape(first.shape[:-2])
    return by_channel.mean(-1).to(dtype)
