"""`IntegerLookup` against what Keras's documentation shows, `Hashing` against FarmHash itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fgraph import Input, Model, layers
from fgraph.errors import BuildError

DATA = torch.tensor([[12, 1138, 42], [42, 7, 36]])
DOCUMENTS = torch.tensor([[12, 1138, 42, 42], [42, 7, 36, 7]])


def looked_up(data, **settings):
    x = Input(data.shape[1:], dtype="int64")
    layer = layers.IntegerLookup(**settings)
    return Model(x, layer(x))(data)


@pytest.mark.parametrize(
    ("settings", "data", "expected"),
    [
        ({}, DATA, [[1, 3, 4], [4, 0, 2]]),
        ({"num_oov_indices": 2}, DATA, [[2, 4, 5], [5, 1, 3]]),
        ({"num_oov_indices": 2, "mask_token": 0}, DATA, [[3, 5, 6], [6, 2, 4]]),
        ({"mask_token": 7}, DATA, [[2, 4, 5], [5, 0, 3]]),
        ({"invert": True}, torch.tensor([[1, 3, 4], [4, 0, 2]]), [[12, 1138, 42], [42, -1, 36]]),
        ({"invert": True}, torch.tensor([[9, 1]]), [[-1, 12]]),
        ({"output_mode": "multi_hot"}, DOCUMENTS, [[0, 1, 0, 1, 1], [1, 0, 1, 0, 1]]),
        ({"output_mode": "count"}, DOCUMENTS, [[0, 1, 0, 1, 2], [2, 0, 1, 0, 1]]),
        (
            {"output_mode": "count", "max_tokens": 7, "pad_to_max_tokens": True},
            DOCUMENTS,
            [[0, 1, 0, 1, 2, 0, 0], [2, 0, 1, 0, 1, 0, 0]],
        ),
        ({"output_mode": "count", "mask_token": 7}, DOCUMENTS, [[0, 1, 0, 1, 2], [0, 0, 1, 0, 1]]),
        (
            {"output_mode": "tf_idf", "idf_weights": [0.25, 0.75, 0.6, 0.4]},
            DOCUMENTS,
            [[0, 0.25, 0, 0.6, 0.8], [1.0, 0, 0.75, 0, 0.4]],
        ),
        (
            {"output_mode": "one_hot"},
            torch.tensor([[12], [7]]),
            [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]],
        ),
    ],
)
def test_numbers_become_what_the_documentation_shows(settings, data, expected):
    found = looked_up(data, vocabulary=[12, 36, 1138, 42], **settings)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype))


def test_special_tokens_may_stand_in_front_of_the_vocabulary():
    given = {"vocabulary": [-1, 12, 36], "idf_weights": [0.9, 0.25, 0.75], "output_mode": "tf_idf"}
    expected = torch.tensor([[1.8, 0.25, 0.0]])
    torch.testing.assert_close(looked_up(torch.tensor([[12, 7, 8]]), **given), expected)


def test_adapt_takes_the_most_frequent_numbers_first():
    layer = layers.IntegerLookup(max_tokens=4)
    layer.adapt(np.array([[12, 1138, 42], [42, 1000, 36]]))
    assert layer.get_vocabulary() == [-1, 42, 1138, 1000]
    assert layer.vocabulary_size() == 4
    x = Input((3,), dtype="int64")
    assert Model(x, layer(x))(DATA).tolist() == [[0, 2, 1], [1, 0, 0]]


def test_a_number_without_an_index_is_refused_at_run_time():
    with pytest.raises(ValueError, match=r"\[7\] are not in the vocabulary"):
        looked_up(DATA, vocabulary=[12, 36, 1138, 42], num_oov_indices=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary": [1, 1]}, "has a number twice"),
        ({"vocabulary": [1, 2, 3], "max_tokens": 3}, "4 tokens are more than max_tokens=3"),
        ({"vocabulary": [1, 0], "mask_token": 0}, "0} are reserved"),
        ({"vocabulary": [1], "output_mode": "tf_idf"}, "idf_weights= goes with"),
        ({"vocabulary": [1], "oov_method": "md5"}, "unknown oov_method"),
        ({"vocabulary": [1], "salt": 3}, "without a key"),
        ({"vocabulary": [1], "sparse": True}, "dense tensor"),
        ({"invert": True, "output_mode": "count"}, "invert=True goes with"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        layers.IntegerLookup(**settings)


def test_a_layer_without_a_vocabulary_is_refused():
    with pytest.raises(BuildError, match="no vocabulary"):
        layers.IntegerLookup()(Input((3,), dtype="int64"))


# `farmhash.fingerprint64(str(number))` of pyfarmhash 0.5.1
FINGERPRINTS = {
    0: 15198969275252572735,
    9: 8943927636039079085,
    99: 1128186851707534602,
    999: 9278137575063809466,
    1234: 882600748797058222,
    -1: 7333874265151076430,
    -12: 13136030487991313569,
    -123: 1226447273558774175,
    1234567: 7403371938570208423,
    12345678: 3430003927990384362,
    -1234567: 4561049060225586265,
    123456789012345: 1846120429383599614,
    1234567890123456: 17239105360639788068,
    12345678901234567: 9547268001101853110,
    9223372036854775807: 12739833532913062319,
    -9223372036854775808: 1493431938208774112,
}
NUMBERS = torch.tensor([list(FINGERPRINTS)])


def hashed(data, **settings):
    x = Input(data.shape[1:], dtype=data.dtype)
    return Model(x, layers.Hashing(**settings)(x))(data)


@pytest.mark.parametrize("bins", [1, 2, 37, 2**40])
def test_bins_are_the_remainders_of_fingerprints(bins):
    expected = [mark % bins for mark in FINGERPRINTS.values()]
    assert hashed(NUMBERS, num_bins=bins).tolist() == [expected]


def test_a_masked_number_has_bin_0_for_itself():
    expected = [0 if n == 9 else mark % 36 + 1 for n, mark in FINGERPRINTS.items()]
    assert hashed(NUMBERS, num_bins=37, mask_value=9).tolist() == [expected]


def test_bins_are_encoded_and_decimals_dropped():
    found = hashed(torch.tensor([[0.5, 9.7, 9.0]]), num_bins=8, output_mode="count")
    expected = np.bincount([FINGERPRINTS[n] % 8 for n in (0, 9, 9)], minlength=8)
    np.testing.assert_array_equal(found[0], expected)


def test_unknown_numbers_can_take_the_remainder_of_their_fingerprint():
    found = looked_up(NUMBERS, vocabulary=[99], num_oov_indices=5, oov_method="farmhash")
    expected = [5 if n == 99 else mark % 5 for n, mark in FINGERPRINTS.items()]
    assert found.tolist() == [expected]


def test_hashing_refuses_what_it_cannot_do():
    for settings, message in (({"salt": 1}, "without a key"), ({"sparse": True}, "dense")):
        with pytest.raises(ValueError, match=message):
            layers.Hashing(3, **settings)
