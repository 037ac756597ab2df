"""Pictures without graphviz: where the boxes stand, and what is in the file."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import torch
from torch import nn

from fgraph import Input, Model, layers, utils

pytest.importorskip("matplotlib")

from fgraph.viewing.diagram import diagram
from fgraph.viewing.layered_layout import arrange
from fgraph.viewing.matplotlib_picture import draw


def chain() -> Model:
    x = Input((4,))
    h = x
    for _ in range(5):
        h = nn.Linear(4, 4)(h)
    return Model(x, h)


def skips() -> Model:
    x = Input((4,))
    a = nn.Linear(4, 4)(x)
    b = nn.Linear(4, 4)(a)
    return Model(x, [torch.cat([x, a, b], 1), nn.Linear(4, 2)(b)])


def siamese() -> Model:
    inner_x = Input((8,))
    inner = Model(inner_x, layers.Dense(3)(layers.Dense(4)(inner_x)), name="inner $ model")
    a, b = Input((8,)), Input((8,))
    return Model([a, b], layers.concatenate([inner(a), inner(b)]))


def wide() -> Model:
    x = Input((4,))
    return Model(x, layers.add([layers.Dense(4)(x) for _ in range(12)]))


def one_input() -> Model:
    x = Input((4,))
    return Model(x, x)


def nested_twice() -> Model:
    inner_x, middle_x, a, b = (Input((8,)) for _ in range(4))
    inner = Model(inner_x, nn.Linear(8, 8)(nn.Linear(8, 8)(inner_x)), name="inner")
    middle = Model(middle_x, inner(middle_x) + nn.Linear(8, 8)(middle_x), name="middle")
    return Model([a, b], [middle(a), middle(middle(b)), inner(a)])


MODELS = [chain, skips, siamese, wide, one_input, nested_twice]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("expand_nested", [False, True])
def test_boxes_stand_below_what_they_need_and_beside_each_other(make, expand_nested):
    drawn = diagram(make(), "plot_model", show_shapes=True, expand_nested=expand_nested)
    layout = arrange(drawn)
    rows, chains = layout.rows, layout.chains
    boxes = [place for row in rows for place in row if place.box is not None]
    assert {place.box.id for place in boxes} == {box.id for box in drawn.content.boxes()}
    assert len(chains) == len(drawn.arrows)
    for passed in chains:
        numbers = [place.row for place in passed]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert len(numbers) >= 2
    for row in rows:
        for left, right in pairwise(row):
            assert right.x - left.x >= (left.width + right.width) / 2


@pytest.mark.parametrize(("make", "count"), [(siamese, 2), (nested_twice, 7), (chain, 0)])
def test_a_frame_stands_around_a_nested_model_and_nothing_else(make, count):
    layout = arrange(diagram(make(), "plot_model", show_shapes=True, expand_nested=True))
    assert len(layout.frames) == count
    for frame in layout.frames:
        for place in (place for row in layout.rows for place in row if place.box is not None):
            middle, half = layout.middle(place), (place.width / 2, place.height / 2)
            inside = (
                frame.left < place.x - half[0] < place.x + half[0] < frame.right
                and frame.top < middle - half[1] < middle + half[1] < frame.bottom
            )
            apart = (
                place.x + half[0] < frame.left
                or place.x - half[0] > frame.right
                or middle + half[1] < frame.top
                or middle - half[1] > frame.bottom
            )
            assert inside if frame.group in place.groups else apart


@pytest.mark.parametrize("make", MODELS)
def test_an_svg_has_the_text_of_every_box(make, monkeypatch):
    monkeypatch.setitem(__import__("matplotlib").rcParams, "svg.fonttype", "none")
    model = make()
    text = draw(model, "svg", show_layer_names=True).decode()
    for box in diagram(model, "plot_model", show_layer_names=True).content.boxes():
        assert f">{box.title}<" in text
        for line in box.lines:
            assert line in text


@pytest.mark.parametrize(
    ("show_shapes", "label"),
    [(False, "inner $ model"), (True, "inner $ model, shared 2 of 2")],
    ids=["narrow", "wide"],
)
def test_a_frame_is_labelled_with_what_it_has_room_for(monkeypatch, show_shapes, label):
    monkeypatch.setitem(__import__("matplotlib").rcParams, "svg.fonttype", "none")
    text = draw(siamese(), "svg", show_shapes=show_shapes, expand_nested=True).decode()
    assert f">{label}<" in text


@pytest.mark.parametrize(
    ("kind", "start"),
    [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("jpg", b"\xff\xd8")],
)
def test_plot_model_draws_without_graphviz(tmp_path, monkeypatch, kind, start):
    monkeypatch.setenv("PATH", str(tmp_path))  # no `dot` there
    path = tmp_path / f"model.{kind}"
    utils.plot_model(siamese(), path, show_shapes=True, dpi=60)
    assert path.read_bytes().startswith(start)


def test_other_directions_are_checked():
    with pytest.raises(ValueError, match=re.escape("rankdir= expects a direction")):
        draw(chain(), "png", rankdir="down")
