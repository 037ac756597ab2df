"""Models written as for Keras, with layers made in `__init__` and a `call`: recorded once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..graph import Input, SymbolicTensor, to_shapes
from ..graph.modes import callers_modes
from ..graph.nested import leaves_with_paths, map_leaves
from ..graph.node import recording_apart
from ..graph.recording.input import input_like
from ..layers.training_mode import MODEL_MODE


def record_call(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Run a model's `call` on symbolic tensors that are like the arguments of its first call.

    The batch size, the first axis, stays unknown. `training` is the mode of the model, which has
    no value yet, and `mask` is left at its default.

    Args:
        model: an instance of a class that has a method `call`.
        args, kwargs: what the model was called with: tensors, or structures of them.

    Returns:
        The inputs and the outputs of the graph.

    Raises:
        TypeError: an argument is no tensor, or does not fit `call`.
    """
    kind, call = type(model).__name__, model.call
    parameters = inspect.signature(call).parameters
    given = {key: value for key, value in kwargs.items() if key not in ("training", "mask")}
    if len(args) > 1 and _takes_one_input(parameters):  # `fit` gives several inputs one by one
        args = ([*args],)
    bound = inspect.signature(call).bind(*args, **given)
    _refuse_other_than_tensors(kind, bound.arguments)
    with recording_apart(), callers_modes():  # not those of the first call, perhaps torch.no_grad()
        values = {
            name: _like(value, name) if isinstance(value, (Tensor, SymbolicTensor))
            else map_leaves(_like, value)
            for name, value in bound.arguments.items()
        }  # fmt: skip
        if not type(model).build.__module__.startswith(f"{__package__}."):  # it makes layers
            shapes = to_shapes([*values.values()])
            model.build(*shapes[:1])
        # a call may change containers that it is given
        bound.arguments.update(map_leaves(lambda leaf: leaf, values))
        if "training" in parameters:
            bound.arguments["training"] = MODEL_MODE
        try:
            outputs = call(*bound.args, **bound.kwargs)
        except Exception as error:
            error.add_note(
                f"in the first call of {kind}, which records {kind}.call on symbolic tensors, "
                "once and for all; code that needs values goes into forward(), with torch "
                "modules in place of Keras-named layers"
            )
            raise
    structure = list(values.values())
    return structure[0] if len(structure) == 1 else structure, outputs


def _takes_one_input(parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Whether a `call` takes all inputs in one argument, as Keras calls it."""
    free = [p for name, p in parameters.items() if name not in ("training", "mask")]
    several = [p for p in free if p.default is p.empty or p.kind is p.VAR_POSITIONAL]
    return len(free) == len(several) == 1 and free[0].kind is not inspect.Parameter.VAR_POSITIONAL


def _refuse_other_than_tensors(kind: str, arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        for path, leaf in leaves_with_paths(value):
            if not isinstance(leaf, (Tensor, SymbolicTensor)):
                raise TypeError(
                    f"{kind}.call: {name}= expects tensors, got {type(leaf).__name__}"
                    f"{f' at {path}' if path else ''}: give it to {kind}.__init__, or write "
                    "forward() with torch modules in place of call()"
                )


def _like(leaf: Any, name: str | None = None) -> Any:
    """Return an input for tensors like this one, of any batch size."""
    if isinstance(leaf, SymbolicTensor):
        return input_like(leaf.spec, name)
    shape = (None, *leaf.shape[1:]) if leaf.ndim else ()
    return Input(batch_shape=shape, dtype=leaf.dtype, name=name)
