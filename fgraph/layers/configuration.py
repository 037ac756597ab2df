"""The arguments of a layer's constructor: checked, stored, and returned by `get_config`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from ..common.configured import Remembered
from ..errors import unknown_name
from ..graph.nested import map_leaves

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class LayerConfig(Remembered):
    """Stores the constructor's arguments, which are the layer's configuration.

    Attributes:
        unsupported: For arguments that Keras has and the class does not, what to write instead;
            an empty text if the argument changes nothing here.
    """

    unsupported: ClassVar[Mapping[str, str]] = {}
    explicit_name: str | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the arguments, and refuse a call that lacks some."""
        missing = [name for name in _required(cls)[len(args) :] if name not in kwargs]
        if missing:
            raise TypeError(
                f"{cls.__name__} needs {' and '.join(f'{name}=' for name in missing)}: "
                f"{cls.__name__}({', '.join(_required(cls))})"
            )
        return super().__new__(cls, *args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle without the constructor, whose arguments are part of the state."""
        return _blank, (type(self),), self.__getstate__()

    @property
    def name(self) -> str:
        """The layer's name."""
        raise NotImplementedError

    def _refuse_options(self, options: Mapping[str, Any]) -> None:
        """Refuse constructor arguments that the layer does not have.

        Raises:
            TypeError: There are some; the text says what to write instead.
        """
        kind = type(self)
        for key, value in options.items():
            texts = {k: t for base in reversed(kind.__mro__)
                     for k, t in vars(base).get("unsupported", {}).items()}  # fmt: skip
            if key not in texts:
                raise TypeError(f"{kind.__name__}: {unknown_name('argument', key, _names(kind))}")
            if texts[key] and value is not None and value is not False:
                raise TypeError(f"{kind.__name__}: {key}= is not supported: {texts[key]}")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name, defaults included."""
        return {**super().get_config(), "name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a layer with fresh weights from what `get_config` returned."""
        arguments = {key: map_leaves(_fresh, value) for key, value in config.items()}
        parameters = inspect.signature(cls.__init__).parameters
        if "name" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return cls(**arguments)
        name = arguments.pop("name", None)
        made = cls(**arguments)
        made.explicit_name = name
        return made

    def __repr__(self) -> str:
        args, kwargs = self._arguments
        written = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
        return f"{type(self).__name__}({', '.join(written)})"


def _fresh(value: Any) -> Any:
    """Make a new layer from one in a configuration, so that no weights are shared by accident."""
    if not isinstance(value, LayerConfig):
        return value
    return value.from_config({**value.get_config(), "name": value.explicit_name})


def _required(cls: type) -> tuple[str, ...]:
    """Return the names of the constructor's arguments that have no default, in order."""
    found: tuple[str, ...] | None = vars(cls).get("_required")
    if found is None:
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
        found = tuple(p.name for p in parameters if p.kind in _NAMED and p.default is p.empty)
        cls._required = found  # type: ignore[attr-defined]
    return found


def _names(cls: type) -> frozenset[str]:
    """Return the names of the arguments that the constructors of a class and its bases take."""
    found: frozenset[str] | None = vars(cls).get("_argument_names")
    if found is None:
        found = cls._argument_names = frozenset(  # type: ignore[attr-defined]
            name
            for base in cls.__mro__
            if issubclass(base, LayerConfig)
            for name, parameter in inspect.signature(base.__init__).parameters.items()
            if parameter.kind in _NAMED and name != "self"
        )
    return found


def _blank(kind: type[LayerConfig]) -> LayerConfig:
    """Make a layer without a state, for copying and unpickling."""
    made: LayerConfig = object.__new__(kind)
    return made
