"""Images in folders, one folder for each class, as batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from ..errors import unknown_name

_FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_COLOUR_MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
_INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "area")
_LABEL_MODES = ("int", "categorical", "binary")


class ImageFolders(Dataset[Any]):
    """Images in files, with labels.

    Attributes:
        file_paths: the path of each image.
        labels: the number of its class, or `None`.
        class_names: the names of the classes, in the order of their numbers.
    """

    def __init__(
        self,
        file_paths: list[str],
        labels: list[int] | None,
        class_names: list[str],
        read: _Reader,
        label_mode: str | None,
    ) -> None:
        self.file_paths = file_paths
        self.labels = labels
        self.class_names = class_names
        self._read = read
        self._label_mode = label_mode

    def __len__(self) -> int:
        return len(self.file_paths)

    def __getitem__(self, index: int) -> Any:
        image = self._read(self.file_paths[index])
        if self.labels is None:
            return image
        label = self.labels[index]
        if self._label_mode == "categorical":
            return image, F.one_hot(torch.tensor(label), len(self.class_names)).float()
        if self._label_mode == "binary":
            return image, torch.tensor([label], dtype=torch.float32)
        return image, torch.tensor(label, dtype=torch.int32)


class _Reader:
    """Reads an image file as a float tensor of one size."""

    def __init__(
        self, mode: str, size: tuple[int, int], interpolation: str, fit: str, data_format: str
    ) -> None:
        self._mode = mode
        self._size = size
        self._interpolation = interpolation
        self._fit = fit
        self._channels_first = data_format == "channels_first"

    def __call__(self, path: str) -> Tensor:
        """Return the image, of shape `(height, width, channels)`, values from 0 to 255."""
        from PIL import Image

        with Image.open(path) as file:
            values = np.array(file.convert(self._mode), dtype="float32")
        image = torch.from_numpy(values).reshape(*values.shape[:2], -1).permute(2, 0, 1)
        image = self._resized(self._framed(image))
        return image if self._channels_first else image.permute(1, 2, 0).contiguous()

    def _framed(self, image: Tensor) -> Tensor:
        """Crop or pad to the aspect ratio of the target size, around the middle."""
        if self._fit == "stretch":
            return image
        height, width = image.shape[1:]
        wide, high = self._size[1] / self._size[0], self._size[0] / self._size[1]
        if self._fit == "crop":
            h, w = min(height, int(width * high)), min(width, int(height * wide))
            top, left = (height - h) // 2, (width - w) // 2
            return image[:, top : top + h, left : left + w]
        h, w = max(height, int(width * high)), max(width, int(height * wide))
        top, left = (h - height) // 2, (w - width) // 2
        return F.pad(image, (left, w - width - left, top, h - height - top))

    def _resized(self, image: Tensor) -> Tensor:
        if tuple(image.shape[1:]) == self._size:
            return image
        mode = "nearest-exact" if self._interpolation == "nearest" else self._interpolation
        return F.interpolate(image[None], self._size, mode=mode)[0]


def image_dataset_from_directory(
    directory: str | os.PathLike[str],
    labels: str | Sequence[int] | None = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: tuple[int, int] | int = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str = "channels_last",
    verbose: bool = True,
) -> Any:
    """Return batches of images in a folder, like `keras.utils.image_dataset_from_directory`.

    Needs the package Pillow.

    Args:
        directory: a folder with one folder for each class, or with images if labels are given.
        labels: `"inferred"` from the folders, `None` for images alone, or the number of the class
            of each file, in the order of the sorted paths.
        label_mode: `"int"` (int32 numbers), `"categorical"` (one-hot rows), `"binary"` (0. or 1.,
            shape `(batch, 1)`), or `None` for images alone.
        class_names: the folders to use, in the order of their numbers; sorted by default.
        color_mode: `"grayscale"`, `"rgb"` or `"rgba"`: 1, 3 or 4 channels.
        batch_size: images in a batch; `None` for single images.
        image_size: height and width to resize to.
        shuffle: whether to shuffle the files, once and again in each epoch.
        seed: the seed of both shufflings.
        validation_split: the share of the files, from the end, that is kept for validation.
        subset: with `validation_split`: `"training"`, `"validation"`, or `"both"`.
        interpolation: `"bilinear"`, `"nearest"`, `"bicubic"` or `"area"`, as in
            `torch.nn.functional.interpolate`, without antialiasing.
        follow_links: whether to look into linked folders.
        crop_to_aspect_ratio: whether to crop images to the aspect ratio of `image_size`.
        pad_to_aspect_ratio: whether to pad them to it with zeros.
        data_format: `"channels_last"` or `"channels_first"`.
        verbose: whether to print how many files were found.

    Returns:
        A `torch.utils.data.DataLoader` of float32 images from 0 to 255, of shape `(batch, height,
        width, channels)`, and labels; it has the attributes `class_names` and `file_paths`. A
        pair of loaders for `subset="both"`.

    Raises:
        ImportError: Pillow is not installed.
        FileNotFoundError: there is no such folder.
        ValueError: an option is unknown, options do not fit, or no image was found.
    """
    _need_pillow()
    _check_choice("color_mode", color_mode, _COLOUR_MODES)
    _check_choice("interpolation", interpolation, _INTERPOLATIONS)
    _check_choice("label_mode", label_mode, (*_LABEL_MODES, None))
    _check_choice("data_format", data_format, ("channels_last", "channels_first"))
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("image_dataset_from_directory takes crop_to_aspect_ratio or "
                         "pad_to_aspect_ratio, not both")  # fmt: skip
    _check_split(validation_split, subset, shuffle, seed)
    label_mode = None if labels is None else label_mode
    paths, numbers, names = _index(Path(directory), labels, class_names, follow_links)
    if label_mode == "binary" and len(names) != 2:
        raise ValueError(f"label_mode='binary' needs two classes, found {len(names)}: {names}")
    if verbose:
        print(f"Found {len(paths)} files" + (f" of {len(names)} classes." if names else "."))
    if shuffle:
        seed = int(torch.randint(2**31, ())) if seed is None else seed
        paths, numbers = _shuffled(paths, numbers, seed)
    height, width = (image_size,) * 2 if isinstance(image_size, int) else image_size
    fit = "crop" if crop_to_aspect_ratio else "pad" if pad_to_aspect_ratio else "stretch"
    read = _Reader(_COLOUR_MODES[color_mode], (height, width), interpolation, fit, data_format)
    kept = len(paths) - int((validation_split or 0.0) * len(paths))
    parts = {"training": slice(0, kept), "validation": slice(kept, None), None: slice(None)}

    def loader(part: str | None) -> DataLoader[Any]:
        where = parts[part]
        if not paths[where]:
            raise ValueError(f"no images for {part} in {str(directory)!r}, of {len(paths)} files")
        data = ImageFolders(
            paths[where], numbers[where] if label_mode else None, names, read, label_mode
        )
        mixes = shuffle and part != "validation"
        generator = torch.Generator().manual_seed(seed) if mixes and seed is not None else None
        made = DataLoader(data, batch_size, mixes, generator=generator)
        made.class_names, made.file_paths = names, data.file_paths
        return made

    return (loader("training"), loader("validation")) if subset == "both" else loader(subset)


def _check_choice(name: str, value: Any, known: Iterable[Any]) -> None:
    if value not in known:
        known = [str(one) for one in known]
        raise ValueError(f"image_dataset_from_directory: {unknown_name(name, str(value), known)}")


def _shuffled(paths: list[str], numbers: list[int], seed: int) -> tuple[list[str], list[int]]:
    """Return files and the numbers of their classes in an order drawn from a seed."""
    order = np.random.RandomState(seed).permutation(len(paths))
    return [paths[i] for i in order], [numbers[i] for i in order]


def _need_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "image_dataset_from_directory needs Pillow: python -m pip install pillow"
        ) from error


def _check_split(
    validation_split: float | None, subset: str | None, shuffle: bool, seed: int | None
) -> None:
    if (validation_split is None) != (subset is None):
        raise ValueError(
            "image_dataset_from_directory takes validation_split= and subset= together, got "
            f"validation_split={validation_split!r}, subset={subset!r}"
        )
    if subset not in (None, "training", "validation", "both"):
        raise ValueError(unknown_name("subset", str(subset), ("training", "validation", "both")))
    if validation_split is not None and not 0 < validation_split < 1:
        raise ValueError(f"validation_split= expects a share from 0 to 1, got {validation_split!r}")
    if subset in ("training", "validation") and shuffle and seed is None:
        raise ValueError(
            "with shuffle=True give the same seed= for subset='training' and subset='validation', "
            "or they would share files"
        )


def _index(
    folder: Path, labels: Any, class_names: Sequence[str] | None, follow_links: bool
) -> tuple[list[str], list[int], list[str]]:
    """Return the paths of the images, the numbers of their classes, and the classes' names."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}")
    if labels == "inferred":
        found = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
        names = list(found if class_names is None else class_names)
        if unknown := set(names) - set(found):
            raise ValueError(f"class_names= has {sorted(unknown)}, but the folders are {found}")
        by_class = [_images(folder / name, follow_links) for name in names]
        numbers = [number for number, paths in enumerate(by_class) for _ in paths]
        return [path for paths in by_class for path in paths], numbers, names
    if class_names is not None:
        raise ValueError("class_names= goes with labels='inferred'")
    paths = _images(folder, follow_links)
    if labels is None:
        return paths, [0] * len(paths), []
    if isinstance(labels, str) or len(labels) != len(paths):
        raise ValueError(
            f"labels= expects 'inferred', None, or a number for each of the {len(paths)} images, "
            f"got {labels if isinstance(labels, str) else len(labels)!r}"
        )
    return paths, [int(label) for label in labels], [str(one) for one in sorted(set(labels))]


def _images(folder: Path, follow_links: bool) -> list[str]:
    return sorted(
        os.path.join(at, name)
        for at, _, names in os.walk(folder, followlinks=follow_links)
        for name in names
        if name.lower().endswith(_FORMATS)
    )
