"""The state of an optimizer by parameter names, independent of parameter groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def named_state(optimizer: Any, names: Mapping[int, str]) -> dict[str, Any]:
    """Return an optimizer's state by the names of its parameters.

    Args:
        optimizer: the optimizer.
        names: the names, by the ids of the parameters.
    """
    state = optimizer.state_dict()
    params = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    settings = [
        {key: value for key, value in group.items() if key != "params"}
        for group in state["param_groups"]
    ]
    groups = {
        names[id(p)]: number
        for number, group in enumerate(optimizer.param_groups)
        for p in group["params"]
    }
    of_params = {params[key]: v for key, v in state["state"].items() if isinstance(key, int)}
    others = {
        key: dict(zip(params, value, strict=True)) if isinstance(value, list) else value
        for key, value in state["state"].items()
        if not isinstance(key, int)
    }
    return {"state": of_params, "others": others, "groups": groups, "settings": settings}


def load_named_state(
    optimizer: Any,
    names: Mapping[int, str],
    saved: Mapping[str, Any],
    formed: Callable[[Any, Any], Any],
) -> None:
    """Restore the state returned by `named_state`, into the optimizer's present groups.

    Args:
        optimizer: the optimizer.
        names: the names, by the ids of the parameters.
        saved: the state.
        formed: returns a tensor in the form of its parameter: sharded like it.

    Raises:
        ValueError: the optimizer has parameters that the saved one had not.
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]
    unknown = [names[id(p)] for p in params if names[id(p)] not in saved["groups"]]
    if unknown:
        raise ValueError(
            f"the saved run did not train {', '.join(unknown[:3])}, which this one does: freeze "
            "the same weights, or delete the backup"
        )
    state: dict[Any, Any] = {}
    for number, p in enumerate(params):
        own = saved["state"].get(names[id(p)])
        if own is not None:
            state[number] = {key: formed(p, value) for key, value in own.items()}
    for key, value in saved["others"].items():
        known = isinstance(value, dict)
        state[key] = [formed(p, value[names[id(p)]]) for p in params] if known else value
    numbers = iter(range(len(params)))
    groups = [
        {
            **saved["settings"][saved["groups"][names[id(group["params"][0])]]],
            "params": [next(numbers) for _ in group["params"]],
        }
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
