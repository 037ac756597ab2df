"""Losses, metrics, optimizers and callbacks take Keras's arguments, and `help()` tells of each."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from keras_oracle import keras

# Arguments of Keras that have no meaning here, or that every class of a room takes by `**options`.
LEFT_OUT = {
    "losses": {"dtype"},
    "metrics": {"ignore_class"},
    "optimizers": {
        "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum",
        "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps", "name",
        "beta_1", "beta_2", "epsilon", "amsgrad",
    },
    "callbacks": {
        "histogram_freq", "write_graph", "write_images", "write_steps_per_second", "profile_batch",
        "embeddings_freq", "embeddings_metadata",
    },
}  # fmt: skip
BASES = ("Loss", "Metric", "Callback", "CallbackList", "LambdaCallback")  # not made by name


def pairs():
    found = []
    for room in LEFT_OUT:
        ours, theirs = importlib.import_module(f"fgraph.{room}"), getattr(keras, room)
        for name, kind in vars(theirs).items():
            if isinstance(kind, type) and name not in BASES and name in vars(ours):
                found.append(pytest.param(room, vars(ours)[name], kind, id=f"{room}.{name}"))
    return found


def named(function):
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters
    return {key: p for key, p in parameters.items() if p.kind in kinds}


@pytest.mark.parametrize(("room", "ours", "theirs"), pairs())
def test_arguments_are_those_of_keras(room, ours, theirs):
    found, expected = named(ours), named(theirs)
    options = inspect.signature(ours).parameters.values()
    takes_options = room != "optimizers" or any(p.kind is p.VAR_KEYWORD for p in options)
    missing = set(expected) - set(found)
    assert missing <= LEFT_OUT[room]
    assert takes_options or not missing
    shared = [key for key in expected if key in found]
    assert [key for key in found if key in expected] == shared
    for key in shared:
        default, own = expected[key].default, found[key].default
        if default is not inspect.Parameter.empty and key != "name":
            assert own == default, key


@pytest.mark.parametrize(("room", "ours", "theirs"), pairs())
def test_help_tells_of_every_argument(room, ours, theirs):
    text = inspect.getdoc(ours) or ""
    section = re.search(r"Args:\n((?:    .*\n?|\n(?=    ))*)", text)
    entries = re.findall(r"^    (\S.*?):(?: |$)", section[1] if section else "", re.MULTILINE)
    assert set(named(ours)) <= {name for entry in entries for name in entry.split(", ")}
