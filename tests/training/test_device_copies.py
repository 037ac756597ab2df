"""The order of work where batches go to CUDA; a model of its streams takes their place."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from torch.utils.data import DataLoader

from fgraph.training.sources import device_copies
from fgraph.training.sources.array_source import ArraySource
from fgraph.training.sources.feed import Feed
from fgraph.training.sources.loader_source import LoaderSource
from fgraph.training.sources.placement import Placement

CUDA = torch.device("cuda", 0)


class Stream:
    """A queue of work: each piece comes after those before it, and those waited for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: set[str] = set()

    def wait_stream(self, other: Stream) -> None:
        self.seen |= other.seen


class Streams:
    """Stands for the part of `torch.cuda` that knows streams."""

    def __init__(self) -> None:
        self.current = Stream("default")
        self.made: list[Stream] = []
        self.order: list[str] = []  # in which the host gives the work
        self.before: dict[str, set[str]] = {}  # what certainly is done before a piece of work
        self.where: dict[str, str] = {}

    def work(self, name: str) -> None:
        """Give a piece of work to the current stream."""
        self.order.append(name)
        self.before[name], self.where[name] = set(self.current.seen), self.current.name
        self.current.seen.add(name)

    def Stream(self, device: torch.device) -> Stream:
        self.made.append(Stream(f"copies {len(self.made)}"))
        return self.made[-1]

    def current_stream(self, device: torch.device) -> Stream:
        return self.current

    @contextmanager
    def stream(self, stream: Stream):
        before, self.current = self.current, stream
        yield
        self.current = before


class Value(torch.Tensor):
    """A tensor that tells the streams when it is copied to the device."""

    streams: Streams
    pinned = False
    on_cuda = False
    used_in: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        return CUDA if self.on_cuda else torch.device("cpu")

    def is_pinned(self, *_) -> bool:
        return self.pinned

    def pin_memory(self, *_) -> Value:
        made = self.as_subclass(Value)
        made.pinned = True
        return made

    def to(self, where, **options) -> Value:
        if isinstance(where, torch.dtype):
            return super().to(where)
        assert options == {"non_blocking": True}
        assert self.pinned, "from memory that is not pinned, the host waits"
        self.streams.work(f"copy {int(self.flatten()[0])}")
        made = self.clone().as_subclass(Value)
        made.on_cuda = True
        return made

    def record_stream(self, stream: Stream) -> None:
        self.used_in = (*self.used_in, stream.name)


@pytest.fixture
def streams(monkeypatch):
    """A model of CUDA's streams in place of `torch.cuda`'s."""
    streams = Streams()
    for name in ("Stream", "current_stream", "stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(streams, name))
    monkeypatch.setattr(Value, "streams", streams, raising=False)
    device_copies._stream.cache_clear()
    yield streams
    device_copies._stream.cache_clear()


def _value(number: float, pinned: bool = False) -> Value:
    made = torch.full((2, 3), float(number)).as_subclass(Value)
    made.pinned = pinned
    return made


def _drawn(streams: Streams, pinned: bool = False):
    """A generator of the user's that computes on the device, as it may."""
    for number in range(4):
        streams.work(f"draw {number}")
        yield _value(number, pinned)


def _run(streams: Streams, batches) -> list:
    found = []
    for number, batch in enumerate(batches):
        found.append(batch)
        streams.work(f"step {number}")
    return found


def _in_order(streams: Streams, kind: str) -> list[str]:
    return [name for name in streams.order if name.startswith(kind)]


def test_a_generator_is_drawn_from_in_the_current_stream_and_never_ahead(streams):
    source = LoaderSource(_drawn(streams), Placement(CUDA))
    _run(streams, source.batches())
    kinds = [f"{kind} {n}" for n in range(4) for kind in ("draw", "copy", "step")]
    assert streams.order == kinds
    assert {streams.where[name] for name in _in_order(streams, "draw")} == {"default"}


def test_copies_run_beside_the_step_before_and_are_done_before_their_own(streams):
    source = LoaderSource(_drawn(streams), Placement(CUDA))
    batches = _run(streams, source.batches())
    for number in range(4):
        assert streams.where[f"copy {number}"] == "copies 0"
        assert f"copy {number}" in streams.before[f"step {number}"]
        assert f"step {number - 1}" not in streams.before[f"copy {number}"]
    assert [batch.x.used_in for batch in batches] == [("default",)] * 4
    assert len(streams.made) == 1


def test_pinned_memory_that_the_device_may_still_write_is_waited_for(streams):
    """A generator may yield what it copied from the device without waiting."""
    source = LoaderSource(_drawn(streams, pinned=True), Placement(CUDA))
    _run(streams, source.batches())
    for number in range(4):
        assert f"draw {number}" in streams.before[f"copy {number}"]


def test_what_a_data_loader_pins_is_not_waited_for(streams):
    loader = DataLoader(
        [_value(number) for number in range(4)], batch_size=1,
        collate_fn=lambda rows: _value(float(rows[0].flatten()[0]), pinned=True),
    )  # fmt: skip
    _run(streams, LoaderSource(loader, Placement(CUDA)).batches())
    for number in range(1, 4):
        assert f"step {number - 1}" not in streams.before[f"copy {number}"]


def test_arrays_wait_once_for_what_was_done_before_the_pass(streams):
    streams.work("written before")
    rows = torch.arange(4.0)[:, None].as_subclass(Value)
    source = ArraySource(rows, None, None, 1, False, Placement(CUDA))
    _run(streams, source.batches())
    for number in range(4):
        assert "written before" in streams.before[f"copy {number}"]
        assert f"copy {number}" in streams.before[f"step {number}"]
        assert f"step {number - 1}" not in streams.before[f"copy {number}"]


def test_conversions_are_made_in_the_current_stream_after_the_copy(streams):
    """A cast reads what the copy wrote, and its result is used where it was made."""
    found = Placement(CUDA).place(_value(3), torch.float64)
    assert found.dtype == torch.float64
    assert "copy 3" in streams.current.seen


def test_the_position_of_a_feed_is_that_of_its_last_step(streams):
    """Nothing was drawn that a resumed run would draw again."""
    feed = Feed(LoaderSource(_drawn(streams), Placement(CUDA)), None)
    for number, _ in enumerate(feed.epoch()):
        assert feed.state_dict()["taken"] == number + 1 == len(_in_order(streams, "draw"))


def test_on_the_host_no_stream_is_made(streams):
    source = LoaderSource([torch.ones(2, 3)], Placement())
    assert len(_run(streams, source.batches())) == 1
    assert streams.made == []
