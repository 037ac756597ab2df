"""All of `keras.applications`: opened, written as source, kept, trained a step, written back."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("h5py")
from saving.keras.applications import NAMES, compare_trained, compare_written

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
# of most families a small one
SMALL = ("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionV3",
         "MobileNet", "MobileNetV2", "MobileNetV3Small", "ResNet50", "ResNet50V2", "VGG16",
         "Xception")  # fmt: skip
ALL = [n if n in SMALL else pytest.param(n, marks=pytest.mark.heavy) for n in NAMES]


@pytest.mark.parametrize("name", ALL)
def test_classifier_is_opened_ejected_kept_and_trained(name: str, tmp_path: Path) -> None:
    compare_trained(name, tmp_path)


@pytest.mark.parametrize("name", ALL)
def test_body_is_opened_and_written_back(name: str, tmp_path: Path) -> None:
    compare_written(name, tmp_path)
