"""What only a CUDA device can tell of a `Model`: compilers, streams, DDP. See `tests/devices` too.

The bodies that need no card run on the host as well.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fgraph import Input, Model, layers

ON_CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)
EVERYWHERE = pytest.mark.parametrize("device", ["cpu", ON_CUDA])


def _masked() -> Model:
    """A masked LSTM beside a branch of factories that name no device."""
    tokens, extra = Input((6,), dtype="int32", name="tokens"), Input((4,), name="extra")
    seen = layers.LSTM(8)(layers.Embedding(20, 5, mask_zero=True)(tokens))
    moved = extra + torch.arange(extra.shape[1]) * 0.1 + torch.ones((extra.shape[0], 1))
    made = layers.Dense(3, activation="softmax")(layers.concatenate([seen, moved]))
    return Model({"tokens": tokens, "extra": extra}, made)


def _data() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    tokens = torch.randint(1, 20, (40, 6), dtype=torch.int32)
    tokens[:, 4:] = 0
    return {"tokens": tokens, "extra": torch.rand(40, 4)}, torch.arange(40) % 3


@EVERYWHERE
def test_a_masked_lstm_trains_as_on_the_host(device):
    model, (x, y) = _masked(), _data()
    twin = copy.deepcopy(model).to(device)
    found = []
    for net in (model, twin):
        net.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
        found.append(net.fit(x, y, epochs=2, shuffle=False, verbose=0).history["loss"])
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    np.testing.assert_allclose(
        twin.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-2, atol=1e-3
    )


@EVERYWHERE
@pytest.mark.slow
def test_a_compiled_model_trains(device):
    if device == "cpu":
        pytest.skip("compiles for the card; on the host test_tools.py compiles")
    model, (x, y) = _masked().to(device), _data()
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=True)
    found = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert found[-1] < found[0]


@EVERYWHERE
def test_a_loop_by_hand_in_mixed_precision(device):
    """Pinned memory, copies that do not wait, a scaler, channels_last, an average of weights."""
    torch.manual_seed(1)
    image = Input((8, 8, 3))
    h = layers.Conv2D(4, 3, activation="relu")(image)
    model = Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(h)))
    model = model.to(device).to(memory_format=torch.channels_last)
    data = TensorDataset(torch.rand(16, 8, 8, 3), torch.arange(16) % 2)
    loader = DataLoader(data, 8, pin_memory=device == "cuda")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler(device, enabled=device == "cuda")
    average = torch.optim.swa_utils.AveragedModel(model)
    dtype = torch.float16 if device == "cuda" else torch.bfloat16
    losses = []
    for _ in range(20):
        for x, y in loader:
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            with torch.autocast(device, dtype):
                loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            average.update_parameters(model)
            losses.append(loss.detach().float())
    assert torch.stack(losses).isfinite().all()
    assert average(x).shape == (8, 2)
    assert sum(losses[-4:]) < sum(losses[:4])


@EVERYWHERE
def test_a_model_in_ddp_takes_the_steps_of_the_model(device, tmp_path):
    """One process, on one card: nccl there, gloo on the host."""
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(
        backend, init_method=f"file://{tmp_path / 'join'}", rank=0, world_size=1
    )
    try:
        model = _masked().to(device)
        twin = copy.deepcopy(model)
        wrapped = nn.parallel.DistributedDataParallel(
            twin, device_ids=[0] if device == "cuda" else None
        )
        x, y = _data()
        x, y = {key: value.to(device) for key, value in x.items()}, y.to(device)
        for net in (model, wrapped):
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for _ in range(2):
                optimizer.zero_grad()
                nn.functional.nll_loss(net(x).log(), y).backward()
                optimizer.step()
        for mine, theirs in zip(twin.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs)
    finally:
        dist.destroy_process_group()
