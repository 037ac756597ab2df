"""`unfold`: record what a torch module does, call by call, in place of the module.

The module's own `forward` runs once on symbolic tensors, on a shadow of the module: what it reads
of parameters, buffers and modes is symbolic there, and what it calls is either opened in turn or
recorded as a leaf. The graph refers to the real modules and tensors alone.
"""

from __future__ import annotations

import fnmatch
import random
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import BuildError, SymbolicError
from .capture import has_own_call
from .meta import is_inferring
from .nested import iter_leaves, map_leaves
from .node import Home, Node, Ref, Scope, scoped
from .opened import buffer, known_of, parameter, training
from .record import Symbol, module_calls, record, record_function, result_of
from .shapes import remembering
from .symbolic import SymbolicSize
from .torch_functions import DRAWS

Leaf = Callable[[nn.Module], bool] | type | str


def unfold(
    module: nn.Module,
    name: str | None = None,
    leaf: Leaf | tuple[Leaf, ...] = (),
    strict: bool = False,
) -> Unfolded:
    """Open a torch module, so that calling it on symbolic tensors records the calls inside.

    The `forward` of the module runs, and those of its children down to leaves: modules of
    `torch.nn` other than containers. The nodes have qualified names, `layer1.0.conv1`. The model
    registers the module's own children, so that its `state_dict` has the same keys and tensors.
    Parameters, buffers and `self.training` are read when the model runs. A child that is named as
    an attribute of `Model`, such as `layers`, keeps its keys; `get_submodule` finds it, but
    `torch.export` and `to_fx` need a `name`.

    A part that decides on its mode is kept as one leaf; where the module itself does, the way of
    its present mode is taken, with a warning. A part that cannot be recorded, since it decides on
    values, is kept as a leaf with a warning that says why.

    Args:
        module: any torch module: of torchvision, timm, transformers, or your own.
        name: where the module hangs in the model; by default its children become children of the
            model. Two modules in one model need names.
        leaf: further modules not to open: a class, a pattern of qualified names (`"layer4.*"`), a
            function of the module that returns a bool, or a tuple of these.
        strict: whether to raise an error in place of keeping a part as a leaf.

    Returns:
        A callable. On symbolic tensors it records; on real ones it is the module.

    Raises:
        TypeError: `module` is not a torch module.
        BuildError: with `strict`, a part cannot be recorded; always, the module refuses the shapes.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> x = Input((3,))
        >>> model = Model(x, fgraph.unfold(net)(x))
        >>> list(model.state_dict()) == list(net.state_dict())
        True
        >>> Model(x, model.output_of("1")).output_shape
        (None, 4)
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"unfold expects a torch module, got {type(module).__name__}: {module!r:.80}"
        )
    if name is not None and (not isinstance(name, str) or not name or "." in name):
        raise TypeError(f"unfold: name= expects a string without dots, got {name!r}")
    rules = leaf if isinstance(leaf, tuple) else (leaf,)
    for rule in rules:
        if not (isinstance(rule, str) or callable(rule)):
            raise TypeError(
                f"unfold: leaf= expects classes, name patterns or functions, got {rule!r}"
            )
    return Unfolded(Home(module, name or ""), rules, strict)


class Unfolded:
    """A torch module that is opened where it is called on symbolic tensors; see `unfold`."""

    def __init__(self, home: Home, rules: tuple[Leaf, ...], strict: bool) -> None:
        self._home = home
        self._rules = rules
        self._strict = strict
        self._kept: dict[tuple[str, str], tuple[str, list[str]]] = {}  # parts kept as leaves

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Record the calls inside the module; run it where no argument is symbolic."""
        if not module_calls.has_symbolic((args, kwargs)):
            return self._home.module(*args, **kwargs)
        module = self._home.module
        self._kept.clear()
        with _RecordDraws(), remembering():
            try:
                result = self._open(None, args, kwargs)
            except _ModeIsAsked as error:
                text = (
                    f"unfold: the forward of {_kind(module)} decides on its mode"
                    f"{_where(error)}: the graph has what it does in "
                    f"{'training' if module.training else 'evaluation'} mode"
                )
                if self._strict:
                    raise BuildError(text) from error
                self._kept = {("", ""): (text, [])}
                result = self._open(module.training, args, kwargs)
        for text, names in self._kept.values():
            more = f", and {len(names) - 3} more" if len(names) > 3 else ""
            warnings.warn(text + ", ".join(map(repr, names[:3])) + more, stacklevel=2)
        return result

    def _open(self, mode: bool | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Open the module, on shadows of all that is in it.

        Args:
            mode: what its `self.training` is; `None` for a symbolic value.
            args, kwargs: what it is called on.
        """
        parts: dict[int, _Part] = {}
        try:
            return self._root(mode, parts).open(args, kwargs)
        finally:
            for part in parts.values():  # cycles that would keep symbolic values alive
                part.drop()

    def _root(self, mode: bool | None, parts: dict[int, _Part]) -> _Part:
        """Return the module as a part; add it and all parts in it to `parts`."""
        root = _Part(self, self._home.module, self._home.name, mode)
        waiting = [root]
        while waiting:
            part = waiting.pop()
            parts[id(part.real)] = part
            for name, child in part.real._modules.items():
                shadow: Any = child
                if child is not None and not has_own_call(type(child)):
                    known = parts.get(id(child))
                    if known is None:
                        known = _Part(self, child, _joined(part.name, name), None)
                        waiting.append(known)
                        parts[id(child)] = known
                    shadow = known.shadow
                part.shadow.__dict__["_modules"][name] = shadow
        return root

    def keeps(self, part: _Part) -> str | None:
        """Return why a part is not to be opened, `""` for no reason worth a word, else `None`."""
        real = part.real
        for rule in self._rules:
            if isinstance(rule, str):
                found = fnmatch.fnmatchcase(part.name, rule)
            elif isinstance(rule, type):
                found = isinstance(real, rule)
            else:
                found = bool(rule(real))
            if found:
                return ""
        if _is_of_torch(real):
            return ""
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        if any(getattr(real, hook) for hook in hooks):
            return "it has hooks"
        if real._compiled_call_impl is not None or "forward" in real.__dict__:
            return "it is compiled, or its forward is replaced"
        return None

    def failed(self, part: _Part, error: Exception) -> None:
        """Note that a part is kept as a leaf; with `strict`, raise an error."""
        if isinstance(error, _ModeIsAsked) and all(map(_is_of_torch, part.inner())):
            return  # as documented; what hides modules that could be opened is worth a word
        name, kind, where = part.name or "the module itself", _kind(part.real), _where(error)
        what = "" if isinstance(error, SymbolicError) else f"{type(error).__name__}: "
        text = f"unfold: {kind} is kept as a leaf, {what}{error}{where}: "
        if self._strict:
            raise BuildError(f"{text}{name!r}") from error
        self._kept.setdefault((kind, where), (text, []))[1].append(name)


class _Part:
    """A module inside the opened one, or that itself, with the shadow that its forward runs on.

    Args:
        unfolded: what it belongs to.
        real: the module.
        name: its qualified name.
        mode: what `self.training` is; `None` for a symbolic value.
    """

    def __init__(self, unfolded: Unfolded, real: nn.Module, name: str, mode: bool | None) -> None:
        self.real = real
        self.name = name
        self._unfolded = unfolded
        self._is_root = real is unfolded._home.module
        self.shadow = shadow = object.__new__(type(real))
        for key, value in real.__dict__.items():
            shadow.__dict__[key] = value.copy() if type(value) in (dict, list, set) else value
        shadow.__dict__["_parameters"] = _Reading(real._parameters, self._read)
        shadow.__dict__["_buffers"] = _Reading(real._buffers, self._read)
        shadow.__dict__["_modules"] = dict(real._modules)
        shadow.__dict__["_fgraph_part"] = self
        self._tensors: dict[int, Any] = {}
        if mode is None:
            node = self._node("training", training, real)
            mode = _Mode(Ref(node), self._is_root)  # type: ignore[assignment]
        shadow.__dict__["training"] = mode

    def inner(self) -> list[nn.Module]:
        """Return the modules inside, but containers."""
        containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        found = [m for m in self.real.modules() if type(m) not in containers]
        return [module for module in found if module is not self.real]

    def drop(self) -> None:
        """Let go of all symbolic values."""
        self.shadow.__dict__.clear()
        self._tensors.clear()

    def _node(self, name: str, read: Any, of: Any) -> Node:
        home = self._unfolded._home
        specs, _, effects = known_of(read, of)
        made = Node("function", read, (of,), {}, specs, name=home.free(_joined(self.name, name)))
        made.declared, made.modes, made.effects = True, None, effects
        made.scope = made.scope or Scope(home, self.name, None)  # not yet in a call: a mode
        return made

    def _read(self, name: str, tensor: Any) -> Any:
        """Return what a forward sees of a parameter or buffer."""
        if not isinstance(tensor, Tensor):
            return tensor
        found = self._tensors.get(id(tensor))
        if found is None:
            read = parameter if isinstance(tensor, nn.Parameter) else buffer
            node = self._node(name, read, tensor)
            found = self._tensors[id(tensor)] = result_of(node, ())
        return found

    def _state(self) -> dict[tuple[str, ...], Any]:
        """Return the attributes of the shadow, and what is in dictionaries, lists and sets."""
        found: dict[tuple[str, ...], Any] = {}
        for name, value in self.shadow.__dict__.items():
            found[name,] = value
            if type(value) in (dict, list, set, _Reading):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                found.update(((name, str(key)), item) for key, item in items)
        return found

    def _refuse_changes(self, before: dict[tuple[str, ...], Any]) -> None:
        """Refuse a forward that sets attributes, for later calls: a graph would not set them."""
        now = self._state()
        for path in {**before, **now}:
            old, new = before.get(path, _Part), now.get(path, _Part)
            if old is new or (type(old) is type(new) in (bool, int, float, str) and old == new):
                continue
            kinds = {"_buffers": "its buffer", "_parameters": "its parameter"}
            what = f"{kinds.get(path[0], f'self.{path[0]}, at')} {path[-1]!r}" if path[1:] else (
                f"self.{path[0]}"
            )  # fmt: skip
            raise SymbolicError(f"it sets {what}, which the model would not keep")

    def called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Open the module, or record the call of the real one."""
        reason = self._unfolded.keeps(self)
        if reason is None:
            return self.open(args, kwargs)
        if reason:
            self._unfolded.failed(self, SymbolicError(reason))
        return self._leaf(args, kwargs)

    def _leaf(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = map_leaves(_real, args), map_leaves(_real, kwargs)
        return record("module", self.real, args, kwargs, name=self.name or None)

    def open(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the forward, and record the call of the whole where that fails."""
        before, state = _Handles((args, kwargs)), self._state()
        failure: Exception | None = None
        inputs = map_leaves(_as_ref, args), map_leaves(_as_ref, kwargs)
        with scoped(self._unfolded._home, self.name, inputs) as scope, _OtherDraws() as draws:
            try:
                result: Any = self.shadow.forward(*args, **kwargs)
                draws.check()
                self._refuse_changes(state)
                scope.set_outputs(map_leaves(_as_ref, result))
            except _ModeIsAsked as error:
                if error.of_root:
                    raise
                failure = error
            except Exception as error:
                failure = error
        if failure is None:
            return result
        before.restore()
        try:
            with _OtherDraws():
                found = self._leaf(args, kwargs)
            self._unfolded.failed(self, failure)
        except BuildError:
            raise
        except Exception as error:
            raise failure from error
        finally:
            failure = None  # its traceback has this frame, and so all symbolic values here
        return found


class _Reading(dict[str, Any]):
    """The parameters or buffers of a shadow: what is looked up by name is symbolic."""

    def __init__(self, real: Any, read: Callable[[str, Any], Any]) -> None:
        super().__init__(real)
        self._read = read

    def __getitem__(self, name: str) -> Any:
        return self._read(name, super().__getitem__(name))


class _Mode(SymbolicSize):
    """`self.training`, as it will be when the model runs."""

    __slots__ = ("_of_root",)

    def __init__(self, ref: Ref, of_root: bool) -> None:
        super().__init__(ref)
        self._of_root = of_root

    def __bool__(self) -> bool:
        error = _ModeIsAsked("it decides on self.training, which may change", self._of_root)
        module_calls.failed(error)
        raise error


class _ModeIsAsked(SymbolicError):
    """A forward decides on the mode of its module."""

    def __init__(self, text: str, of_root: bool) -> None:
        super().__init__(text)
        self.of_root = of_root


class _Handles:
    """What the handles among the arguments of a call stand for, to undo in-place operations."""

    def __init__(self, arguments: Any) -> None:
        self._kept: list[tuple[Any, ...]] = []
        for leaf in iter_leaves(arguments):
            if isinstance(leaf, Symbol):
                memory = leaf._memory and leaf._memory.whole()
                state = memory and (list(memory.changes), memory.real, memory._of_several)
                self._kept.append((leaf, leaf.ref, leaf._memory, leaf._seen, memory, state))

    def restore(self) -> None:
        """Let all handles stand for what they stood for before."""
        for handle, ref, held, seen, memory, state in self._kept:
            handle._ref, handle._memory, handle._seen = ref, held, seen
            if memory is not None:
                memory.changes, memory.real, memory._of_several = state
                memory._joined = None


class _OtherDraws:
    """Notices random numbers of numpy and of Python, which would be constants; undoes the draws."""

    def __enter__(self) -> _OtherDraws:
        self._before = self._states()
        return self

    @staticmethod
    def _states() -> tuple[Any, Any]:
        return random.getstate(), np.random.get_state()

    def _are_drawn(self) -> bool:
        (python, ours), (now, theirs) = self._before, self._states()
        return python != now or ours[2] != theirs[2] or not np.array_equal(ours[1], theirs[1])

    def check(self) -> None:
        """Raise an error where a number was drawn."""
        if self._are_drawn():
            raise SymbolicError(
                "it draws random numbers of numpy or Python, which would be the same in all calls"
            )

    def __exit__(self, *error: object) -> None:
        if self._are_drawn():
            random.setstate(self._before[0])
            np.random.set_state(self._before[1])


class _RecordDraws(TorchFunctionMode):
    """Records functions that draw random numbers of nothing symbolic: anew at each call."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if is_inferring() or getattr(func, "__name__", "") not in DRAWS:
            return func(*args, **(kwargs or {}))
        return record_function(func, args, kwargs or {})


# ------------------------------------------------------------------ helpers


def _is_of_torch(module: nn.Module) -> bool:
    """Whether torch itself wrote the forward, of a module that is no container."""
    if isinstance(module, torch.jit.ScriptModule):
        return True
    for kind in type(module).__mro__:
        if "forward" in kind.__dict__:
            return kind.__module__.startswith("torch.") and kind is not nn.Sequential
    return True


def _real(leaf: Any) -> Any:
    part = getattr(leaf, "__dict__", {}).get("_fgraph_part")
    return leaf if part is None else part.real


def _as_ref(leaf: Any) -> Any:
    return leaf.ref if isinstance(leaf, Symbol) else leaf


def _joined(owner: str, name: str) -> str:
    return f"{owner}.{name}" if owner else name


def _kind(module: nn.Module) -> str:
    return type(module).__qualname__


def _frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    for frame in traceback.extract_tb(error.__traceback__):
        package = frame.filename.replace("\\", "/")
        if "/fgraph/" not in package and "/torch/" not in package:
            yield frame


def _where(error: BaseException) -> str:
    """Say which line of the user's code, or of the module's, an error comes from."""
    frames = list(_frames(error))
    if not frames:
        return ""
    return f", at {frames[-1].filename}:{frames[-1].lineno} ({frames[-1].line})"
