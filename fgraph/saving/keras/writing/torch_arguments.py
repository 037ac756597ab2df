"""Rules that turn the arguments of torch's functions into those of Keras's operations."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from ....errors import SaveError
from ....graph import Ref
from ....graph.nested import iter_leaves
from .keras_op import dtype_of_value

NEEDED = object()  # in place of a default


class Parameter(NamedTuple):
    """A parameter of a function of torch.

    Attributes:
        name: its name there.
        key: the setting of Keras's operation that it is; empty for what the operation is called
            with.
        default: its default value.
        kind: `""`, `"only"` if Keras has the default alone, `"any"` if it changes nothing,
            `"rest"` if it takes all the arguments that follow, `"fixed"` for a setting that torch
            does not have.
    """

    name: str
    key: str
    default: Any
    kind: str = ""


class Rule(NamedTuple):
    """An operation of Keras, and what torch calls its arguments."""

    room: str
    kind: str
    parameters: tuple[Parameter, ...]


def rules(one: Mapping[str, str], two: Mapping[str, str], table: str) -> dict[str, Rule]:
    """Return rules by the name of torch's function.

    Args:
        one: operations of one tensor without settings, `"Class:name,name"`, by room.
        two: likewise of two.
        table: a line for each function with settings: its name, the room, the class, and its
            parameters: `x` and `@y` for what the operation is called with, `name:key=default` for
            a setting, `name!value` for one of which Keras has this value alone, `name?` for one
            that changes nothing, `name*:key` for one that takes all the arguments that follow,
            `+key=value` for a setting that torch does not have.
    """
    x, y = Parameter("input", "", NEEDED), Parameter("other", "", NEEDED)
    inplace = Parameter("inplace", "", False, "any")
    found: dict[str, Rule] = {}
    for rooms, parameters in ((one, (x, inplace)), (two, (x, y))):
        for room, text in rooms.items():
            for entry in text.split():
                kind, _, names = entry.partition(":")
                found |= {name: Rule(room, kind, parameters) for name in names.split(",")}
    for line in filter(None, map(str.strip, table.splitlines())):
        name, room, kind, *words = line.split()
        found.setdefault(name, Rule(room, kind, tuple(map(_parameter, words))))
    return found


def _parameter(word: str) -> Parameter:
    if word[0] == "+":
        key, _, value = word[1:].partition("=")
        return Parameter(key, key, _value(value), "fixed")
    if word[-1] == "?":
        return Parameter(word[:-1], "", None, "any")
    if "!" in word:
        name, _, value = word.partition("!")
        return Parameter(name, "", _value(value) if value else None, "only")
    name, mark, value = word.partition("=")
    default = _value(value) if mark else NEEDED
    if name == "x" or name[0] == "@":
        return Parameter(name.strip("@"), "", default)
    name, _, key = name.partition(":")
    if name[-1] == "*":
        return Parameter(name[:-1], key, default, "rest")
    return Parameter(name, key or name, default)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


def bound(
    rule: Rule, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments and the settings of an operation.

    Args:
        rule: the operation.
        name: the function of torch, for errors.
        args, kwargs: the arguments of its call.

    Raises:
        SaveError: an argument has no counterpart.
    """
    left, named = list(args), dict(kwargs)
    if named.get("out") is None:
        named.pop("out", None)
    given: list[Any] = []
    config: dict[str, Any] = {}
    for parameter in rule.parameters:
        if parameter.kind == "fixed":
            config[parameter.key] = parameter.default
            continue
        if parameter.kind == "rest" and left:
            value = left[0] if len(left) == 1 and not isinstance(left[0], int) else list(left)
            left = []
        elif left:
            value = left.pop(0)
        elif parameter.name in named:
            value = named.pop(parameter.name)
        elif not given and named and not parameter.key:  # torch's own names: input, tensors, self
            value = named.pop(next(iter(named)))
        elif parameter.default is NEEDED:
            raise SaveError(f"{name} is called without {parameter.name}=")
        else:
            value = parameter.default
        if parameter.kind == "only":
            if parameter.name == "dtype" and given and value == dtype_of_value(given[0]):
                continue  # what it is anyway
            if value is not None and value is not False and value != parameter.default:
                raise SaveError(f"{parameter.name}={value!r:.40} has no counterpart")
        elif parameter.kind != "any":
            _put(parameter, value, given, config)
    if left or named:
        raise SaveError(f"its arguments {[*left, *named]!r:.80} have no counterpart")
    return given, config


def _put(parameter: Parameter, value: Any, given: list[Any], config: dict[str, Any]) -> None:
    leaves = list(iter_leaves(value))
    if not parameter.key:
        if any(isinstance(leaf, nn.Parameter) for leaf in leaves):
            raise SaveError("it uses a parameter itself: put it into a layer, by add_weight")
        given.append(value)
        return
    if any(type(leaf) is Ref for leaf in leaves):
        raise SaveError(f"{parameter.name}= is known at run time only")
    config[parameter.key] = list(value) if isinstance(value, tuple) else value
