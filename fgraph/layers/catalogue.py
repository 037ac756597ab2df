"""The table of all layers: `python -m fgraph.layers.catalogue` writes README.md beside this file.

What is underneath a layer is found by calling one and looking at what it recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn

from .. import layers
from ..graph import Input, Node, SymbolicTensor
from ..graph.graph import Graph
from ..graph.nested import iter_leaves
from ..graph.torch_functions import torch_name
from .base import Layer

README = Path(__file__).with_name("README.md")

_STEPS, _IMAGE, _VOLUME = (9, 4), (9, 8, 4), (6, 7, 8, 4)
_BY_RANK = {"1D": _STEPS, "2D": _IMAGE, "3D": _VOLUME}

# how to make each layer whose constructor needs arguments
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Activation": ("relu",),
    "CategoryEncoding": (5,),
    "CenterCrop": (3, 3),
    "Dense": (4,),
    "Discretization": ([0.0, 1.0],),
    "Dot": (1,),
    "EinsumDense": ("ab,bc->ac", 4),
    "Embedding": (5, 4),
    "GRU": (4,),
    "GRUCell": (4,),
    "GroupNormalization": (2,),
    "GroupQueryAttention": (4, 4, 2),
    "LSTM": (4,),
    "LSTMCell": (4,),
    "MultiHeadAttention": (2, 4),
    "Permute": ((2, 1),),
    "RepeatVector": (3,),
    "Rescaling": (2.0, 1.0),
    "Reshape": ((-1,),),
    "Resizing": (3, 3),
    "SimpleRNN": (4,),
    "SimpleRNNCell": (4,),
}
_SHAPES: dict[str, tuple[int, ...]] = {
    "CenterCrop": _IMAGE,
    "Dense": (4,),
    "EinsumDense": (4,),
    "Flatten": _IMAGE,
    "RepeatVector": (4,),
    "Resizing": _IMAGE,
}
_MERGES = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
_STATES = {"GRUCell": 1, "LSTMCell": 2, "SimpleRNNCell": 1}

DIFFERENCES: dict[str, str] = {
    "Activation": "`sparsemax` sums to one in every rank; Keras's torch backend is wrong there",
    "AlphaDropout": "other random numbers",
    "Attention": "`seed` is ignored: torch's random numbers",
    "BatchNormalization": "no `renorm`, no `synchronized`",
    "Bidirectional": "no `weights`",
    "CategoryEncoding": "no `sparse`",
    "CenterCrop": "sizes of the input have to be known",
    "Conv1DTranspose": "uneven `same` padding is cut as Keras on TensorFlow and JAX does",
    "Conv2DTranspose": "uneven `same` padding is cut as Keras on TensorFlow and JAX does",
    "Conv3DTranspose": "uneven `same` padding is cut as Keras on TensorFlow and JAX does",
    "ConvLSTM1D": "one dropout mask for all gates",
    "ConvLSTM2D": "one dropout mask for all gates",
    "ConvLSTM3D": "one dropout mask for all gates",
    "Dense": "integer input is refused; no `lora_rank`, no quantisation",
    "Discretization": "no `sparse`; `adapt` takes exact quantiles",
    "Dropout": "other random numbers",
    "EinsumDense": "no `lora_rank`, no quantisation",
    "Embedding": "float input is refused; no `lora_rank`, no quantisation",
    "GRU": "`unroll` and `use_cudnn` change nothing",
    "GaussianDropout": "other random numbers",
    "GaussianNoise": "other random numbers",
    "GroupQueryAttention": "no `flash_attention`: torch chooses the kernel",
    "LSTM": "`unroll` and `use_cudnn` change nothing",
    "MultiHeadAttention": "no `attention_axes`; no `flash_attention`: torch chooses the kernel",
    "Normalization": "`adapt` takes arrays and tensors",
    "RNN": "states of cells of your own are tensors, not nested",
    "Resizing": "`bicubic` as Keras on torch; no `lanczos`, `fill_mode` is `constant`",
    "SimpleRNN": "`unroll` changes nothing",
    "TimeDistributed": "steps are folded into the batch: one call",
    "UpSampling2D": "no `lanczos` interpolations; `bicubic` as Keras on torch",
}


def public_layers() -> list[type[Layer]]:
    """Return the layers that Keras has, by name."""
    found = {value for value in vars(layers).values() if isinstance(value, type)}  # some twice
    kept = [kind for kind in found if issubclass(kind, Layer)]
    return sorted(
        (kind for kind in kept if kind.__name__ not in ("Layer", "InputLayer")),
        key=lambda kind: kind.__name__,
    )


def example(kind: type[Layer]) -> tuple[Layer, Any]:
    """Make a layer of this kind, call it, and return it with its output."""
    name = kind.__name__
    make = _WRAPPED.get(name)
    layer = kind(*_ARGUMENTS.get(name, _family_arguments(name))) if make is None else make()
    rank = _BY_RANK.get(name.replace("Transpose", "")[-2:], _STEPS)
    if name.startswith("ConvLSTM"):
        rank = (2, *rank)
    dtype = "int64" if layer.expects.dtype == "integer" else None
    x = Input(_SHAPES.get(name, rank), dtype=dtype)
    if name in _MERGES or name in ("Dot", "Attention", "AdditiveAttention"):
        return layer, layer([x, x])
    if isinstance(layer, (layers.MultiHeadAttention, layers.GroupQueryAttention)):
        return layer, layer(x, x)
    if name in _STATES:
        return layer, layer(Input((4,)), [Input((4,))] * _STATES[name])
    return layer, layer(x)


_WRAPPED: dict[str, Callable[[], Layer]] = {
    "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(4)),
    "Lambda": lambda: layers.Lambda(abs),
    "RNN": lambda: layers.RNN(layers.LSTMCell(4)),
    "SpectralNormalization": lambda: layers.SpectralNormalization(layers.Dense(4)),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(4)),
}


def _family_arguments(name: str) -> tuple[Any, ...]:
    if name.startswith("Depthwise"):
        return (3,)
    if "Conv" in name:
        return (4, 3)
    return (0.5,) if "Dropout" in name or "Noise" in name else ()


def underneath(kind: type[Layer]) -> str:
    """Name the torch modules, or functions, that a layer records."""
    layer, output = example(kind)
    if kind is layers.Lambda:
        return "the function"
    if layer.module is not None:
        return ", ".join(f"`{name}`" for name in dict.fromkeys(_modules(layer.module)))
    refs = [leaf.ref for leaf in iter_leaves(output) if isinstance(leaf, SymbolicTensor)]
    functions = dict.fromkeys(_function(node) for node in Graph(_inputs(layer), refs).nodes)
    return ", ".join(f"`{name}`" for name in functions if name) or "nothing"


def _inputs(layer: Layer) -> list[Any]:
    return list(dict.fromkeys(ref for ref in iter_leaves(layer.inbound_nodes[0].inputs[0])))


def _function(node: Node) -> str:
    name = torch_name(node.target) or node.kind
    if name.endswith(".permute") or name in ("_same", "operator.getitem"):
        return ""
    return name.replace("torch.nn.functional", "F").replace("torch.Tensor", "Tensor")


def _modules(module: nn.Module) -> Iterator[str]:
    """Name a module by its class in torch, and one of fgraph's own by its torch parts, too."""
    kind = type(module)
    if kind in (nn.Sequential, nn.ModuleDict, nn.ModuleList):
        for child in module.children():
            yield from _modules(child)
    elif kind.__module__.startswith("torch."):
        yield f"nn.{kind.__name__}"
    else:
        base = next(base for base in kind.__mro__ if base.__module__.startswith("torch."))
        plain = base is nn.Module or base.__name__.startswith("_")
        yield kind.__name__ if plain else f"{kind.__name__}(nn.{base.__name__})"
        for child in module.children():
            yield from _modules(child)


def table() -> str:
    """Return the table, in Markdown."""
    lines = [
        "# Layers",
        "",
        "Generated by `python -m fgraph.layers.catalogue`. A layer is Keras 3's of the same name,",
        "with its arguments, weights and numbers; the second column is what a model holds or runs.",
        "Classes without `nn.` are in `fgraph.layers.modules`. Recurrent layers with settings that",
        "torch's kernels do not know hold a class derived from the one shown.",
        "",
        "| layer | torch underneath | differences |",
        "|---|---|---|",
    ]
    for kind in public_layers():
        name = kind.__name__
        lines.append(f"| `{name}` | {underneath(kind)} | {DIFFERENCES.get(name, 'none')} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    README.write_text(table(), encoding="utf-8")
