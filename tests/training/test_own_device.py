"""Which CUDA device a process of `torchrun` computes on; torch.cuda is replaced by a record."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fgraph import Input, Model
from fgraph.training.processes import own_device as own_device
from fgraph.training.sources.random_state import get_random_state, set_random_state


class Cards:
    """What is asked of `torch.cuda`, with two devices by default."""

    def __init__(self, count: int = 2) -> None:
        self.count, self.current = count, 0
        self.chosen: list[int] = []

    def set_device(self, device):
        self.current = device if isinstance(device, int) else device.index
        self.chosen.append(self.current)


@pytest.fixture
def cards(monkeypatch):
    """Two CUDA devices, and the second of two processes of `torchrun`."""
    cards = Cards()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards.count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: cards.current)
    monkeypatch.setattr(torch.cuda, "set_device", cards.set_device)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    return cards


@pytest.fixture
def moves(monkeypatch):
    """Where `nn.Module` was asked to move a model, with the device that was current then."""
    moves = []
    monkeypatch.setattr(
        nn.Module, "cuda", lambda s, d=None: moves.append((d, torch.cuda.current_device())) or s
    )
    monkeypatch.setattr(
        nn.Module, "to", lambda s, *a, **k: moves.append((a, k, torch.cuda.current_device())) or s
    )
    return moves


def _model(device: str = "cpu") -> Model:
    x = Input((4,))
    model = Model(x, nn.Linear(4, 2)(x))
    if device != "cpu":
        with FakeTensorMode(allow_non_fake_inputs=True):  # which needs no such device
            for name, parameter in list(model.linear_1.named_parameters()):
                moved = torch.empty_like(parameter, device=device)
                setattr(model.linear_1, name, nn.Parameter(moved))
    return model


def test_cuda_without_a_number_is_its_own_device(cards, moves):
    assert _model().cuda() is not None
    _model().to("cuda")
    _model().to(device=torch.device("cuda"), dtype=torch.float16)
    assert [move[-1] for move in moves] == [1, 1, 1]
    assert moves[1:] == [
        (("cuda",), {}, 1),
        ((), {"device": torch.device("cuda"), "dtype": torch.float16}, 1),
    ]
    assert cards.chosen == [1]


@pytest.mark.parametrize(
    "move",
    [
        lambda model: model.cuda(0),
        lambda model: model.to("cuda:0"),
        lambda model: model.to("cpu"),
        lambda model: model.to(torch.float64),
        lambda model: model.to(torch.ones(2)),
    ],
)
def test_all_else_leaves_the_current_device_alone(cards, moves, move):
    move(_model())
    assert cards.chosen == []
    assert len(moves) == 1


def test_a_device_that_the_script_chose_stays(cards, moves):
    cards.current = 1
    cards.count = 4
    torch.cuda.set_device(3)
    _model().cuda()
    assert cards.chosen == [3]


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({"LOCAL_RANK": None}, 2),
        ({"WORLD_SIZE": "1", "LOCAL_RANK": "0"}, 2),
        ({}, 1),  # CUDA_VISIBLE_DEVICES shows each process its own
        ({}, 0),
    ],
)
def test_nothing_is_chosen_where_there_is_no_choice(cards, moves, monkeypatch, environment, count):
    cards.count = count
    for name, value in environment.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    _model().cuda()
    assert cards.chosen == []


def test_more_processes_than_cards_are_refused(cards, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(RuntimeError, match=r"LOCAL_RANK is 2.*2 CUDA devices.*nproc-per-node=2"):
        own_device.own_device_index()


def test_a_model_on_the_first_card_moves_to_the_own_one(cards, moves):
    own_device.move_to_own_device(_model("cuda:0"))
    assert moves == [((torch.device("cuda:1"),), {}, 0)]
    assert cards.current == 1


def test_a_model_on_another_card_stays_and_that_becomes_the_current_one(cards, moves):
    cards.count = 4
    own_device.move_to_own_device(_model("cuda:3"))
    assert moves == []
    assert cards.chosen == [3]


def test_a_model_on_the_host_or_on_several_cards_is_left_alone(cards, moves):
    own_device.move_to_own_device(_model())
    several = nn.Sequential(_model("cuda:0"), _model("cuda:1"))
    own_device.move_to_own_device(several)
    assert moves == cards.chosen == []


def test_processes_that_share_a_card_over_gloo_stay_on_it(cards, moves, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "gloo")
    own_device.move_to_own_device(_model("cuda:0"))
    assert moves == []
    assert cards.chosen == [0]


def test_the_state_of_an_optimizer_moves_along(cards, moves):
    loaded = []
    model = _model("cuda:0")
    model.compile("adam", "mse")
    model._trainer.optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), momentum=0.9)
    model._trainer.optimizer.load_state_dict = loaded.append
    own_device.move_to_own_device(model)
    assert len(loaded) == 1


CALLS = {
    "fit": lambda model, x, y: model.fit(x, y, verbose=0),
    "evaluate": lambda model, x, y: model.evaluate(x, y, verbose=0),
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "test_on_batch": lambda model, x, y: model.test_on_batch(x, y),
    "predict": lambda model, x, y: model.predict(x, verbose=0),
    "predict_on_batch": lambda model, x, y: model.predict_on_batch(x),
}


@pytest.mark.parametrize("method", CALLS)
def test_all_begins_on_its_own_device(cards, monkeypatch, method):
    """Before the processes are joined, whose backend is that of the device."""
    seen = []
    monkeypatch.setattr(
        "fgraph.training.data_preparation.move_to_own_device", lambda m: seen.append("device")
    )
    monkeypatch.setattr(
        "fgraph.training.processes.distributed.start", lambda device, *a, **k: seen.append("start")
    )
    model = _model()
    model.compile("sgd", "mse")
    CALLS[method](model, torch.ones(4, 4), torch.ones(4, 2))
    assert seen == ["device"] if method.startswith("predict") else ["device", "start"]


def test_random_states_of_more_cards_than_there_are_here_go_to_those(cards, monkeypatch):
    restored = []
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", restored.extend)
    set_random_state({**get_random_state(cuda=False), "cuda": ["first", "second", "third"]})
    assert restored == ["first", "second"]
