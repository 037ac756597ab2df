"""Pictures: DOT and Mermaid text, files, notebooks, learning curves."""

from __future__ import annotations

import copy
import html
import importlib.util
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, layers
from fgraph.callbacks import History
from fgraph.callbacks.learning_curves import plot_history
from fgraph.utils import plot_model

NASTY = "a<b> & \"c\" 'd' \\N \\l #35; `e` {f|g} -- end %% [h](i) 数"

needs_dot = pytest.mark.skipif(
    shutil.which("dot") is None or importlib.util.find_spec("graphviz") is None,
    reason="graphviz, the Python package or the system's, is not installed",
)


def siamese(name: str = "left") -> Model:
    left, right = Input((5, 8), name=name), Input((5, 8), name="right")
    encode = layers.LSTM(4)
    merged = layers.concatenate([encode(left), encode(right)])
    return Model([left, right], layers.Dense(1, activation="sigmoid")(merged))


def nested() -> Model:
    x = Input((8,))
    inner = Model(x, nn.Linear(8, 8)(x).relu(), name="inner")
    a, b = Input((8,)), Input((8,))
    frames = Input((5, 8))
    steps = layers.TimeDistributed(inner)(frames)
    return Model([a, b, frames], torch.cat([inner(a), inner(b), steps.mean(1)], 1))


def boxes(dot: str) -> list[list[str]]:
    """Return the lines of text in each box, without the markup."""
    labels = re.findall(r"^ +n\d+ \[label=<(.*?)>, (?:style|shape)", dot, re.MULTILINE)
    return [re.sub(r"</?(?:b|font)\b[^>]*>", "", label).split("<br/>") for label in labels]


def arrows(text: str, sign: str = "->") -> list[tuple[str, str]]:
    return re.findall(rf"^ +(\w+) {sign} (\w+)(?: \[weight=8\])?$", text, re.MULTILINE)


def test_each_call_of_a_shared_layer_is_a_box_and_they_are_tied():
    dot = siamese().to_dot()
    assert boxes(dot) == [
        ["Input", "left"],
        ["Input", "right"],
        ["LSTM", "shared 1 of 2"],
        ["LSTM", "shared 2 of 2"],
        ["Concatenate"],
        ["Dense"],
    ]
    assert arrows(dot) == [("n1", "n3"), ("n2", "n4"), ("n3", "n5"), ("n4", "n5"), ("n5", "n6")]
    assert "n3 -> n4 [dir=none, style=dashed, constraint=false" in dot


def test_mermaid_says_the_same():
    text = siamese().to_mermaid(rankdir="LR")
    assert text.splitlines()[:7] == [
        "flowchart LR",
        '    n1(["Input<br/>left"])',
        '    n2(["Input<br/>right"])',
        '    n3["LSTM<br/>shared 1 of 2"]',
        '    n4["LSTM<br/>shared 2 of 2"]',
        '    n5["Concatenate"]',
        '    n6["Dense"]',
    ]
    assert arrows(text, "-->") == arrows(siamese().to_dot())
    assert "    n3 -. shared .- n4" in text
    assert "    class n3,n4 shared0" in text


def test_a_shared_layer_without_weights_is_not_tied():
    x = Input((4,))
    relu = nn.ReLU()
    assert "dashed" not in Model(x, relu(relu(x))).to_dot()


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, ["Dense"]),
        ({"show_layer_names": True}, ["Dense", "dense_1"]),
        ({"show_shapes": True}, ["Dense", "(None, 8) → (None, 1)"]),
        ({"show_dtype": True}, ["Dense", "float32"]),
        ({"show_layer_activations": True}, ["Dense", "activation: sigmoid"]),
        ({"show_trainable": True}, ["Dense", "frozen"]),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else "",
)
def test_options_add_lines(options, lines):
    model = siamese()
    model.dense_1.requires_grad_(False)
    assert boxes(model.to_dot(**options))[-1] == lines
    assert "<br/>".join(lines) in model.to_mermaid(**options)


def test_shapes_of_several_inputs_and_outputs():
    x = Input((5, 8), dtype="float64")
    a, (h, c) = nn.LSTM(8, 4, batch_first=True, dtype=torch.float64)(x)
    model = Model(x, torch.stack([h[0], c[0], a.mean(1)]).float())
    found = boxes(model.to_dot(show_shapes=True, show_dtype=True))
    assert found[1] == [
        "LSTM",
        "(None, 5, 8) → (None, 5, 4), 2 \N{MULTIPLICATION SIGN} (1, None, 4)",
        "float64",
    ]
    assert found[5] == ["stack", "3 \N{MULTIPLICATION SIGN} (None, 4) → (3, None, 4)", "float64"]
    assert found[6] == ["float", "(3, None, 4) → (3, None, 4)", "float64 → float32"]


def test_long_shapes_take_a_line_each():
    x = Input((10, 100, 100, 100))
    model = Model(x, x.flatten(1, 2).flatten(2, 3))
    found = boxes(model.to_dot(show_shapes=True))
    assert found[1] == ["flatten", "in: (None, 10, 100, 100, 100)", "out: (None, 1000, 100, 100)"]
    assert found[2] == ["flatten", "(None, 1000, 100, 100) → (None, 1000, 10000)"]


def test_several_outputs_are_named():
    x = Input((4,))
    model = Model(x, {"double": x * 2, "half": x / 2})
    assert boxes(model.to_dot())[-2:] == [["Output", "double"], ["Output", "half"]]


def test_a_nested_model_is_one_box_with_its_name():
    found = boxes(nested().to_dot())
    assert ["Model", "inner", "shared 1 of 2"] in found
    assert ["TimeDistributed(inner)"] in found
    assert nested().to_mermaid().count("[[") == 3


def test_a_nested_model_is_expanded_in_a_frame():
    dot = nested().to_dot(expand_nested=True)
    assert dot.count("subgraph cluster_") == 3
    assert dot.count("<b>Linear</b>") == 3
    assert re.search(r"\[dir=none.*ltail=cluster_n\d+, lhead=cluster_n\d+\]", dot)
    # from the inputs straight to the layers inside, and from these straight out
    assert len(arrows(dot)) == 3 + 3 + 4
    assert nested().to_mermaid(expand_nested=True).count("subgraph") == 3


def test_a_copy_is_drawn_alike():
    model = nested()
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        options = {"expand_nested": True, "show_shapes": True, "show_layer_names": True}
        assert copied.to_dot(**options) == model.to_dot(**options)


def test_a_replaced_child_is_drawn():
    model = nested()
    model.inner = nn.Linear(8, 8)
    found = boxes(model.to_dot(expand_nested=True))
    assert found.count(["Linear", "shared 1 of 2"]) == 1


def test_models_in_models_in_models():
    x = Input((3,))
    model = Model(x, nn.Linear(3, 3)(x), name="level0")
    for level in range(1, 4):
        x = Input((3,))
        model = Model(x, model(x) + 1, name=f"level{level}")
    dot = model.to_dot(expand_nested=True)
    assert dot.count("subgraph") == 3
    assert len(arrows(dot)) == 4


def test_a_value_that_is_passed_on_unchanged_keeps_its_arrow():
    x, y = Input((3,)), Input((3,))
    swap = Model([x, y], [y, x + 1], name="swap")
    a, b = Input((3,), name="a"), Input((3,), name="b")
    first, second = swap([a, b])
    dot = Model([a, b], first * second).to_dot(expand_nested=True)
    assert boxes(dot)[:2] == [["Input", "a"], ["Input", "b"]]
    assert ("n2", "n5") in arrows(dot)


def test_a_chain_of_thousands_is_drawn():
    x = y = Input((2,))
    for _ in range(5000):
        y = y + 1
    model = Model(x, y)
    assert len(arrows(model.to_dot())) == 5000
    assert "image/svg+xml" not in model._repr_mimebundle_()


def test_mermaid_escapes_names():
    text = siamese(NASTY.replace(".", "")).to_mermaid()
    label = re.search(r'n1\(\["Input<br/>(.*)"\]\)', text).group(1)
    shown = re.sub(r"#(\d+);", lambda code: chr(int(code.group(1))), label)
    assert shown == NASTY
    assert not set('"<>%&`\\') & set(label)


@needs_dot
def test_graphviz_shows_names_as_they_are(tmp_path: Path):
    plot_model(siamese(NASTY), tmp_path / "model.svg")
    svg = (tmp_path / "model.svg").read_text(encoding="utf-8")
    texts = re.findall(r"<text[^>]*>(.*?)</text>", svg)
    assert NASTY in html.unescape("".join(texts)).replace("\xa0", " ")


@needs_dot
@pytest.mark.parametrize(
    ("file", "magic"),
    [
        ("m.png", b"\x89PNG"),
        ("m.PNG", b"\x89PNG"),
        ("m", b"\x89PNG"),
        ("m.svg", b"<?xml"),
        ("m.pdf", b"%PDF"),
        ("m.jpg", b"\xff\xd8"),
        ("m.dot", b"digraph model {"),
    ],
)
def test_the_ending_says_the_format(tmp_path: Path, file: str, magic: bytes):
    pytest.importorskip("graphviz")
    model = nested()
    assert plot_model(model, tmp_path / file, expand_nested=True, show_shapes=True) is None
    assert (tmp_path / file).read_bytes().startswith(magic)
    assert [path.name for path in tmp_path.iterdir()] == [file]


@needs_dot
@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
def test_graphviz_accepts_the_text(rankdir: str):
    for model in (siamese(), nested()):
        for expand in (False, True):
            dot = model.to_dot(rankdir=rankdir, expand_nested=expand, show_shapes=True)
            made = subprocess.run(
                ["dot", "-Tplain"], input=dot.encode(), capture_output=True, check=True
            )
            assert made.stderr == b""


@needs_dot
def test_dpi_sets_the_size(tmp_path: Path):
    sizes = []
    for dpi in (50, 100):
        plot_model(siamese(), tmp_path / "m.png", dpi=dpi)
        sizes.append(int.from_bytes((tmp_path / "m.png").read_bytes()[16:20], "big"))
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to_file": "m.docx"}, r"to_file='m.docx' should end in one of .png, "),
        ({"rankdir": "up"}, r"rankdir= expects a direction, 'TB', 'BT', 'LR', 'RL'; got 'up'"),
        ({"dpi": 0}, r"dpi= expects a whole number of at least 1, got 0"),
        ({"dpi": 99.5}, r"dpi= expects a whole number of at least 1, got 99.5"),
    ],
)
def test_options_out_of_range_are_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        plot_model(siamese(), **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [Model.to_dot, Model.to_mermaid, plot_model])
def test_a_model_without_a_graph_cannot_be_drawn(write):
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()

        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match="this model has no graph"):
        write(Own())
    assert list(Own()._repr_mimebundle_()) == ["text/plain"]


def test_without_the_python_package_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = r"needs the Python package graphviz.*install -e '.\[plot\]'.*apt-get install graphviz"
    with pytest.raises(ImportError, match=message):
        plot_model(siamese(), tmp_path / "m.png")
    assert list(siamese()._repr_mimebundle_()) == ["text/plain"]
    plot_model(siamese(), tmp_path / "m.dot")
    assert [path.name for path in tmp_path.iterdir()] == ["m.dot"]


def test_without_the_program_the_system_package_is_named(monkeypatch, tmp_path):
    pytest.importorskip("graphviz")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = r"needs the program `dot`.*clone of fgraph.*apt-get install graphviz"
    with pytest.raises(ImportError, match=message):
        plot_model(siamese(), tmp_path / "m.png")
    assert list(siamese()._repr_mimebundle_()) == ["text/plain"]
    assert not list(tmp_path.iterdir())


@needs_dot
def test_a_notebook_shows_the_picture():
    pytest.importorskip("graphviz")
    model = siamese()
    shown = model._repr_mimebundle_(include=None, exclude=None)
    assert shown["text/plain"] == repr(model)
    assert "<svg" in shown["image/svg+xml"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "m.dot"
    file.write_text("old")

    def full(self: Path, content: bytes) -> int:
        with open(self, "wb") as opened:
            opened.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        plot_model(siamese(), file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


# ------------------------------------------------------------------ learning curves


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def fitted(**options) -> History:
    x = Input((3,))
    model = Model(x, layers.Dense(1)(x))
    model.compile("sgd", "mse", metrics=["mae"])
    data = torch.randn(16, 3), torch.randn(16, 1)
    return model.fit(*data, epochs=4, validation_data=data, verbose=0, **options)


def test_history_plots_each_name_with_its_validation(pyplot):
    history = fitted()
    axes = history.plot()
    assert [axis.get_ylabel() for axis in axes] == ["loss", "mae"]
    for axis, name in zip(axes, ["loss", "mae"], strict=True):
        training, validation = axis.lines
        assert list(training.get_xdata()) == [1, 2, 3, 4]
        assert list(training.get_ydata()) == history.history[name]
        assert list(validation.get_ydata()) == history.history[f"val_{name}"]
    assert axes[-1].get_xlabel() == "epoch"


def test_validation_stands_at_the_epochs_that_had_one(pyplot):
    (axis,) = fitted(validation_freq=[1, 4]).plot("loss")
    assert list(axis.lines[1].get_xdata()) == [1, 4]


@pytest.mark.parametrize(
    ("file", "magic"), [("c.png", b"\x89PNG"), ("c", b"\x89PNG"), ("c.svg", b"<?xml")]
)
def test_history_is_written_to_a_file(pyplot, tmp_path, file, magic):
    plot_history({"loss": [2.0, 1.0]}, to_file=tmp_path / file)
    assert (tmp_path / file).read_bytes().startswith(magic)
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("history", "names", "message"),
    [
        ({}, None, "nothing to plot: the history is empty; call fit first"),
        ({"loss": [1.0]}, "los", "unknown metric 'los'; did you mean 'loss'?"),
        ({"loss": [1.0]}, ["loss", "acc"], "unknown metric 'acc'"),
    ],
)
def test_unknown_names_are_refused(history, names, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot_history(history, names=names)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs matplotlib.*install -e '.\[plot\]'"):
        plot_history({"loss": [1.0]})


def test_import_loads_no_drawing_library():
    code = (
        "import sys, fgraph\n"
        "print([name for name in ('graphviz', 'matplotlib', 'IPython') if name in sys.modules])"
    )
    folder = Path(fgraph.__file__).parents[1]
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    assert made.stdout.strip() == "[]"
