"""Writing values and calls of a graph as Python expressions."""

from __future__ import annotations

import builtins
import itertools
import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.graph import magic_methods
from torch.utils import _pytree as pytree

from ..graph import Node, Ref
from ..graph.graph import Graph
from ..graph.memory import changed
from ..graph.module_state import buffer, parameter, training
from ..graph.nested import iter_leaves
from ..graph.torch_functions import torch_name
from ..layers.modules import add_losses, losses_so_far
from .child_calls import child_calls
from .identifiers import identifier
from .naming import Naming

_OPERATORS = {getattr(operator, name, None): form for name, form in magic_methods.items()}
_REPR = (bool, bytes, type(None), torch.dtype, torch.memory_format)
# what every generated forward can name
FREE_NAMES = {
    "torch": torch, "math": math, "operator": operator, "child_calls": child_calls,
    "losses_so_far": losses_so_far, "add_losses": add_losses,
}  # fmt: skip
# names that no parameter of a generated forward may have
RESERVED = frozenset({*FREE_NAMES, "recomputed", "self", "m"})


class ExpressionWriter:
    """Writes expressions of one graph; holds the variables and constants met so far."""

    def __init__(self, graph: Graph, naming: Naming, own: Mapping[str, Any]) -> None:
        self._graph = graph
        self._naming = naming
        self.parameters = parameter_names(naming.inputs)
        self._own = own
        self._namespace: dict[str, Any] = {}
        self._taken = {*RESERVED, "forward", *self.parameters, *dir(builtins)}
        self._variables: dict[Ref, str] = dict(zip(graph.inputs, self.parameters, strict=True))
        self._overwritten: dict[Ref, str] = {}  # variables of values that were copied
        self._counts: dict[str, int] = {}
        self._constants: dict[int, str] = {}
        self._tensors: dict[str, Tensor] = {}
        self._borrowed: dict[str, Any] = {}
        self._paths = {id(node): path for node, path in zip(graph.nodes, naming.paths, strict=True)}

    @cached_property
    def _places(self) -> dict[int, tuple[str, ...]]:
        """The path to each module, parameter and buffer of the model, by its `id`."""
        found: dict[int, tuple[str, ...]] = {}
        for name, child in self._naming.children.items():
            for path, part in child.named_modules(prefix=name):
                place = found[id(part)] = tuple(path.split("."))
                for key, tensor in (*part._parameters.items(), *part._buffers.items()):
                    found[id(tensor)] = (*place, key)
        found |= {id(tensor): (name,) for name, tensor in self._own.items()}
        return found | {id(home.module): () for home in self._graph.homes if not home.name}

    def _fresh(self, base: str) -> str:
        """Return a name that no variable has: `base`, else `base_2`, `base_3`, ..."""
        name, number = base, self._counts.get(base, 1)
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._counts[base] = number
        self._taken.add(name)
        return name

    # ------------------------------------------------------------------ calls

    def _call(self, node: Node) -> str:
        if node.op == "module":
            path = self._paths[id(node)] or ()
            module = f"m[{quoted(path[0])}]" if len(path) == 1 else self._module(path)
            return f"{module}({self._arguments(node.args, node.kwargs)})"
        target, args = node.target, node.args
        if target is changed:
            return self._overwritten.get(args[0]) or self._variables[args[0]]
        if target in (parameter, buffer):
            return self._value(args[0])
        if target is training:
            return f"{self._value(args[0])}.training"
        if target is operator.getitem:
            return f"{self._value(args[0])}[{self._index(args[1])}]"
        if target in _OPERATORS:
            return _OPERATORS[target].format(*map(self._operand, args))
        if target is getattr and isinstance(args[1], str):
            return f"{self._value(args[0])}.{args[1]}"
        name = torch_name(target)
        method = (name or "").partition("torch.Tensor.")[2]
        if method and isinstance(args[0], (Ref, Tensor)):
            return f"{self._value(args[0])}.{method}({self._arguments(args[1:], node.kwargs)})"
        return f"{self._function(name, target)}({self._arguments(args, node.kwargs)})"

    def _function(self, name: str | None, target: Callable[..., Any]) -> str:
        owner = getattr(target, "__self__", None)
        if isinstance(owner, type):  # `apply` of an autograd function
            return f"{self._constant(owner)}.{target.__name__}"
        if target is round:
            return "round"
        return name or self._constant(target)

    @staticmethod
    def _module(path: tuple[str, ...]) -> str:
        return "self" + "".join(f"._modules[{quoted(name)}]" for name in path)

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        written = [self._value(value) for value in args]
        if not kwargs:
            return ", ".join(written)
        if all(identifier(key) == key for key in kwargs):
            written += [f"{key}={self._value(value)}" for key, value in kwargs.items()]
        else:
            written.append(f"**{self._value(kwargs)}")
        return ", ".join(written)

    def _index(self, index: Any) -> str:
        if type(index) is tuple and index:
            return ", ".join(map(self._slice, index)) + ("," if len(index) == 1 else "")
        return self._slice(index)

    def _slice(self, item: Any) -> str:
        if type(item) is not slice:
            return self._value(item)
        start, stop, step = (
            "" if part is None else self._value(part) for part in (item.start, item.stop, item.step)
        )
        return f"{start}:{stop}" + (f":{step}" if step else "")

    def _path(self, path: tuple[Any, ...]) -> str:
        """Write the way from a result to a part of it: `[0]["hidden"]`."""
        text = ""
        for key in path:
            if isinstance(key, pytree.GetAttrKey):
                text += f".{key.name}"
            elif isinstance(key, pytree.MappingKey):
                text += f"[{self._value(key.key)}]"
            else:
                text += f"[{key.idx}]"
        return text

    # ------------------------------------------------------------------ values

    def _value(self, value: Any) -> str:
        kind = type(value)
        if kind is Ref:
            return self._variables[value]
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, nn.Module):
            path = self._places[id(value)]
            if path:
                self._borrowed[".".join(path)] = value
            return self._module(path)
        if (text := literal(value)) is not None:
            return text
        if kind is torch.Size:
            return f"torch.Size({self._value(tuple(value))})"
        if kind is tuple:
            return f"({self._values(value)}{',' if len(value) == 1 else ''})"
        if kind is list:
            return f"[{self._values(value)}]"
        if kind is dict:
            pairs = (f"{self._value(key)}: {self._value(item)}" for key, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        if kind is slice:
            return f"slice({self._values((value.start, value.stop, value.step))})"
        return self._container(value)

    def _values(self, values: Iterable[Any]) -> str:
        return ", ".join(map(self._value, values))

    def _operand(self, value: Any) -> str:
        text = self._value(value)
        return f"({text})" if text.startswith("-") else text

    def _container(self, value: Any) -> str:
        """Write a named tuple, a dataclass or another pytree, or keep an object as a constant."""
        if not any(type(leaf) is Ref or isinstance(leaf, Tensor) for leaf in iter_leaves(value)):
            return self._constant(value)
        if isinstance(value, tuple):
            items = self._values(value)
            if hasattr(type(value), "n_sequence_fields"):  # of torch: it takes them as one tuple
                items = f"({items})"
            return f"{self._constant(type(value))}({items})"
        parts, structure = pytree.tree_flatten(value, is_leaf=lambda item: item is not value)
        return f"{self._constant(Rebuild(structure))}({self._value(parts)})"

    def _constant(self, value: Any) -> str:
        if id(value) not in self._constants:
            base = identifier(getattr(value, "__name__", "") or type(value).__name__.lower())
            name = self._fresh("function" if base == "_lambda_" else base)
            self._constants[id(value)] = name
            self._namespace[name] = value
        return self._constants[id(value)]

    def _tensor(self, tensor: Tensor) -> str:
        """Name a real tensor: of a child where it is one's, else registered with the model."""
        known = self._places.get(id(tensor))
        if known is None:
            kind = "parameter" if isinstance(tensor, nn.Parameter) else "buffer"
            taken = {*self._tensors, *self._naming.children, *self._own}
            name = next(n for i in itertools.count(1) if (n := f"{kind}_{i}") not in taken)
            self._tensors[name] = tensor
            known = self._places[id(tensor)] = (name,)
        else:
            self._borrowed[".".join(known)] = tensor
        owner, name = self._module(known[:-1]), known[-1]
        if identifier(name) == name:
            return f"{owner}.{name}"
        return f"getattr({owner}, {quoted(name)})"  # those of an `nn.ParameterList` are named `0`


def parameter_names(inputs: Iterable[str]) -> list[str]:
    """Return distinct identifiers for inputs, which the generated forward does not use itself."""
    found: list[str] = []
    for name in inputs:
        made = identifier(name)
        while made in RESERVED or made in found:
            made += "_"
        found.append(made)
    return found


class Rebuild:
    """Rebuilds a container from its items."""

    def __init__(self, structure: pytree.TreeSpec) -> None:
        self._structure = structure
        self.__name__ = structure.type.__name__

    def __call__(self, items: list[Any]) -> Any:
        return pytree.tree_unflatten(items, self._structure)


def literal(value: Any) -> str | None:
    """Write a plain value; `None` for containers and other objects."""
    kind = type(value)
    if kind in _REPR:
        return repr(value)
    if value is Ellipsis:
        return "..."
    if kind is str:
        return quoted(value)
    if kind is int:  # decimal digits have a limit
        return repr(value) if abs(value) < 2**64 else hex(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if kind is torch.device:
        return f"torch.device({str(value)!r})"
    return None


def quoted(text: str) -> str:
    """Write a string literal in double quotes."""
    if text.isascii() and text.isidentifier():
        return f'"{text}"'
    literal = json.dumps(text, ensure_ascii=False)
    return literal.encode("utf-8", "backslashreplace").decode()  # lone surrogates
