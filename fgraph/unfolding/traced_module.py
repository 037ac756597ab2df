"""Running the forward of an unfolded module, and of the modules in it, on symbolic values.

Each module has a shallow copy on which its `forward` runs: there, parameters, buffers and the mode
are symbolic. Its children are copies too, whose calls are traced in turn or recorded as leaves. The
graph refers only to the real modules and tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from ..errors import BuildError, SymbolicError
from ..graph.home import Home
from ..graph.module_copies import has_own_call, parts_of, shallow_copy
from ..graph.module_state import buffer, known_of, parameter, training
from ..graph.nested import map_leaves
from ..graph.node import Node, Ref, Scope, current_scope, current_trial, recording
from ..graph.recording.record import (
    RealChange,
    module_calls,
    note_dtype,
    record,
    result_of,
    to_refs,
)
from ..graph.recording.symbolic_sizes import SymbolicSize
from .both_modes import Trial
from .leaves import Leaves, is_of_torch
from .side_effects import OtherDraws, RecordDraws, SavedHandles

_MISSING = object()


def trace(
    home: Home,
    leaves: Leaves,
    draws: RecordDraws,
    mode: bool | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Record what a module does, call by call; return its result.

    Args:
        home: the module, and its place in the model.
        leaves: which parts are leaves.
        draws: records random numbers.
        mode: the value of `self.training`; `None` for a symbolic value.
        args, kwargs: the arguments of the call.

    Raises:
        ModeIsAsked: the forward of the module itself branches on its mode.
        BuildError: the module refuses the arguments.
    """
    traced: dict[int, TracedModule] = {}
    root = TracedModule(home, leaves, draws, home.module, home.name, mode)
    waiting = [root]
    try:
        while waiting:
            owner = waiting.pop()
            traced[id(owner.real)] = owner
            for name, child in owner.real._modules.items():
                if child is None or has_own_call(type(child)):
                    continue
                known = traced.get(id(child))
                if known is None:
                    path = _joined(owner.name, name)
                    known = traced[id(child)] = TracedModule(home, leaves, draws, child, path, None)
                    waiting.append(known)
                owner.copy.__dict__["_modules"][name] = known.copy
        for part in traced.values():
            part.reset()
        return root.trace(args, kwargs)
    finally:
        for part in traced.values():  # cycles that would keep symbolic values alive
            part.drop()


class TracedModule:
    """An unfolded module or one inside it, with the copy that its forward runs on.

    Args:
        home: the unfolded module.
        leaves: which parts are leaves.
        draws: records random numbers.
        real: the module.
        name: its qualified name.
        mode: the value of `self.training`; `None` for a symbolic value.
    """

    def __init__(
        self,
        home: Home,
        leaves: Leaves,
        draws: RecordDraws,
        real: nn.Module,
        name: str,
        mode: bool | None,
    ) -> None:
        self.real = real
        self.name = name
        self._home = home
        self._leaves = leaves
        self._draws = draws
        self._tensors: dict[int, Any] = {}
        self._mode: Any = mode
        if mode is None:
            node = self._node("training", training, real)
            self._mode = _Mode(Ref(node), real is home.module)
        self.copy = shallow_copy(real)
        self._first: dict[tuple[str, ...], Any] = {}  # its attributes before the forward ran

    def reset(self) -> None:
        """Give the copy the attributes of the module, and remember them to notice changes."""
        children = self.copy.__dict__["_modules"]
        self.copy.__dict__.clear()
        self.copy.__dict__.update(
            shallow_copy(self.real).__dict__,
            _parameters=_ReadsSymbolic(self.real._parameters, self._read),
            _buffers=_ReadsSymbolic(self.real._buffers, self._read),
            _modules=children,
            training=self._mode,
            _traced_module=self,
        )
        self._first = self._state()

    def drop(self) -> None:
        """Drop all symbolic values."""
        self.copy.__dict__.clear()
        self._tensors.clear()
        self._first.clear()
        self._mode = None

    def called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Trace the module, or record a call of the real one.

        Raises:
            SymbolicError: the caller has set attributes of the module.
        """
        self._refuse_changes(by_caller=True)
        reason = self._leaves.why_kept(self.real, self.name)
        if reason is None:
            return self.trace(args, kwargs)
        if reason:
            self._leaves.add(self.real, self.name, SymbolicError(reason))
        return self._record_whole(args, kwargs)

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the forward; where that fails, record a call of the real module."""
        before = SavedHandles((args, kwargs))
        failure: Exception | None = None
        try:
            try:
                return self._in_both_modes(args, kwargs, before)
            except RealChange:
                self._go_back(before)
            with self._draws.with_tables():
                return self._in_both_modes(args, kwargs, before)
        except ModeIsAsked as error:
            if error.of_root:
                raise
            failure = error
        except Exception as error:
            failure = error
        self._go_back(before)
        try:
            with OtherDraws(of_torch=False):
                found = self._record_whole(args, kwargs)
            # as documented; warn only of leaves that hide modules which could be unfolded
            if not (isinstance(failure, ModeIsAsked) and all(map(is_of_torch, self._inner()))):
                self._leaves.add(self.real, self.name, failure)
        except BuildError:
            raise
        except Exception as error:
            raise failure from error
        finally:
            failure = None  # its traceback keeps this frame alive, and all symbolic values in it
        return found

    def _in_both_modes(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], before: SavedHandles
    ) -> Any:
        """Run the forward; if it branches on its mode, record numbers that depend on the mode.

        Raises:
            ModeIsAsked: more than numbers depend on the mode.
        """
        given, choices = self._home.given, None
        trial, other = Trial(True), None
        try:
            result = self._run(trial, args, kwargs)
        except Exception:
            if trial.asked is None:
                raise
        else:
            if trial.asked is None:
                trial.accept()
                return result
            self._go_back(before, given)
            other = Trial(False, trial.asked)
            with suppress(Exception):
                self._run(other, args, kwargs)
                choices = other.choices_beside(trial)
        self._go_back(before, given)
        self._leave_scopes({id(run.scope) for run in (trial, other) if run is not None})
        # raises an error when the truth value of the mode is needed, without an answer
        trial = Trial(None) if choices is None else Trial(True, trial.asked, choices)
        result = self._run(trial, args, kwargs)
        trial.accept()
        return result

    def _go_back(self, before: SavedHandles, given: int | None = None) -> None:
        """Undo the changes of a run: handles, attributes, and names given since."""
        before.restore()
        self.reset()
        if given is not None:
            self._home.take_back(given)

    def _leave_scopes(self, left: set[int]) -> None:
        """Let tensors that were read in discarded runs belong to the next call that reads them."""
        for part in self.copy.modules():
            traced = part.__dict__.get("_traced_module")
            for found in traced._tensors.values() if traced is not None else ():
                scope = found.node.scope
                while scope is not None and id(scope) not in left:
                    scope = scope.outer
                if scope is not None:
                    found.node.scope = None

    def _run(self, trial: Trial, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the forward once."""
        trial.scope = scope = Scope(self._home, self.name, to_refs((args, kwargs)), current_scope())
        watched = OtherDraws(self._draws.all_recorded)
        with recording(scope, "scope"), watched, trial.running():
            result = self.copy.forward(*args, **kwargs)
            watched.check()
            self._refuse_changes()
            trial.outputs = to_refs(result)
            scope.set_outputs(trial.outputs)
        return result

    def _record_whole(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = map_leaves(_real, args), map_leaves(_real, kwargs)
        return record("module", self.real, args, kwargs, name=self.name or None)

    def _inner(self) -> list[nn.Module]:
        """Return the modules inside, without containers."""
        containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        found = [m for m in self.real.modules() if type(m) not in containers]
        return [module for module in found if module is not self.real]

    def _node(self, name: str, read: Any, of: Any) -> Node:
        home = self._home
        specs, _, effects = known_of(read, of)
        free = home.free(_joined(self.name, name), for_good=True)
        made = Node("function", read, (of,), {}, specs, name=free)
        made.declared, made.modes, made.effects = True, None, effects
        made.scope = made.scope or Scope(home, self.name)  # not yet in a call: a mode
        return made

    def _read(self, name: str, tensor: Any) -> Any:
        """Return the value of a parameter or buffer for the forward."""
        if not isinstance(tensor, Tensor):
            return tensor
        found = self._tensors.get(id(tensor))
        if found is None:
            read = parameter if isinstance(tensor, nn.Parameter) else buffer
            node = self._node(name, read, tensor)
            found = self._tensors[id(tensor)] = result_of(node, ())
        elif found.node.scope is None:
            found.node.scope = current_scope() or Scope(self._home, self.name)
        return found

    def _state(self) -> dict[tuple[str, ...], Any]:
        """Return the attributes of the copy, with the contents of dictionaries, lists and sets."""
        found: dict[tuple[str, ...], Any] = {}
        left: list[tuple[tuple[str, ...], Any]] = [((n,), v) for n, v in vars(self.copy).items()]
        while left:
            path, value = left.pop()
            found[path] = value
            if len(path) < 4:
                left += [((*path, str(key)), part) for key, part in parts_of(value)]
        return found

    def _refuse_changes(self, by_caller: bool = False) -> None:
        """Refuse a forward that sets attributes, for later calls: a graph would not set them.

        Args:
            by_caller: whether the error is about another module's forward.
        """
        before, now = self._first, self._state()
        for path in {**before, **now}:
            old, new = before.get(path, _MISSING), now.get(path, _MISSING)
            if old is new or (type(old) is type(new) in (bool, int, float, str) and old == new):
                continue
            kinds = {"_buffers": "its buffer", "_parameters": "its parameter"}
            what = f"{kinds.get(path[0], f'self.{path[0]}, at')} {path[-1]!r}" if path[1:] else (
                f"self.{path[0]}"
            )  # fmt: skip
            self.reset()
            whose = f" of {self.name!r}" if by_caller else ""
            raise SymbolicError(f"it sets {what}{whose}, which the model would not keep")


class _ReadsSymbolic(dict[str, Any]):
    """The parameters or buffers of a traced module, symbolic when looked up by name."""

    def __init__(self, real: Any, read: Callable[[str, Any], Any]) -> None:
        super().__init__(real)
        self._read = read

    def items(self) -> Any:
        """Yield the real tensors, like `self.parameters()`, so that dtypes can be read."""
        for name, tensor in super().items():
            if isinstance(tensor, Tensor):
                note_dtype(self._read(name, tensor).ref)
            yield name, tensor

    def __getitem__(self, name: str) -> Any:
        return self._read(name, super().__getitem__(name))


class _Mode(SymbolicSize):
    """A symbolic `self.training`, whose value is known when the model runs."""

    __slots__ = ("_of_root",)

    def __init__(self, ref: Ref, of_root: bool) -> None:
        super().__init__(ref)
        self._of_root = of_root

    def __bool__(self) -> bool:
        trial: Trial | None = current_trial()
        answer = None if trial is None else trial.ask(self.ref)
        if answer is not None:
            return answer
        error = ModeIsAsked("it decides on self.training, which may change", self._of_root)
        module_calls.failed(error)
        raise error


class ModeIsAsked(SymbolicError):
    """A forward branches on the mode of its module."""

    def __init__(self, text: str, of_root: bool) -> None:
        super().__init__(text)
        self.of_root = of_root


def _real(leaf: Any) -> Any:
    traced = getattr(leaf, "__dict__", {}).get("_traced_module")
    return leaf if traced is None else traced.real


def _joined(owner: str, name: str) -> str:
    return f"{owner}.{name}" if owner else name
