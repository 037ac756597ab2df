"""Writing a graph as straight-line Python: one line a call, one named parameter for each input."""

from __future__ import annotations

import builtins
import itertools
import json
import linecache
import math
import operator
import re
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..graph import Node, Ref
from ..graph.graph import Graph
from ..graph.memory import changed
from ..graph.modes import Modes
from ..graph.module_state import buffer, parameter, training
from ..graph.nested import iter_leaves, map_leaves
from ..graph.torch_functions import torch_name
from .child_calls import child_calls
from .naming import Naming, identifier

_BINARY = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/",
    operator.floordiv: "//", operator.mod: "%", operator.pow: "**", operator.matmul: "@",
    operator.and_: "&", operator.or_: "|", operator.xor: "^", operator.lshift: "<<",
    operator.rshift: ">>", operator.eq: "==", operator.ne: "!=", operator.lt: "<",
    operator.le: "<=", operator.gt: ">", operator.ge: ">=",
}  # fmt: skip
_UNARY = {operator.neg: "-", operator.pos: "+", operator.invert: "~"}
_REPR = (bool, bytes, type(None), type(Ellipsis), torch.dtype, torch.memory_format)
_FEWEST_CALLS = 3  # of children in a forward, from which on child_calls() saves more than it costs
# what every generated forward can name
_FREE_NAMES = {"torch": torch, "math": math, "operator": operator, "child_calls": child_calls}


class UsedPart(NamedTuple):
    """A module that a segment uses.

    Attributes:
        path: the names on the way from the model to it.
        whole: whether the modules inside of it are used too, not only its own tensors.
    """

    path: tuple[str, ...]
    whole: bool


class Segments(NamedTuple):
    """Runs of nodes that are written as functions, to be run again in the backward pass.

    Attributes:
        ends: the position of the last node of each run, by that of its first.
        rerun: calls such a function in the forward: `rerun(model, function, *arguments)`.
    """

    ends: Mapping[int, int]
    rerun: Callable[..., Any]


# names that no parameter of a generated forward may have
RESERVED = frozenset({*_FREE_NAMES, "recomputed", "self", "m"})


@dataclass
class Source:
    """A generated forward.

    Attributes:
        text: the source of `def forward(self, ...)`.
        namespace: what its free names stand for.
        tensors: real tensors of the graph that the model has to register, by name.
        borrowed: those that belong to a child, and modules among arguments, by dotted path.
        lines: for each node, in order, the number, from 1, of the line that runs it.
        segments: for each function inside it that is run again for gradients, by its name, where
            the modules and tensors that it uses hang in the model.
    """

    text: str
    namespace: dict[str, Any]
    tensors: dict[str, Tensor]
    borrowed: dict[str, Any]
    lines: list[int]
    segments: dict[str, list[UsedPart]]


def generate(
    graph: Graph,
    naming: Naming,
    outputs: Any,
    parameters: list[str],
    own: Mapping[str, Tensor | None] | None = None,
    segments: Segments | None = None,
) -> Source:
    """Write the forward of a model.

    Args:
        graph: what to run.
        naming: the names of its layers and modules.
        outputs: the structure to return, with a `Ref` for each tensor.
        parameters: the name of each input in the signature, in order.
        own: the parameters and buffers that the model itself has already, by name.
        segments: the nodes to compute again for gradients.
    """
    writer = _Writer(graph, naming, parameters)
    writer._known_tensors |= {id(tensor): (name,) for name, tensor in (own or {}).items()}
    if segments is None or not segments.ends:
        return writer.write(outputs, {})
    writer._namespace["recomputed"] = segments.rerun
    return writer.write(outputs, segments.ends)


class _Writer:
    """Writes one forward; holds the variables and constants met so far."""

    def __init__(self, graph: Graph, naming: Naming, parameters: list[str]) -> None:
        self._graph = graph
        self._naming = naming
        self._parameters = parameters
        self._namespace: dict[str, Any] = {}
        self._taken = {*RESERVED, "forward", *parameters, *dir(builtins)}
        self._variables: dict[Ref, str] = dict(zip(graph.inputs, parameters, strict=True))
        self._overwritten: dict[Ref, str] = {}  # variables of values that were copied
        self._counts: dict[str, int] = {}
        self._constants: dict[int, str] = {}
        self._tensors: dict[str, Tensor] = {}
        self._names = {id(node): name for node, name in zip(graph.nodes, naming.nodes, strict=True)}
        self._paths = {id(node): path for node, path in zip(graph.nodes, naming.paths, strict=True)}
        self._borrowed: dict[str, Any] = {}
        self._known_modules = {id(part): path for path, part in self._parts()}
        self._known_modules |= {id(home.module): () for home in graph.homes if not home.name}
        self._known_tensors = {
            id(tensor): (*path, name)
            for path, module in self._parts()
            for name, tensor in (*module._parameters.items(), *module._buffers.items())
            if tensor is not None
        }
        self._segment_names: list[str] = []
        self._inner_names: set[str] = set()  # variables of segments that these do not return
        self._group_sizes: dict[int, int] = {}
        for node in graph.nodes:
            if node.call is not None:
                key = id(node.call.outermost)
                self._group_sizes[key] = self._group_sizes.get(key, 0) + 1

    def _parts(self) -> Iterable[tuple[tuple[str, ...], nn.Module]]:
        for name, child in self._naming.children.items():
            for path, part in child.named_modules():
                yield (name, *path.split(".")) if path else (name,), part

    def write(self, outputs: Any, segments: Mapping[int, int]) -> Source:
        """Return the whole source; `segments` maps the first node of each to its last."""
        self._last_use = self._last_uses()
        self._keep = set(self._graph.outputs) | set(self._graph.inputs)
        self._used = self._keep.union(self._last_use)
        body: list[tuple[Modes | None, list[str]]] = []
        at: dict[int, int] = {}  # where the statement of each node stands in the body
        functions: list[_Segment] = []
        position = 0
        while position < len(self._graph.nodes):
            if position in segments:
                functions.append(self._segment(position, segments[position]))
                body.append((functions[-1].modes, [functions[-1].call]))
                position = segments[position] + 1
            else:
                self._add_node(position, body, at)
                position += 1
        result = self._value(outputs)
        signature = ", ".join(["self", *self._parameters])
        head = [f"def forward({signature}):", *(f"    {line}" for line in self._opening())]
        calls = sum(path is not None and len(path) == 1 for path in self._naming.paths)
        modes = any(node.modes for node in self._graph.nodes)  # child_calls tells torch.fx of them
        if calls or modes:
            short = calls >= _FEWEST_CALLS or modes
            head.append(f"    m = {f'child_calls({signature})' if short else 'self._modules'}")
        numbers: dict[int, int] = {}
        for function in functions:
            lines, begins = in_blocks(function.body, len(head) + 2)
            numbers |= {node: begins[place] for node, place in function.at.items()}
            head += [
                f"    def {function.name}({', '.join(function.taken)}):",
                *(f"        {line}" for line in lines),
                f"        return {', '.join(function.returned)}",
            ]
        lines, begins = in_blocks(body, len(head) + 1)
        numbers |= {node: begins[place] for node, place in at.items()}
        text = "\n".join([*head, *(f"    {line}" for line in lines), f"    return {result}", ""])
        return Source(
            text,
            self._namespace,
            self._tensors,
            self._borrowed,
            [numbers[position] for position in range(len(self._graph.nodes))],
            {function.name: function.parts for function in functions},
        )

    def _add_node(
        self,
        position: int,
        body: list[tuple[Modes | None, list[str]]],
        at: dict[int, int],
        inside: set[str] | None = None,
    ) -> None:
        """Write a node.

        Args:
            position: which one.
            body: what to add its statement to.
            at: where to note which entry of `body` that is.
            inside: in a segment, the names of the variables of that function so far.
        """
        node = self._graph.nodes[position]
        taken = set(self._taken)
        text = self._statement(node, self._used)
        if self._graph.copies.before and (saved := self._saved(node)):
            body.append((None, saved))  # gradients flow through copies, whatever the mode
        if inside is not None:
            inside |= self._taken - taken
        at[position] = len(body)
        if done := self._done(node, position, position, inside):
            text += f"; del {', '.join(done)}"
        body.append((node.modes, [text]))

    def _done(self, node: Node, first: int, last: int, inside: set[str] | None) -> list[str]:
        """Return the variables of what `node` is the last to use, if nodes `first` to `last` are.

        Args:
            node: the node.
            first, last: the last use lies between these.
            inside: the variables of the segment that is being written; `None` outside.
        """
        refs = dict.fromkeys(node.refs())
        gone = [ref for ref in refs if first <= self._last_use[ref] <= last]
        done = [self._variables[ref] for ref in gone if ref not in self._keep]
        done += [self._overwritten[ref] for ref in gone if ref in self._overwritten]
        if inside is None:
            return [name for name in done if name not in self._inner_names]
        return [name for name in done if name in inside]

    def _segment(self, first: int, last: int) -> _Segment:
        """Write the nodes from `first` to `last` as a function, and its call."""
        nodes = self._graph.nodes[first : last + 1]
        made = {id(node) for node in nodes}
        outside = dict.fromkeys(ref for n in nodes for ref in n.refs() if id(ref.node) not in made)
        taken = [self._variables[ref] for ref in outside]
        name = self._fresh(f"segment_{len(self._segment_names) + 1}")
        self._segment_names.append(name)
        inside: set[str] = set()
        body: list[tuple[Modes | None, list[str]]] = []
        at: dict[int, int] = {}
        for position in range(first, last + 1):
            self._add_node(position, body, at, inside)
        leaving = [
            self._variables[ref]
            for node in nodes
            for index in range(len(node.specs))
            if (ref := Ref(node, index)) in self._keep or self._last_use.get(ref, -1) > last
        ]
        returned = list(dict.fromkeys(leaving))
        call = f"recomputed({', '.join(['self', name, *taken])})"
        if returned:
            call = f"{', '.join(returned)} = {call}"
        modes = {node.modes for node in nodes}
        shared = nodes[0].modes if len(modes) == 1 else None
        if shared is not None:  # one block around the calls of neighbours too
            body = [(None, lines) for _, lines in body]
        self._inner_names |= inside - set(returned)
        done = [v for node in nodes for v in self._done(node, first, last, None)]
        if done := [v for v in dict.fromkeys(done) if v in taken]:
            call += f"; del {', '.join(done)}"
        return _Segment(name, taken, returned, body, at, call, shared, self._parts_of(nodes))

    def _parts_of(self, nodes: Iterable[Node]) -> list[UsedPart]:
        """Return where the modules and tensors that nodes use hang in the model."""
        found: dict[UsedPart, None] = {}
        for node in nodes:
            if node.target is training:
                continue
            if node.op == "module":
                found[UsedPart(self._paths[id(node)] or (), whole=True)] = None
            for leaf in iter_leaves((node.args, node.kwargs)):
                if isinstance(leaf, nn.Module):
                    found[UsedPart(self._known_modules[id(leaf)], whole=True)] = None
                elif isinstance(leaf, Tensor):
                    found[UsedPart(self._known_tensors[id(leaf)][:-1], whole=False)] = None
        return list(found)

    def _last_uses(self) -> dict[Ref, int]:
        return {
            ref: position for position, node in enumerate(self._graph.nodes) for ref in node.refs()
        }

    # ------------------------------------------------------------------ statements

    def _opening(self) -> list[str]:
        """Copy the inputs that calls change in place."""
        changed = [
            self._variables[ref] for ref in self._graph.inputs if ref in self._graph.copies.inputs
        ]
        return [f"{name} = {name}.clone()" for name in changed]

    def _saved(self, node: Node) -> list[str]:
        """Copy the values that `node` overwrites, for later calls that need the old ones."""
        lines = []
        for ref in self._graph.copies.before.get(id(node), ()):
            old, new = self._variables[ref], self._fresh(self._variables[ref])
            self._overwritten.setdefault(ref, old)
            self._variables[ref] = new
            lines.append(f"{new} = {old}.clone()")
        return lines

    def _statement(self, node: Node, used: set[Ref]) -> str:
        call = self._call(node)
        if node.structure is None:
            return f"{self._name(node, Ref(node))} = {call}"
        wanted = [ref for index in range(len(node.specs)) if (ref := Ref(node, index)) in used]
        paths = _leaf_paths(node)
        if len(wanted) == 1:
            ref = wanted[0]
            return f"{self._name(node, ref)} = {call}{self._path(paths[ref.index])}"
        names = {ref.index: self._name(node, ref) for ref in wanted}
        if (pattern := _pattern(node, names)) is not None:
            unused = "; del _" if re.search(r"\b_\b", pattern) else ""
            return f"{pattern} = {call}{unused}"
        whole = self._fresh("result")
        parts = "; ".join(f"{name} = {whole}{self._path(paths[i])}" for i, name in names.items())
        return f"{whole} = {call}; {parts}; del {whole}"

    def _name(self, node: Node, ref: Ref) -> str:
        base = self._names[id(node)]
        if node.call is not None and node.op != "module":
            if self._group_sizes[id(node.call.outermost)] > 1:
                base = f"{base}_{node.kind.strip('_')}"
        name = self._variables[ref] = self._fresh(identifier(base))
        return name

    def _fresh(self, base: str) -> str:
        name, number = base, self._counts.get(base, 1)
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._counts[base] = number
        self._taken.add(name)
        return name

    def _path(self, path: tuple[Any, ...]) -> str:
        text = ""
        for key in path:
            if isinstance(key, pytree.GetAttrKey):
                text += f".{key.name}"
            elif isinstance(key, pytree.MappingKey):
                text += f"[{self._value(key.key)}]"
            else:
                text += f"[{key.idx}]"
        return text

    # ------------------------------------------------------------------ expressions

    def _call(self, node: Node) -> str:
        if node.op == "module":
            path = self._paths[id(node)] or ()
            module = f"m[{quoted(path[0])}]" if len(path) == 1 else self._module(path)
            return f"{module}({self._arguments(node.args, node.kwargs)})"
        target, args = node.target, node.args
        if target is changed:
            return self._overwritten.get(args[0]) or self._variables[args[0]]
        if target in _BINARY and len(args) == 2:
            return f"{self._operand(args[0])} {_BINARY[target]} {self._operand(args[1])}"
        if target in _UNARY:
            return f"{_UNARY[target]}{self._value(args[0])}"
        if target in (parameter, buffer):
            return self._value(args[0])
        if target is training:
            return f"{self._value(args[0])}.training"
        if target is operator.getitem:
            return f"{self._value(args[0])}[{self._index(args[1])}]"
        if target is getattr and isinstance(args[1], str):
            return f"{self._value(args[0])}.{args[1]}"
        name = torch_name(target)
        if name is not None and name.startswith("torch.Tensor.") and type(args[0]) in (Ref, Tensor):
            method = name.removeprefix("torch.Tensor.")
            return f"{self._value(args[0])}.{method}({self._arguments(args[1:], node.kwargs)})"
        function = self._function(name, target)
        return f"{function}({self._arguments(args, node.kwargs)})"

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
        if all(identifier(key) == key for key in kwargs):
            written += [f"{key}={self._value(value)}" for key, value in kwargs.items()]
        else:
            written.append(f"**{self._value(kwargs)}")
        return ", ".join(written)

    def _index(self, index: Any) -> str:
        if type(index) is tuple and index:
            return ", ".join(self._slice(item) for item in index) + ("," if len(index) == 1 else "")
        return self._slice(index)

    def _slice(self, item: Any) -> str:
        if type(item) is not slice:
            return self._value(item)
        start, stop, step = (
            "" if part is None else self._value(part) for part in (item.start, item.stop, item.step)
        )
        return f"{start}:{stop}" + (f":{step}" if step else "")

    def _value(self, value: Any) -> str:
        kind = type(value)
        if kind is Ref:
            return self._variables[value]
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, nn.Module):
            path = self._known_modules[id(value)]
            if path:
                self._borrowed[".".join(path)] = value
            return self._module(path)
        is_short = kind is int and abs(value) < 2**64
        if is_short or (kind is float and math.isfinite(value)) or kind in _REPR:
            return repr(value) if value is not Ellipsis else "..."
        if kind is str:
            return quoted(value)
        if kind is int:
            return hex(value)  # decimal digits have a limit
        if kind is float:
            return f'float("{value}")'
        if kind is torch.device:
            return f"torch.device({str(value)!r})"
        if kind is torch.Size:
            return f"torch.Size({self._value(tuple(value))})"
        if kind is tuple:
            items = ", ".join(self._value(item) for item in value)
            return f"({items},)" if len(value) == 1 else f"({items})"
        if kind is list:
            return f"[{', '.join(self._value(item) for item in value)}]"
        if kind is dict:
            pairs = (f"{self._value(key)}: {self._value(item)}" for key, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        if kind is slice:
            parts = (self._value(part) for part in (value.start, value.stop, value.step))
            return f"slice({', '.join(parts)})"
        return self._container(value)

    def _operand(self, value: Any) -> str:
        text = self._value(value)
        return f"({text})" if text.startswith("-") else text

    def _container(self, value: Any) -> str:
        """Write a named tuple, a dataclass or another pytree, or keep an object as a constant."""
        leaves: list[Any] = []
        map_leaves(leaves.append, value)
        if not any(type(leaf) is Ref or isinstance(leaf, Tensor) for leaf in leaves):
            return self._constant(value)
        if isinstance(value, tuple):
            items = ", ".join(self._value(item) for item in value)
            if hasattr(type(value), "n_sequence_fields"):  # of torch: it takes them as one tuple
                items = f"({items})"
            return f"{self._constant(type(value))}({items})"
        parts, structure = pytree.tree_flatten(value, is_leaf=lambda item: item is not value)
        return f"{self._constant(_Rebuild(structure))}({self._value(parts)})"

    def _constant(self, value: Any) -> str:
        if id(value) not in self._constants:
            base = identifier(getattr(value, "__name__", "") or type(value).__name__.lower())
            name = self._fresh("function" if base == "_lambda_" else base)
            self._constants[id(value)] = name
            self._namespace[name] = value
        return self._constants[id(value)]

    def _tensor(self, tensor: Tensor) -> str:
        """Name a real tensor: of a child where it is one's, else registered with the model."""
        known = self._known_tensors.get(id(tensor))
        if known is None:
            kind = "parameter" if isinstance(tensor, nn.Parameter) else "buffer"
            numbers = itertools.count(1)
            taken = {*self._tensors, *self._naming.children}
            name = next(n for i in numbers if (n := f"{kind}_{i}") not in taken)
            self._tensors[name] = tensor
            known = self._known_tensors[id(tensor)] = (name,)
        elif len(known) > 1:
            self._borrowed[".".join(known)] = tensor
        return _attribute(self._module(known[:-1]), known[-1])


@dataclass
class _Segment:
    """Nodes that are written as a function, to be run again for gradients.

    Attributes:
        name: of the function.
        taken, returned: the variables that are its parameters, and those that it returns.
        body: its statements, each with the modes that it runs under.
        at: by the position of a node in the graph, where its statement stands in `body`.
        call: the statement that runs it.
        modes: what the call runs under.
        parts: where the modules and tensors that it uses hang in the model.
    """

    name: str
    taken: list[str]
    returned: list[str]
    body: list[tuple[Modes | None, list[str]]]
    at: dict[int, int]
    call: str
    modes: Modes | None
    parts: list[UsedPart]


def in_blocks(
    statements: Iterable[tuple[Modes | None, list[str]]], first: int = 1
) -> tuple[list[str], list[int]]:
    """Put statements into `with` blocks, one for all consecutive statements of the same modes.

    Args:
        statements: the lines of each statement, with the modes that they run under.
        first: the number of the first line.

    Returns:
        The lines, and the number of the line where each statement begins.
    """
    lines: list[str] = []
    numbers: list[int] = []
    for modes, group in itertools.groupby(statements, lambda item: item[0]):
        indent = ""
        if modes is not None:
            lines.append(f"with {', '.join(map(_written, modes.contexts()))}:")
            indent = "    "
        for _, statement in group:
            numbers.append(first + len(lines))
            lines += [indent + line for line in statement]
    return lines, numbers


def _written(context: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]) -> str:
    """Write the making of a context manager: `torch.autocast("cpu", dtype=torch.bfloat16)`."""
    make, args, options = context
    given = [quoted(arg) for arg in args] + [f"{key}={value}" for key, value in options.items()]
    return f"torch.{make.__name__}({', '.join(given)})"


class _Rebuild:
    """Rebuilds a container from its items."""

    def __init__(self, structure: pytree.TreeSpec) -> None:
        self._structure = structure
        self.__name__ = structure.type.__name__

    def __call__(self, items: list[Any]) -> Any:
        return pytree.tree_unflatten(items, self._structure)


def _attribute(owner: str, name: str) -> str:
    """Write a parameter or buffer of a module; those of an `nn.ParameterList` are named `0`."""
    if identifier(name) == name:
        return f"{owner}.{name}"
    return f"getattr({owner}, {quoted(name)})"


def quoted(text: str) -> str:
    """Write a string literal in double quotes."""
    literal = json.dumps(text, ensure_ascii=False)
    return literal.encode("utf-8", "backslashreplace").decode()  # lone surrogates


def _leaf_paths(node: Node) -> list[tuple[Any, ...]]:
    """Return the path from a node's result to each of its leaves."""
    found, _ = pytree.tree_flatten_with_path(node.layout())
    return [path for path, _ in found]


def _pattern(node: Node, names: dict[int, str]) -> str | None:
    """Return an assignment target that unpacks nested tuples, `None` for other structures."""

    def write(part: Any) -> str | None:
        if isinstance(part, (tuple, list)):
            items = [write(item) for item in part]
            if None in items or not items:
                return None
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"  # type: ignore[arg-type]
        return names.get(part, "_") if isinstance(part, int) else None

    text = write(node.layout())
    return text[1:-1] if text and text.startswith("(") else text


# ------------------------------------------------------------------ from source to function

_numbers = itertools.count(1)


def compile_forward(source: Source, title: str) -> Callable[..., Any]:
    """Make the function; tracebacks and debuggers show its lines.

    Args:
        source: what `generate` wrote.
        title: shown as the file name, `<fgraph title 1>`.
    """
    filename = f"<fgraph {title} {next(_numbers)}>"
    namespace = {**_FREE_NAMES, **source.namespace}
    exec(compile(source.text, filename, "exec"), namespace)
    forward: Callable[..., Any] = namespace["forward"]
    linecache.cache[filename] = (
        len(source.text),
        None,
        source.text.splitlines(keepends=True),
        filename,
    )
    weakref.finalize(forward, linecache.cache.pop, filename, None).atexit = False
    return forward
