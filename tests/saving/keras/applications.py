"""The architectures of `keras.applications`, and what must be equal in both packages."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import fgraph
from keras_oracle import keras
from saving.keras.keras_files import opened

_MAKERS = {
    name: make
    for name, make in vars(keras.applications).items()
    if inspect.isfunction(make)
    and "weights" in inspect.signature(make).parameters
    and not name.startswith("NASNet")  # not available with the torch backend of Keras
}
NAMES = list(_MAKERS)
# the least sizes that these take
_SIZES = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}
_CLASSES, _BATCH = 5, 4
# so many blocks magnify a rounding in float32 to the size of the output
_DEEPEST = ("EfficientNetV2M", "EfficientNetV2L")
# has gigabytes, and no statistics of batches that would magnify errors
_SINGLE = "ConvNeXt"


class Opened(NamedTuple):
    """What a comparison found.

    Attributes:
        error: largest error of an output, of the largest output.
        step: largest error of what a training step changes, of the largest change of its weight.
        seconds, theirs: to open the file here, and in Keras; of one processor.
    """

    error: float
    step: float = 0.0
    seconds: float = 0.0
    theirs: float = 0.0


def family(name: str) -> str:
    """Return the module of Keras that an architecture is from."""
    return str(_MAKERS[name].__module__.rpartition(".")[2])


def compare_trained(name: str, folder: Path) -> Opened:
    """Compare a classifier: outputs, source, `.fgraph`, and a training step; most in float64."""
    exact = not name.startswith(_SINGLE)
    with _in_double(exact):
        theirs = _made(name, include_top=True, classes=_CLASSES)
        for layer in theirs.layers:  # the packages draw different numbers
            for rate in {"rate", "drop_path_rate"} & vars(layer).keys():
                setattr(layer, rate, 0.0)
            if exact and getattr(layer, "input_mean", None) is not None:  # it rounds them
                for held, value in (("mean", layer.input_mean), ("variance", layer.input_variance)):
                    given = torch.tensor(value, dtype=torch.float64)
                    setattr(layer, held, given.reshape(getattr(layer, held).shape))
        model = opened(theirs, folder / "model.keras")
        x = _values(theirs)
        error = _compare_outputs(model(x), theirs(x, training=False), exact=exact)
        _compare_kept(model, x, folder)
        return Opened(error, _compare_step(model, theirs, x))


def compare_written(name: str, folder: Path) -> Opened:
    """Compare what has no classifier, in float32: opened, and written back and opened by Keras."""
    theirs = _made(name, include_top=False)
    theirs.save(folder / "model.keras")
    started = time.process_time()
    model = fgraph.load_model(folder / "model.keras")
    seconds = time.process_time() - started
    x = _values(theirs)
    expected = theirs(x, training=False)
    error = _compare_outputs(model(x), expected)
    model.save(folder / "back.keras")
    del theirs, model
    started = time.process_time()
    again = keras.models.load_model(folder / "back.keras")
    theirs_seconds = time.process_time() - started
    error = max(error, _compare_outputs(again(x, training=False), expected))
    return Opened(error, seconds=seconds, theirs=theirs_seconds)


@contextmanager
def _in_double(double: bool) -> Iterator[None]:
    """Let Keras compute in float64 throughout; on torch it rounds some results to float32."""
    if not double:
        yield
        return
    config, narrowed = keras.config, keras.src.backend.common.dtypes.BIT64_TO_BIT32_DTYPE
    floats, policy, narrow = config.floatx(), config.dtype_policy(), narrowed["float64"]
    try:
        config.set_floatx("float64")
        config.set_dtype_policy("float64")
        narrowed["float64"] = "float64"  # as with TensorFlow
        yield
    finally:
        narrowed["float64"] = narrow
        config.set_floatx(floats)
        config.set_dtype_policy(policy)


def _made(name: str, **options: Any) -> Any:
    """Return a model with random weights and statistics."""
    keras.utils.set_random_seed(0)
    size = _SIZES.get(name, 32)
    model = _MAKERS[name](weights=None, input_shape=(size, size, 3), **options)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(rng.uniform(0.8, 1.2, weight.shape))
        elif weight.path.endswith(("beta", "bias", "moving_mean")):
            weight.assign(rng.normal(scale=0.1, size=weight.shape))
    if name in _DEEPEST:
        for layer in filter(_ends_branch, model.layers):
            layer.gamma.assign(layer.gamma * 0.5)
    if hasattr(last := model.layers[-1], "kernel"):  # Keras cuts off small probabilities
        last.kernel.assign(last.kernel * 0.1)
    return model


def _ends_branch(layer: Any) -> bool:
    """Whether a layer is the normalization before the sum of a residual block."""
    taken_by = {node.operation for node in layer._outbound_nodes}
    while any(isinstance(taker, keras.layers.Dropout) for taker in taken_by):
        taken_by = {node.operation for taker in taken_by for node in taker._outbound_nodes}
    return isinstance(layer, keras.layers.BatchNormalization) and any(
        isinstance(taker, keras.layers.Add) for taker in taken_by
    )


def _values(theirs: Any) -> torch.Tensor:
    """Return inputs that float32 holds exactly."""
    values = np.random.default_rng(1).uniform(0, 2, (_BATCH, *theirs.input_shape[1:]))
    return torch.as_tensor(values.astype("float32")).to(getattr(torch, theirs.inputs[0].dtype))


@torch.no_grad()
def _compare_outputs(own: torch.Tensor, expected: torch.Tensor, exact: bool = False) -> float:
    assert own.dtype == expected.dtype
    assert own.shape == expected.shape
    error = float((own - expected).abs().max() / expected.abs().max())
    assert error <= (1e-10 if exact else 1e-5)
    return error


@torch.no_grad()
def _compare_kept(model: Any, x: torch.Tensor, folder: Path) -> None:
    """Compare a model with itself as `.fgraph` and as source."""
    own = model(x)
    model.save(folder / "model.fgraph")
    torch.testing.assert_close(fgraph.load_model(folder / "model.fgraph")(x), own)
    space: dict[str, Any] = {}
    exec(model.to_source("Net"), space)
    plain = space["Net"]()
    plain.load_state_dict(model.state_dict(), assign=True)
    torch.testing.assert_close(plain.eval()(x), own)


def _compare_step(model: Any, theirs: Any, x: torch.Tensor) -> float:
    """Compare the loss, and all weights after a step of gradient descent."""
    exact = x.dtype == torch.float64
    targets = torch.eye(_CLASSES, dtype=x.dtype)[torch.arange(_BATCH) % _CLASSES]
    theirs.compile(keras.optimizers.SGD(0.01), "categorical_crossentropy")
    model.compile(fgraph.optimizers.SGD(0.01), "categorical_crossentropy")
    loss = theirs.train_on_batch(x.numpy(), targets.numpy())  # it is float32
    theirs.zero_grad()
    makers = {layer.name: layer for layer in theirs.layers}
    expected = {
        layer.name: [w.numpy() for w in makers[layer.name].weights if "seed" not in w.path]
        for layer in model.layers
    }
    changes = {
        layer.name: [
            np.abs(after - before).max()
            for after, before in zip(expected[layer.name], layer.get_weights(), strict=True)
        ]
        for layer in model.layers
    }
    largest = max(map(max, filter(None, changes.values())))
    own_loss = model.train_on_batch(x, targets)
    assert own_loss == pytest.approx(loss, rel=1e-6 if exact else 1e-5)
    # a change that should be none is as large as rounding makes it
    tolerance, least = (1e-5, 1e-6 * largest) if exact else (1e-3, 1e-2 * largest)
    worst = 0.0
    for layer in model.layers:
        for own, after, change in zip(
            layer.get_weights(), expected[layer.name], changes[layer.name], strict=True
        ):
            if own.dtype.kind != "f":  # a count
                assert (own == after).all()
                continue
            off, change = float(np.abs(own - after).max()), max(float(change), least)
            rounding = np.finfo(own.dtype).eps * float(np.abs(after).max())
            assert off <= tolerance * change + 2 * rounding, layer.name
            worst = max(worst, off / change)
    return worst
