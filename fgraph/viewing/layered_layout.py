"""Layered layout of a diagram: boxes in rows, arrows downwards, frames around nested models.

The algorithm is Sugiyama's: a row for each step of the longest path, dummy boxes where an arrow
passes a row, an order by the mean position of neighbours, then positions that are close to the
neighbours'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from .diagram import Box, Diagram, Group

LABEL = 0.24  # inches, the height of a frame's label
MARGIN = 0.12  # inches between a frame and what is in it
_GAP, _ROW_GAP = 0.25, 0.32  # inches between boxes and between rows
LETTER, LINE, _PADDING = 0.078, 0.17, 0.12  # inches
_SWEEPS, _SPREADS = 12, 60
_STRAIGHT = 200, 30, 8  # weight of an arrow that is the only one at both of its ends


@dataclass(eq=False)
class BoxPlace:
    """A box, or a dummy where an arrow passes a row.

    Attributes:
        x: its middle.
        groups: the nested models around it, the outermost first.
    """

    box: Box | None
    width: float
    height: float
    row: int = 0
    x: float = 0.0
    groups: tuple[Group, ...] = ()
    above: list[BoxPlace] = field(default_factory=list)
    below: list[BoxPlace] = field(default_factory=list)


@dataclass(eq=False)
class Frame:
    """A rectangle around the boxes of a nested model.

    Attributes:
        depth: how many frames are around it.
        levels: how many frames are in it along the deepest nesting, itself included.
        rows: the first and the last row in it.
    """

    group: Group
    depth: int
    levels: int
    rows: tuple[int, int]
    left: float
    right: float
    top: float = 0.0
    bottom: float = 0.0


@dataclass(eq=False)
class PictureLayout:
    """The positions of everything, in inches, downwards from the upper edge.

    Attributes:
        rows: the places of each row, from left to right.
        chains: for each arrow the places that it passes, its ends included.
        frames: the frames around nested models, where there is room for one.
        bands: where each row begins and ends.
        sides: the left and the right edge of the picture.
        height: the height of the picture.
    """

    rows: list[list[BoxPlace]]
    chains: list[list[BoxPlace]]
    frames: list[Frame]
    bands: list[tuple[float, float]]
    sides: tuple[float, float]
    height: float

    def middle(self, place: BoxPlace) -> float:
        """Return the vertical position of the middle of a box."""
        return sum(self.bands[place.row]) / 2


def arrange(drawn: Diagram) -> PictureLayout:
    """Return the layout of a diagram."""
    rows, chains = _rows(drawn)
    _order(rows)
    groups = {group for row in rows for place in row for group in place.groups}
    for straight in _STRAIGHT:  # until no frame overlaps another nested model
        _spread(rows, straight)
        frames = _frames(rows)
        if len(frames) == len(groups):
            break
    bands, height = _bands(rows, frames)
    every = [place for row in rows for place in row]
    left = [place.x - place.width / 2 for place in every] + [frame.left for frame in frames]
    right = [place.x + place.width / 2 for place in every] + [frame.right for frame in frames]
    return PictureLayout(rows, chains, frames, bands, (min(left) - _GAP, max(right) + _GAP), height)


def _rows(drawn: Diagram) -> tuple[list[list[BoxPlace]], list[list[BoxPlace]]]:
    """Return the boxes row by row, and for each arrow the places that it passes."""
    places = {}
    for box, groups in _boxes(drawn.content):
        letters = max(map(len, [box.title, *box.lines]))
        width = letters * LETTER + 2 * _PADDING
        height = (1 + len(box.lines)) * LINE + _PADDING
        places[box.id] = BoxPlace(box, width, height, groups=groups)
    incoming = defaultdict(list)
    for tail, head in drawn.arrows:
        incoming[head].append(tail)
    for name, place in places.items():  # the boxes come in the order in which they run
        place.row = max((places[tail].row + 1 for tail in incoming[name]), default=0)
    for name, place in places.items():  # put inputs right above their first use
        if not incoming[name]:
            users = [places[head].row for tail, head in drawn.arrows if tail == name]
            place.row = max(min(users, default=1) - 1, 0)
    rows: list[list[BoxPlace]] = [[] for _ in range(max(p.row for p in places.values()) + 1)]
    for place in places.values():
        rows[place.row].append(place)
    chains = []
    for tail, head in drawn.arrows:
        chain = [places[tail]]
        for row in range(places[tail].row + 1, places[head].row):
            dummy = BoxPlace(None, 0.1, 0.0, row)
            rows[row].append(dummy)
            chain.append(dummy)
        chain.append(places[head])
        for above, below in pairwise(chain):
            above.below.append(below)
            below.above.append(above)
        chains.append(chain)
    return rows, chains


def _boxes(group: Group, groups: tuple[Group, ...] = ()) -> Iterator[tuple[Box, tuple[Group, ...]]]:
    """Yield the boxes of a group in order, each with the groups between."""
    for item in group.items:
        if isinstance(item, Group):
            yield from _boxes(item, (*groups, item))
        else:
            yield item, groups


def _order(rows: list[list[BoxPlace]]) -> None:
    """Order each row by the mean position of the neighbours, downwards and upwards in turn."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        at = {id(place): i for row in rows for i, place in enumerate(row)}
        for row in rows if down else reversed(rows):

            def mean(place: BoxPlace, down: bool = down, at: dict[int, int] = at) -> float:
                near = place.above if down else place.below
                return sum(at[id(one)] for one in near) / len(near) if near else at[id(place)]

            row.sort(key=mean)
            at.update((id(place), i) for i, place in enumerate(row))


def _spread(rows: list[list[BoxPlace]], straight: int) -> None:
    """Choose the middle of each box: near its neighbours, without overlap in its row."""
    for row in rows:
        x = 0.0
        for place in row:
            place.x, x = x + place.width / 2, x + place.width + _GAP
        for place in row:
            place.x -= x / 2
    for sweep in range(_SPREADS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [_wanted(place, straight) for place in row]
            gaps = [(a.width + b.width) / 2 + _gap(a, b) for a, b in pairwise(row)]
            right, left = list(wanted), list(wanted)
            for i, gap in enumerate(gaps):
                right[i + 1] = max(right[i + 1], right[i] + gap)
            for i, gap in reversed(list(enumerate(gaps))):
                left[i] = min(left[i], left[i + 1] - gap)
            for place, a, b in zip(row, left, right, strict=True):
                place.x = (a + b) / 2


def _wanted(place: BoxPlace, straight: int) -> float:
    """Return the best position for a box; arrows without branches weigh most."""
    pulls = [
        (one.x, straight if len(one.below) == len(place.above) == 1 else 1) for one in place.above
    ]
    pulls += [
        (one.x, straight if len(one.above) == len(place.below) == 1 else 1) for one in place.below
    ]
    return sum(x * pull for x, pull in pulls) / sum(pull for _, pull in pulls) if pulls else place.x


def _gap(left: BoxPlace, right: BoxPlace) -> float:
    """Return the distance between two neighbours, with room for frames that end between them."""
    return _GAP + MARGIN * len({*left.groups} ^ {*right.groups})


def _frames(rows: list[list[BoxPlace]]) -> list[Frame]:
    """Return a frame for each nested model that contains no box of another model."""
    boxes = [place for row in rows for place in row if place.box is not None]
    groups = {group: depth for place in boxes for depth, group in enumerate(place.groups)}
    frames = []
    for group, depth in groups.items():
        members = [place for place in boxes if group in place.groups]
        levels = max(len(place.groups) for place in members) - depth
        frame = Frame(
            group,
            depth,
            levels,
            (min(place.row for place in members), max(place.row for place in members)),
            min(place.x - place.width / 2 for place in members) - levels * MARGIN,
            max(place.x + place.width / 2 for place in members) + levels * MARGIN,
        )
        if not any(_stands_in(place, frame) for place in boxes if group not in place.groups):
            frames.append(frame)
    return frames


def _stands_in(place: BoxPlace, frame: Frame) -> bool:
    if not frame.rows[0] <= place.row <= frame.rows[1]:
        return False
    return frame.left < place.x + place.width / 2 and place.x - place.width / 2 < frame.right


def _bands(
    rows: list[list[BoxPlace]], frames: list[Frame]
) -> tuple[list[tuple[float, float]], float]:
    """Return where each row begins and ends, and the height of the picture; place the frames."""
    bands, y = [], 0.0
    for number, row in enumerate(rows):
        starting = [frame for frame in frames if frame.rows[0] == number]
        ending = [frame for frame in frames if frame.rows[1] == number]
        y += _ROW_GAP + LABEL * max((frame.levels for frame in starting), default=0)
        for frame in starting:
            frame.top = y - LABEL * frame.levels
        bands.append((y, y := y + max(place.height for place in row)))
        for frame in ending:
            frame.bottom = y + MARGIN * frame.levels
        y += MARGIN * max((frame.levels for frame in ending), default=0)
    return bands, y + _ROW_GAP
