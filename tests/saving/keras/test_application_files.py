"""All of `keras.applications`: opened, written as source, kept as `.fgraph`, trained a step."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("h5py")
import fgraph
from keras_oracle import keras
from saving.keras.keras_files import opened

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NAMES = [
    name for name, make in vars(keras.applications).items()
    if inspect.isfunction(make) and "weights" in inspect.signature(make).parameters
]  # fmt: skip
SMALL = ("MobileNetV2", "ResNet50", "EfficientNetB0", "DenseNet121", "Xception")
# the least sizes that these take
SIZES = {"Xception": 96, "InceptionV3": 96, "InceptionResNetV2": 96, "NASNetLarge": 331,
         "NASNetMobile": 224}  # fmt: skip


def made(name: str, top: bool) -> Any:
    """Return a model with random weights and statistics."""
    size = SIZES.get(name, 64)
    options = {"classes": 5} if top else {"include_top": False}
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **options)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(rng.uniform(0.8, 1.2, weight.shape))
        elif weight.path.endswith(("beta", "bias", "moving_mean")):
            weight.assign(rng.normal(scale=0.1, size=weight.shape))
    return model


@pytest.mark.parametrize("top", [True, False], ids=["top", "no top"])
@pytest.mark.parametrize(
    "name",
    [n if n in SMALL else pytest.param(n, marks=pytest.mark.heavy) for n in NAMES],
)
def test_application_is_opened_ejected_kept_and_trained(
    name: str, top: bool, tmp_path: Path
) -> None:
    theirs = made(name, top)
    model = opened(theirs, tmp_path / "model.keras")
    x = torch.rand(2, *theirs.input_shape[1:]) * 2
    with torch.no_grad():
        expected, own = theirs(x, training=False), model(x)
        scale = float(expected.abs().max())
        assert float((own - expected).abs().max()) <= 1e-5 * scale
        if not top:
            return
        model.save(tmp_path / "model.fgraph")
        torch.testing.assert_close(fgraph.load_model(tmp_path / "model.fgraph")(x), own)
        space: dict[str, Any] = {}
        exec(model.to_source("Net"), space)
        plain = space["Net"]()
        plain.load_state_dict(model.state_dict())
        torch.testing.assert_close(plain.eval()(x), own)
    targets = torch.eye(5)[:2]
    theirs.compile("sgd", "categorical_crossentropy")
    model.compile("sgd", "categorical_crossentropy")
    # the loss before the step, in evaluation: dropout draws other numbers
    assert model.evaluate(x, targets, verbose=0) == pytest.approx(
        theirs.evaluate(x.numpy(), targets.numpy(), verbose=0), rel=1e-4
    )
    before = next(model.parameters()).clone()
    model.train_on_batch(x, targets)
    assert not torch.equal(before, next(model.parameters()))
