"""The body of `__init__`: a line for each child, and what its constructor does not set."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..constructions.construction import Construction
from ..constructions.constructor_calls import construction_of, has_own_config, parameters_of
from ..constructions.differences import changed_settings
from ..constructions.forward_hooks import forward_hooks, warn_of_hooks
from ..errors import SaveError
from ..layers.modules.added_weights import AddedWeights
from ..layers.modules.conv_lstm import ConvLSTM
from ..layers.modules.recurrent import KerasGRU, KerasLSTM, KerasSimpleRNN, with_one_bias
from ..model import Model
from ..model.expressions import quoted
from ..model.identifiers import identifier
from ..unfolding.registered_parts import unfolded_modules
from .inline import Inliner
from .source_forward import reach
from .source_state import state_lines


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
        self._dtypes: dict[int, torch.dtype] = {}  # of each tensor, as its module is made
        self._frozen: set[int] = set()
        self._later: list[str] = []
        self._hooked: list[str] = []  # modules of torch whose hooks are left out
        self._opened = unfolded_modules(model._live_graph("to_source"))
        self._unfilled: list[tuple[nn.Module, tuple[str, ...]]] = []
        homes = model._live_graph("to_source").homes
        self._marked = {id(part) for home in homes for part in home.module.modules()}

    def lines(self) -> list[str]:
        """Return the statements."""
        found = []
        for name, child in self._model._modules.items():
            text = "None" if child is None else self._text(child, (name,))
            found.append(self._assignment((name,), text))
            self._fill()
        found += self._tensors(self._model, ())
        nested = {id(m) for m in self._model.modules() if id(m) in self._file.class_names}
        warn_of_hooks("the source", self._hooked, stacklevel=6)
        rest = state_lines(self._model, nested, self._dtypes, self._frozen, not self._prefix)
        return [*found, *self._later, *rest]

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
        self._made.setdefault(id(module), self._place(path))
        if type(module).__module__.startswith("torch.") and forward_hooks(module):
            self._hooked.append(full)
        return text

    def _tensors(self, module: nn.Module, path: tuple[str, ...]) -> list[str]:
        """Write the statements that make a module's own parameters and buffers."""
        place, found = self._place(path), []
        for name, parameter in module._parameters.items():
            if parameter is not None:
                self._frozen |= set() if parameter.requires_grad else {id(parameter)}
                found.append(f"{place}.{name} = {_parameter(parameter)}")
        for name, buffer in module._buffers.items():
            if buffer is None:
                continue
            text, options = _empty(buffer), ""
            if name in module._non_persistent_buffers_set:
                text, options = _filled(name, buffer), ", persistent=False"
            found.append(f"{place}.register_buffer({quoted(name)}, {text}{options})")
        return found

    def _fill(self) -> None:
        """Write the contents of opened modules, which are constructed empty."""
        waiting, self._unfilled = self._unfilled, []
        for module, path in waiting:
            self._later += self._tensors(module, path)
            for name, child in module._modules.items():
                inner = (*path, name)
                text = "None" if child is None else self._text(child, inner)
                self._later.append(self._assignment(inner, text))
                self._fill()

    def _place(self, path: tuple[str, ...]) -> str:
        return "self" + reach(self._model, path)

    def _assignment(self, path: tuple[str, ...], text: str) -> str:
        if self._place(path).endswith("]"):  # a name that Python does not take
            return f"{self._place(path[:-1])}.add_module({quoted(path[-1])}, {text})"
        return f"{self._place(path)} = {text}"

    def _expression(self, module: nn.Module, path: tuple[str, ...]) -> str:
        given = self._file.constructors.get(self._prefix + ".".join(path))
        if given is None and id(module) in self._file.class_names:
            given = f"{self._file.class_names[id(module)]}()"
        if given is not None:
            self._remember(module, path)
            return given + self._flags(module)
        if isinstance(module, Model):
            raise SaveError("its forward is written by hand")
        if id(module) in self._opened or type(module) is AddedWeights:
            self._unfilled.append((module, path))
            return f"nn.{next(k for k in _EMPTY if isinstance(module, k)).__name__}()"
        if isinstance(module, (nn.ParameterList, nn.ParameterDict)):
            self._frozen |= {id(p) for p in module.parameters() if not p.requires_grad}
            parts = {name: _parameter(p) for name, p in module._parameters.items() if p is not None}
            return self._bracketed(module, parts)
        if type(module) in _CONTAINERS and not _shares(module):
            parts = {
                name: "None" if child is None else self._text(child, (*path, name))
                for name, child in module._modules.items()
            }
            self._add_settings(module, type(module)(), path)
            return self._bracketed(module, parts)
        return self._constructed(module, path) + self._flags(module)

    def _constructed(self, module: nn.Module, path: tuple[str, ...]) -> str:
        """Write the constructor call of a module."""
        rule: Callable[[Any], Construction] = _RULES.get(type(module), construction_of)
        construction = rule(module)
        try:
            made = construction.make()
        except Exception as error:
            raise SaveError(f"its constructor refuses what was read back: {error}") from error
        text = self._call(construction, module, path)
        if "bias_hh_l0" in module._buffers and "bias_hh_l0" in made._parameters:
            text = f"{self._file.inliner.need(with_one_bias)}({text})"
            made = with_one_bias(made)
        self._compare(module, made, path, has_own_config(type(module)))
        return text

    def _bracketed(self, module: nn.Module, parts: dict[str, str]) -> str:
        """Write a container and what is in it."""
        name = f"nn.{type(module).__name__}"
        if isinstance(module, (nn.ModuleDict, nn.ParameterDict)):
            pairs = ", ".join(f"{quoted(key)}: {text}" for key, text in parts.items())
            return f"{name}({{{pairs}}})"
        if isinstance(module, (nn.ModuleList, nn.ParameterList)):
            return f"{name}([{', '.join(parts.values())}])"
        if list(parts) == [str(number) for number in range(len(parts))]:
            return f"{name}({', '.join(parts.values())})"
        self._file.inliner.need_import("from collections import OrderedDict")
        pairs = ", ".join(f"({quoted(key)}, {text})" for key, text in parts.items())
        return f"{name}(OrderedDict([{pairs}]))"

    def _call(self, construction: Construction, module: nn.Module, path: tuple[str, ...]) -> str:
        """Write a constructor call, required arguments by position."""
        kwargs = dict(construction.config or construction.kwargs)
        parts = [self._argument(value, module, path) for value in construction.args]
        if not parts:
            for parameter in parameters_of(construction.cls):
                required = parameter.default is parameter.empty
                if not required or parameter.kind is parameter.KEYWORD_ONLY:
                    break
                if parameter.name in kwargs:
                    parts.append(self._argument(kwargs.pop(parameter.name), module, path))
        parts += [f"{key}={self._argument(item, module, path)}" for key, item in kwargs.items()]
        dtype = _dtype(module)
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                self._dtypes[id(tensor)] = dtype or torch.float32
        if dtype is not None and any(p.name == "dtype" for p in parameters_of(construction.cls)):
            return f"{self._class(construction.cls)}({', '.join([*parts, f'dtype={dtype}'])})"
        moved = "" if dtype is None else f".to({dtype})"
        return f"{self._class(construction.cls)}({', '.join(parts)}){moved}"

    def _argument(self, value: Any, module: nn.Module, path: tuple[str, ...]) -> str:
        if isinstance(value, nn.Module):
            place = next(name for name, part in module.named_modules() if part is value)
            inner = (*path, *place.split("."))
            if type(module) not in _STACKS:
                return self._expression(value, inner)
            copied = ConstructorWriter(self._file, self._model, self._prefix)
            text = copied._constructed(value, inner)
            if copied._later:
                raise SaveError("its first layer, which it copies, was changed after it was made")
            return text
        if isinstance(value, Tensor) and any(value is t for t in module._buffers.values()):
            return _empty(value)
        return self._file.literal(value)

    def _class(self, cls: type) -> str:
        if getattr(nn, cls.__name__, None) is cls:
            return f"nn.{cls.__name__}"
        return self._file.inliner.need(cls)

    def _compare(
        self, module: nn.Module, made: nn.Module, path: tuple[str, ...], own_config: bool = False
    ) -> None:
        """Write assignments for what the constructor sets differently."""
        self._made.setdefault(id(module), self._place(path))
        if _kinds(module) != _kinds(made):
            raise SaveError(f"its tensors {_kinds(module)} are not {_kinds(made)}")
        for name in module._non_persistent_buffers_set:
            now, before = module._buffers[name], made._buffers[name]
            if now is not None and not (before is not None and torch.equal(now, before.to(now))):
                raise SaveError(f"the buffer {name!r} is in no state_dict, so its values are lost")
        if not own_config:
            self._add_settings(module, made, path)
        for name, child in module._modules.items():
            inner = (*path, name)
            other: Any = made._modules.get(name)
            if (
                child is not None
                and id(child) not in self._made
                and type(child) is type(other)
                and _kinds(child) == _kinds(other)
            ):
                self._compare(child, other, inner)
            elif child is not other:
                text = "None" if child is None else self._text(child, inner)
                self._later.append(self._assignment(inner, text))
        for name in made._modules.keys() - module._modules.keys():
            self._later.append(f"del {self._place((*path, name))}")

    def _add_settings(self, module: nn.Module, made: nn.Module, path: tuple[str, ...]) -> None:
        marked = id(module) in self._marked and type(module).__module__.startswith("torch.nn.")
        for name, value in changed_settings(module, made, marked=marked).items():
            if identifier(name) != name:
                raise SaveError(f"its attribute {name!r} has a name that Python does not take")
            self._later.append(f"{self._place(path)}.{name} = {self._file.literal(value)}")

    def _remember(self, module: nn.Module, path: tuple[str, ...]) -> None:
        """Store the paths of the parts of a module that is constructed as a whole."""
        for inner, part in module.named_modules():
            parts = tuple(inner.split(".")) if inner else ()
            self._made.setdefault(id(part), self._place((*path, *parts)))

    def _flags(self, module: nn.Module) -> str:
        """Freeze a module all of whose parameters are frozen."""
        parameters = list(module.parameters())
        if not parameters or any(parameter.requires_grad for parameter in parameters):
            return ""
        self._frozen.update(map(id, parameters))
        return ".requires_grad_(False)"


_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_EMPTY = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Module)  # what opened modules become
_MOST_VALUES = 10_000  # that are written into a file
_STACKS = (nn.TransformerEncoder, nn.TransformerDecoder)


def _stack(module: Any) -> Construction:
    kwargs = {} if module.norm is None else {"norm": module.norm}
    if isinstance(module, nn.TransformerEncoder):
        kwargs["enable_nested_tensor"] = False  # what the real setting leaves is an attribute
    return Construction(type(module), (module.layers[0], module.num_layers), kwargs)


def _transformer(module: nn.Transformer) -> Construction:
    names = {"d_model": "d_model", "nhead": "nhead", "custom_encoder": "encoder",
             "custom_decoder": "decoder", "batch_first": "batch_first"}  # fmt: skip
    kwargs = {key: getattr(module, name) for key, name in names.items()}
    return Construction(nn.Transformer, (), kwargs)


def _steps(module: Any, states: str) -> dict[str, Any]:
    first, second = module.input_dropout, module.recurrent_dropout
    shape = tuple(module.state_0.shape) if module.stateful else None
    return {
        "dropout": first.rate if first else 0.0,
        "recurrent_dropout": second.rate if second else 0.0,
        "seed": first.seed if first else second.seed if second else None,
        states: shape[0] if shape and states == "batch_size" else shape,
    }


_RULES: dict[type, Callable[[Any], Construction]] = {
    **dict.fromkeys(_STACKS, _stack),
    nn.Transformer: _transformer,
    ConvLSTM: lambda m: construction_of(m, _steps(m, "state_shape")),
    **dict.fromkeys(
        (KerasLSTM, KerasGRU, KerasSimpleRNN),
        lambda m: construction_of(m, _steps(m, "batch_size")),
    ),
    **dict.fromkeys(_CONTAINERS, lambda module: Construction(type(module))),
}


def _kinds(module: nn.Module) -> list[Any]:
    """Return the kind, name and shape of each parameter and buffer, in order."""
    groups: dict[str, Any] = {"parameter": module._parameters, "buffer": module._buffers}
    return [
        (kind, name, None if tensor is None else tuple(tensor.shape))
        for kind, group in groups.items()
        for name, tensor in group.items()
    ] + sorted(module._non_persistent_buffers_set)


def _shares(module: nn.Module) -> bool:
    children = [id(child) for child in module._modules.values()]
    return len(set(children)) < len(children)


def _dtype(module: nn.Module) -> torch.dtype | None:
    found = {p.dtype for p in module.parameters() if p.is_floating_point()}
    return next(iter(found)) if len(found) == 1 and found != {torch.float32} else None


def _filled(name: str, tensor: Tensor) -> str:
    """Write a tensor with its values, for tensors that no `state_dict` holds."""
    finite = not tensor.is_complex() or bool(tensor.isfinite().all())  # else it has no literal
    if tensor.numel() > _MOST_VALUES or not finite or tensor.layout is not torch.strided:
        raise SaveError(
            f"to_source: the buffer {name!r}, of shape {tuple(tensor.shape)}, is in no state_dict, "
            "and too large, or of a kind, to be written: register it with persistent=True"
        )
    values = re.sub(r"\b(inf|nan)\b", r'float("\1")', repr(tensor.detach().cpu().tolist()))
    return f"torch.tensor({values}, dtype={tensor.dtype})"


def _parameter(tensor: Tensor) -> str:
    frozen = "" if tensor.requires_grad else ", requires_grad=False"
    return f"nn.Parameter({_empty(tensor)}{frozen})"


def _empty(tensor: Tensor) -> str:
    if tensor.layout is not torch.strided:
        raise SaveError(
            f"to_source: a {tensor.layout} tensor of shape {tuple(tensor.shape)} cannot be written "
            "as source: keep a dense one"
        )
    dtype = "" if tensor.dtype is torch.float32 else f", dtype={tensor.dtype}"
    sizes = ", ".join(map(str, tensor.shape)) if tensor.dim() else "()"
    return f"torch.empty({sizes}{dtype})"
