"""The body of `__init__`: one line for each child, and what its constructor does not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import SaveError
from ..model import Model
from ..model.codegen import quoted
from ..saving.comparing import same
from ..saving.construction import Construction
from ..saving.constructor_calls import construction_of, parameters_of
from ..saving.differences import attributes_of, same_slots
from .inline import Inliner
from .source_forward import reach


class SourceFile(Protocol):
    """The file that is written: what all its classes share."""

    constructors: Mapping[str, str]
    class_names: dict[int, str]
    inliner: Inliner

    def literal(self, value: Any) -> str:
        """Return the source of a constant."""


class ConstructorWriter:
    """Writes the statements that make the children and tensors of one model.

    Args:
        file: the file that is written.
        model: the model.
        prefix: the path of the model in the outermost one, with a dot at its end.
    """

    def __init__(self, file: SourceFile, model: Model, prefix: str) -> None:
        self._file = file
        self._model = model
        self._prefix = prefix
        self._made: dict[int, str] = {}  # where each module is found, once it is made
        self._later: list[str] = []

    def lines(self) -> list[str]:
        """Return the statements."""
        found = []
        for name, child in self._model._modules.items():
            text = "None" if child is None else self._text(child, (name,))
            found.append(_assignment((name,), text))
        for name, parameter in self._model._parameters.items():
            if parameter is not None:
                found.append(f"self.{name} = nn.Parameter({_empty(parameter)}{_frozen(parameter)})")
        for name, buffer in self._model._buffers.items():
            if buffer is not None:
                found.append(f"self.register_buffer({quoted(name)}, {_empty(buffer)})")
        return [*found, *self._later, *self._ties()]

    def _text(self, module: nn.Module, path: tuple[str, ...]) -> str:
        """Write the expression that makes a module."""
        if id(module) in self._made:
            return self._made[id(module)]
        full = self._prefix + ".".join(path)
        try:
            text = self._expression(module, path)
        except SaveError as error:
            raise SaveError(
                f"to_source: module {full!r} ({type(module).__name__}) cannot be written out: "
                f"{error}. Say how it is made: "
                f'to_source(constructors={{{full!r}: "{type(module).__name__}(...)"}}, '
                'imports=["from ... import ..."])'
            ) from error
        self._made.setdefault(id(module), "self" + reach(path))
        return text

    def _expression(self, module: nn.Module, path: tuple[str, ...]) -> str:
        given = self._file.constructors.get(self._prefix + ".".join(path))
        if given is not None:
            self._remember(module, path)
            return given
        if id(module) in self._file.class_names:
            self._remember(module, path)
            return f"{self._file.class_names[id(module)]}()" + _flags(module)
        if isinstance(module, Model):
            raise SaveError("its forward is written by hand")
        if type(module) in _CONTAINERS and not _shares(module):
            return self._container(module, path)
        construction = construction_of(module)
        try:
            made = construction.make()
        except Exception as error:
            raise SaveError(f"its constructor refuses what was read back: {error}") from error
        text = self._call(construction, module, path)
        self._compare(module, made, path)
        return text + _flags(module)

    def _container(self, module: nn.Module, path: tuple[str, ...]) -> str:
        children = dict(module._modules)
        parts = {
            name: "None" if child is None else self._text(child, (*path, name))
            for name, child in children.items()
        }
        name = f"nn.{type(module).__name__}"
        if isinstance(module, nn.ModuleDict):
            pairs = ", ".join(f"{quoted(key)}: {text}" for key, text in parts.items())
            return f"{name}({{{pairs}}})"
        if isinstance(module, nn.ModuleList):
            return f"{name}([{', '.join(parts.values())}])"
        if list(parts) == [str(number) for number in range(len(parts))]:
            return f"{name}({', '.join(parts.values())})"
        self._file.inliner.need_import("from collections import OrderedDict")
        pairs = ", ".join(f"({quoted(key)}, {text})" for key, text in parts.items())
        return f"{name}(OrderedDict([{pairs}]))"

    def _call(self, construction: Construction, module: nn.Module, path: tuple[str, ...]) -> str:
        """Write a constructor call, required arguments by position."""
        kwargs = dict(construction.config or construction.kwargs)
        parts = [self._argument(value, path) for value in construction.args]
        if not parts:
            for parameter in parameters_of(construction.cls):
                required = parameter.default is parameter.empty
                if not required or parameter.kind is parameter.KEYWORD_ONLY:
                    break
                if parameter.name in kwargs:
                    parts.append(self._argument(kwargs.pop(parameter.name), path))
        parts += [f"{key}={self._argument(value, path)}" for key, value in kwargs.items()]
        dtype = _dtype(module)
        if dtype is not None and any(p.name == "dtype" for p in parameters_of(construction.cls)):
            return f"{self._class(construction.cls)}({', '.join([*parts, f'dtype={dtype}'])})"
        moved = "" if dtype is None else f".to({dtype})"
        return f"{self._class(construction.cls)}({', '.join(parts)}){moved}"

    def _argument(self, value: Any, path: tuple[str, ...]) -> str:
        if isinstance(value, nn.Module):
            return ConstructorWriter(self._file, self._model, self._prefix)._expression(value, path)
        return self._file.literal(value)

    def _class(self, cls: type) -> str:
        if getattr(nn, cls.__name__, None) is cls:
            return f"nn.{cls.__name__}"
        return self._file.inliner.need(cls)

    def _compare(self, module: nn.Module, made: nn.Module, path: tuple[str, ...]) -> None:
        """Write, for after the constructor, what it makes otherwise than it is."""
        self._made.setdefault(id(module), "self" + reach(path))
        if not same_slots(module, made, shapes=True):
            raise SaveError("its parameters are not those that its constructor makes")
        before = attributes_of(made)
        for name, value in attributes_of(module).items():
            if not (name in before and same(value, before[name])):
                self._later.append(f"self{reach(path)}.{name} = {self._file.literal(value)}")
        for name, child in module._modules.items():
            inner = (*path, name)
            other: Any = made._modules.get(name)
            if child is not None and id(child) not in self._made and _alike(child, other):
                self._compare(child, other, inner)
            elif child is not other:
                text = "None" if child is None else self._text(child, inner)
                self._later.append(_assignment(inner, text))
        for name in made._modules.keys() - module._modules.keys():
            self._later.append(f"del self{reach((*path, name))}")

    def _remember(self, module: nn.Module, path: tuple[str, ...]) -> None:
        """Note where the parts of a module are that is made as a whole."""
        for inner, part in module.named_modules():
            parts = tuple(inner.split(".")) if inner else ()
            self._made.setdefault(id(part), "self" + reach((*path, *parts)))

    def _ties(self) -> list[str]:
        """Write which parameters are one and the same."""
        first: dict[int, str] = {}
        lines = []
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            way = tuple(name.split("."))
            text = f"self{reach(way)}"
            if first.setdefault(id(parameter), text) != text:
                lines.append(f"{text} = {first[id(parameter)]}")
        modules = {path for path, _ in self._model.named_modules()}
        return [line for line in lines if _is_own(line, modules)]


def _alike(child: nn.Module, other: Any) -> bool:
    """Whether a constructor made a child of the right kind and sizes."""
    return type(child) is type(other) and same_slots(child, other, shapes=True)


_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def _is_own(line: str, modules: set[str]) -> bool:
    """Whether the tied tensor hangs in a module that is not itself another one."""
    owner = line.partition(" = ")[0].removeprefix("self.").rpartition(".")[0]
    return owner.replace("[", ".").replace("]", "") in modules


def _shares(module: nn.Module) -> bool:
    children = [id(child) for child in module._modules.values()]
    return len(set(children)) < len(children)


def _assignment(path: tuple[str, ...], text: str) -> str:
    if path[-1].isidentifier() or path[-1].isdigit():
        return f"self{reach(path)} = {text}"
    return f"self{reach(path[:-1])}.add_module({quoted(path[-1])}, {text})"


def _flags(module: nn.Module) -> str:
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        return ".requires_grad_(False)"
    return ""


def _frozen(parameter: Tensor) -> str:
    return "" if parameter.requires_grad else ", requires_grad=False"


def _dtype(module: nn.Module) -> torch.dtype | None:
    found = {p.dtype for p in module.parameters() if p.is_floating_point()}
    return next(iter(found)) if len(found) == 1 and found != {torch.float32} else None


def _empty(tensor: Tensor) -> str:
    dtype = "" if tensor.dtype is torch.float32 else f", dtype={tensor.dtype}"
    sizes = ", ".join(map(str, tensor.shape)) if tensor.dim() else "()"
    return f"torch.empty({sizes}{dtype})"
