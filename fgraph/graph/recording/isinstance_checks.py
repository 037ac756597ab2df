"""Detecting whether running code checks `isinstance(x, torch.Tensor)`, and which call it makes.

A symbolic tensor is not a `torch.Tensor`: torch's C++ code would read memory that does not exist.
But Python code that checks `isinstance` must take the branch for tensors. Both read `__class__` of
the object; only a call of `isinstance` has the class as its last argument.
"""

from __future__ import annotations

import ast
import dis
import itertools
import linecache
import operator
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from types import CodeType, FrameType, UnionType
from typing import Any, cast

from ...errors import SymbolicError

_RUNS_FUNCTIONS = (
    "torch.vmap, torch.func.grad, torch.cond and their like run a function on real tensors: record "
    "them whole, `fgraph.apply(torch.vmap(function), x)`, `fgraph.apply(torch.cond, predicate, f, "
    "g, (x,), output_shape=...)`"
)
_NEED_REAL_TENSORS = {
    "torch._functorch.vmap": _RUNS_FUNCTIONS,
    "torch._functorch.eager_transforms": _RUNS_FUNCTIONS,
    "torch._higher_order_ops.": _RUNS_FUNCTIONS,
    "torch.nn.utils._named_member_accessor": (
        "torch.func.functional_call puts real tensors into a module: record it whole, "
        "`fgraph.apply(torch.func.functional_call, module, tensors, (x,))`"
    ),
}
_TELLING_APART = ("torch.", __name__.partition(".")[0] + ".")
Expression = Callable[[FrameType], Any]  # evaluates a part of the code in the frame that runs it


def is_isinstance_check(frame: FrameType, kind: type) -> bool:
    """Return whether the call that `frame` is about to make is `isinstance(..., kind)`.

    The class may be one of several, as a tuple or a union. Where it is not a name, an attribute
    or such, the answer is `False`. So it is for code of this package, which wants to tell them
    apart, and for torch's own, which would go on in C++; `torch.is_tensor` does not.

    Raises:
        SymbolicError: `torch.vmap`, `functional_call` or such asks, which needs real tensors.
    """
    asking = frame.f_globals.get("__name__", "")
    if asking.startswith(_TELLING_APART):
        for module, text in _NEED_REAL_TENSORS.items():
            if asking.startswith(module):
                raise SymbolicError(text)
        return False
    expression = _last_argument(frame.f_code, frame.f_lasti)
    if expression is None:
        return False
    try:
        return kind in _classes(expression(frame))
    except (AttributeError, KeyError, StopIteration, TypeError):
        return False


def called(frame: FrameType) -> tuple[str, int] | None:
    """Return the name of what `frame` calls, and the number of positional arguments.

    Those of `f(*values)` count as many. `None` where the source is not at hand.
    """
    code = frame.f_code
    position = next(itertools.islice(code.co_positions(), frame.f_lasti // 2, None))
    if None in position:
        return None
    first, last, begin, end = cast(tuple[int, int, int, int], position)
    lines = linecache.getlines(code.co_filename, frame.f_globals)[first - 1 : last]
    if not lines:
        return None
    lines[-1] = lines[-1].encode()[:end].decode()
    lines[0] = lines[0].encode()[begin:].decode()
    try:
        call = ast.parse(f"({''.join(lines)})", mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(call, ast.Call):
        return None
    spread = any(isinstance(argument, ast.Starred) for argument in call.args)
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name, sys.maxsize if spread else len(call.args)


def _classes(value: Any) -> list[Any]:
    """Return the classes that the second argument of `isinstance` stands for."""
    if isinstance(value, tuple):
        return [kind for part in value for kind in _classes(part)]
    return [*value.__args__] if isinstance(value, UnionType) else [value]


def _look_up(frame: FrameType, name: str, in_locals: bool) -> Any:
    places = (*((frame.f_locals,) if in_locals else ()), frame.f_globals, frame.f_builtins)
    return next(place[name] for place in places if name in place)


@lru_cache(maxsize=1024)
def _last_argument(code: CodeType, offset: int) -> Expression | None:
    """Return the last argument of the call of `isinstance` at this instruction, if it is one."""
    if "isinstance" not in code.co_names:
        return None
    before: list[dis.Instruction] = []
    for instruction in dis.get_instructions(code):
        if instruction.offset == offset:
            # Python 3.11 calls from either of two instructions
            is_call = instruction.opname in ("CALL", "PRECALL") and instruction.arg == 2
            return _pop(before) if is_call else None
        if instruction.opname not in ("PRECALL", "CACHE", "EXTENDED_ARG", "NOP"):
            before.append(instruction)
    return None


def _pop(before: list[dis.Instruction]) -> Expression | None:
    """Take the instructions of the last expression off the end of `before`."""
    if not before:
        return None
    instruction = before.pop()
    name, argument = instruction.opname, instruction.argval
    if name in ("LOAD_GLOBAL", "LOAD_NAME"):
        return partial(_look_up, name=argument, in_locals=name == "LOAD_NAME")
    if name.startswith(("LOAD_FAST", "LOAD_DEREF")):
        local = argument[-1] if isinstance(argument, tuple) else argument
        return lambda frame: frame.f_locals[local]
    if name == "LOAD_ATTR" and (owner := _pop(before)) is not None:
        return lambda frame: getattr(owner(frame), argument)
    if name == "BUILD_TUPLE":
        parts = [_pop(before) for _ in range(argument)]
        known = [part for part in parts if part is not None]
        return lambda frame: tuple(part(frame) for part in known)
    if name == "BINARY_OP" and instruction.argrepr == "|":
        right, left = _pop(before), _pop(before)
        if right is not None and left is not None:
            return lambda frame: operator.or_(left(frame), right(frame))
    return None
