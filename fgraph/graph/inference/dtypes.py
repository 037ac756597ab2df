"""The dtypes that values have for other inputs, or under autocast, than those of building."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..ancestry import ancestors
from ..modes import Autocast
from ..node import Ref
from ..specs import TensorSpec
from .run_on_meta import run_on_meta


def dtypes_at(
    refs: Iterable[Ref], inputs: Mapping[Ref, Any], autocast: tuple[Autocast, ...]
) -> dict[Ref, torch.dtype]:
    """Return the dtypes of values; what follows from a call that fails is left out.

    Args:
        refs: the values.
        inputs: the inputs that they follow from: tensors, or numbers and data.
        autocast: the settings that are on.
    """
    refs = list(refs)
    lane = {ref: _stand_in(value) for ref, value in inputs.items()}
    for node in ancestors(refs, lane):
        if node.op == "input" or any(ref not in lane for ref in node.refs()):
            continue
        with suppress(Exception):
            result, _ = run_on_meta(node, lane, autocast=autocast)
            leaves = enumerate(pytree.tree_leaves(result))
            lane.update((Ref(node, index), _stand_in(leaf)) for index, leaf in leaves)
    return {ref: lane[ref].dtype for ref in refs if type(lane.get(ref)) is TensorSpec}


def _stand_in(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    shape = tuple(value.shape)
    return TensorSpec(shape, shape, value.dtype)
