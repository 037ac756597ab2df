"""Random changes of images: Keras's, where the random numbers are equal, and drawn as it says."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from fgraph import Input, Model, layers
from fgraph.errors import BuildError
from keras_oracle import keras

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's own code warns of torch functions

RNG = np.random.default_rng(0)
COUNT = 3
RGB = torch.tensor(RNG.uniform(0, 255, (COUNT, 9, 8, 3)).astype("float32"))
UNIT = RGB / 255


def numbers(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    return torch.tensor(RNG.uniform(low, high, shape).astype("float32"))


def column(x: torch.Tensor) -> torch.Tensor:
    return x[:, None]


def image(x: torch.Tensor) -> torch.Tensor:
    return x[:, None, None, None]


F, G = numbers(COUNT, low=-0.2, high=0.2), numbers(COUNT, low=-0.3, high=0.3)
CHOSEN = torch.tensor([True, False, True])
MOVES = numbers(COUNT, 4, 2, low=-0.2, high=0.2)
CORNERS = torch.tensor([[[0.0, 0], [7, 0], [0, 8], [7, 8]]] * COUNT)
SIGMA = torch.tensor([0.7, 1.3])
BOXES = torch.tensor([[[1.0, 2.5, 0.0], [4.0, 7.2, 3.0]], [[0.0, 1.0, 2.0], [3.0, 8.0, 5.5]]])
BITS = torch.tensor([2, 5, 8])


def turned(theirs: Any) -> Any:
    return {
        "rotation_matrix": theirs._compute_affine_matrix(
            0.5, 0.5, 360 * F, *(torch.zeros(COUNT),) * 2, torch.ones(COUNT),
            *(torch.zeros(COUNT),) * 2, height=9, width=8,
        )
    }  # fmt: skip


def masks(theirs: Any) -> Any:
    (y0, y1), (x0, x1) = BOXES
    return {
        "apply_erasing": CHOSEN,
        "batch_masks": theirs._generate_batch_mask(RGB.shape, (x0, x1, y0, y1)),
        "fill_value": torch.full_like(RGB, 7.0),
    }


# the layer, numbers for the module's `change`, and how Keras writes them
ROWS: list[tuple[Any, ...]] = [
    (lambda L: L.RandomFlip("horizontal"), {"flips": CHOSEN}, {"flips": image(CHOSEN)}),
    (lambda L: L.RandomFlip("vertical"), {"flips": CHOSEN}, {"flips": image(CHOSEN)}),
    (lambda L: L.RandomFlip(), {"flips": CHOSEN}, {"flips": image(CHOSEN)}),
    (lambda L: L.RandomRotation(0.2), {"turn": F}, turned),
    (lambda L: L.RandomRotation(0.2, "constant", "nearest", fill_value=9.0), {"turn": F}, turned),
    (
        lambda L: L.RandomTranslation(0.2, 0.2),
        {"down": 9 * F, "right": 8 * G},
        {"translations": torch.stack([8 * G, 9 * F], 1), "input_shape": RGB.shape},
    ),
    (
        lambda L: L.RandomZoom(0.2, 0.3, fill_mode="wrap"),
        {"rows": 1 + F, "columns": 1 + G},
        {"height_zoom": column(1 + F), "width_zoom": column(1 + G), "input_shape": RGB.shape},
    ),
    (
        lambda L: L.RandomShear(0.2, 0.3, fill_mode="nearest"),
        {"horizontal": F, "vertical": G},
        {"shear_factor": torch.stack([F, G], 1), "input_shape": RGB.shape},
    ),
    (
        lambda L: L.RandomPerspective(1.0, 0.4, fill_value=3.0),
        {"chosen": CHOSEN, "moves": MOVES},
        {
            "apply_perspective": CHOSEN,
            "start_points": CORNERS,
            "end_points": CORNERS + CORNERS * MOVES,
            "input_shape": RGB.shape,
        },
    ),
    (
        lambda L: L.RandomErasing(fill_value=7.0),
        {"chosen": CHOSEN, "rows": BOXES[0], "columns": BOXES[1]},
        masks,
    ),
    (lambda L: L.RandomBrightness(0.2), {"factor": F}, {"rgb_delta": 255 * image(F)}),
    (
        lambda L: L.RandomBrightness(0.2, value_range=(0.0, 200.0)),
        {"factor": F},
        {"rgb_delta": 200 * image(F)},
    ),
    (lambda L: L.RandomContrast(0.3), {"factor": 1 + G}, {"contrast_factor": image(1 + G)}),
    (lambda L: L.RandomHue(0.3), {"factor": F}, {"factor": F}),
    (
        lambda L: L.RandomSaturation(0.3, (0.0, 1.0)),
        {"factor": 1 + F},
        {"factor": 1 + F},
    ),
    (lambda L: L.RandomSharpness(1.0), {"factor": 0.5 + F}, {"factor": 0.5 + F}),
    (lambda L: L.RandomGrayscale(), {"chosen": CHOSEN}, image(CHOSEN)),
    (lambda L: L.RandomInvert(), {"chosen": CHOSEN}, {"apply_inversion": CHOSEN}),
    (
        lambda L: L.RandomPosterization((2, 8)),
        {"bits": BITS},
        {"shift_factor": (8 - BITS).to(torch.uint8)},
    ),
    (lambda L: L.RandomColorDegeneration(0.3), {"factor": F}, {"factor": image(F)}),
    (
        lambda L: L.RandomGaussianBlur(kernel_size=5),
        {"chosen": CHOSEN, "sigma": SIGMA},
        {"should_apply_blur": CHOSEN, "blur_factor": SIGMA},
    ),
    (
        lambda L: L.Solarization(0.3, 0.5),
        {"additions": 100 * F, "thresholds": 128 + 100 * G},
        {"additions": image(100 * F), "thresholds": image(128 + 100 * G)},
    ),
    (lambda L: L.Equalization(), {}, None),
    (lambda L: L.Equalization(bins=16), {}, None),
]


def built(make: Any, shape: tuple[int, ...] = (9, 8, 3)) -> tuple[Any, Model]:
    layer, x = make(layers), Input(shape)
    return layer, Model(x, layer(x))


@pytest.mark.parametrize("row", ROWS, ids=[type(row[0](layers)).__name__ for row in ROWS])
def test_equal_numbers_change_images_as_in_keras(row):
    make, given, theirs_given = row
    theirs = make(keras.layers)
    x = UNIT if tuple(getattr(theirs, "value_range", (0, 255))) == (0.0, 1.0) else RGB
    transformation = theirs_given(theirs) if callable(theirs_given) else theirs_given
    expected = theirs.transform_images(x.clone(), transformation, training=True)
    layer, _ = built(make)
    found = layer.module.change(x, **given)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2 if x is RGB else 1e-4)


LAYERS = {type(row[0](layers)).__name__: row[0] for row in ROWS}
LAYERS |= {
    "RandomElasticTransform": lambda L: L.RandomElasticTransform(),
    "RandomColorJitter": lambda L: L.RandomColorJitter((0, 255), 0.3, 0.3, (0.2, 0.4), 0.3),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_images_change_in_training_only_and_channels_may_be_first(make):
    _, model = built(make)
    torch.manual_seed(0)
    model.train()
    assert not all(torch.equal(model(RGB), RGB) for _ in range(10))
    torch.testing.assert_close(model.eval()(RGB), RGB)
    torch.testing.assert_close(model(RGB, training=False), RGB)


FIRST = {
    name: make for name, make in LAYERS.items()
    if "data_format" in layers.__dict__[name].__init__.__annotations__
}  # fmt: skip


@pytest.mark.parametrize("name", FIRST)
def test_channels_may_be_first(name):
    config = FIRST[name](layers).get_config()
    first = getattr(layers, name).from_config({**config, "data_format": "channels_first"})
    _, model = built(FIRST[name])
    x = Input((3, 9, 8))
    other = Model(x, first(x)).train()
    torch.manual_seed(1)
    expected = model.train()(RGB)
    torch.manual_seed(1)
    found = other(RGB.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_a_seed_gives_a_layer_numbers_of_its_own():
    made = [built(lambda L: L.RandomRotation(0.2, seed=3))[1].train() for _ in range(2)]
    first, second = (model(RGB) for model in made)
    torch.testing.assert_close(first, second)
    assert not torch.equal(made[0](RGB), first)
    torch.testing.assert_close(copy.deepcopy(made[0])(RGB), first)


# drawn for many images: the name of a number, and the bounds that all lie in and nearly reach
BOUNDS = [
    (lambda L: L.RandomRotation(0.2), "turn", -0.2, 0.2),
    (lambda L: L.RandomRotation((0.1, 0.2)), "turn", 0.1, 0.2),
    (lambda L: L.RandomTranslation(0.5, (0.0, 0.25)), "right", 0.0, 2.0),
    (lambda L: L.RandomTranslation(0.5, 0.25), "down", -4.5, 4.5),
    (lambda L: L.RandomZoom((-0.3, -0.1)), "columns", 0.7, 0.9),
    (lambda L: L.RandomShear(0.2, 0.1), "horizontal", -0.2, 0.2),
    (lambda L: L.RandomBrightness(0.4), "factor", -0.4, 0.4),
    (lambda L: L.RandomContrast((0.2, 0.4)), "factor", 0.8, 1.4),
    (lambda L: L.RandomHue(0.4), "factor", -0.2, 0.2),
    (lambda L: L.RandomSaturation((0.5, 0.75)), "factor", 1.0, 3.0),
    (lambda L: L.RandomSharpness(0.5), "factor", 0.0, 0.5),
    (lambda L: L.RandomPosterization((2, 5)), "bits", 2, 4),
    (lambda L: L.Solarization(0.5, 0.2), "thresholds", 0, 51),
    (lambda L: L.RandomGrayscale(0.3), "chosen", 0, 1),
]


@pytest.mark.parametrize(("make", "name", "low", "high"), BOUNDS)
def test_numbers_are_drawn_between_the_bounds(make, name, low, high):
    layer, _ = built(make)
    torch.manual_seed(0)
    drawn = layer.module.draw(torch.zeros(2000, 9, 8, 3))[name].double()
    assert low <= drawn.min() < low + 0.1 * (high - low) + 1e-9
    assert high - 0.1 * (high - low) - 1e-9 < drawn.max() <= high + 1e-6


@pytest.mark.parametrize(
    ("make", "probability"),
    [
        (lambda L: L.RandomGrayscale(0.3), 0.3),
        (lambda L: L.RandomInvert((0.2, 0.6)), 0.4),
        (lambda L: L.RandomErasing(0.5), 0.25),
        (lambda L: L.RandomGaussianBlur((1.0, 1.0)), 1.0),
    ],
)
def test_images_are_changed_with_the_probability(make, probability):
    layer, _ = built(make)
    torch.manual_seed(0)
    chosen = layer.module.draw(torch.zeros(4000, 9, 8, 3))["chosen"].float().mean()
    assert abs(chosen - probability) < 0.04  # five standard deviations


def test_a_crop_is_a_part_in_training_and_the_middle_in_evaluation():
    _, model = built(lambda L: L.RandomCrop(4, 5))
    torch.manual_seed(0)
    found = model.train()(RGB)
    parts = [RGB[:, i : i + 4, j : j + 5] for i in range(6) for j in range(4)]
    assert sum(torch.equal(found, part) for part in parts) == 1
    starts = {float(model(RGB)[0, 0, 0, 0]) for _ in range(50)}
    assert len(starts) > 8
    reference = keras.layers.CenterCrop(4, 5)(RGB)
    assert model.eval()(RGB).shape == reference.shape


def test_a_crop_of_smaller_images_scales_them():
    _, model = built(lambda L: L.RandomCrop(12, 12))
    resized = keras.ops.image.resize(RGB, (12, 12), crop_to_aspect_ratio=True)
    torch.testing.assert_close(model.train()(RGB), resized, rtol=1e-4, atol=1e-2)


def test_whole_numbers_become_floating_point_as_in_keras():
    x = Input((9, 8, 3), dtype="uint8")
    model = Model(x, layers.RandomFlip()(x))
    assert model(RGB.to(torch.uint8)).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.RandomRotation(1.5), "one or two numbers between -1 and 1, got 1.5"),
        (lambda: layers.RandomZoom((0.1, 0.2, 0.3)), "one or two numbers"),
        (lambda: layers.RandomFlip("sideways"), "unknown mode"),
        (lambda: layers.RandomShear(0.1, fill_mode="magic"), "unknown fill_mode"),
        (lambda: layers.RandomHue(-0.1), "between 0 and 1"),
        (lambda: layers.RandomBrightness(0.1, (3, 3)), "value_range= expects two numbers"),
        (lambda: layers.RandomPosterization(9), "1 to 8"),
        (lambda: layers.RandomGaussianBlur(kernel_size=2), "odd numbers"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_model_that_changes_images_becomes_plain_torch():
    x = Input((9, 8, 3))
    y = layers.RandomHue(0.3)(layers.RandomRotation(0.2)(layers.RandomFlip()(x)))
    model = Model(x, y)
    source = model.to_source("Net")
    assert "fgraph" not in source
    names: dict[str, Any] = {}
    exec(source, names)
    results = []
    for made in (model.train(), names["Net"]().train()):
        torch.manual_seed(0)
        results.append(made(RGB))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.RandomHue(0.1),
        lambda: layers.RandomGrayscale(data_format="channels_last"),
        lambda: layers.RandomColorJitter(saturation_factor=0.1),
    ],
)
def test_colors_of_other_than_three_channels_are_refused(make):
    with pytest.raises(BuildError, match="expects red, green and blue, got 4 channels"):
        make()(Input((9, 8, 4)))
