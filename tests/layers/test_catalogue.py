"""The catalogue: every layer of the list is there, documented, and in the table."""

from __future__ import annotations

import inspect

import pytest

from fgraph import layers
from fgraph.layers import catalogue

LAYERS = catalogue.public_layers()


def test_table_is_up_to_date() -> None:
    """README.md beside the layers is what the code gives."""
    written = catalogue.README.read_text(encoding="utf-8")
    assert written == catalogue.table(), "run `python -m fgraph.layers.catalogue`"


def test_differences_name_layers_that_exist() -> None:
    """No line of differences is left behind."""
    assert set(catalogue.DIFFERENCES) <= {kind.__name__ for kind in LAYERS}


@pytest.mark.parametrize("kind", LAYERS, ids=[kind.__name__ for kind in LAYERS])
def test_layer_is_documented(kind: type[layers.Layer]) -> None:
    """A docstring of its own says what comes in and what comes out."""
    text = inspect.cleandoc(kind.__dict__["__doc__"])
    assert "nput" in text
    assert "utput" in text
    taken = set(inspect.signature(kind).parameters) - {"options"}
    assert "Args:" in text or not taken or kind.__init__ is layers.Layer.__init__


@pytest.mark.parametrize("kind", LAYERS, ids=[kind.__name__ for kind in LAYERS])
def test_layer_shows_itself_and_its_configuration(kind: type[layers.Layer]) -> None:
    """`repr` is the constructor call, and the configuration has every argument."""
    layer, _ = catalogue.example(kind)
    assert repr(layer).startswith(f"{kind.__name__}(")
    config = layer.get_config()
    assert config["name"] == layer.name
    assert isinstance(kind.from_config(config), kind)


def test_every_layer_name_of_keras_is_known_or_left_out_on_purpose() -> None:
    """Names of Keras 3 that are missing: strings, audio, random images, and other tools."""
    keras = pytest.importorskip("keras_oracle").keras
    theirs = {name for name, value in vars(keras.layers).items() if isinstance(value, type)}
    missing = {name for name in theirs if not hasattr(layers, name)}
    left_out = {
        "FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper", "Pipeline", "InputSpec",
        "HashedCrossing", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization",
        "MelSpectrogram", "STFTSpectrogram", "MaxNumBoundingBoxes", "ReversibleEmbedding",
        "AugMix", "AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "CutMix",
        "Equalization", "MixUp", "RandAugment", "Solarization", "Wrapper",
    }  # fmt: skip
    assert {name for name in missing if not name.startswith(("Random", "Adaptive"))} <= left_out
