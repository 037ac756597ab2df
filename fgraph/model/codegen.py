"""Writing a graph as straight-line Python: one line per call, one named parameter per input."""

from __future__ import annotations

import itertools
import linecache
import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils import _pytree as pytree

from ..graph import Node, Ref
from ..graph.graph import Graph
from ..graph.modes import Modes
from ..layers.modules import KeptLoss
from .expressions import FREE_NAMES, ExpressionWriter, quoted
from .identifiers import identifier
from .naming import Naming

_FEWEST_CALLS = 3  # of children in a forward, from which on child_calls() saves more than it costs


@dataclass
class ForwardSource:
    """A generated forward.

    Attributes:
        text: the source of `def forward(self, ...)`.
        namespace: what its free names stand for.
        tensors: real tensors of the graph that the model has to register, by name.
        borrowed: those that the model or a child has, and modules among arguments, by dotted path.
        lines: for each node, in order, the number, from 1, of the line that runs it.
    """

    text: str
    namespace: dict[str, Any]
    tensors: dict[str, Tensor]
    borrowed: dict[str, Any]
    lines: list[int]


class Statement(NamedTuple):
    """Lines of a forward, the modes that they run under, and the position of the node they call."""

    modes: Modes | None
    lines: list[str]
    position: int | None = None


Line = tuple[str, int | None]  # of a forward, and the position of the node that it runs, if any


class ForwardWriter(ExpressionWriter):
    """Writes one forward.

    Args:
        graph: what to run.
        naming: the names of its inputs, layers and modules.
        own: the parameters and buffers that the model itself has already, by name.
    """

    def __init__(self, graph: Graph, naming: Naming, own: Mapping[str, Tensor | None]) -> None:
        super().__init__(graph, naming, own)
        self._names = {id(node): name for node, name in zip(graph.nodes, naming.nodes, strict=True)}
        calls = (id(node.call.outermost) for node in graph.nodes if node.call is not None)
        self._group_sizes = Counter(calls)
        self._last_use = {
            ref: position for position, node in enumerate(graph.nodes) for ref in node.refs()
        }
        self._keep = set(graph.outputs) | set(graph.inputs)
        self._used = self._keep.union(self._last_use)
        self._penalised_again = _penalised_again(graph)
        self._functions: list[Line] = []  # inside the forward

    def write(self, outputs: Any) -> ForwardSource:
        """Return the source that computes `outputs`, a structure with a `Ref` for each tensor."""
        nodes = self._graph.nodes
        body = in_blocks(self._body(0, len(nodes)))
        lines: list[Line] = [(line, None) for line in self._opening()]
        signature = ", ".join(["self", *self.parameters])
        calls = sum(path is not None and len(path) == 1 for path in self._naming.paths)
        modes = any(node.modes for node in nodes)  # child_calls tells torch.fx of them
        if calls or modes:
            short = calls >= _FEWEST_CALLS or modes
            lines.append((f"m = {f'child_calls({signature})' if short else 'self._modules'}", None))
        lines += [*self._functions, *body, (f"return {self._value(outputs)}", None)]
        numbers = {position: number for number, (_, position) in enumerate(lines, 2)}
        return ForwardSource(
            "\n".join([f"def forward({signature}):", *(line for line, _ in indented(lines)), ""]),
            self._namespace,
            self._tensors,
            self._borrowed,
            [numbers[position] for position in range(len(nodes))],
        )

    def _body(self, first: int, end: int) -> list[Statement]:
        """Write the nodes from one position to before another."""
        return [statement for at in range(first, end) for statement in self._node(at)]

    def _node(self, position: int) -> Iterator[Statement]:
        node = self._graph.nodes[position]
        statements = self._statements(node)
        if id(node) in self._penalised_again:
            kept, path = self._fresh("kept"), self._paths[id(node)] or ()
            before = f"{kept} = losses_so_far({self._module(path)})"
            statements = [before, *statements, f"add_losses({kept})", f"del {kept}"]
        if self._graph.copies.before and (saved := self._saved(node)):
            yield Statement(None, saved)  # gradients flow through copies, whatever the mode
        if done := self._done(node, range(position, position + 1)):
            statements.append(f"del {', '.join(done)}")
        yield Statement(node.modes, ["; ".join(statements)], position)

    def _done(self, node: Node, positions: range) -> list[str]:
        """Return the variables of what `node` takes and no node after these positions uses."""
        done = []
        for ref in dict.fromkeys(node.refs()):
            if self._last_use[ref] in positions:
                if ref not in self._keep:
                    done.append(self._variables[ref])
                if ref in self._overwritten:
                    done.append(self._overwritten[ref])
        return done

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

    def _statements(self, node: Node) -> list[str]:
        """Return the statements that call a node and give its results their variables."""
        call = self._call(node)
        if node.structure is None:
            return [f"{self._name(node, Ref(node))} = {call}"]
        wanted = [
            ref for index in range(len(node.specs)) if (ref := Ref(node, index)) in self._used
        ]
        paths = [path for path, _ in pytree.tree_flatten_with_path(node.layout())[0]]
        if len(wanted) == 1:
            path = self._path(paths[wanted[0].index])
            return [f"{self._name(node, wanted[0])} = {call}{path}"]
        names = {ref.index: self._name(node, ref) for ref in wanted}
        if (pattern := _pattern(node, names)) is not None:
            return [f"{pattern} = {call}", *(["del _"] if re.search(r"\b_\b", pattern) else [])]
        whole = self._fresh("result")
        parts = [f"{name} = {whole}{self._path(paths[i])}" for i, name in names.items()]
        return [f"{whole} = {call}", *parts, f"del {whole}"]

    def _name(self, node: Node, ref: Ref) -> str:
        base = self._names[id(node)]
        if node.call is not None and node.op != "module":
            if self._group_sizes[id(node.call.outermost)] > 1:
                base = f"{base}_{node.kind.strip('_')}"
        name = self._variables[ref] = self._fresh(identifier(base))
        return name


def _penalised_again(graph: Graph) -> set[int]:
    """Return the calls of models whose inner layers kept penalties in an earlier call."""
    seen: set[int] = set()
    found: set[int] = set()
    for node in graph.nodes:
        if node.op == "module" and node.target._modules:
            parts = {id(part) for part in node.target.modules() if isinstance(part, KeptLoss)}
            if parts & seen:
                found.add(id(node))
            seen |= parts
    return found


def in_blocks(statements: Iterable[Statement]) -> list[Line]:
    """Put statements into `with` blocks, one for all consecutive statements of the same modes."""
    lines: list[Line] = []
    for modes, group in itertools.groupby(statements, lambda statement: statement.modes):
        inner = [(line, position) for _, several, position in group for line in several]
        if modes is not None:
            lines.append((f"with {', '.join(map(_written, modes.contexts()))}:", None))
        lines += inner if modes is None else indented(inner)
    return lines


def indented(lines: Iterable[Line]) -> list[Line]:
    """Return lines one level deeper."""
    return [(f"    {line}", position) for line, position in lines]


def _written(context: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]) -> str:
    """Write the making of a context manager: `torch.autocast("cpu", dtype=torch.bfloat16)`."""
    make, args, options = context
    given = [quoted(arg) for arg in args] + [f"{key}={value}" for key, value in options.items()]
    return f"torch.{make.__name__}({', '.join(given)})"


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


def compile_forward(source: ForwardSource, title: str) -> Callable[..., Any]:
    """Make the function; tracebacks and debuggers show its lines.

    Args:
        source: what `generate` wrote.
        title: shown as the file name, `<fgraph title 1>`.
    """
    filename = f"<fgraph {title} {next(_numbers)}>"
    namespace = {**FREE_NAMES, **source.namespace}
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
