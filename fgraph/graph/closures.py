"""Lifting the modules and tensors that a function captures into arguments.

A function recorded as one call may use a module that is not among its arguments, from a closure, a
global variable or a `functools.partial`. The module must still move, train and be saved with the
model, so it becomes an argument of the node.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import functools
import inspect
import itertools
import sys
from collections.abc import Iterator, Mapping
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from ..errors import BuildError
from .nested import is_container, iter_leaves, map_leaves

_LIBRARIES = frozenset(sys.stdlib_module_names - {"__main__"}) | {"torch", "numpy", "fgraph"}
_OUTSIDE = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"})


def lift_captured(
    target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], symbolic: type
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return an equal call, with the modules and tensors that functions capture as arguments.

    Args:
        target: a function that is not torch's.
        args, kwargs: its arguments.
        symbolic: the class of values that have to be arguments.

    Raises:
        BuildError: a function uses a symbolic value that is not among its arguments.
    """
    while isinstance(target, functools.partial):
        target, args, kwargs = target.func, (*target.args, *args), {**target.keywords, **kwargs}
    if type(target) is MethodType and isinstance(target.__self__, nn.Module):
        target, args = MethodCall(target.__name__), (target.__self__, *args)
    callables = [leaf for leaf in iter_leaves((args, kwargs)) if _may_hold(leaf)]
    found = _found((target, *callables), (nn.Module, Tensor, symbolic))
    for value in found.values():
        if isinstance(value, symbolic):
            raise BuildError(
                f"a function uses {value!r} without having it as an argument: hand it over, as in "
                "`fgraph.apply(function, x, y)`"
            )
    if not found:
        return target, args, kwargs
    places = tuple(n for n, leaf in enumerate(iter_leaves((args, kwargs))) if _may_hold(leaf))
    made = LiftedFunction((target, *callables), places)
    args, kwargs = map_leaves(lambda leaf: None if _may_hold(leaf) else leaf, (args, kwargs))
    return made, (made.captured, *args), kwargs


class MethodCall:
    """A function that calls the method of this name of its first argument."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, owner: Any, /, *args: Any, **kwargs: Any) -> Any:
        return getattr(owner, self.__name__)(*args, **kwargs)


class LiftedFunction:
    """A function whose first argument is a tuple of the modules and tensors that it captures.

    Called with other modules or tensors, after the model was copied or a child replaced, it uses
    those instead.

    Args:
        functions: what is called, and the callables among its arguments.
        places: the positions of these callables among the leaves of the other arguments.
        captured: what the functions are to use in place of what they capture.

    Attributes:
        functions, places: the first two arguments.
        captured: the modules and tensors, in the order in which they were found.
    """

    def __init__(
        self,
        functions: tuple[Any, ...],
        places: tuple[int, ...],
        captured: tuple[Any, ...] | None = None,
    ) -> None:
        self.__name__ = getattr(functions[0], "__name__", type(functions[0]).__name__)
        self.functions, self.places = functions, places
        self.captured = tuple(_found(functions).values())
        self._now = (self.captured, functions)
        if captured is not None:
            self.captured = captured
            self._now = (captured, self._around(captured))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function, args, kwargs = self.original_call(args, kwargs)
        return function(*args, **kwargs)

    def original_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the call as it was before the modules became an argument."""
        captured, args = args[0], args[1:]
        known, functions = self._now
        for now, before in zip(captured, known, strict=True):
            if now is not before:
                functions = self._around(captured)
                self._now = (captured, functions)
                break
        if self.places:
            numbers = itertools.count()
            callables = dict(zip(self.places, functions[1:], strict=True))
            args, kwargs = map_leaves(
                lambda leaf: callables.get(next(numbers), leaf), (args, kwargs)
            )
        return functions[0], args, kwargs

    def _around(self, captured: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the functions with other modules and tensors in their place."""
        new = dict(zip(_found(self.functions), captured, strict=True))
        functions = tuple(_renewed(function, new) for function in self.functions)
        if [*_found(functions)] != [*map(id, captured)]:
            raise RuntimeError(
                f"{self.__name__} brings along a module or tensor in a way that cannot be followed "
                "after the model was copied or changed: make it an argument, as in "
                "`fgraph.apply(checkpoint, block, x)`"
            )
        return functions

    def with_captured(self, captured: tuple[Any, ...]) -> LiftedFunction:
        """Return a function like this one, for other modules and tensors."""
        return LiftedFunction(self.functions, self.places, captured)

    def __deepcopy__(self, memo: dict[int, Any]) -> LiftedFunction:
        return self.with_captured(copy.deepcopy(self.captured, memo))

    def __reduce__(self) -> Any:
        return LiftedFunction, (self.functions, self.places, self.captured)


def _found(value: Any, kinds: tuple[type, ...] = (nn.Module, Tensor)) -> dict[int, Any]:
    """Return the modules and tensors that callables use without being given them, by their id."""
    found: dict[int, Any] = {}
    seen: dict[int, Any] = {}  # keeps what the ids belong to
    left = [value]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, kinds):
            found[id(value)] = value
        elif is_container(value):
            left += reversed([*iter_leaves(value)])
        elif type(value) is functools.partial:
            left.append((value.func, value.args, value.keywords))
        elif isinstance(getattr(value, "__self__", None), nn.Module):
            left.append(value.__self__)
        elif _may_hold(value):
            left += reversed([*_used(value)])
    return found


def _may_hold(value: Any) -> bool:
    """Whether a value is a callable, not of a library, that may use modules from outside."""
    if type(value) is functools.partial or isinstance(getattr(value, "__self__", None), nn.Module):
        return True
    package = str(getattr(value, "__module__", None) or "").partition(".")[0]
    return callable(value) and hasattr(value, "__dict__") and package not in _LIBRARIES and (
        not isinstance(value, (type, nn.Module, Tensor))
    )  # fmt: skip


def _used(value: Any) -> Iterator[Any]:
    """Yield what a callable reads from outside; of `self.block(x)` that is `self.block`."""
    if type(value) is FunctionType:
        yield from _read_by(value, None, set())
        return
    owner = value.__self__ if type(value) is MethodType else value
    function = value.__func__ if type(value) is MethodType else type(value).__call__
    if type(function) is FunctionType:
        yield from _read_by(function, owner, set())


def _read_by(function: FunctionType, owner: Any, seen: set[Any]) -> Iterator[Any]:
    """Yield what a function, or method of `owner`, reads from outside."""
    if (function, id(owner)) in seen:
        return
    seen.add((function, id(owner)))
    yield (function.__defaults__, function.__kwdefaults__)
    code = function.__code__
    own = code.co_varnames[0] if owner is not None and code.co_argcount else ""
    known = {own: owner}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not bound yet
            known[name] = cell.cell_contents
    for name, attributes in _names_read(code, own):
        value = known[name] if name in known else function.__globals__.get(name)
        for attribute in attributes:
            inside = _attribute(value, attribute)
            if type(inside) is FunctionType and (
                name == "self" or not isinstance(value, nn.Module)
            ):  # a method of what is being built, which may not need all of it
                yield from _read_by(inside, value, seen)
                value = None
            if inside is None or type(inside) is FunctionType or isinstance(value, Tensor):
                break
            value = inside
        yield value


def _attribute(value: Any, name: str) -> Any:
    """Return a part of a module or object; a method or property as a function."""
    for place in ("__dict__", "_parameters", "_buffers", "_modules"):
        if name in getattr(value, place, ()):
            return getattr(value, place)[name]
    of_class = inspect.getattr_static(type(value), name, None)
    return of_class.fget if isinstance(of_class, property) else of_class


@functools.lru_cache(maxsize=1024)
def _names_read(code: CodeType, own: str = "") -> list[tuple[str, list[str]]]:
    """Return the outside variables that code reads, each with the attributes read of it.

    Args:
        code: of a function.
        own: the name of its first parameter, if what that holds is known.
    """
    found: list[tuple[str, list[str]]] = []
    steps = [*dis.get_instructions(code)]
    for number, step in enumerate(steps):
        is_own = own and step.opname.startswith("LOAD_FAST") and step.argval == own
        if is_own or step.opname in _OUTSIDE:
            attributes = itertools.takewhile(
                lambda later: later.opname in ("LOAD_ATTR", "LOAD_METHOD"), steps[number + 1 :]
            )
            found.append((step.argval, [later.argval for later in attributes]))
    for constant in code.co_consts:
        found += _names_read(constant) if isinstance(constant, CodeType) else ()
    return found


def _renewed(value: Any, new: Mapping[int, Any], outer: frozenset[int] = frozenset()) -> Any:
    """Return a callable with other modules and tensors where its closure and globals hold some."""
    if id(value) in new:
        return new[id(value)]
    if id(value) in outer or not any(key in new for key in _found(value)):
        return value

    def renew(part: Any) -> Any:
        return _renewed(part, new, outer | {id(value)})

    if type(value) is functools.partial:
        return functools.partial(renew(value.func), *renew(value.args), **renew(value.keywords))
    if is_container(value):
        return map_leaves(renew, value)
    if type(value) is not FunctionType:  # an object, or a method of one
        owner = value.__self__ if type(value) is MethodType else value
        made = new.get(id(owner)) or copy.copy(owner)
        if id(owner) not in new:
            made.__dict__.update({name: renew(part) for name, part in vars(owner).items()})
        return MethodType(value.__func__, made) if type(value) is MethodType else made
    used = {name for name, _ in _names_read(value.__code__)}
    outside = {key: renew(part) for key, part in value.__globals__.items() if key in used}
    cells = tuple(CellType(renew(cell.cell_contents)) for cell in value.__closure__ or ())
    names = {**value.__globals__, **outside}
    made = FunctionType(value.__code__, names, value.__name__, renew(value.__defaults__), cells)
    made.__kwdefaults__ = renew(value.__kwdefaults__)
    made.__module__ = value.__module__
    return made
