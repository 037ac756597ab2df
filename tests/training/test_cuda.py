"""On CUDA: right figures, prefetched batches, and no wait for the device inside a step."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fgraph.callbacks import Callback
from fgraph.training import Trainer

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class Net(Trainer, nn.Sequential):
    """A stack of modules with the trainer."""


def _net() -> Net:
    return Net(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


def _data(n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 16)
    return x, x[:, :4].argmax(-1)


SOURCES = {
    "arrays": lambda x, y: ((x.numpy(), y.numpy()), {"batch_size": 32}),
    "tensors on the device": lambda x, y: ((x.cuda(), y.cuda()), {"batch_size": 32}),
    "float64 arrays": lambda x, y: ((x.double().numpy(), y.numpy()), {"batch_size": 32}),
    "loader": lambda x, y: ((DataLoader(TensorDataset(x, y), 32, pin_memory=True), None), {}),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_runs_equal_the_host(kind):
    """Unshuffled, the figures of the CPU."""
    x, y = _data()
    net = _net()
    twin = copy.deepcopy(net).cuda()
    data, settings = SOURCES[kind](x, y)
    for model in (net, twin):
        model.compile("adam", nn.CrossEntropyLoss(), metrics=["accuracy", "f1"])
    expected = net.fit(x, y, batch_size=32, epochs=3, shuffle=False, verbose=0).history
    found = twin.fit(*data, epochs=3, shuffle=False, verbose=0, **settings).history
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-3, abs=6e-3), name
    np.testing.assert_allclose(
        twin.predict(data[0], verbose=0), net.predict(x, verbose=0), rtol=1e-2, atol=1e-3
    )


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("precision", [None, "bfloat16", "float16"])
def test_steps_do_not_wait_for_the_device(shuffle, precision):
    """torch raises at the first synchronising call after the first batch."""

    class Strict(Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                torch.cuda.set_sync_debug_mode("error")

        def on_epoch_end(self, epoch, logs=None):
            torch.cuda.set_sync_debug_mode("default")

    class Reading(Net):
        def _epoch(self, *arguments):
            try:
                return super()._epoch(*arguments)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        def _train_batches(self, *arguments):
            super()._train_batches(*arguments)
            torch.cuda.set_sync_debug_mode("default")

    net = Reading(*_net()).cuda()
    net.compile(
        "adam", nn.CrossEntropyLoss(), metrics=["accuracy"], precision=precision,
        clip_grad_norm=1.0,
    )  # fmt: skip
    x, y = _data(5000)
    run = net.fit(x, y, epochs=2, shuffle=shuffle, verbose=0, callbacks=[Strict()])
    assert run.history["loss"][1] < run.history["loss"][0]


def test_mixed_precision_keeps_float32_weights():
    """With a scaler for float16 only."""
    x, y = _data()
    for precision, scales in (("float16", True), ("bfloat16", False)):
        net = _net().cuda()
        net.compile("adam", nn.CrossEntropyLoss(), precision=precision)
        run = net.fit(x, y, epochs=3, verbose=0)
        assert (net._trainer.scaler is not None) == scales
        assert net[0].weight.dtype == torch.float32
        assert run.history["loss"][-1] < run.history["loss"][0]
