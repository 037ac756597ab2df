"""`distribute`: a model on a mesh of devices, by the names of its layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import nn

from ..common.process_group import Processes, rank, remember, world_size
from ..errors import unknown_name
from ..training.processes.distributed import part_seeds
from ..training.processes.replicas import Replicas
from .shard_groups import shard_groups, tied_weights

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor.parallel import ParallelStyle

_TENSOR_AXES = ("tp", "tensor", "model")


def distribute(
    model: nn.Module,
    mesh: DeviceMesh,
    plan: Mapping[str, ParallelStyle] | None = None,
    *,
    fsdp: str | Iterable[str] | None = None,
    **fully_shard_options: Any,
) -> nn.Module:
    """Shard a model over a mesh: layers by torch's tensor-parallel styles, the rest by FSDP2.

    Patterns are names of layers as `model.summary()` and `named_modules()` have them, with `*`
    for any part of a name; one for parts of layers has as many dots as the parts' names. The mesh
    is remembered: `fit` divides batches along its data axes only, and gives equal rows to the
    processes along the tensor axis. All processes begin with the first one's weights. Compile the
    model afterwards, or with an optimizer that is a name or a callable of the parameters.

    Args:
        model: a `Model`, or any module; it is changed in place.
        mesh: of `torch.distributed.device_mesh.init_device_mesh`. With a plan, its axis named
            `tp`, `tensor` or `model` is the tensor axis, or its last one. All others divide data.
        plan: patterns to torch's `ParallelStyle`s, such as `ColwiseParallel()`.
        fsdp: patterns of layers to shard by `fully_shard`, each on its own; `"*"` is every layer
            that has parameters. The parameters of all others are sharded together, and so are
            those of layers that share a weight. `None` replicates the model along the data axes.
        **fully_shard_options: such as `mp_policy`.

    Returns:
        The model.

    Raises:
        RuntimeError: there is no process group yet.
        ValueError: a pattern matches no layer, the mesh has no axis left for what is asked, the
            plan would divide a shared weight in two ways, or the model is compiled with an
            optimizer of the parameters that it has now.

    Example:
        >>> from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel
        >>> plan = {"dense_*1": ColwiseParallel(), "dense_*2": RowwiseParallel()}
        >>> # parallel.start()
        >>> # mesh = init_device_mesh("cuda", (2, 4), mesh_dim_names=("data", "tensor"))
        >>> # parallel.distribute(model, mesh, plan, fsdp="block_*")
    """
    if not dist.is_available() or not dist.is_initialized():
        raise RuntimeError(
            "distribute before there are processes: call fgraph.parallel.start() first, under "
            "torchrun"
        )
    patterns = [fsdp] if isinstance(fsdp, str) else list(fsdp or ())
    styles = {n: style for key, style in (plan or {}).items() for n in _matching(model, key)}
    blocks = [name for pattern in patterns for name in _matching(model, pattern, holding=True)]
    data, tensor = _axes(mesh, bool(plan), bool(patterns))
    _forget_optimizer(model)
    Replicas(model, Processes(world_size(), rank()), averages=True).align()
    if styles:
        _parallelize(model, tensor, styles)
    if patterns:
        _shard(model, data, blocks, fully_shard_options)
    processes = _processes(data)
    remember(model, processes)
    part_seeds(processes)
    return model


def _matching(model: nn.Module, pattern: str, holding: bool = False) -> list[str]:
    """Return the names of the modules that a pattern matches, part by part.

    Args:
        model: the model.
        pattern: for example `"block_*"` or `"encoder.*.attention"`.
        holding: whether to leave out modules without parameters.

    Raises:
        ValueError: it matches none.
    """
    parts = pattern.split(".")
    found = []
    for name, module in model.named_modules():
        names = name.split(".")
        fits = len(names) == len(parts) and all(map(fnmatchcase, names, parts)) and name
        if fits and (not holding or any(True for _ in module.parameters())):
            found.append(name)
    if not found:
        names = [name for name, _ in model.named_modules() if name.count(".") == len(parts) - 1]
        raise ValueError(
            f"distribute: {unknown_name('layer', pattern, [n for n in names if n])}; each pattern "
            "must match at least one layer that has parameters"
        )
    return found


def _axes(mesh: Any, splits_layers: bool, shards: bool) -> tuple[Any, Any]:
    """Return the parts of a mesh that divide data and layers, `None` for one that is not there.

    Raises:
        ValueError: what is asked for needs an axis more, or the axes have no names.
    """
    names = mesh.mesh_dim_names
    named = [name for name in names or () if name in _TENSOR_AXES]
    if mesh.ndim == 1:
        if splits_layers and shards:
            raise ValueError(
                "distribute: plan and fsdp together need a mesh of two axes, as of "
                'init_device_mesh(device, (2, 4), mesh_dim_names=("data", "tensor")), got one axis'
            )
        return (None, mesh) if splits_layers or named else (mesh, None)
    if names is None:
        raise ValueError(
            f"distribute: the {mesh.ndim} axes of the mesh need names, to tell which of them "
            'divides data: init_device_mesh(..., mesh_dim_names=("data", "tensor"))'
        )
    tensor = named[0] if named else names[-1] if splits_layers else None
    data = tuple(name for name in names if name != tensor)
    return mesh[data if len(data) > 1 else data[0]], None if tensor is None else mesh[tensor]


def _parallelize(model: nn.Module, mesh: Any, styles: dict[str, ParallelStyle]) -> None:
    """Apply styles; what was one weight of several layers stays one.

    Raises:
        ValueError: the layers would divide it in different ways.
    """
    from torch.distributed.tensor.parallel import parallelize_module

    tied = tied_weights(model)
    parallelize_module(model, mesh, styles)
    for first, *others in tied:
        kept: Any = model.get_parameter(first)
        for name in others:
            other: Any = model.get_parameter(name)
            if getattr(other, "placements", None) != getattr(kept, "placements", None):
                raise ValueError(
                    f"distribute: {first!r} and {name!r} are one weight, which the plan would "
                    "divide in different ways: give both layers styles that divide it alike, or "
                    "neither of them one"
                )
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, kept)


def _shard(model: nn.Module, mesh: Any, blocks: list[str], options: dict[str, Any]) -> None:
    from torch.distributed.fsdp import fully_shard

    # resharded after the forward, the root too: penalties of weights are computed after it
    options = {"reshard_after_forward": True, **options}
    for group in shard_groups(model, blocks):
        fully_shard(group if len(group) > 1 else group[0], mesh=mesh, **options)
    fully_shard(model, mesh=mesh, **options)


def _processes(data: Any) -> Processes:
    """Return the processes along the data axes."""
    if data is None:
        return Processes()
    if data.size() == world_size():
        return Processes(world_size(), rank())
    whole = data if data.ndim == 1 else data._flatten()
    return Processes(whole.size(), whole.get_local_rank(), whole.get_group())


def _forget_optimizer(model: Any) -> None:
    """Let the optimizer be made of the parameters that there will be.

    Raises:
        ValueError: it is the user's, of those that there are now.
    """
    state = getattr(model, "_trainer", None)
    if state is None or (state.optimizer is None and not hasattr(state.settings.optimizer, "step")):
        return
    if hasattr(state.settings.optimizer, "step"):
        raise ValueError(
            "distribute: the model is compiled with an optimizer of the parameters that it has now,"
            " which are replaced: compile it afterwards, or with a name or a callable"
        )
    state.optimizer = state.scheduler = state.scaler = None
