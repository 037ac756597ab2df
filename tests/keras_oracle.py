"""Keras 3 as the oracle of layers: the same graph in both packages, with the same weights."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "torch":
    pytest.skip("Keras runs on another backend", allow_module_level=True)

from keras.src.applications import convnext, inception_resnet_v2  # noqa: E402

# classes of Keras's applications, which are not public there
for _kind in (
    convnext.LayerScale, convnext.StochasticDepth, inception_resnet_v2.CustomScaleLayer,
):  # fmt: skip
    setattr(keras.layers, _kind.__name__, _kind)

from fgraph import Input, Model, layers  # noqa: E402
from layers.rows import called, together  # noqa: E402


def compare(make: Any, shapes: Any, call: Any = together, *, rng: np.random.Generator) -> None:
    """Compare one layer, called by `call(layer, *inputs)`, in both packages."""
    shapes = shapes if isinstance(shapes, list) else [shapes]
    values = [random_values(shape, rng) for shape in shapes]
    theirs, theirs_model = in_keras(make, shapes, call)
    ours, model = in_fgraph(make, shapes, call)
    assert agree(flat_shapes(model.output_shape), flat_shapes(theirs_model.output_shape))
    assert ours.count_params() == theirs.count_params()
    weights = [random_weight(w, rng) for w in theirs.weights if "seed" not in w.path]
    theirs.set_weights(filled(theirs, weights))
    ours.set_weights(weights)
    for mine, given in zip(ours.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(mine, given)
    model.eval()
    own_inputs, their_inputs = tensors(values), tensors(values)
    own = flat(model(*own_inputs))
    expected = flat(theirs_model(their_inputs, training=False))
    assert len(own) == len(expected)
    for mine, reference in zip(own, expected, strict=True):
        torch.testing.assert_close(mine.float(), reference.float(), rtol=1e-5, atol=1e-5)
    compare_gradients((ours, own_inputs, own), (theirs, their_inputs, expected))


def compare_gradients(ours: Any, theirs: Any) -> None:
    """Compare the gradients of a weighted sum of all outputs."""
    for _, _, outputs in (ours, theirs):
        scores = [(o.float() * torch.linspace(-1, 1, o.numel()).view_as(o)).sum() for o in outputs]
        if not any(score.requires_grad for score in scores):
            return
        sum(scores).backward()
    for mine, reference in zip(ours[1], theirs[1], strict=True):
        if mine.requires_grad:
            torch.testing.assert_close(mine.grad, reference.grad, rtol=1e-5, atol=1e-5)
    own = [
        weight.layout.to_keras([gradient(t) for t in weight.tensors(module)], module)
        for _, module, weight in ours[0]._held_weights()
        if weight.trainable
    ]
    expected = [gradient(weight.value) for weight in theirs[0].trainable_weights]
    for mine, reference in zip(own, expected, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-4)


def gradient(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def in_keras(make: Any, shapes: list[Any], call: Any = together) -> tuple[Any, Any]:
    inputs = [
        keras.Input(s[2], dtype="int32") if s[:1] == ("integers",) else keras.Input(s)
        for s in shapes
    ]
    layer = make(keras.layers)
    return layer, keras.Model(inputs, call(layer, *inputs))


def in_fgraph(make: Any, shapes: list[Any], call: Any = together) -> tuple[Any, Any]:
    layer, inputs, result = called(make, shapes, call)
    return layer, Model(inputs, result)


def random_values(shape: Any, rng: np.random.Generator) -> np.ndarray:
    if shape[:1] == ("integers",):
        return rng.integers(0, shape[1], (3, *shape[2]))
    return rng.normal(size=(3, *(7 if size is None else size for size in shape))).astype("float32")


def random_weight(weight: Any, rng: np.random.Generator) -> np.ndarray:
    if "int" in weight.dtype:
        return rng.integers(0, 9, tuple(weight.shape)).astype(weight.dtype)
    value = rng.normal(scale=0.5, size=tuple(weight.shape)).astype("float32")
    return np.abs(value) + 0.5 if "variance" in weight.path else value


def filled(layer: Any, weights: list[np.ndarray]) -> list[Any]:
    """Put the states of Keras's random generators, which are weights to it, where it wants them."""
    given = iter(weights)
    return [w.numpy() if "seed" in w.path else next(given) for w in layer.weights]


def tensors(values: list[np.ndarray]) -> list[torch.Tensor]:
    made = [torch.tensor(value) for value in values]
    return [value.requires_grad_() if value.is_floating_point() else value for value in made]


def flat(structure: Any) -> list[torch.Tensor]:
    if isinstance(structure, torch.Tensor):
        return [structure]
    return [leaf for part in structure for leaf in flat(part)]


def agree(own: list[Any], theirs: list[Any]) -> bool:
    """Whether shapes are equal, but for sizes that Keras does not work out."""
    return [len(shape) for shape in own] == [len(shape) for shape in theirs] and all(
        mine == reference or reference is None
        for pair in zip(own, theirs, strict=True)
        for mine, reference in zip(*pair, strict=True)
    )


def flat_shapes(shape: Any) -> list[tuple[Any, ...]]:
    if all(size is None or isinstance(size, int) for size in shape):
        return [tuple(shape)]
    return [leaf for part in shape for leaf in flat_shapes(part)]


def compare_models(build: Any, values: list[Any], **options: Any) -> Any:
    """Compare a model made by `build(L, *inputs)` in both packages; return fgraph's.

    Layers are matched in the order of `build`'s list of layers, its second result.
    """
    dtypes = ["int64" if np.asarray(value).dtype.kind == "i" else None for value in values]
    shapes = [np.asarray(value).shape[1:] for value in values]
    given = [Input(s, dtype=d) for s, d in zip(shapes, dtypes, strict=True)]
    theirs_given = [keras.Input(s, dtype=d) for s, d in zip(shapes, dtypes, strict=True)]
    result, made = build(layers, *given)
    theirs_result, theirs_made = build(keras.layers, *theirs_given)
    model, theirs = Model(given, result), keras.Model(theirs_given, theirs_result)
    rng = np.random.default_rng(0)
    for mine, reference in zip(made, theirs_made, strict=True):
        weights = [random_weight(w, rng) for w in reference.weights if "seed" not in w.path]
        reference.set_weights(filled(reference, weights))
        mine.set_weights(weights)
    model.eval()
    inputs = [torch.as_tensor(value) for value in values]
    own = flat(model(*inputs))
    expected = flat(theirs(inputs if len(inputs) > 1 else inputs[0], training=False))
    for mine, reference in zip(own, expected, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-5, equal_nan=True)
    return model
