"""Base classes with `get_config`: from attributes, or from the constructor's arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self


class Configured:
    """Base of objects whose attributes are exactly the arguments of their constructor."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new object with the arguments in `config`."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), repr(vars(self))))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class Remembered:
    """Base of objects whose configuration is the arguments of their constructor."""

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Store the constructor's arguments."""
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
        """Return a new object with the arguments in `config`."""
        return cls(**config)


def declares(part: object, name: str) -> bool:
    """Return whether an object's own class sets a flag; subclasses do not inherit it.

    For flags that no longer hold if a subclass, or the object itself, replaces a method.

    Args:
        part: the object.
        name: the class attribute.
    """
    kind = type(part)
    own_methods = any(callable(getattr(kind, attribute, None)) for attribute in vars(part))
    return bool(vars(kind).get(name, False)) and not own_methods


def is_of_fgraph(thing: Any) -> bool:
    """Return whether a class or function is defined in this package, and not by a user."""
    return (getattr(thing, "__module__", None) or "").startswith("fgraph.")
