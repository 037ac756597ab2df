"""The exceptions that no builtin covers, and how names that users give become objects."""

from __future__ import annotations

import difflib
import inspect
import opcode
import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, ModuleType
from typing import Any, Self


class SymbolicError(TypeError):
    """A symbolic tensor was used where only a value, known at run time, could serve."""


class BuildError(ValueError, RuntimeError):
    """A call was refused while the graph was built; torch's own reason is chained.

    It is both a `ValueError` (the argument does not fit) and a `RuntimeError` (what torch raises
    when the same mistake meets real tensors).
    """


class AmbiguousNodeError(AssertionError, AttributeError):
    """A layer was asked for *the* input or output, but has several.

    An `AssertionError` because the Keras functional guide shows one, an `AttributeError` so that
    `hasattr(layer, "output")` is `False`.
    """


class UncalledLayerError(AttributeError):
    """A layer was asked for its input or output before it was called."""


class LoadError(ValueError):
    """A file is damaged, of another kind or version, or needs something that is unknown here."""


class SaveError(TypeError):
    """A part of a model cannot be written as data; the text names it and says what to do."""


def refuse_keras(what: str, value: object) -> None:
    """Refuse an object of Keras itself.

    Raises:
        TypeError: it is one.
    """
    if type(value).__module__.startswith("keras."):
        raise TypeError(
            f"{what} got a {type(value).__name__} of Keras itself; one graph is made of one "
            "package: import Input, Model and all layers from fgraph"
        )


def unknown_name(kind: str, given: str, known: Iterable[str]) -> str:
    """Return an error text that suggests the closest known names.

    Args:
        kind: what the name is for, for example `"loss"`.
        given: the name that was given.
        known: the names that exist.

    Returns:
        One sentence, with at most three suggestions, or with all names if none is close.
    """
    known = sorted(set(known))
    if close := _close_names(given, known):
        return f"unknown {kind} {given!r}; {close}"
    return f"unknown {kind} {given!r}; known: {', '.join(known) or 'none'}"


def _close_names(given: str, known: Iterable[str]) -> str:
    """Return a question that suggests similar names, or an empty text if no name is similar."""
    close = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    same = [name for name in known if name.lower() == given.lower()]
    close = same or close
    return f"did you mean {' or '.join(map(repr, close))}?" if close else ""


def missing_names(module: str, instead: Mapping[str, Any]) -> Callable[[str], ModuleType]:
    """Return a `__getattr__` for a public module that explains the names it does not have.

    Keep it from type checkers, for which a module with `__getattr__` has every name:
    `if not TYPE_CHECKING: __getattr__ = missing_names(__name__, {...})`.

    Args:
        module: the module's `__name__`.
        instead: for each name that Keras has and the module does not, what to write instead; for
            the name of a module, a table of its names; for a module that is loaded on first use,
            a function that loads and returns it.

    Returns:
        A function that raises `AttributeError`, or `ImportError` for `from module import name`,
        whose text says what to write instead or suggests similar names.
    """
    inner = {name: names for name, names in instead.items() if isinstance(names, Mapping)}
    modules = {name: _empty_module(f"{module}.{name}", names) for name, names in inner.items()}

    def __getattr__(name: str) -> ModuleType:
        if name in modules:
            return modules[name]
        if callable(load := instead.get(name)):
            loaded: ModuleType = load()
            return loaded
        text = f"{module} has no {name!r}"
        if name in instead:
            text += f": {instead[name]}"
        elif not name.startswith("_"):
            present = [
                key
                for key, value in vars(sys.modules[module]).items()
                if not key.startswith("_") and not isinstance(value, ModuleType)
            ]
            close = _close_names(name, present or instead)
            text += close and f"; {close}"
        # `from module import name` replaces the text of an AttributeError by its own
        raise (ImportError if _is_import(sys._getframe(1)) else AttributeError)(text)

    return __getattr__


def _empty_module(name: str, instead: Mapping[str, Any]) -> ModuleType:
    """Make a module of which there are only names to explain, and let it be imported."""
    made = sys.modules[name] = ModuleType(name, "Keras has these names; torch has its own.")
    made.__dict__["__getattr__"] = missing_names(name, instead)
    return made


def _is_import(frame: FrameType) -> bool:
    """Return whether a frame is executing `from ... import ...`."""
    return frame.f_code.co_code[frame.f_lasti] == opcode.opmap["IMPORT_FROM"]


class Configured:
    """Base of objects whose attributes are exactly the arguments of their constructor."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the object that the arguments in `config` make."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), repr(vars(self))))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class Remembered:
    """Base of objects whose configuration is what their constructor was given."""

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the constructor's arguments."""
        self = super().__new__(cls)
        self._arguments = (args, kwargs)
        return self

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, defaults included, by name."""
        args, kwargs = self._arguments
        signature = inspect.signature(type(self).__init__)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        config = dict(bound.arguments)
        del config[next(iter(signature.parameters))]  # self
        for parameter in signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                config.update(config.pop(parameter.name, {}))
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                config.pop(parameter.name, None)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the object that the arguments in `config` make."""
        return cls(**config)


def declares(part: object, name: str) -> bool:
    """Return whether an object's own class sets a flag; subclasses do not inherit it.

    For promises that break where a method is replaced, by a subclass or in one object.

    Args:
        part: the object.
        name: the class attribute.
    """
    kind = type(part)
    own_methods = any(callable(getattr(kind, attribute, None)) for attribute in vars(part))
    return bool(vars(kind).get(name, False)) and not own_methods


def serialized(kind: str, known: Mapping[str, Any], thing: Any) -> Any:
    """Return the name of one of the known functions, or class and configuration, for `look_up`.

    Args:
        kind: What it is, for the message.
        known: The functions and classes by name.
        thing: A function, an object with `get_config`, or `None`.

    Raises:
        TypeError: It has neither a name nor a configuration.
    """
    if thing is None:
        return None
    name = next((name for name, value in known.items() if value is thing), None)
    name = name or getattr(thing, "__name__", None)
    if isinstance(name, str) and name.isidentifier():
        return name
    if not hasattr(thing, "get_config"):
        raise TypeError(f"{kind}: {thing!r} has neither a name nor get_config()")
    return {"class_name": type(thing).__name__, "config": thing.get_config()}


def look_up(
    kind: str,
    known: Mapping[str, Any],
    identifier: Any,
    custom_objects: Mapping[str, Any] | None = None,
) -> Any:
    """Return the object that a Keras identifier stands for.

    Args:
        kind: what is looked for, for messages: `"initializer"`.
        known: classes or functions by name; classes are called without arguments.
        identifier: a name, a class, an object (returned as it is), or a mapping with the keys
            `class_name` and `config`, as Keras writes configurations.
        custom_objects: classes and functions of the user's by name, which come first.

    Raises:
        ValueError: the name is unknown.
        TypeError: the identifier is none of these.
    """
    known = {**known, **custom_objects} if custom_objects else known
    config: Mapping[str, Any] = {}
    found = identifier
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        found, config = identifier["class_name"], identifier.get("config", {})
    if isinstance(found, str):
        if found not in known:
            raise ValueError(unknown_name(kind, found, known))
        found = known[found]
    if isinstance(found, type):
        return found(**config)
    if not callable(found):
        raise TypeError(f"{kind} expects a name, an object or a function, got {identifier!r}")
    return found


def whole_number(value: Any, name: str, least: int = 1, most: int | None = None) -> int:
    """Return a whole number, numpy's included, as an int.

    Args:
        value: what the user gave.
        name: what it is, for messages: `"batch_size"`.
        least: the smallest number that is allowed.
        most: the largest one; by default there is none.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is too small or too large.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    if most is not None and number > most:
        raise ValueError(f"{name} must be at most {most}, got {number}")
    return number


def real_number(value: Any, name: str, interval: str = "(-inf, inf)") -> float:
    """Return a number, numpy's and tensors of one element included, as a float.

    Args:
        value: what the user gave.
        name: what it is, for messages: `"beta_1 of Adam"`.
        interval: where it must lie, in mathematical notation: `"[0, 1)"`.

    Raises:
        TypeError: it is not a number.
        ValueError: it lies elsewhere.
    """
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}: {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):  # of an array
        raise TypeError(f"{name} must be a single number, got {value!r}") from None
    low, high = map(float, interval[1:-1].split(","))
    inside = low < number < high or (
        (number == low and interval[0] == "[") or (number == high and interval[-1] == "]")
    )
    if not inside:
        raise ValueError(f"{name} must be in {interval}, got {value!r}")
    return number
