"""`to_source`: a model as the text of a plain PyTorch file."""

from __future__ import annotations

import collections
import enum
import functools
import itertools
import re
import types
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..constructions.constructor_calls import construction_of
from ..constructions.differences import changed_settings
from ..errors import SaveError
from ..graph.graph import Graph
from ..graph.nested import filled
from ..graph.torch_functions import torch_name
from ..model import Model
from ..model.identifiers import identifier
from ..model.masked_calls import MaskRanks, mask_ranks, masked_forward
from ..model.naming import Naming
from ..model.second_forwards import SecondForward
from .inline import Inliner
from .source_forward import PlainForwardWriter
from .source_init import ConstructorWriter
from .source_layout import laid_out

_RESERVED = {"nn", "np", "torch", "types", "operator", "functools", "Counter", "OrderedDict"}


def to_source(
    model: Model,
    class_name: str = "Net",
    constructors: Mapping[str, str] | None = None,
    imports: Iterable[str] = (),
) -> str:
    """Return a model as the text of a plain PyTorch file, which needs only torch.

    The file has one `nn.Module` class for the model, one for each nested model, and the source of
    the functions and modules that are not torch's. `Net().load_state_dict(model.state_dict())`
    copies the weights. The file leaves out the checks of inputs, and training.

    Args:
        model: a model that has a graph.
        class_name: the name of the class.
        constructors: constructor calls for modules that cannot be written out, by name:
            `{"block_1": "Block(3)"}`.
        imports: statements to begin the file with, such as `"from blocks import Block"`.

    Raises:
        SaveError: a module or function cannot be written as source; the text names it.
        ValueError: `class_name` is not a name.

    Example:
        >>> import fgraph
        >>> x = fgraph.Input((3,))
        >>> print(to_source(fgraph.Model(x, nn.Linear(3, 2)(x))))
        from torch import nn
        <BLANKLINE>
        <BLANKLINE>
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear_1 = nn.Linear(3, 2)
        <BLANKLINE>
            def forward(self, input_1):
                linear_1 = self.linear_1(input_1)
                return linear_1
        <BLANKLINE>
    """
    if identifier(class_name) != class_name or not class_name or class_name in _RESERVED:
        raise ValueError(f"to_source: class_name={class_name!r} is not a free Python name")
    if model._has_own_forward:
        raise SaveError(
            f"to_source: the forward of {type(model).__name__} is written by hand: its own source "
            "is the plain PyTorch that there is"
        )
    writer = _FileWriter(constructors or {}, imports)
    writer.find_masked(model._live_graph("to_source"))
    writer.add_model(model, class_name, "")
    return writer.text()


class _FileWriter:
    """Collects the classes of one file."""

    def __init__(self, constructors: Mapping[str, str], imports: Iterable[str]) -> None:
        self.inliner = Inliner()
        self.imports = list(imports)
        self.constructors = constructors
        self.classes: list[str] = []
        self.class_names: dict[int, str] = {}
        self.reserved = set(_RESERVED)
        self.masked_methods: dict[int, dict[MaskRanks, str]] = {}  # of each model
        self._masked: dict[int, list[tuple[str, SecondForward]]] = {}  # what these methods run
        self._searched: set[int] = set()

    def find_masked(self, graph: Graph) -> None:
        """Collect the models called on masked tensors, with the ranks of the masks."""
        for node in graph.nodes:
            model = node.target
            if not isinstance(model, Model) or model._graph is None:
                continue
            if (ranks := mask_ranks(node)) is not None:
                methods = self.masked_methods.setdefault(id(model), {})
                if ranks not in methods:
                    methods[ranks] = self._free_method(model, set(methods.values()))
                    made = masked_forward(model, ranks)
                    self._masked.setdefault(id(model), []).append((methods[ranks], made))
                    self.find_masked(made.graph)
            if id(model) not in self._searched:
                self._searched.add(id(model))
                self.find_masked(model._graph)

    def add_model(self, model: Model, class_name: str, path: str) -> None:
        """Write the class of a model, after those of the models that it contains."""
        self.class_names[id(model)] = class_name
        self.reserved.add(class_name)
        graph = model._live_graph("to_source")
        for name, part in model.named_modules():
            if id(part) in self.class_names or not isinstance(part, Model):
                continue
            if part._graph is not None and not part._has_own_forward:
                inner = self._fresh_class(name.rpartition(".")[2])
                self.add_model(part, inner, f"{path}{name}.")
        init = ConstructorWriter(self, model, path).lines()
        lines = [f"class {class_name}(nn.Module):"]
        if init:
            lines += ["    def __init__(self):", "        super().__init__()"]
            lines += [line for statement in init for line in laid_out(statement, 8)]
            lines.append("")
        outputs = filled(model._output_template, graph.outputs)
        lines += self._method(model, "forward", graph, model._naming(graph), outputs)
        for name, second in self._masked.get(id(model), ()):
            both = [second.graph.outputs[: len(graph.outputs)], second.more]
            lines += ["", *self._method(model, name, second.graph, second.naming, both)]
        self.classes.append("\n".join(lines))

    def _method(
        self, model: Model, name: str, graph: Graph, naming: Naming, outputs: Any
    ) -> list[str]:
        """Return the lines of a method that runs a graph."""
        try:
            writer, body = self._body(model, graph, naming, outputs)
        except SaveError as error:
            raise SaveError(f"to_source: the forward of model {model.name!r}: {error}") from error
        signature = ", ".join(["self", *writer.parameters])
        head = laid_out(f"def {name}({signature}):", 4)
        return [*head, *(line for statement in body for line in laid_out(statement, 8))]

    def _body(
        self, model: Model, graph: Graph, naming: Naming, outputs: Any
    ) -> tuple[PlainForwardWriter, list[str]]:
        """Write what runs a graph; no variable hides a function or class that the file defines."""
        while True:
            writer = PlainForwardWriter(
                graph, naming, model, self.reserved, self.masked_methods, self.constant
            )
            body = writer.lines(outputs)
            hidden = self.inliner.names & writer.variables
            if hidden <= self.reserved:
                break
            self.reserved |= hidden
        if hidden:
            raise SaveError(
                f"the inputs {sorted(hidden)} have the names of functions or classes that the "
                "model uses: give them other names"
            )
        return writer, body

    @staticmethod
    def _free_method(model: Model, taken: Container[str]) -> str:
        """Return a name for a method, which no other attribute of the model has."""
        numbered = (f"forward_masked_{number}" for number in itertools.count(2))
        names = itertools.chain(["forward_masked"], numbered)
        return next(name for name in names if name not in taken and not hasattr(model, name))

    def _fresh_class(self, name: str) -> str:
        base = "".join(word[:1].upper() + word[1:] for word in re.split(r"\W|_", name)) or "Part"
        base = base if base.isidentifier() else f"Part{base}"
        found, number = base, 1
        while found in self.class_names.values():
            number += 1
            found = f"{base}{number}"
        return found

    def constant(self, value: Any) -> str:
        """Write a function, class, object, or container that has no literal."""
        kind, name = type(value), torch_name(value)
        if name is not None:
            return name
        if kind in _WRITERS:
            statement, write = _WRITERS[kind]
            if statement:
                self.inliner.need_import(statement)
            return write(value, self.literal)
        own = getattr(value, "__name__", "")
        if isinstance(value, type) and getattr(nn, own, None) is value:
            return f"nn.{own}"
        if isinstance(value, enum.Enum):
            return f"{self.inliner.need(kind)}[{self.literal(value.name)}]"
        if isinstance(value, (np.generic, np.ufunc)) and hasattr(np, own or kind.__name__):
            self.inliner.need_import("import numpy as np")
            written = "" if own else f"({self.literal(value.item())})"  # type: ignore[union-attr]
            return f"np.{own or kind.__name__}{written}"
        if isinstance(value, type) or hasattr(value, "__code__"):
            return self.inliner.need(value)
        if hasattr(value, "__dict__") and not isinstance(value, nn.Module):
            return self._object(value)
        raise SaveError(
            f"{value!r:.80} cannot be written as source: replace it by a function defined by `def`"
        )

    def _object(self, value: Any) -> str:
        """Write an object as a call of its class."""
        made = construction_of(value)
        again = made.make()
        if made.config is None and changed_settings(value, again):
            raise SaveError(f"{value!r:.80} is not what its constructor makes")
        kwargs = dict(made.config or made.kwargs)
        return f"{self.inliner.need(made.cls)}({_arguments(made.args, kwargs, self.literal)})"

    def literal(self, value: Any) -> str:
        """Write a plain value, a container of them, a function or a class."""
        return _Literals(self).write(value)

    def text(self) -> str:
        """Return the file."""
        body = "\n\n\n".join(
            ["\n".join(laid_out(d)) if "\n" not in d else d for d in self.inliner.definitions]
            + self.classes
        )
        future = ["from __future__ import annotations", ""] if self.inliner.definitions else []
        wanted = {"from torch import nn", *self.inliner.imports, *self.imports}
        wanted |= {f"import {name}" for name in ("torch", "operator") if f"{name}." in body}
        wanted -= {"from __future__ import annotations"}
        return "\n".join([*future, *_sorted_imports(wanted), "", "", body, ""])


def _arguments(args: Iterable[Any], kwargs: Mapping[str, Any], write: Callable[[Any], str]) -> str:
    """Write the arguments of a call; names that Python does not take go into a dict."""
    parts = [write(item) for item in args]
    if all(identifier(key) == key for key in kwargs):
        return ", ".join([*parts, *(f"{key}={write(item)}" for key, item in kwargs.items())])
    return ", ".join([*parts, f"**{write(dict(kwargs))}"])


def _items(value: Any, write: Callable[[Any], str]) -> str:
    return f"[{', '.join(map(write, value))}]"


# containers and numbers without a literal: the import that they need, and their source
_WRITERS: dict[type, tuple[str, Callable[[Any, Callable[[Any], str]], str]]] = {
    collections.OrderedDict: (
        "from collections import OrderedDict",
        lambda value, write: f"OrderedDict({_items(value.items(), write)})",
    ),
    types.SimpleNamespace: (
        "import types",
        lambda value, write: f"types.SimpleNamespace({_arguments((), vars(value), write)})",
    ),
    functools.partial: (
        "import functools",
        lambda value, write: (
            f"functools.partial({_arguments((value.func, *value.args), value.keywords, write)})"
        ),
    ),
    collections.Counter: (
        "from collections import Counter",
        lambda value, write: f"Counter({write(dict(value))})",
    ),
    torch.layout: ("", lambda value, write: str(value)),
    set: ("", lambda value, write: f"set({_items(value, write)})"),
    frozenset: ("", lambda value, write: f"frozenset({_items(value, write)})"),
    range: ("", lambda value, write: repr(value)),
    complex: ("", lambda value, write: f"complex({write(value.real)}, {write(value.imag)})"),
}


def _sorted_imports(statements: set[str]) -> list[str]:
    """Sort imports: the standard library first, then packages."""
    import sys

    def package(statement: str) -> str:
        return statement.split()[1].partition(".")[0]

    def place(statement: str) -> tuple[bool, str]:
        return statement.startswith("from"), statement.split()[1]

    own = sorted((s for s in statements if package(s) in sys.stdlib_module_names), key=place)
    others = sorted((s for s in statements if s not in own), key=place)
    return [*own, "", *others] if own else others


class _Literals(PlainForwardWriter):
    """Writes values that are not part of a graph."""

    def __init__(self, file: _FileWriter) -> None:
        self._write_constant = file.constant

    def write(self, value: Any) -> str:  # type: ignore[override]
        """Return the value as source."""
        if isinstance(value, Tensor):
            raise SaveError(f"a tensor of shape {tuple(value.shape)} cannot be written as source")
        return self._value(value)
