"""`export_model`: a model for other programs, as a `torch.export` archive or as ONNX."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..common.atomic_files import replacing
from ..graph.graph import Graph, describe
from ..graph.specs import TensorSpec
from ..model import Model
from ..model.signature import Signature

_LARGE = 1_800_000_000  # bytes; protobuf, the format of ONNX, is limited to two gigabytes


class ExportError(RuntimeError):
    """torch cannot export the model; the message names the call that it refuses."""


def export_model(
    model: Model,
    path: str | os.PathLike[str],
    *,
    opset_version: int | None = None,
    device: str | torch.device | None = None,
) -> None:
    """Write a model for other programs, in eval mode.

    Unknown sizes of the graph stay dynamic, and inputs and outputs keep their names. All inputs
    share one batch size.

    Args:
        model: a model that has a graph.
        path: a file that ends in `.pt2`, read by `torch.export.load`, or in `.onnx`.
        opset_version: the version of ONNX's operators; torch's choice by default.
        device: where the example inputs are made; that of the parameters by default.

    Raises:
        ValueError: the ending is another one.
        ImportError: for ONNX, `onnx` and `onnxscript` are not installed.
        ExportError: torch cannot export a call of the model.

    Example:
        >>> import fgraph, os, tempfile
        >>> from torch import nn
        >>> x = fgraph.Input((3,), name="x")
        >>> path = os.path.join(tempfile.mkdtemp(), "model.pt2")
        >>> export_model(fgraph.Model(x, nn.Linear(3, 2)(x)), path)
        >>> torch.export.load(path).module()(torch.zeros(7, 3)).shape
        torch.Size([7, 2])
    """
    target = Path(path)
    if target.suffix not in (".pt2", ".onnx"):
        raise ValueError(
            f"cannot export to {str(path)!r}: the ending says the format, .pt2 (torch.export) or "
            ".onnx; to keep the model for fgraph call model.save(path)"
        )
    if target.suffix == ".onnx":
        _need_onnx()
    graph = model._live_graph("export")
    inputs = _examples(model, graph, device)
    with _eval_mode(model):
        program = _captured(model, graph, inputs)
        if target.suffix == ".pt2":
            with replacing(target) as made, made.open("wb") as file:
                torch.export.save(program, file)
            return
        converted = _converted(model, graph, program, opset_version)
    large = sum(t.numel() * t.element_size() for t in model.state_dict().values()) > _LARGE
    if large:  # the weights go into a second file beside it, which one rename cannot replace
        converted.save(target, external_data=True)
        return
    with replacing(target) as made:
        converted.save(made, external_data=False)


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "export to .onnx needs onnx and onnxscript: pip install 'fgraph[onnx]'"
        ) from error


@contextmanager
def _eval_mode(model: Model) -> Iterator[None]:
    """Switch to eval mode; restore the mode of each module afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _examples(model: Model, graph: Graph, device: str | torch.device | None) -> tuple[Tensor, ...]:
    """Make inputs of the sizes that the graph was recorded with."""
    if device is None:
        first = next(model.parameters(), None)
        device = torch.device("cpu") if first is None else first.device
    specs = [cast(TensorSpec, ref.spec) for ref in graph.inputs]
    return tuple(torch.zeros(spec.first, dtype=spec.dtype, device=device) for spec in specs)


def _dynamic(graph: Graph) -> tuple[dict[int, Any], ...]:
    """Return the unknown sizes of each input."""
    dynamic = torch.export.Dim.DYNAMIC
    return tuple(
        {
            axis: dynamic
            for axis, size in enumerate(cast(TensorSpec, ref.spec).shape)
            if size is None
        }
        for ref in graph.inputs
    )


def _captured(
    model: Model, graph: Graph, inputs: tuple[Tensor, ...]
) -> torch.export.ExportedProgram:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(model, inputs, dynamic_shapes=_dynamic(graph))
    except Exception as error:
        raise ExportError(_explained(model, graph, error)) from error


def _converted(
    model: Model, graph: Graph, program: torch.export.ExportedProgram, opset: int | None
) -> Any:
    signature = cast(Signature, model._signature)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=signature.names,
                output_names=model.output_names,
                opset_version=opset,
            )
    except Exception as error:
        raise ExportError(_explained(model, graph, error)) from error


def _explained(model: Model, graph: Graph, error: BaseException) -> str:
    """Return an error that names the node at whose line of the generated forward it arose."""
    reason = f"{type(error).__name__}: {error}"
    first = str(reason).split("\n\n")[0][:600]
    line = _line_of(model, error)
    numbers = model._forward_source.lines
    for node, name, number in zip(graph.nodes, model._node_names, numbers, strict=True):
        if number == line:
            return (
                f"torch cannot export {name!r}, {describe(node)}, of model {model.name!r}: {first}"
            )
    return f"torch cannot export model {model.name!r}: {first}"


def _line_of(model: Model, error: BaseException | None) -> int | None:
    """Find the line of the model's forward in the traceback of an error or of its causes."""
    forward = getattr(type(model), "_generated", None)
    if forward is None:
        return None
    filename = forward.__code__.co_filename
    while error is not None:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename == filename:
                return frame.lineno
        error = error.__cause__ or error.__context__
    return None
