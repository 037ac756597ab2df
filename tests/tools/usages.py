"""How each tool is used, on any module with inputs `left` and `right`.

Nothing here knows of fgraph: each usage is run on the hand-written class as well, and must give the
same there. What a usage returns is what is compared.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools.subject import assert_same_result, example_inputs

Inputs = tuple[Tensor, Tensor]

# what torch says of torch, inside the tools
JIT = ("`torch.jit.* is deprecated",)
TREES = (r"`isinstance\(treespec, LeafSpec\)` is deprecated",)


@dataclass(frozen=True)
class Usage:
    """One row of the table.

    Attributes:
        title: what the README calls it.
        package: the distribution that has to be installed.
        run: `run(model, inputs, folder)`.
        slow: whether it takes seconds.
        ignored: warnings that the tool itself gives, as message patterns.
    """

    title: str
    package: str
    run: Callable[[Any, Inputs, Path], Any]
    slow: bool
    ignored: tuple[str, ...]

    @property
    def lines(self) -> int:
        """The number of lines that the usage takes, as it is formatted here."""
        body = inspect.getsource(self.run).splitlines()
        start = next(i for i, line in enumerate(body) if line.startswith("def "))
        return sum(1 for line in body[start + 1 :] if line.strip())

    @property
    def version(self) -> str:
        """The version of the package.

        Raises:
            PackageNotFoundError: it is not installed.
        """
        return importlib.metadata.version(self.package)

    def same_on(self, model: Any, twin: Any, folder: Path) -> None:
        """Use the tool on both modules and compare what comes out."""
        assert_same_result(
            self._result(model, folder / "model"), self._result(twin, folder / "twin")
        )

    def _result(self, module: Any, folder: Path) -> Any:
        folder.mkdir()
        torch.manual_seed(0)
        with warnings.catch_warnings():
            for pattern in self.ignored:
                warnings.filterwarnings("ignore", message=pattern)
            return self.run(module, example_inputs(), folder)

    def __str__(self) -> str:
        return self.run.__name__


USAGES: list[Usage] = []


def usage(title: str, package: str = "torch", *, slow: bool = False, ignored: tuple[str, ...] = ()):
    """Add a function to the table."""

    def add(run: Callable[[Any, Inputs, Path], Any]) -> Callable[[Any, Inputs, Path], Any]:
        USAGES.append(Usage(title, package, run, slow, ignored))
        return run

    return add


# ------------------------------------------------------------------ torch: compilers and exporters


@usage("`torch.compile(model, fullgraph=True)`", slow=True, ignored=JIT)
def torch_compile(model, inputs, folder):
    return torch.compile(model, fullgraph=True)(*inputs)


@usage("`model.compile(fullgraph=True)`, torch's in-place compiler")
def compile_in_place(model, inputs, folder):
    model.compile(backend="aot_eager", fullgraph=True)
    return model(*inputs), list(model.state_dict())


@usage("`torch.export`, with a dynamic batch, saved and loaded")
def torch_export(model, inputs, folder):
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(model, inputs, dynamic_shapes=(batch, batch))
    torch.export.save(program, folder / "model.pt2")
    return torch.export.load(folder / "model.pt2").module()(*(x[:3] for x in inputs))


@usage(
    "`torch.onnx.export(dynamo=True)`, run in onnxruntime", "onnxruntime", slow=True, ignored=TREES
)
def onnx(model, inputs, folder):
    import onnxruntime

    torch.onnx.export(model.eval(), inputs, folder / "model.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    feed = dict(zip(("left", "right"), (x.numpy() for x in inputs), strict=True))
    return torch.from_numpy(session.run(None, feed)[0])


@usage("`torch.fx.symbolic_trace`")
def fx_symbolic_trace(model, inputs, folder):
    return torch.fx.symbolic_trace(model)(*inputs)


@usage("`torch.jit.trace`", ignored=JIT)
def jit_trace(model, inputs, folder):
    return torch.jit.trace(model, inputs)(*(x[:3] for x in inputs))


# ------------------------------------------------------------------ torch: functions and weights


@usage("`torch.func`: `functional_call`, `grad`, `vmap`")
def torch_func(model, inputs, folder):
    def loss(weights, left, right):
        return torch.func.functional_call(model, weights, (left[None], right[None])).sum()

    weights = dict(model.named_parameters())
    return torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(weights, *inputs)


@usage("`torch.nn.utils.prune`")
def pruning(model, inputs, folder):
    from torch.nn.utils import prune

    prune.l1_unstructured(model.encode, "weight", amount=0.5)
    return model(*inputs), list(model.state_dict())


@usage("`torch.nn.utils.parametrizations`")
def parametrisation(model, inputs, folder):
    nn.utils.parametrizations.weight_norm(model.encode)
    model(*inputs).sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@usage(
    "dynamic quantisation",
    ignored=("torch.ao.quantization is deprecated", "torch.quantize_per_tensor"),
)
def dynamic_quantisation(model, inputs, folder):
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    return quantised(*inputs)


@usage("`swa_utils.AveragedModel`")
def averaged_model(model, inputs, folder):
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    with torch.no_grad():
        model.head.weight.add_(1)
    averaged.update_parameters(model)
    return averaged(*inputs)


@usage("`torch.autocast`")
def autocast(model, inputs, folder):
    with torch.autocast("cpu", torch.bfloat16):
        return model(*inputs)


@usage("activation checkpointing")
def activation_checkpointing(model, inputs, folder):
    torch.utils.checkpoint.checkpoint(model, *inputs, use_reentrant=False).sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@usage("`FlopCounterMode`")
def flop_counter(model, inputs, folder):
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops()


# ------------------------------------------------------------------ torch: distribution


@contextlib.contextmanager
def one_process(folder: Path) -> Iterator[None]:
    """Form a gloo group of one process."""
    store = torch.distributed.FileStore(str(folder / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


@usage("`DistributedDataParallel`")
def distributed_data_parallel(model, inputs, folder):
    with one_process(folder):
        nn.parallel.DistributedDataParallel(model)(*inputs).sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@usage("FSDP2 `fully_shard`")
def fully_sharded(model, inputs, folder):
    with one_process(folder):
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        for child in model.children():
            torch.distributed.fsdp.fully_shard(child, mesh=mesh)
        torch.distributed.fsdp.fully_shard(model, mesh=mesh)(*inputs).sum().backward()
        return {name: p.grad.full_tensor() for name, p in model.named_parameters()}


# ------------------------------------------------------------------ other packages


@usage("`save_file`, `load_file`", "safetensors")
def safetensors_files(model, inputs, folder):
    import safetensors.torch

    safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
    loaded = copy.deepcopy(model).requires_grad_(False)
    for weight in loaded.parameters():
        weight.zero_()
    loaded.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    return loaded(*inputs)


@usage("LoRA by module names", "peft", slow=True)
def lora(model, inputs, folder):
    import peft

    config = peft.LoraConfig(target_modules=["encode", "head"], init_lora_weights=False, r=2)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(model, config)
    adapted(*inputs).sum().backward()
    return adapted(*inputs), {name: p.grad for name, p in adapted.named_parameters()}


@usage("`summary`", "torchinfo")
def info(model, inputs, folder):
    import torchinfo

    data = dict(zip(("left", "right"), inputs, strict=True))
    summary = torchinfo.summary(model, input_data=data, verbose=0)
    return summary.total_params, summary.total_mult_adds, len(summary.summary_list)


@usage("`draw_graph`", "torchview")
def view(model, inputs, folder):
    import torchview

    drawn = torchview.draw_graph(model, input_data=inputs, graph_name="model")
    return len(drawn.edge_list)


@usage("TensorBoard `add_graph`", "tensorboard", ignored=JIT)
def tensorboard_graph(model, inputs, folder):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:
        writer.add_graph(model, inputs)
    return [path.stat().st_size > 1000 for path in folder.glob("events*")]


@usage("attributions", "captum")
def attributions(model, inputs, folder):
    import captum.attr

    return captum.attr.IntegratedGradients(model).attribute(inputs, target=0, n_steps=8)


@usage("`Accelerator.prepare`", "accelerate", slow=True)
def accelerated(model, inputs, folder):
    import accelerate

    accelerator = accelerate.Accelerator(cpu=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    accelerator.backward(model(*inputs).square().sum())
    optimizer.step()
    return model(*inputs)


@usage("a `LightningModule` around it", "lightning", slow=True, ignored=TREES)
def lightning_module(model, inputs, folder):
    import lightning

    class Wrapped(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch, index):
            return self.model(*batch).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*inputs), batch_size=2)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, default_root_dir=folder,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Wrapped(), data)
    return model(*inputs)


@usage("`NeuralNetRegressor`", "skorch")
def skorch_net(model, inputs, folder):
    import skorch

    data = {name: x.numpy() for name, x in zip(("left", "right"), inputs, strict=True)}
    net = skorch.NeuralNetRegressor(model, max_epochs=2, train_split=None, verbose=0)
    net.fit(data, torch.zeros(len(inputs[0]), 3).numpy())
    return torch.from_numpy(net.predict(data))
