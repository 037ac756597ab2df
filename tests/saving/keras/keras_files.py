"""A model of Keras, saved and opened without it: what both compute must be equal."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fgraph
from keras_oracle import keras, random_weight


def leaves(structure: Any) -> list[torch.Tensor]:
    """Return tensors in the order of Keras: dicts by their keys, as they come."""
    if isinstance(structure, dict):
        return [leaf for part in structure.values() for leaf in leaves(part)]
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in leaves(part)]
    return [structure]


def values_for(model: Any, rng: np.random.Generator, batch: int = 3) -> list[torch.Tensor]:
    """Return values for the inputs of a model of Keras."""
    found = []
    for given in model.inputs:
        shape = (batch, *(7 if size is None else size for size in given.shape[1:]))
        value = rng.integers(0, 4, shape) if "int" in given.dtype else rng.normal(size=shape)
        found.append(torch.as_tensor(np.asarray(value)).to(getattr(torch, given.dtype)))
    return found


def randomize(model: Any, seed: int = 1) -> Any:
    """Give the weights of a model of Keras values that no initializer gives."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        fixed = ("seed", "normalization/mean", "normalization/variance", "normalization/count")
        if not any(text in weight.path for text in fixed):
            weight.assign(random_weight(weight, rng))
    return model


def opened(model: Any, path: Path, **options: Any) -> Any:
    """Save a model by Keras and open it by fgraph, without a random number drawn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    state = torch.get_rng_state()
    found = fgraph.load_model(path, **options)
    assert torch.equal(torch.get_rng_state(), state)
    return found


def assert_same_outputs(model: Any, theirs: Any, values: list[torch.Tensor]) -> None:
    own = leaves(model(structured(theirs, values)))
    expected = leaves(call(theirs, values))
    assert len(own) == len(expected)
    for mine, reference in zip(own, expected, strict=True):
        assert mine.shape == reference.shape
        scale = max(float(reference.double().abs().nan_to_num(0, 0, 0).max()), 1e-3) if (
            reference.numel()) else 1.0  # fmt: skip
        torch.testing.assert_close(
            mine.double(), reference.double(), rtol=1e-5, atol=1e-5 * scale, equal_nan=True
        )


def call(theirs: Any, values: list[torch.Tensor], training: bool = False) -> Any:
    """Call a model of Keras on the values of its inputs, whatever their structure."""
    return theirs(structured(theirs, values), training=training)


def structured(theirs: Any, values: list[torch.Tensor]) -> Any:
    """Return values in the structure of the inputs of a model of Keras."""
    given = getattr(theirs, "_inputs_struct", None)
    if isinstance(given, (dict, list, tuple)) and (len(values) > 1 or isinstance(given, dict)):
        return keras.tree.pack_sequence_as(given, values)
    return values[0] if len(values) == 1 else values


def weights_of(theirs: Any) -> list[np.ndarray]:
    return [weight.numpy() for weight in theirs.weights if "seed" not in weight.path]


def assert_same_weights(model: Any, theirs: Any, close: bool = False) -> None:
    own = [weight for part in model.layers for weight in part.get_weights()]
    expected = weights_of(theirs)
    assert [w.shape for w in own] == [w.shape for w in expected]
    for mine, reference in zip(own, expected, strict=True):
        if close:
            np.testing.assert_allclose(mine, reference, rtol=1e-3, atol=2e-4)
        else:
            np.testing.assert_array_equal(mine, reference)


def assert_same_step(model: Any, theirs: Any, values: list[torch.Tensor]) -> None:
    """Compare the weights after a step of gradient descent on a weighted sum of the outputs."""
    # torch's group_norm crashes in backward on channels-last inputs without gradients
    values = [v.clone().requires_grad_() if v.is_floating_point() else v for v in values]
    trained = list(theirs.trainable_weights)
    for call_it, step in (
        (lambda: call(theirs, values, True), lambda: _descend([w.value for w in trained])),
        (lambda: model(structured(theirs, values)), lambda: _descend(list(model.parameters()))),
    ):
        model.train()
        torch.manual_seed(0)
        outputs = [o for o in leaves(call_it()) if o.is_floating_point() and o.requires_grad]
        if not outputs:
            return
        sum((o.double() * torch.linspace(-1, 1, o.numel()).view_as(o)).mean() for o in outputs
            ).backward()  # fmt: skip
        step()
    model.eval()
    assert_same_weights(model, theirs, close=True)


def _descend(parameters: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
                parameter.grad = None


def is_random(theirs: Any) -> bool:
    """Whether training draws random numbers."""
    waiting, text = [theirs], ("Dropout", "Noise", "Random", "StochasticDepth")
    while waiting:
        layer = waiting.pop()
        if type(layer).__name__.startswith(text) or any(t in type(layer).__name__ for t in text):
            return True
        if getattr(layer, "dropout", 0) or getattr(layer, "recurrent_dropout", 0):
            return True
        waiting += list(layer._layers)
    return False
