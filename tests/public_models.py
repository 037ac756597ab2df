"""Public models to open, and what of them stays a leaf; `python tests/public_models.py` lists them.

torchvision's wheel is built for another torch than the CPU build that the tests run on, so it fails
to describe its own operators. The models need none of them, and the descriptions are left out.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.library
from torch import nn
from torch.utils import _pytree as pytree

import fgraph
from fgraph import Input, Model


def import_torchvision() -> Any:
    """Return torchvision.

    Raises:
        ImportError: it is not installed.
    """
    register = torch.library.register_fake

    def register_others(op: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda function: function
        return register(op, *args, **kwargs)

    torch.library.register_fake = register_others
    try:
        import torchvision
    finally:
        torch.library.register_fake = register
    return torchvision


TORCHVISION = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_b1 efficientnet_v2_s googlenet "
    "inception_v3 maxvit_t mnasnet0_5 mnasnet1_0 mobilenet_v2 mobilenet_v3_large "
    "mobilenet_v3_small regnet_x_400mf regnet_x_800mf regnet_y_400mf resnet18 resnet34 resnet50 "
    "resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 squeezenet1_0 squeezenet1_1 swin_t "
    "swin_v2_t vgg11 vgg11_bn vit_b_32"
).split()
TIMM = (
    "convnext_atto cspresnet50 deit_tiny_patch16_224 edgenext_xx_small efficientnet_lite0 "
    "ghostnet_050 mixer_s32_224 mobilenetv3_small_050 poolformer_s12 regnetx_002 resmlp_12_224 "
    "resnet18 swin_tiny_patch4_window7_224 vit_tiny_patch16_224"
).split()
TRANSFORMERS = ("BERT", "GPT-2", "Llama", "T5 encoder", "ViT", "Whisper encoder")
# others: what their classes begin with, and settings beside the small ones
LANGUAGE: dict[str, dict[str, Any]] = {
    "Albert": {"embedding_size": 16}, "Electra": {"embedding_size": 16}, "MPNet": {}, "Roberta": {},
    "Falcon": {}, "GPTNeoX": {}, "Gemma2": {"num_key_value_heads": 2, "head_dim": 8}, "Olmo": {},
    "Mistral": {"num_key_value_heads": 2}, "Phi": {}, "StableLm": {"num_key_value_heads": 4},
    "Qwen3": {"num_key_value_heads": 2, "head_dim": 8},
}  # fmt: skip
VISION: dict[str, dict[str, Any]] = {
    "Beit": {}, "CLIPVision": {}, "DeiT": {}, "Dinov2": {}, "SiglipVision": {},
}  # fmt: skip
MODELS = (
    [f"torchvision {name}" for name in TORCHVISION]
    + [f"timm {name}" for name in TIMM]
    + [f"transformers {name}" for name in (*TRANSFORMERS, *LANGUAGE, *VISION)]
)
# what calls other things in training than in evaluation, and so stays a leaf
LEAVES = {"BatchNormAct2d", "BeitDropPath", "DropPath", "StochasticDepth"}
_SIZES = {"inception_v3": 299, "maxvit_t": 224, "vit_b_32": 224}


def make(name: str) -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, Any]]:
    """Return a model with random weights, a batch of inputs by name, and options of its call."""
    package, _, kind = name.partition(" ")
    torchvision = import_torchvision()
    torch.manual_seed(0)
    if package == "torchvision":
        size = _SIZES.get(kind, 64)
        with warnings.catch_warnings(action="ignore"):
            net = torchvision.models.get_model(kind, weights=None)
        return net, {"x": torch.randn(2, 3, size, size)}, {}
    if package == "timm":
        import timm

        net = timm.create_model(kind, pretrained=False, num_classes=10)
        return net, {"x": torch.randn(2, 3, 224, 224)}, {}
    return _transformer(kind)


def _transformer(kind: str) -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, Any]]:
    import transformers as hf

    small = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64,
    }  # fmt: skip
    words: dict[str, Any] = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2}
    ids = {"input_ids": torch.randint(1, 50, (2, 12))}
    if kind in LANGUAGE or kind in VISION:
        config = getattr(hf, f"{kind}Config")
        make: Any = getattr(hf, f"{kind}Model")
        if kind in LANGUAGE:
            net = make(config(**small, **words, pad_token_id=0, **LANGUAGE[kind]))
            return net, ids, {"use_cache": False} if hasattr(net.config, "use_cache") else {}
        net = make(config(**{"image_size": 32, "patch_size": 8} | small | VISION[kind]))
        return net, {"pixel_values": torch.randn(2, 3, 32, 32)}, {}
    if kind == "BERT":
        return hf.BertModel(hf.BertConfig(vocab_size=50, **small)), ids, {}
    if kind == "GPT-2":
        config = hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, **words)
        return hf.GPT2Model(config), ids, {"use_cache": False}
    if kind == "Llama":
        config = hf.LlamaConfig(num_key_value_heads=2, **small, **words)
        return hf.LlamaModel(config), ids, {"use_cache": False}
    if kind == "T5 encoder":
        config = hf.T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
        return hf.T5EncoderModel(config), ids, {}
    if kind == "ViT":
        net = hf.ViTModel(hf.ViTConfig(image_size=32, patch_size=8, **small))
        return net, {"pixel_values": torch.randn(2, 3, 32, 32)}, {}
    config = hf.WhisperConfig(
        vocab_size=50, d_model=32, encoder_layers=2, encoder_attention_heads=4, pad_token_id=0,
        encoder_ffn_dim=64, max_source_positions=20, num_mel_bins=8, decoder_start_token_id=1,
    )  # fmt: skip
    net = hf.models.whisper.modeling_whisper.WhisperEncoder(config)
    return net, {"input_features": torch.randn(2, 8, 40)}, {}


def opened(net: nn.Module, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> Model:
    """Return the graph of a model; its outputs are the tensors that the model returns."""
    known = {} if "x" in inputs else {"batch_size": 2}  # transformers compares batch sizes
    given = {
        name: Input(tuple(value.shape[1:]), dtype=value.dtype, name=name, **known)
        for name, value in inputs.items()
    }
    with warnings.catch_warnings(action="ignore"):
        positional = list(given.values()) if "x" in given else []
        found = fgraph.unfold(net)(*positional, **({} if positional else given), **options)
        return Model(list(given.values()), tensors(found))


def tensors(result: Any) -> list[Any]:
    """Return the tensors of a result, symbolic or real."""
    kinds = (torch.Tensor, fgraph.SymbolicTensor)
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, kinds)]


def leaves(model: Model) -> set[str]:
    """Return the classes of modules that were not opened, but those of torch."""
    called = {type(node.target) for node in model.nodes if node.op == "module"}
    return {kind.__name__ for kind in called if not kind.__module__.startswith("torch.nn.")}


def main(names: list[str], show: Callable[[str], None] = print) -> None:
    """Print how long each model takes to open, its nodes and its leaves."""
    for name in names:
        net, inputs, options = make(name)
        start = time.perf_counter()
        model = opened(copy.deepcopy(net).eval(), inputs, options)
        took = time.perf_counter() - start
        show(f"{name:44} {took:5.2f} s {len(model.nodes):5} nodes  {', '.join(leaves(model))}")


if __name__ == "__main__":
    main(MODELS)
