"""`fgraph.utils` against Keras's functions of the same names, or a formula."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fgraph import Input, Model, utils


@pytest.fixture
def keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


RAGGED = [[1, 2, 3, 4, 5], [6], [], [7, 8]]


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [None, 2, 3, 7])
@pytest.mark.parametrize("value", [0.0, -1])
def test_pad_sequences_is_keras_s(keras, padding, truncating, maxlen, value):
    options = {"maxlen": maxlen, "padding": padding, "truncating": truncating, "value": value}
    expected = keras.utils.pad_sequences(RAGGED, **options)
    got = utils.pad_sequences(RAGGED, **options)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def test_pad_sequences_keeps_the_shape_of_steps():
    rows = [np.ones((2, 3)), np.full((1, 3), 2.0)]
    padded = utils.pad_sequences(rows, dtype="float32")
    assert padded.shape == (2, 2, 3)
    np.testing.assert_array_equal(padded[1], [[0, 0, 0], [2, 2, 2]])


@pytest.mark.parametrize(
    ("given", "options", "error", "text"),
    [
        (
            [[1]],
            {"padding": "before"},
            ValueError,
            "expects 'pre' or 'post', got 'before'",
        ),
        ([1, 2], {}, TypeError, "item 0 is no sequence, but 1"),
        ([[1]], {"value": "a"}, ValueError, "value='a' is text"),
        ([np.ones((1, 2)), np.ones((1, 3))], {}, ValueError, r"item 1 have the shape \(3,\)"),
    ],
)
def test_pad_sequences_refuses(given, options, error, text):
    with pytest.raises(error, match=text):
        utils.pad_sequences(given, **options)


@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_normalize_is_keras_s(keras, axis, order):
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    x[0] = 0
    expected = keras.utils.normalize(x, axis=axis, order=order)
    np.testing.assert_allclose(utils.normalize(x, axis, order), expected)
    torch.testing.assert_close(
        utils.normalize(torch.from_numpy(x), axis, order), torch.from_numpy(np.asarray(expected))
    )


def test_a_seed_fixes_all_generators():
    def drawn():
        return random.random(), np.random.rand(), float(torch.rand(()))

    utils.set_random_seed(7)
    first = drawn()
    utils.set_random_seed(np.int64(7))
    assert drawn() == first


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, None, True])
def test_a_wrong_seed_is_refused(seed):
    with pytest.raises(ValueError, match=r"whole number from 0 to 2\*\*32 - 1, got"):
        utils.set_random_seed(seed)


# ------------------------------------------------------------------ split_dataset


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ({"left_size": 0.8}, (8, 2)),
        ({"right_size": 0.3}, (7, 3)),
        ({"left_size": 4}, (4, 6)),
        ({"left_size": 0.5, "right_size": 0.2}, (5, 2)),
        ({"left_size": 3, "right_size": 3}, (3, 3)),
    ],
)
def test_parts_have_the_sizes_asked_for_and_share_nothing(sizes, lengths):
    left, right = utils.split_dataset(np.arange(10), **sizes)
    assert (len(left), len(right)) == lengths
    values = [int(v) for part in (left, right) for v in part]
    assert values == list(range(sum(lengths)))


def test_a_shuffled_split_keeps_pairs_together_and_is_repeatable():
    x, y = np.arange(10.0), np.arange(10.0) * 2
    first = utils.split_dataset((x, y), left_size=0.5, shuffle=True, seed=3)
    again = utils.split_dataset((x, y), left_size=0.5, shuffle=True, seed=3)
    pairs = [(float(a), float(b)) for part in first for a, b in part]
    assert pairs == [(float(a), float(b)) for part in again for a, b in part]
    assert sorted(a for a, _ in pairs) == list(x)
    assert all(b == 2 * a for a, b in pairs)
    assert [a for a, _ in pairs] != list(x)


def test_dicts_and_torch_data_sets_are_split():
    left, _ = utils.split_dataset({"a": np.arange(4), "b": np.ones(4)}, left_size=2)
    assert {key: float(value) for key, value in left[1].items()} == {"a": 1.0, "b": 1.0}
    _, right = utils.split_dataset(TensorDataset(torch.arange(4)), right_size=1)
    assert int(right[0][0]) == 3


def test_parts_are_trained_on():
    model = Model(x := Input((1,)), nn.Linear(1, 1)(x))
    model.compile("sgd", "mse")
    values = np.random.rand(10, 1).astype("float32")
    left, right = utils.split_dataset((values, 2 * values), left_size=0.8)
    history = model.fit(left, validation_data=DataLoader(right), epochs=1, verbose=0)
    assert set(history.history) == {"loss", "val_loss"}


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("given", "sizes", "error", "text"),
    [
        (np.ones(4), {}, ValueError, "expects left_size=, right_size=, or both"),
        (np.ones(4), {"left_size": 1.5}, ValueError, "above 0 and at most 1"),
        (np.ones(4), {"left_size": 9}, ValueError, "above 0 and at most 4"),
        (np.ones(4), {"left_size": "a"}, TypeError, "left_size= expects a number, got 'a'"),
        (
            np.ones(4),
            {"left_size": 0.9, "right_size": 0.9},
            ValueError,
            "of 4 and 4 out of 4",
        ),
        (np.ones(4), {"left_size": 4}, ValueError, "parts of 4 and 0 out of 4"),
        (Endless(), {"left_size": 1}, TypeError, "a torch Dataset with a length, got Endless"),
    ],
)
def test_split_dataset_refuses(given, sizes, error, text):
    with pytest.raises(error, match=text):
        utils.split_dataset(given, **sizes)


# ------------------------------------------------------------------ PyDataset


class Squares(utils.PyDataset):
    """Four batches of three; what happens is written down."""

    def __init__(self, **options):
        super().__init__(**options)
        self.log = []

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.log.append(index)
        x = np.arange(3, dtype="float64").reshape(3, 1) + 3 * index
        return x, 2 * x

    def on_epoch_begin(self):
        self.log.append("begin")

    def on_epoch_end(self):
        self.log.append("end")


def compiled() -> Model:
    x = Input((1,))
    model = Model(x, nn.Linear(1, 1)(x))
    model.compile("sgd", "mse")
    return model


def test_a_py_dataset_is_gone_through_in_each_epoch():
    data = Squares()
    compiled().fit(data, epochs=2, shuffle=False, verbose=0)
    looked_at, *used = data.log
    assert looked_at == 0  # to check it before the first step
    assert used == ["begin", 0, 1, 2, 3, "end"] * 2


def test_its_batches_are_shuffled_unless_told_otherwise():
    data = Squares()
    torch.manual_seed(1)
    compiled().fit(data, epochs=3, verbose=0)
    epochs = [data.log[2:6], data.log[8:12], data.log[14:18]]
    assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_it_is_evaluated_and_predicted_in_order():
    model, data = compiled(), Squares()
    whole = np.arange(12, dtype="float32").reshape(12, 1)
    assert model.evaluate(data, verbose=0) == pytest.approx(
        model.evaluate(whole, 2 * whole, batch_size=3, verbose=0)
    )
    np.testing.assert_allclose(model.predict(data, verbose=0), model.predict(whole, verbose=0))


def test_it_may_have_no_end():
    class Endless(Squares):
        num_batches = None

    data = Endless()
    compiled().fit(data, epochs=2, steps_per_epoch=3, verbose=0)
    assert [entry for entry in data.log[1:] if isinstance(entry, int)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_other_processes_compute_its_batches():
    model, whole = compiled(), np.arange(12, dtype="float32").reshape(12, 1)
    data = Squares(workers=2, use_multiprocessing=True)
    np.testing.assert_allclose(model.predict(data, verbose=0), model.predict(whole, verbose=0))
    assert data.log == ["begin", "end"]


def test_one_without_a_length_says_what_to_write():
    with pytest.raises(NotImplementedError, match=r"PyDataset needs a method __len__\(self\)"):
        compiled().fit(utils.PyDataset(), verbose=0)


# ------------------------------------------------------------------ image_dataset_from_directory


@pytest.fixture
def folder(tmp_path):
    """Six images of 4x8 pixels: three cats of one grey, three dogs of another."""
    Image = pytest.importorskip("PIL.Image")
    for number, name in enumerate(("cats", "dogs")):
        (tmp_path / name).mkdir()
        for i in range(3):
            values = np.full((4, 8, 3), 40 * number + i, dtype="uint8")
            Image.fromarray(values).save(tmp_path / name / f"{i}.png")
    (tmp_path / "cats" / "notes.txt").write_text("no image")
    return tmp_path


def test_folders_are_classes(folder, capsys):
    data = utils.image_dataset_from_directory(folder, image_size=(2, 4), shuffle=False)
    assert data.class_names == ["cats", "dogs"]
    assert capsys.readouterr().out == "Found 6 files of 2 classes.\n"
    images, labels = next(iter(data))
    assert images.shape == (6, 2, 4, 3)
    assert images.dtype == torch.float32
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 40, 41, 42]
    assert [path.endswith(".png") for path in data.file_paths] == [True] * 6


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("categorical", [[1.0, 0.0], [0.0, 1.0]]), ("binary", [[0.0], [1.0]]), ("int", [0, 1])],
)
def test_labels_come_in_the_form_asked_for(folder, mode, expected):
    data = utils.image_dataset_from_directory(
        folder, label_mode=mode, shuffle=False, verbose=False, image_size=4
    )
    _, labels = next(iter(data))
    assert labels[[0, 5]].tolist() == expected


def test_images_alone(folder):
    options = {"image_size": (4, 8), "verbose": False, "shuffle": False, "batch_size": 2}
    data = utils.image_dataset_from_directory(
        folder, labels=None, color_mode="grayscale", **options
    )
    assert [tuple(batch.shape) for batch in data] == [(2, 4, 8, 1)] * 3


@pytest.mark.parametrize("fit", ["crop_to_aspect_ratio", "pad_to_aspect_ratio"])
def test_the_aspect_ratio_is_kept(folder, fit):
    options = {"image_size": (8, 8), "verbose": False, "shuffle": False}
    images, _ = next(iter(utils.image_dataset_from_directory(folder, **options, **{fit: True})))
    columns = images[5, :, 4, 0]  # a dog, down the middle
    bars = fit == "pad_to_aspect_ratio"
    assert (columns[0] == 0) == bars
    assert columns[4] == 42


def test_training_and_validation_share_no_file(folder):
    options = {"validation_split": 0.34, "seed": 5, "verbose": False, "image_size": 4}
    train, kept = utils.image_dataset_from_directory(folder, subset="both", **options)
    assert len(train.file_paths) == 4
    assert len(kept.file_paths) == 2
    assert len({*train.file_paths, *kept.file_paths}) == 6
    alone = utils.image_dataset_from_directory(folder, subset="validation", **options)
    assert alone.file_paths == kept.file_paths


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"label_mode": "onehot"}, ValueError, "unknown label_mode 'onehot'"),
        ({"color_mode": "rbg"}, ValueError, "unknown color_mode 'rbg'; did you mean 'rgb'"),
        ({"validation_split": 0.2}, ValueError, "validation_split= and subset= together"),
        ({"validation_split": 0.2, "subset": "training"}, ValueError, "give the same seed="),
        ({"class_names": ["birds"]}, ValueError, r"class_names= has \['birds'\]"),
        ({"labels": [1, 2]}, ValueError, "a number for each of the 6 images, got 2"),
        ({"directory": "nowhere"}, FileNotFoundError, "there is no folder 'nowhere'"),
        (
            {"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True},
            ValueError,
            "not both",
        ),
    ],
)
def test_image_folders_refuse(folder, options, error, text):
    with pytest.raises(error, match=text):
        utils.image_dataset_from_directory(**{"directory": folder, "verbose": False, **options})
