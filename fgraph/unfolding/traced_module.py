"""Running the forward of an unfolded module, and of the modules in it, on symbolic values.

Each module has a shallow copy on which its `forward` runs: what that reads of parameters, buffers
and the mode is symbolic, and its children are copies too, whose calls are traced in turn or
recorded as leaves. The graph refers to the real modules and tensors alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..errors import BuildError, SymbolicError
from ..graph.capture import has_own_call
from ..graph.module_copies import shallow_copy
from ..graph.module_state import buffer, known_of, parameter, training
from ..graph.nested import map_leaves
from ..graph.node import Home, Node, Ref, Scope, current_scope, recording
from ..graph.record import module_calls, record, result_of, to_refs
from ..graph.symbolic import SymbolicSize
from .leaves import Leaves, is_of_torch
from .side_effects import OtherDraws, SavedHandles

_MISSING = object()


def trace(
    home: Home, leaves: Leaves, mode: bool | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Record what a module does, call by call; return its result.

    Args:
        home: the module, and where it hangs in the model.
        leaves: which parts are leaves.
        mode: what its `self.training` is; `None` for a symbolic value.
        args, kwargs: what it is called on.

    Raises:
        ModeIsAsked: the forward of the module itself decides on its mode.
        BuildError: the module refuses the arguments.
    """
    traced: dict[int, TracedModule] = {}
    root = TracedModule(home, leaves, home.module, home.name, mode)
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
                    known = traced[id(child)] = TracedModule(home, leaves, child, path, None)
                    waiting.append(known)
                owner.copy.__dict__["_modules"][name] = known.copy
        return root.trace(args, kwargs)
    finally:
        for part in traced.values():  # cycles that would keep symbolic values alive
            part.drop()


class TracedModule:
    """An unfolded module or one inside it, with the copy that its forward runs on.

    Args:
        home: the unfolded module.
        leaves: which parts are leaves.
        real: the module.
        name: its qualified name.
        mode: what `self.training` is; `None` for a symbolic value.
    """

    def __init__(
        self, home: Home, leaves: Leaves, real: nn.Module, name: str, mode: bool | None
    ) -> None:
        self.real = real
        self.name = name
        self._home = home
        self._leaves = leaves
        self._tensors: dict[int, Any] = {}
        self.copy = shallow_copy(real)
        if mode is None:
            node = self._node("training", training, real)
            mode = _Mode(Ref(node), real is home.module)  # type: ignore[assignment]
        self.copy.__dict__.update(
            _parameters=_ReadsSymbolic(real._parameters, self._read),
            _buffers=_ReadsSymbolic(real._buffers, self._read),
            training=mode,
            _traced_module=self,
        )

    def drop(self) -> None:
        """Let go of all symbolic values."""
        self.copy.__dict__.clear()
        self._tensors.clear()

    def called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Trace the module, or record a call of the real one."""
        reason = self._leaves.why_kept(self.real, self.name)
        if reason is None:
            return self.trace(args, kwargs)
        if reason:
            self._leaves.add(self.real, self.name, SymbolicError(reason))
        return self._record_whole(args, kwargs)

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the forward; where that fails, record a call of the real module."""
        before, state = SavedHandles((args, kwargs)), self._state()
        failure: Exception | None = None
        scope = Scope(self._home, self.name, to_refs((args, kwargs)), current_scope())
        with recording(scope, "scope"), OtherDraws() as draws:
            try:
                result: Any = self.copy.forward(*args, **kwargs)
                draws.check()
                self._refuse_changes(state)
                scope.set_outputs(to_refs(result))
            except ModeIsAsked as error:
                if error.of_root:
                    raise
                failure = error
            except Exception as error:
                failure = error
        if failure is None:
            return result
        before.restore()
        try:
            with OtherDraws():
                found = self._record_whole(args, kwargs)
            # as documented; only what hides modules that could be unfolded is worth a word
            if not (isinstance(failure, ModeIsAsked) and all(map(is_of_torch, self._inner()))):
                self._leaves.add(self.real, self.name, failure)
        except BuildError:
            raise
        except Exception as error:
            raise failure from error
        finally:
            failure = None  # its traceback has this frame, and so all symbolic values here
        return found

    def _record_whole(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = map_leaves(_real, args), map_leaves(_real, kwargs)
        return record("module", self.real, args, kwargs, name=self.name or None)

    def _inner(self) -> list[nn.Module]:
        """Return the modules inside, but containers."""
        containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        found = [m for m in self.real.modules() if type(m) not in containers]
        return [module for module in found if module is not self.real]

    def _node(self, name: str, read: Any, of: Any) -> Node:
        home = self._home
        specs, _, effects = known_of(read, of)
        made = Node("function", read, (of,), {}, specs, name=home.free(_joined(self.name, name)))
        made.declared, made.modes, made.effects = True, None, effects
        made.scope = made.scope or Scope(home, self.name)  # not yet in a call: a mode
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
        """Return the attributes of the copy, and what is in dictionaries, lists and sets."""
        found: dict[tuple[str, ...], Any] = {}
        for name, value in self.copy.__dict__.items():
            found[name,] = value
            if type(value) in (dict, list, set, _ReadsSymbolic):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                found.update(((name, str(key)), item) for key, item in items)
        return found

    def _refuse_changes(self, before: dict[tuple[str, ...], Any]) -> None:
        """Refuse a forward that sets attributes, for later calls: a graph would not set them."""
        now = self._state()
        for path in {**before, **now}:
            old, new = before.get(path, _MISSING), now.get(path, _MISSING)
            if old is new or (type(old) is type(new) in (bool, int, float, str) and old == new):
                continue
            kinds = {"_buffers": "its buffer", "_parameters": "its parameter"}
            what = f"{kinds.get(path[0], f'self.{path[0]}, at')} {path[-1]!r}" if path[1:] else (
                f"self.{path[0]}"
            )  # fmt: skip
            raise SymbolicError(f"it sets {what}, which the model would not keep")


class _ReadsSymbolic(dict[str, Any]):
    """The parameters or buffers of a traced module: what is looked up by name is symbolic."""

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
        error = ModeIsAsked("it decides on self.training, which may change", self._of_root)
        module_calls.failed(error)
        raise error


class ModeIsAsked(SymbolicError):
    """A forward decides on the mode of its module."""

    def __init__(self, text: str, of_root: bool) -> None:
        super().__init__(text)
        self.of_root = of_root


def _real(leaf: Any) -> Any:
    traced = getattr(leaf, "__dict__", {}).get("_traced_module")
    return leaf if traced is None else traced.real


def _joined(owner: str, name: str) -> str:
    return f"{owner}.{name}" if owner else name
