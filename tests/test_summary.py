"""The summary table: its text, its options, what it counts."""

from __future__ import annotations

import io
import sys

import pytest
import torch
from torch import nn

from fgraph import Input, Model, Sequential, layers
from fgraph.viewing.summary import summary_rows
from fgraph.viewing.table import size_text, table, text_width


def siamese() -> Model:
    left, right = Input((140, 256), name="left"), Input((140, 256), name="right")
    encode = layers.LSTM(64)
    merged = layers.concatenate([encode(left), encode(right)], axis=-1)
    return Model([left, right], layers.Dense(1, activation="sigmoid")(merged))


def with_nested() -> Model:
    x = Input((8,), name="x")
    inner = Model(x, nn.Linear(8, 8)(x).relu(), name="inner")
    a, b = Input((8,), name="a"), Input((8,), name="b")
    return Model([a, b], nn.Linear(8, 1)(inner(a) + inner(b)))


def text_of(model: Model, **options: object) -> str:
    lines: list[str] = []
    model.summary(print_fn=lines.append, **options)
    return "\n".join(lines)


def test_a_shared_layer_has_a_row_for_each_call_and_is_counted_once():
    assert text_of(siamese(), line_length=88).splitlines()[1:13] == [
        "─" * 74,
        "Layer (type)                 Output shape       Param #  Connected to",
        "─" * 74,
        "left (Input)                 (None, 140, 256)         0",
        "right (Input)                (None, 140, 256)         0",
        "lstm_1 (LSTM)                (None, 64)          82,176  left",
        "lstm_1[1] (LSTM)             (None, 64)        (shared)  right",
        "concatenate_1 (Concatenate)  (None, 128)              0  lstm_1, lstm_1[1]",
        "dense_1 (Dense)              (None, 1)              129  concatenate_1",
        "─" * 74,
        "Total params: 82,305 (321.50 KB)",
        "Trainable params: 82,305 (321.50 KB)",
    ]


def test_totals_are_those_of_the_module():
    model = with_nested()
    model.inner.requires_grad_(False)
    text = text_of(model)
    assert sum(p.numel() for p in model.parameters()) == 81
    assert "Total params: 81 (324 B)\nTrainable params: 9 (36 B)\n" in text
    assert "Non-trainable params: 72 (288 B)" in text


def test_buffers_and_other_dtypes_are_counted_in_their_own_bytes():
    x = Input((4,))
    model = Model(x, nn.BatchNorm1d(4)(nn.Linear(4, 4).double()(x.double()).float()))
    text = text_of(model)
    assert "Total params: 28 (192 B)" in text  # 20 of 8 bytes, 8 of 4
    assert "Buffers: 9 (40 B)" in text  # 8 of 4 bytes, one of 8


def test_rows_of_a_nested_model_follow_its_first_call():
    names = [(row.name, row.depth) for row in summary_rows(with_nested(), expand_nested=True)]
    assert names == [
        ("a", 0),
        ("b", 0),
        ("inner", 0),
        ("x", 1),
        ("linear_1", 1),
        ("relu_1", 1),
        ("inner[1]", 0),
        ("add_1", 0),
        ("linear_1", 0),
    ]
    text = text_of(with_nested(), expand_nested=True)
    assert "└─ linear_1 (Linear)" in text
    assert text.endswith(text_of(with_nested()).splitlines()[-1])


def test_a_wrapped_model_is_expanded_too():
    x = Input((8,))
    frames = Input((5, 8))
    inner = Model(x, nn.Linear(8, 3)(x), name="inner")
    model = Model(frames, layers.TimeDistributed(inner)(frames))
    rows = summary_rows(model, expand_nested=True)
    assert [row.kind for row in rows] == ["Input", "TimeDistributed", "Input", "Linear"]
    assert rows[1].parameters == 27


def test_parameters_that_are_given_to_a_function_are_counted():
    x = Input((3,))
    weight = nn.Parameter(torch.ones(3))
    model = Model(x, x * weight + weight)
    assert [row.parameters for row in summary_rows(model)] == [0, 3, 0]


def test_several_outputs_are_shown_in_their_structure():
    x = Input((5, 8))
    _, (h, _) = nn.LSTM(8, 4, batch_first=True)(x)
    row = summary_rows(Model(x, h))[1]
    assert row.shape == ((None, 5, 4), ((1, None, 4), (1, None, 4)))


def test_a_replaced_child_is_shown():
    model = with_nested()
    model.linear_1 = nn.Sequential(nn.Linear(8, 1, bias=False))
    assert summary_rows(model)[-1].kind == "Sequential"
    assert summary_rows(model)[-1].parameters == 8


def test_trainable_column():
    model = with_nested()
    model.inner.linear_1.bias.requires_grad_(False)
    model.linear_1.requires_grad_(False)
    assert [row.trainable for row in summary_rows(model)] == ["-", "-", "part", "part", "-", "N"]
    header = text_of(model, show_trainable=True).splitlines()[2]
    assert header.split()[-1] == "Trainable"


@pytest.mark.parametrize("width", [40, 52, 60, 88, 120, 300])
def test_no_line_is_wider_than_asked_for(width: int):
    for options in ({}, {"show_trainable": True}, {"expand_nested": True}):
        lines = text_of(siamese(), line_length=width, **options).splitlines()
        assert max(map(len, lines)) <= width


@pytest.mark.parametrize(("columns", "width"), [("200", 120), ("60", 60), ("5", 40), (None, 88)])
def test_the_terminal_sets_the_width(monkeypatch, columns: str | None, width: int):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
        monkeypatch.setattr(sys, "__stdout__", io.StringIO())
    else:
        monkeypatch.setenv("COLUMNS", columns)
    x = Input((3,))
    model = Model(x, layers.Dense(2, name="a_name_" * 40)(x))
    rule = text_of(model).splitlines()[1]
    assert len(rule) == width


def test_positions_say_where_columns_end():
    x = Input((3,), name="x")
    model = Model(x, layers.Dense(2)(x))
    lines = text_of(model, line_length=100, positions=[0.4, 0.6, 0.8, 1.0]).splitlines()
    assert lines[2].index("Output shape") == 40
    assert lines[2].index("Connected to") == 80
    assert lines[2][:78].endswith("Param #")
    absolute = text_of(model, positions=[40, 60, 80, 100])
    assert absolute.splitlines() == lines


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["lstm_1", "concatenate_1"], ["lstm_1", "lstm_1[1]", "concatenate_1"]),
        (["dense_1", "concatenate_1"], ["concatenate_1", "dense_1"]),
        (["l.*", "right"], ["left", "right"]),
        (["conc", "dense"], ["concatenate_1", "dense_1"]),
    ],
    ids=["names", "the other way round", "expression", "beginning of a name"],
)
def test_layer_range(names: list[str], shown: list[str]):
    lines = text_of(siamese(), layer_range=names).splitlines()[4:]
    assert [line.split()[0] for line in lines[: len(shown)]] == shown
    assert lines[len(shown)].startswith("─")
    assert "Total params: 82,305" in "\n".join(lines)


def test_an_exact_name_wins_over_an_expression():
    x = y = Input((3,))
    for _ in range(12):
        y = nn.Linear(3, 3)(y)
    lines = text_of(Model(x, y), layer_range=["linear_1", "linear_1"]).splitlines()[4:]
    assert lines[0].startswith("linear_1 ")
    assert lines[1].startswith("─")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"line_length": 39}, ValueError, r"line_length= must be at least 40, got 39"),
        ({"line_length": "wide"}, TypeError, r"line_length= expects a whole number, got 'wide'"),
        ({"positions": [0.5, 1.0]}, ValueError, r"positions= expects 4 numbers.*got 2: \[0.5, 1.0"),
        ({"positions": [0.5, 0.4, 0.7, 1]}, ValueError, r"each needs at least 4"),
        (
            {"positions": [30, 60, 80, 100], "line_length": 90},
            ValueError,
            r"in a line of 90 characters",
        ),
        (
            {"positions": [0.3, 0.6, 0.7, 1], "show_trainable": True},
            ValueError,
            r"expects 5 numbers",
        ),
        ({"layer_range": "dense_1"}, ValueError, r"expects two names.*got 'dense_1'"),
        ({"layer_range": ["dense_1"]}, ValueError, r"expects two names"),
        ({"layer_range": ["nothing", "dense_1"]}, ValueError, r"'nothing', which matches none of"),
        ({"layer_range": ["(", "dense_1"]}, ValueError, r"nor a regular expression"),
    ],
)
def test_options_out_of_range_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        siamese().summary(**options)


def test_print_fn_is_called_with_each_line():
    lines: list[str] = []
    siamese().summary(print_fn=lines.append)
    assert lines[0] == 'Model: "model"'
    assert not any("\n" in line for line in lines)


def test_a_pipe_that_takes_ascii_gets_ascii(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    x = Input((3,), name="数")
    Model(x, layers.Dense(2)(x)).summary()
    sys.stdout.flush()
    text = written.getvalue().decode("ascii")
    assert "-----" in text
    assert "\\u6570 (Input)" in text


def test_a_model_without_a_graph_shows_its_children():
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 3)
            self.last = nn.LazyLinear(1)

        def forward(self, x):
            return self.last(self.first(x))

    text = text_of(Own())
    assert "first (Linear)     ?                   9" in text
    assert "last (LazyLinear)  ?                   ?" in text
    assert "Some parameters get their sizes at the first call, and are not counted." in text
    assert text.endswith("this model has no graph, its forward is written by hand")


def test_an_unbuilt_sequential_says_how_to_build_it():
    text = text_of(Sequential([layers.Dense(3), nn.Linear(3, 1)]))
    assert "0 (Dense)     ?                   ?" in text
    assert "1 (Linear)    ?                   4" in text
    assert "Total params" not in text
    assert "is not built yet. Call it on a tensor, or begin with Input(shape)" in text


def test_a_layer_whose_second_result_nobody_uses_is_shown():
    class Two(layers.Layer):
        def call(self, x):
            return x + 1, x * 2

    x = Input((3,))
    model = Model(x, Two(name="two")(x)[0])
    assert summary_rows(model)[1].shape == ((None, 3), (None, 3))


def test_wide_characters_are_aligned():
    assert text_width("数字") == 4
    lines = table(["name", "n"], [["数字", "1"], ["abcd", "2"]], right=[1])
    assert lines[3:5] == ["数字  1", "abcd  2"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KB"), (5 * 2**30, "5.00 GB"), (2**41, "2.00 TB")],
)
def test_size_text(size: int, text: str):
    assert size_text(size) == text


def test_a_chain_of_thousands_is_summarised():
    x = y = Input((2,))
    for _ in range(5000):
        y = y + 1
    assert len(summary_rows(Model(x, y))) == 5001


def test_a_layer_of_layers_counts_what_is_in_it():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inside = Sequential([layers.Dense(5), layers.Dense(4)])
            self.norm = layers.LayerNormalization()

        def call(self, inputs):
            return self.norm(inputs + self.inside(inputs))

    x = Input((4,))
    shared = Block()
    model = Model(x, layers.Dense(2)(shared(shared(x))))
    lines = []
    model.summary(print_fn=lines.append)
    rows = [line for line in "\n".join(lines).splitlines() if line.startswith("block_1")]
    assert ["57" in rows[0], "(shared)" in rows[1]] == [True, True], rows
    total = sum(p.numel() for p in model.parameters())
    assert total == (4 * 5 + 5) + (5 * 4 + 4) + 8 + (4 * 2 + 2)
