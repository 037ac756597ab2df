"""Sources, feeds and positions: no copies, no repeats, and the same order again."""

from __future__ import annotations

import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from fgraph.common.process_group import Processes
from fgraph.graph.nested import map_leaves
from fgraph.training.sources.array_source import ArraySource
from fgraph.training.sources.class_weight import ClassWeight
from fgraph.training.sources.feed import Feed
from fgraph.training.sources.loader_source import split_batch
from fgraph.training.sources.make_source import make_source
from fgraph.training.sources.placement import Placement, as_tensor, named_leaves
from fgraph.training.sources.random_state import get_random_state, set_random_state


def _source(x, y=None, batch_size=4, shuffle=True):
    return ArraySource(x, y, None, batch_size, shuffle, Placement())


def test_arrays_are_shared_not_copied():
    """A change of the array shows in the next batch."""
    x = np.zeros((8, 2), dtype="float32")
    source = _source(x, shuffle=False)
    x[:] = 3
    assert torch.equal(next(source.batches()).x, torch.full((4, 2), 3.0))
    assert as_tensor(x, "x").data_ptr() == x.ctypes.data


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0)[::-1],
        np.arange(6.0).astype(">f4"),
        np.arange(12.0)[::2],
        np.arange(6.0).reshape(3, 2).T,
    ],
    ids=["reversed", "big endian", "strided", "transposed"],
)
def test_every_layout_of_an_array_is_taken(array):
    """Copied only where torch cannot share."""
    np.testing.assert_array_equal(as_tensor(array, "x").numpy(), array)


def test_batches_hold_each_row_once_and_keep_pairs():
    """Shuffled, with a short last batch."""
    x = torch.arange(10)
    batches = list(_source(x, {"a": 2 * x, "b": [3 * x]}).batches())
    assert [batch.size for batch in batches] == [4, 4, 2]
    assert sorted(torch.cat([batch.x for batch in batches]).tolist()) == list(range(10))
    for batch in batches:
        assert torch.equal(batch.y["a"], 2 * batch.x)
        assert torch.equal(batch.y["b"][0], 3 * batch.x)


def test_skipped_batches_are_those_that_were_used():
    """The same order, from the same random state."""
    x = torch.arange(10)
    state = get_random_state()
    whole = [batch.x.tolist() for batch in _source(x).batches()]
    set_random_state(state)
    assert [batch.x.tolist() for batch in _source(x).batches(skip=2)] == whole[2:]


@pytest.mark.parametrize("taken", [1, 3, 5])
@pytest.mark.parametrize("kind", ["arrays", "loader"])
def test_a_feed_goes_on_at_its_position(kind, taken):
    """In the middle of a pass, and in the next one."""

    def make():
        x = torch.arange(12)
        if kind == "arrays":
            return Feed(_source(x), 3)
        loader = DataLoader(TensorDataset(x), batch_size=4, shuffle=True)
        return Feed(make_source(loader, batch_size=None, placement=Placement()), 3)

    def values(batch):
        leaf = batch.x[0] if isinstance(batch.x, list | tuple) else batch.x
        return leaf.tolist()

    torch.manual_seed(1)
    feed = make()
    epochs = [values(batch) for _ in range(3) for batch in feed.epoch()]
    torch.manual_seed(1)
    first = make()
    seen = []
    while len(seen) < taken:
        for batch in first.epoch():
            seen.append(values(batch))
            if len(seen) == taken:
                break
    position, state = first.state_dict(), get_random_state()
    torch.manual_seed(99)
    second = make()
    second.load_state_dict(position)
    set_random_state(state)
    rest = [values(batch) for batch in second.epoch(taken % 3)]
    while len(rest) + taken < 9:
        rest += [values(batch) for batch in second.epoch()]
    assert seen + rest == epochs


def test_random_states_of_all_generators_come_back():
    """torch, numpy and Python."""

    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()

    state = get_random_state()
    first = draw()
    set_random_state(state)
    assert draw() == first


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (("x", "y"), ("x", "y", None)),
        (["x", "y"], ("x", "y", None)),
        (("x", "y", "w"), ("x", "y", "w")),
        (("x",), ("x", None, None)),
        ("x", ("x", None, None)),
        ({"a": 1, "b": 2}, ({"a": 1}, 2, None)),
        ({"a": 1, "b": 2, "c": 3}, ({"a": 1}, {"b": 2, "c": 3}, None)),
        ({"a": 1}, ({"a": 1}, None, None)),
        ({"q": 1, "b": 2}, ({"q": 1, "b": 2}, None, None)),
    ],
)
def test_batches_are_divided_as_keras_does(item, expected):
    """And dicts by the inputs' names."""
    assert split_batch(item, ["a"]) == expected


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0, 2, 1]), torch.tensor([[0], [2], [1]]), torch.eye(3)[[0, 2, 1]]],
    ids=["labels", "column", "one-hot"],
)
def test_class_weights_follow_the_class(labels):
    """And multiply sample weights."""
    weight = ClassWeight({0: 1.0, 1: 5.0, 2: 0.5}, lambda y: False)
    assert weight.times(labels, None).tolist() == [1.0, 0.5, 5.0]
    assert weight.times(labels, np.array([2.0, 2.0, 0.0])).tolist() == [2.0, 1.0, 0.0]


@pytest.mark.parametrize(("size", "world"), [(11, 2), (10, 4), (3, 3), (64, 3)])
def test_shares_divide_a_batch(size, world):
    """Each sample once; the mean of means, weighted by the shares, is the mean."""
    samples, mean = [], 0.0
    values = torch.randn(size)
    for rank in range(world):
        processes = Processes(world, rank)
        first, stop = processes.share(size)
        samples += range(first, stop)
        mean += values[first:stop].mean() * processes.own_size(size) / size
    assert samples == list(range(size))
    torch.testing.assert_close(mean, values.mean())


def test_a_process_without_a_share_counts_nothing():
    """A batch with fewer samples than processes; the first process always has one."""
    shares = [Processes(4, rank).share(2) for rank in range(4)]
    assert shares == [(0, 1), (1, 2), (1, 2), (1, 2)]
    assert [Processes(4, rank).own_size(2) for rank in range(4)] == [1, 0, 1, 0]


def test_structures_keep_their_kinds():
    """Lists, tuples, named tuples and dicts."""
    Pair = namedtuple("Pair", "left right")
    value = {"a": [1, (2, 3)], "b": Pair(4, 5)}
    doubled = map_leaves(lambda leaf: 2 * leaf, value)
    assert doubled == {"a": [2, (4, 6)], "b": Pair(8, 10)}
    assert isinstance(doubled["b"], Pair)
    assert [name for name, _ in named_leaves(value, "x")][:2] == ["x['a'][0]", "x['a'][1][0]"]
