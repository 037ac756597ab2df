"""Running a call on `meta` tensors, without side effects.

Every real tensor is replaced by a `meta` tensor of its shape, every module by a shallow copy, and
factories such as `torch.zeros` create `meta` tensors: no random number is drawn, no buffer is
updated and no memory is allocated.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..closures import LiftedFunction
from ..memory import MemoryWatch
from ..modes import Autocast, Modes, under
from ..module_copies import call_of_copy, copy_without_hooks
from ..nested import iter_leaves, map_leaves
from ..node import Node, Ref
from ..specs import DeviceSpec, TensorSpec
from ..torch_functions import torch_name
from .meta_mode import MetaMode


def run_on_meta(
    node: Node,
    lane: Mapping[Ref, Any],
    watch: MemoryWatch | None = None,
    number: int = 0,
    autocast: tuple[Autocast, ...] = (),
) -> tuple[Any, MetaMode]:
    """Run a call on meta tensors; return the result and what was seen on the way.

    Args:
        node: the call.
        lane: for each `Ref` the shape of the meta tensor, or the number, that stands for it; a spec
            for a tensor of another dtype.
        watch: is told what the call does to memory.
        number: the number of the lane, on which stand-ins for sizes decided by values depend.
        autocast: the settings of the caller, for a call that has none of its own.

    If the call branches on the value of a tensor, which is unknown here, both branches are run. A
    branch that raises is ignored: it is a check of values.

    Raises:
        NotImplementedError: the branches lead to results of different shapes.
    """
    results = []
    for answer in (False, True):
        mode = MetaMode(answer, number)
        outer, _inferring.now = _inferring.now, True
        try:
            try:
                with _autocasting(mode, node.autocast or autocast):
                    results.append(_run(node, lane, mode, watch))
            except NotImplementedError as error:
                if mode.device != "meta" or not _lacks_kernel(error):
                    raise
                mode = MetaMode(answer, number)
                results.append(_run_on_fakes(node, lane, mode, watch, error))
        except Exception:
            if not mode.asked or (answer and not results):
                raise
        finally:
            _inferring.now = outer
        if not mode.asked:
            break
    if len(results) == 2 and _outline(results[0]) != _outline(results[1]):
        raise NotImplementedError("the shape of the result depends on values")
    return results[0], mode


class _Inferring(threading.local):
    """Whether this thread runs a call on meta tensors."""

    now = False


_inferring = _Inferring()


def is_inferring() -> bool:
    """Return whether this thread runs a call on meta tensors now."""
    return _inferring.now


# torch logs what fake tensors refuse: here it is an answer, or an error that the user is shown
logging.getLogger("torch._subclasses.fake_tensor").addFilter(lambda _: not _inferring.now)


def _run(node: Node, lane: Mapping[Ref, Any], mode: MetaMode, watch: MemoryWatch | None) -> Any:
    target, args, kwargs = node.target, node.args, node.kwargs
    given: list[tuple[Any, Any]] = []

    def concrete(leaf: Any) -> Any:
        if type(leaf) is Ref:
            spec, stand_in = leaf.spec, lane[leaf]
            if type(spec) is not TensorSpec:
                given.append((None, None))
                return torch.device(mode.device) if type(spec) is DeviceSpec else stand_in
            if type(stand_in) is TensorSpec:
                spec, stand_in = stand_in, stand_in.first
            made = torch.empty(stand_in, dtype=spec.dtype, device=mode.device)
            given.append((made, stand_in))
            return made
        if isinstance(leaf, nn.Module):
            return copy_without_hooks(leaf)
        return mode.to_meta(leaf) if isinstance(leaf, Tensor) else leaf

    known = [leaf for leaf in iter_leaves((args, kwargs)) if isinstance(leaf, (Tensor, nn.Module))]
    with torch.inference_mode(False), torch.no_grad():
        if isinstance(target, LiftedFunction):
            with contextlib.suppress(RuntimeError):  # else it runs with the real modules
                target = target.with_captured(tuple(map(concrete, args[0])))
            target, args, kwargs = target.original_call((target.captured, *args[1:]), kwargs)
        args, kwargs = map_leaves(concrete, args), map_leaves(concrete, kwargs)
        call = target
        if isinstance(target, nn.Module):
            call = call_of_copy(target, watch is not None and watch.evaluating)
        with mode, warnings.catch_warnings(action="ignore"):  # they come at run time
            result = call(*args, **kwargs)
        if watch is not None:
            watch.see(given, result, mode.stand_ins())
    if torch_name(target) is None and not isinstance(target, nn.Module):
        mode.refuse_strangers(known)
    return result


def _lacks_kernel(error: NotImplementedError) -> bool:
    """Return whether an operation failed on meta tensors for lack of a kernel."""
    return "Meta" in str(error) or "fake impl" in str(error)


def _run_on_fakes(
    node: Node,
    lane: Mapping[Ref, Any],
    mode: MetaMode,
    watch: MemoryWatch | None,
    error: Exception,
) -> Any:
    """Run on torch's fake tensors, which fall back to CPU kernels on zeros.

    Fake tensors refuse operations whose output sizes depend on values.

    Raises:
        Exception: `error`, if fake tensors fail too or the result is sparse.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode  # slow to import, seldom needed

    mode.device = "cpu"
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            result = _run(node, lane, mode, watch)
    except Exception:
        raise error from None
    leaves = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
    if any(leaf.layout is not torch.strided for leaf in leaves):
        raise error
    return result


@contextmanager
def _autocasting(mode: MetaMode, autocast: tuple[Autocast, ...]) -> Iterator[None]:
    """Run on torch's fake tensors of the device that `autocast` is for: meta tensors ignore it."""
    device = next((settings.device for settings in reversed(autocast) if settings.enabled), None)
    if device is None:
        yield
        return
    from torch._subclasses.fake_tensor import FakeTensorMode  # slow to import, seldom needed

    mode.device = device
    with FakeTensorMode(allow_non_fake_inputs=True), under(Modes("", autocast)):
        yield


def _outline(result: Any) -> Any:
    """Return the structure, shapes, dtypes and plain values of a result, for comparison."""
    leaves, structure = pytree.tree_flatten(result)
    return structure, [
        (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves
    ]
