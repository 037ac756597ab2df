"""Names of one's own classes and functions in files."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fgraph
from fgraph.saving.registered_names import find, name_of


@fgraph.register("tests>Mine")
class Mine(nn.Module):
    """A registered class."""


def test_a_registered_name_stands_for_its_class():
    assert name_of(Mine) == "tests>Mine"
    assert find("tests>Mine") is Mine


def test_custom_objects_come_before_registered_ones():
    assert find("tests>Mine", {"tests>Mine": nn.Linear}) is nn.Linear


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (nn.Linear, "torch.nn.Linear"),
        (torch.relu, "torch.relu"),
        (torch.Tensor.mean, "torch.Tensor.mean"),
        (nn.functional.gelu, "torch.nn.functional.gelu"),
        (torch.optim.Adam, "torch.optim.Adam"),
        (fgraph.Sequential, "fgraph.Sequential"),
        (fgraph.layers.Dense, "fgraph.layers.Dense"),
    ],
)
def test_known_names_go_both_ways(target, name):
    assert name_of(target) == name
    assert find(name) is target


@pytest.mark.parametrize("name", ["Mine", ">Mine", "tests>", "", None, 3])
def test_names_of_another_form_are_refused(name):
    with pytest.raises(ValueError, match=r"'package>Name'"):
        fgraph.register(name)


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match=r"'tests>Mine' is already registered for.*Mine"):
        fgraph.register("tests>Mine")(nn.Linear)


def test_a_definition_that_runs_again_takes_the_name_over():
    def again():
        @fgraph.register("tests>Again")
        class Again(nn.Module):
            pass

        return Again

    first, second = again(), again()
    assert find("tests>Again") is second
    assert name_of(first) == "Again"


def test_only_classes_and_functions_are_registered():
    with pytest.raises(TypeError, match="expects a class or a function"):
        fgraph.register("tests>number")(3)


@pytest.mark.parametrize(
    "name",
    ["torch.nn.Nothing", "torch.load", "fgraph.layers.core:os", "fgraph.layers.Layer", "tests.x:y"],
)
def test_unknown_names_are_refused(name):
    with pytest.raises(fgraph.LoadError, match=name.replace(".", r"\.")):
        find(name)
