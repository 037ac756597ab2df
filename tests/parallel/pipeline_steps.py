"""Train the stages of a model under schedules of torch, and compare with the whole model.

Each process checks its own stages; the first prints which schedules have run.
"""

from __future__ import annotations

import json

import torch
import torch.distributed as dist
from launching import leave
from torch import nn
from torch.distributed import pipelining

from fgraph import Input, Model, parallel

SCHEDULES = {
    "GPipe": (pipelining.ScheduleGPipe, 1),
    "1F1B": (pipelining.Schedule1F1B, 1),
    "Interleaved1F1B": (pipelining.ScheduleInterleaved1F1B, 2),
}
MICRO, BATCHES = 2, 4


def build() -> Model:
    """An early output, an input that is used late, integers, views changed in place, statistics."""
    torch.manual_seed(0)
    x, words = Input((6, 8)), Input((6,), dtype="int64")
    early = nn.Linear(8, 8)(x).relu()
    h = early.transpose(1, 2)
    for _ in range(5):
        h = nn.BatchNorm1d(8)(nn.Conv1d(8, 8, 1)(h)).relu()
    h = nn.Linear(6, 6)(h).transpose(1, 2)
    h.mul_(2)
    for _ in range(4):
        h = nn.Linear(8, 8)(h + nn.Embedding(10, 8)(words)).tanh()
    return Model([x, words], {"late": nn.Linear(8, 3)(h.mean(1)), "early": early.sum(1)})


def loss(outputs, target):
    late, early = outputs
    return (late - target).square().mean() + early.square().mean()


def compare(kind, per_rank: int) -> None:
    """Run a step under one schedule."""
    draw = torch.Generator().manual_seed(5)
    x = torch.randn(MICRO * BATCHES, 6, 8, generator=draw)
    words = torch.randint(0, 10, (MICRO * BATCHES, 6), generator=draw)
    target = torch.randn(MICRO * BATCHES, 3, generator=draw)
    whole, expected = build(), []
    for part in zip(x.split(MICRO), words.split(MICRO), target.split(MICRO), strict=True):
        made = whole(*part[:2])
        value = loss((made["late"], made["early"]), part[2])
        (value / BATCHES).backward()
        expected.append(value.detach())
    stage = parallel.stage(build(), [x[:MICRO], words[:MICRO]], per_rank=per_rank)
    schedule = kind(stage, BATCHES, loss_fn=loss)
    losses: list[torch.Tensor] = []
    last = dist.get_rank() == dist.get_world_size() - 1
    inputs = (x, words) if dist.get_rank() == 0 else ()
    schedule.step(*inputs, **({"target": target, "losses": losses} if last else {}))
    if last:
        torch.testing.assert_close(torch.stack(losses).detach(), torch.stack(expected))
    weights, buffers = dict(whole.named_parameters()), dict(whole.named_buffers())
    for part in stage if per_rank > 1 else [stage]:
        for name, weight in part.submod.named_parameters():
            torch.testing.assert_close(weight.grad, weights[name].grad)
        for name, buffer in part.submod.named_buffers():
            torch.testing.assert_close(buffer, buffers[name])


if __name__ == "__main__":
    parallel.start()
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    for kind, per_rank in SCHEDULES.values():
        compare(kind, per_rank)
    if dist.get_rank() == 0:
        print(json.dumps({"schedules": list(SCHEDULES)}))
    leave()
