"""Every module of `torch.nn` that can be constructed: how, and what it is called on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import pairwise_distance

# the sizes of an input without its batch, or a dtype, the highest value and the sizes
ROWS = (4,)
STEPS = (6, 4)
SIGNAL = (4, 8)
IMAGE = (4, 8, 8)
VOLUME = (4, 8, 8, 8)
LABEL = ("int64", 4)
PLANES = {1: SIGNAL, 2: IMAGE, 3: VOLUME}


def _by_dimensions() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for n, shape in PLANES.items():
        pairs: dict[str, Any] = {
            f"Conv{n}d": {"": (4, 6, 3), "same": (4, 6, 3, 1, "same", 1, 2, False, "reflect")},
            f"ConvTranspose{n}d": {"": (4, 6, 3, 2, 1, 1)},
            f"BatchNorm{n}d": {"": (4,), "plain": (4, 1e-3, None, False, False)},
            f"InstanceNorm{n}d": {"": (4,), "affine": (4, 1e-5, 0.1, True, True)},
            f"MaxPool{n}d": {"": (2,), "all": (3, 2, 1, 1, False, True)},
            f"AvgPool{n}d": {"": (2,), "all": (3, 2, 1, False, False)},
            f"LPPool{n}d": {"": (2.0, 2)},
            f"AdaptiveAvgPool{n}d": {"": (2,)},
            f"AdaptiveMaxPool{n}d": {"": (2,)},
            f"ConstantPad{n}d": {"": (1, 0.5)},
            f"Dropout{n}d": {"": (0.3,)},
            **{f"{kind}Pad{n}d": {"": (1,)} for kind in ("Zero", "Reflection", "Replication")},
            f"CircularPad{n}d": {"": (1,)},
        }
        made |= {
            f"{name} {case}".strip(): (getattr(nn, name)(*args), shape)
            for name, cases in pairs.items()
            for case, args in cases.items()
        }
    return made


def _elementwise() -> dict[str, Any]:
    plain = (
        "Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid Mish ReLU ReLU6 "
        "RReLU SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink CELU ELU GELU GLU "
        "Dropout AlphaDropout FeatureAlphaDropout Flatten"
    )
    made = {name: (getattr(nn, name)(), STEPS) for name in plain.split()}
    return made | {
        "ELU inplace": (nn.ELU(0.5, inplace=True), ROWS),
        "GELU tanh": (nn.GELU("tanh"), ROWS),
        "Threshold": (nn.Threshold(0.1, 2.0), ROWS),
        "Softmax": (nn.Softmax(-1), ROWS),
        "Softmin": (nn.Softmin(-1), ROWS),
        "LogSoftmax": (nn.LogSoftmax(-1), ROWS),
        "Softmax2d": (nn.Softmax2d(), IMAGE),
        "PReLU": (nn.PReLU(4, 0.1), ROWS),
    }


def _losses() -> dict[str, Any]:
    pairs = (
        "BCELoss BCEWithLogitsLoss HuberLoss L1Loss MSELoss SmoothL1Loss SoftMarginLoss KLDivLoss"
    )
    made: dict[str, Any] = {name: (getattr(nn, name)(), ROWS, ROWS) for name in pairs.split()}
    return made | {
        "PoissonNLLLoss": (nn.PoissonNLLLoss(full=True), ROWS, ROWS),
        "MultiLabelSoftMarginLoss": (nn.MultiLabelSoftMarginLoss(), ROWS, ROWS),
        "CrossEntropyLoss": (nn.CrossEntropyLoss(label_smoothing=0.1), ROWS, LABEL),
        "NLLLoss": (nn.NLLLoss(), ROWS, LABEL),
        "MultiMarginLoss": (nn.MultiMarginLoss(), ROWS, LABEL),
        "MultiLabelMarginLoss": (nn.MultiLabelMarginLoss(), ROWS, (*LABEL, 4)),
        "HingeEmbeddingLoss": (nn.HingeEmbeddingLoss(), ROWS, ROWS),
        "CosineEmbeddingLoss": (nn.CosineEmbeddingLoss(0.2), ROWS, ROWS, ()),
        "MarginRankingLoss": (nn.MarginRankingLoss(0.2), ROWS, ROWS, ROWS),
        "TripletMarginLoss": (nn.TripletMarginLoss(swap=True), ROWS, ROWS, ROWS),
        "TripletMarginWithDistanceLoss": (
            nn.TripletMarginWithDistanceLoss(distance_function=pairwise_distance), ROWS, ROWS, ROWS,
        ),
        "CosineSimilarity": (nn.CosineSimilarity(), ROWS, ROWS),
        "PairwiseDistance": (nn.PairwiseDistance(keepdim=True), ROWS, ROWS),
    }  # fmt: skip


def _others() -> dict[str, Any]:
    layer = nn.TransformerEncoderLayer(4, 2, 8, 0.1, "gelu", batch_first=True)
    decoder = nn.TransformerDecoderLayer(4, 2, 8, norm_first=True, bias=False, batch_first=True)
    return {
        "Linear": (nn.Linear(4, 3, bias=False), ROWS),
        "Bilinear": (nn.Bilinear(4, 4, 2), ROWS, ROWS),
        "Embedding": (nn.Embedding(4, 3, 0, max_norm=1.0, scale_grad_by_freq=True), (*LABEL, 5)),
        "EmbeddingBag": (nn.EmbeddingBag(4, 3, mode="sum"), (*LABEL, 5)),
        "LSTM": (nn.LSTM(4, 3, 2, batch_first=True, dropout=0.2, bidirectional=True), STEPS),
        "LSTM projection": (nn.LSTM(4, 3, bias=False, batch_first=True, proj_size=2), STEPS),
        "GRU": (nn.GRU(4, 3, batch_first=True), STEPS),
        "RNN": (nn.RNN(4, 3, nonlinearity="relu", batch_first=True), STEPS),
        "LSTMCell": (nn.LSTMCell(4, 3), ROWS),
        "GRUCell": (nn.GRUCell(4, 3, bias=False), ROWS),
        "RNNCell": (nn.RNNCell(4, 3, nonlinearity="relu"), ROWS),
        "MultiheadAttention": (
            nn.MultiheadAttention(4, 2, 0.1, add_bias_kv=True, add_zero_attn=True, kdim=4, vdim=4,
                                  batch_first=True), STEPS, STEPS, STEPS,
        ),
        "TransformerEncoderLayer": (layer, STEPS),
        "TransformerDecoderLayer": (decoder, STEPS, STEPS),
        "TransformerEncoder": (nn.TransformerEncoder(layer, 2, nn.LayerNorm(4)), STEPS),
        "TransformerDecoder": (nn.TransformerDecoder(decoder, 2), STEPS, STEPS),
        "Transformer": (nn.Transformer(4, 2, 1, 1, 8, batch_first=True), STEPS, STEPS),
        "LayerNorm": (nn.LayerNorm((6, 4), 1e-3, bias=False), STEPS),
        "RMSNorm": (nn.RMSNorm(4), STEPS),
        "GroupNorm": (nn.GroupNorm(2, 4, affine=False), SIGNAL),
        "LocalResponseNorm": (nn.LocalResponseNorm(3), SIGNAL),
        "CrossMapLRN2d": (nn.CrossMapLRN2d(3), IMAGE),
        "SyncBatchNorm": (nn.SyncBatchNorm(4).eval(), IMAGE),
        "ChannelShuffle": (nn.ChannelShuffle(2), IMAGE),
        "PixelShuffle": (nn.PixelShuffle(2), IMAGE),
        "PixelUnshuffle": (nn.PixelUnshuffle(2), IMAGE),
        "Upsample": (nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True), IMAGE),
        "Upsample size": (nn.Upsample((5, 6)), IMAGE),
        "UpsamplingBilinear2d": (nn.UpsamplingBilinear2d(scale_factor=2), IMAGE),
        "UpsamplingNearest2d": (nn.UpsamplingNearest2d(size=(9, 9)), IMAGE),
        "Unflatten": (nn.Unflatten(1, (2, 2)), ROWS),
        "Unfold": (nn.Unfold(3, padding=1), IMAGE),
        "Fold": (nn.Fold((4, 4), 2, stride=2), (4, 4)),
        "FractionalMaxPool2d": (nn.FractionalMaxPool2d(2, output_ratio=0.5), IMAGE),
        "FractionalMaxPool3d": (nn.FractionalMaxPool3d(2, output_size=3), VOLUME),
        "MaxUnpool1d": (nn.MaxUnpool1d(2), (4, 4), ("int64", 8, 4, 4)),
        "MaxUnpool2d": (nn.MaxUnpool2d(2), (4, 4, 4), ("int64", 64, 4, 4, 4)),
        "MaxUnpool3d": (nn.MaxUnpool3d(2), (4, 2, 2, 2), ("int64", 64, 4, 2, 2, 2)),
        "Sequential": (nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Tanh())), ROWS),
    }  # fmt: skip


def uncallable_modules() -> dict[str, nn.Module]:
    """Return modules that no graph calls by themselves: another module holds them."""
    tensor = torch.arange(4.0)
    return {
        "ModuleList": nn.ModuleList([nn.Linear(2, 2), nn.ReLU()]),
        "ModuleDict": nn.ModuleDict({"b": nn.Linear(2, 2), "a": nn.Tanh()}),
        "ParameterList": nn.ParameterList([tensor, nn.Parameter(tensor + 1, requires_grad=False)]),
        "ParameterDict": nn.ParameterDict({"y": tensor, "x": tensor + 2}),
        "CTCLoss": nn.CTCLoss(1, zero_infinity=True),
        "NLLLoss2d": nn.NLLLoss(),
        "GaussianNLLLoss": nn.GaussianNLLLoss(full=True, eps=1e-3),
        "AdaptiveLogSoftmaxWithLoss": nn.AdaptiveLogSoftmaxWithLoss(4, 8, [2, 5], 2.0, True),
    }


def all_modules() -> dict[str, tuple[Any, ...]]:
    """Return a module and the inputs to call it on, by the name of its class and of the case."""
    return {**_by_dimensions(), **_elementwise(), **_losses(), **_others()}
