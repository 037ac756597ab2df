"""Every tool gives on a graph what it gives on the class written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fgraph import Model
from tools import table
from tools.subject import as_graph, assert_same_result, by_hand, example_inputs
from tools.usages import USAGES, one_process


@pytest.mark.parametrize(
    "usage",
    [pytest.param(u, id=str(u), marks=[pytest.mark.slow] if u.slow else []) for u in USAGES],
)
def test_a_tool_gives_what_it_gives_on_the_class_written_by_hand(usage, tmp_path):
    """Same weights, same inputs, same seed: same numbers and names."""
    pytest.importorskip(usage.package)
    usage.same_on(as_graph(), by_hand(), tmp_path)


def test_the_graph_and_the_class_are_equal_to_begin_with():
    """The oracle itself: outputs, keys and weights agree, and the keys are in the same order."""
    graph, twin = as_graph(), by_hand()
    assert_same_result(graph.state_dict(), twin.state_dict())
    assert torch.equal(graph(*example_inputs()), twin(*example_inputs()))


def test_a_difference_would_be_seen(tmp_path):
    """A tool's result that depends on one changed weight fails the comparison."""
    changed = by_hand()
    with torch.no_grad():
        changed.head.bias.add_(1e-2)
    usage = next(usage for usage in USAGES if str(usage) == "fx_symbolic_trace")
    with pytest.raises(AssertionError, match="not close"):
        usage.same_on(as_graph(), changed, tmp_path)


def test_compile_makes_one_graph_without_a_break():
    """Counted by dynamo itself."""
    torch.compiler.reset()
    explained = torch._dynamo.explain(as_graph())(*example_inputs())
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)


def test_a_compiled_model_sees_a_replaced_child():
    """`model.head = other` counts after compilation too."""
    torch.compiler.reset()
    model = as_graph()
    model.compile(backend="eager", fullgraph=True)
    model(*example_inputs())
    model.head = nn.Linear(16, 5)
    twin = by_hand()
    twin.head = model.head
    torch.testing.assert_close(model(*example_inputs()), twin(*example_inputs()))


def test_export_keeps_the_names_of_the_inputs_and_any_batch_size():
    """The exported program's placeholders are `left` and `right`."""
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(as_graph(), example_inputs(), dynamic_shapes=(batch, batch))
    assert program.graph_signature.user_inputs == ("left", "right")
    inputs = example_inputs(batch=9)
    torch.testing.assert_close(program.module()(*inputs), by_hand()(*inputs))


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated")
@pytest.mark.filterwarnings("ignore:# The axis name. batch will not be used")
def test_onnx_keeps_the_names_of_the_inputs_and_any_batch_size(tmp_path):
    """The ONNX file can be fed by name with another batch size."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        as_graph().eval(), example_inputs(), tmp_path / "model.onnx", dynamo=True, verbose=False,
        dynamic_shapes=(batch, batch),
    )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [given.name for given in session.get_inputs()] == ["left", "right"]
    inputs = example_inputs(batch=9)
    (found,) = session.run(None, {"left": inputs[0].numpy(), "right": inputs[1].numpy()})
    torch.testing.assert_close(torch.from_numpy(found), by_hand()(*inputs))


def test_symbolic_trace_has_a_placeholder_for_each_input():
    """Named as the inputs are."""
    traced = torch.fx.symbolic_trace(as_graph())
    assert [n.target for n in traced.graph.nodes if n.op == "placeholder"] == ["left", "right"]


def test_lora_adapts_the_layers_that_are_named():
    """The children become adapted ones, and only their low-rank parts learn."""
    peft = pytest.importorskip("peft")
    model = as_graph()
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["encode"], r=2))
    assert isinstance(model.encode, peft.tuners.lora.Linear)
    learning = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert learning
    assert all("encode.lora_" in name for name in learning)


def test_a_fully_sharded_model_is_still_a_model_with_its_graph(tmp_path):
    """FSDP2 changes the class of the instance; keys and graph stay."""
    model = as_graph()
    keys = list(model.state_dict())
    with one_process(tmp_path):
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        torch.distributed.fsdp.fully_shard(model, mesh=mesh)
        assert isinstance(model, Model)
        assert list(model.state_dict()) == keys
        assert model.get_layer("head") is model.head


def test_forward_hooks_of_a_shared_layer_fire_once_for_each_use():
    """Profilers and LoRA rely on it."""
    model, seen = as_graph(), []
    model.encode.register_forward_hook(lambda *call: seen.append(call[2].shape))
    model.head.register_forward_pre_hook(lambda *call: seen.append(call[1][0].shape))
    model(*example_inputs())
    assert seen == [(4, 8), (4, 8), (4, 16)]


def test_the_table_has_a_row_for_each_tool_and_says_what_is_missing(tmp_path, monkeypatch):
    """A package that is not installed is named so; nothing is claimed of it."""
    fast = [usage for usage in USAGES if str(usage) in ("fx_symbolic_trace", "info")]
    monkeypatch.setattr(fast[1].__class__, "version", property(_only_torch))
    text = table.markdown(fast)
    assert text.count("\n| ") == len(fast)
    assert "| yes | 1 |" in text
    assert "| not installed |" in text


def _only_torch(usage):
    if usage.package != "torch":
        raise table.PackageNotFoundError(usage.package)
    return torch.__version__
