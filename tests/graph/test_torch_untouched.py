"""Building leaves torch as it was, takes no memory, and keeps nothing alive."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fgraph import Input, Model, inbound_nodes, layers

PLAIN_CALL = nn.Module._wrapped_call_impl


@pytest.fixture(autouse=True)
def _torch_untouched(torch_untouched):
    """Every test here ends with torch as it was."""


def small() -> Model:
    x = Input((4,))
    return Model(x, F.relu(nn.Linear(4, 4)(x)))


def test_module_calls_are_intercepted_only_while_something_symbolic_lives():
    before = nn.Module.__dict__.copy()
    x = Input((4,))
    assert nn.Module.__call__ is not PLAIN_CALL
    model = Model(x, nn.Linear(4, 2)(x))
    del x
    assert nn.Module.__call__ is PLAIN_CALL
    assert dict(nn.Module.__dict__) == before
    handle = model.output
    assert nn.Module.__call__ is not PLAIN_CALL
    del handle
    assert nn.Module.__call__ is PLAIN_CALL


def test_a_failed_build_leaves_torch_untouched():
    def fail():
        x = Input((4,))
        return nn.Linear(5, 2)(x)

    with pytest.raises(ValueError, match=r"Linear\(in_features=5"):
        fail()
    assert nn.Module.__call__ is PLAIN_CALL


def test_what_wrapped_the_call_meanwhile_stays(monkeypatch):
    """Another library may replace `nn.Module.__call__` while symbols are alive."""
    monkeypatch.setattr(nn.Module, "__call__", PLAIN_CALL)
    x, seen = Input((4,)), []
    ours = nn.Module.__call__

    def theirs(self, *args, **kwargs):
        seen.append(type(self))
        return ours(self, *args, **kwargs)

    nn.Module.__call__ = theirs
    del x
    assert nn.Module.__call__ is theirs
    assert nn.Linear(4, 2)(torch.ones(1, 4)).shape == (1, 2)
    assert seen == [nn.Linear]


def test_modules_are_made_and_replicated_as_ever():
    model = small()
    assert "__new__" not in nn.Module.__dict__
    replica = model._replicate_for_data_parallel()
    assert replica is not model
    assert list(replica._modules) == list(model._modules)


def test_batch_norm_builds_in_training_mode():
    norm = nn.BatchNorm1d(4)
    x = Input((4,))
    assert norm(x).shape == (None, 4)
    assert norm.training
    assert norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros(4))


def test_no_memory_of_the_size_of_activations():
    """An image that would take gigabytes is recorded; the process allocates next to nothing."""
    tracemalloc.start()
    x = Input((3, 30_000, 30_000))
    y = nn.Conv2d(3, 64, 3)(x).relu().mean((2, 3))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert y.shape == (None, 64)
    assert peak < 50e6


def test_parameters_and_hooks_of_a_person_are_not_called():
    fired = []
    module = nn.Linear(4, 4)
    module.register_forward_hook(lambda *call: fired.append(call))
    handle = nn.modules.module.register_module_forward_hook(lambda *call: fired.append(call))
    x = Input((4,))
    made = module(x)
    handle.remove()
    assert made.shape == (None, 4)
    assert not fired


# ------------------------------------------------------------------ nothing is kept


def test_a_module_used_in_a_thousand_discarded_graphs_keeps_none_alive():
    module, layer = nn.Linear(4, 4), layers.Dense(4)
    nodes = []
    for _ in range(1000):
        x = Input((4,))
        y = layer(module(x))
        nodes.append(weakref.ref(y.node))
    assert sum(node() is not None for node in nodes) <= 1
    del x, y
    gc.collect()
    assert not any(node() for node in nodes)
    assert inbound_nodes(module) == []
    assert layer.inbound_nodes == []


def test_graphs_are_freed_without_the_garbage_collector():
    gc.disable()
    try:
        x = Input((4,))
        y = nn.Linear(4, 4)(x)
        node = weakref.ref(y.node)
        del x, y
        assert node() is None
    finally:
        gc.enable()


def test_building_and_dropping_a_model_a_thousand_times_does_not_grow_memory():
    def objects(times: int) -> int:
        for _ in range(times):
            model = small()
            model(torch.ones(1, 4))
        del model
        gc.collect()
        return len(gc.get_objects())

    first = objects(100)
    assert objects(1000) < first + 500


# ------------------------------------------------------------------ threads


def in_threads(count: int, work) -> None:
    """Run `work(number)` in threads at once; raise what any of them raised."""
    errors, gate = [], threading.Barrier(count)

    def run(number: int) -> None:
        try:
            gate.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_graphs_are_built_in_several_threads_at_once():
    def build(number: int) -> None:
        for _ in range(20):
            width = 3 + number
            x = Input((width,))
            dense = layers.Dense(width, name="dense")
            model = Model(x, dense(nn.Linear(width, width)(x)).tanh())
            data = torch.randn(2, width)
            expected = torch.tanh(model.dense(model.linear_1(data)))
            assert len(model.nodes) == 3
            assert torch.equal(model(data), expected)

    in_threads(6, build)


def test_one_model_is_run_by_many_threads():
    x = Input((4,))
    h = nn.Linear(4, 4)(x)
    model = Model(x, torch.cat([h.tanh(), nn.Linear(4, 4)(h)], 1))
    data = [torch.randn(5, 4) for _ in range(6)]
    expected = [model(each) for each in data]

    def run(number: int) -> None:
        for _ in range(200):
            assert torch.equal(model(data[number]), expected[number])

    in_threads(6, run)


def test_a_model_runs_in_one_thread_while_another_builds():
    model, data = small(), torch.randn(2, 4)
    expected = model(data)

    def work(number: int) -> None:
        for _ in range(50):
            if number % 2:
                small()
            else:
                assert torch.equal(model(data), expected)

    in_threads(4, work)
