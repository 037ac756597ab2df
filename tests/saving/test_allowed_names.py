"""The closed list has all that a model is made of, and nothing that does more than compute."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest
import torch
from torch import nn

import fgraph
from fgraph.graph.torch_functions import _NAMESPACES
from fgraph.saving.registered_names import allowed_names, is_allowed

BASES = {
    "fgraph.layers.Layer", "fgraph.layers.InputLayer", "fgraph.losses.Loss",
    "fgraph.metrics.Metric", "fgraph.optimizers.OptimizerFactory",
    "fgraph.initializers.Initializer", "fgraph.regularizers.Regularizer",
    "fgraph.constraints.Constraint", "fgraph.optimizers.schedules.LearningRateSchedule",
}  # fmt: skip


@pytest.mark.parametrize(
    "room",
    ["layers", "losses", "metrics", "optimizers", "optimizers.schedules", "initializers",
     "regularizers", "constraints"],
)  # fmt: skip
def test_every_class_that_has_a_configuration_is_listed(room):
    module = importlib.import_module(f"fgraph.{room}")
    public = getattr(module, "__all__", [name for name in vars(module) if name[0] != "_"])
    classes = {f"fgraph.{room}.{name}": getattr(module, name) for name in public}
    missing = [
        name
        for name, value in classes.items()
        if isinstance(value, type)
        and value.__module__.startswith(f"fgraph.{room}")
        and name not in BASES
        and not is_allowed(value)
    ]
    assert not missing


NOT_MADE_FROM_SETTINGS = re.compile("Lazy.*|DataParallel|Module|RNNBase|RNNCellBase|Container")


of_one_release = pytest.mark.skipif(
    torch.__version__[:5] != "2.13.", reason="the list was made with this release of torch"
)


@of_one_release
def test_every_module_of_torch_that_settings_make_is_listed():
    modules = {
        n: v for n, v in vars(nn).items() if isinstance(v, type) and issubclass(v, nn.Module)
    }
    missing = {name for name, value in modules.items() if not is_allowed(value)}
    assert not {name for name in missing if not NOT_MADE_FROM_SETTINGS.fullmatch(name)}


# public functions that files do not hold, by what they do besides computing on their arguments
LEFT_OUT = {
    "values that were never set": "(new_)?empty.*|new|hash_tensor",
    "memory of others": "as_strided.*|.*data_ptr|.*storage.*|set_|resize.*|sparse_resize.*|from_.*"
    "|frombuffer|asarray|numpy|to_dlpack|.*share.*|record_stream|.*pin.*|module_load|is_set_to"
    "|as_subclass|spmm|hspmm|sspaddmm",
    "files, code, threads": "load|save|.*import.*|parse_.*|fork|wait|get_file_path|compile"
    "|prepare.*|profiler.*|merge_type.*|unify_type.*|lobpcg",
    "state of the process": "set_.*|get_.*|.*seed.*|use_determin.*|are_determin.*|is_determin.*"
    "|init_num.*|clear_auto.*|autocast_.*|is_.*(enabled|inference|available|tensor).*|.*generator",
    "callables": "apply_|map2?_|vmap|cond|while_loop|.*hook.*|backward|boolean_dispatch"
    "|triplet_margin_with_distance_loss|reinforce|handle_torch.*|has_torch.*",
    "Python values, not tensors": "item|tolist|can_cast|promote_types|result_type|sym_.*|typename"
    "|is_distributed|classproperty|compiled_with.*|assert_.*|__.*__|call|contains|concat|countOf"
    "|index|indexOf|delitem|setitem|length_hint|truth|is_|is_not|i(add|and|concat|floordiv|lshift|matmul|mod|mul|or|pow|rshift|sub|truediv|xor)",
    "flags and shapes in place": "requires_grad_|retain_grad|detach_|(squeeze|unsqueeze|transpose"
    "|swapaxes|swapdims|t|lu)_?",
    "other devices": "ipu|xpu|mtia|to_mkldnn",
    "quantized, sparse and internal kernels": ".*quant.*|.*qparams.*|q_.*|qscheme|int_repr"
    "|fbgemm.*|miopen.*|mkldnn.*|cudnn.*|native_.*|(gru|lstm|rnn_relu|rnn_tanh)_cell|sparse_.*|batch_norm_.*"
    "|norm_except_dim|grid_sampler.*|affine_grid_.*|conv_tbc|convolution|embedding_renorm_"
    "|segment_reduce|.*scaled_mm|.*grouped_mm|to_padded_tensor|fill",
    "gone from torch": "eig|symeig|solve|lstsq|matrix_rank",
}


@of_one_release
@pytest.mark.parametrize("space", _NAMESPACES)
def test_functions_are_listed_or_left_out_for_a_reason(space):
    if space == "math":
        pytest.skip("sizes know rounding alone")
    owner, reasons = _NAMESPACES[space], [re.compile(text) for text in LEFT_OUT.values()]
    for name in dir(owner):
        value = getattr(owner, name)
        private = name[0] == "_" and not (space == "torch.Tensor" and name[:2] == "__")
        if not callable(value) or isinstance(value, type) or private or is_allowed(value):
            continue
        if getattr(value, "__module__", None) != "typing":
            assert any(reason.fullmatch(name) for reason in reasons), f"{space}.{name}"


def test_nothing_on_the_list_takes_a_callable():
    for name, target in allowed_names().items():
        if isinstance(target, type) or name.startswith("fgraph."):
            continue
        try:
            parameters = inspect.signature(target).parameters.values()
        except (TypeError, ValueError):
            continue  # written in C++: these take no Python functions
        assert not [p for p in parameters if "Callable" in str(p.annotation)], name


@pytest.mark.parametrize("name", [n for n in LEFT_OUT])
def test_no_reason_fits_what_is_listed_besides(name):
    """What is left out by name is not reached by another one."""
    unsafe = ("values that were never set", "files, code, threads", "state of the process")
    if name in unsafe:
        reason = re.compile(LEFT_OUT[name])
        functions = [n for n, value in allowed_names().items() if n.startswith("torch.")]
        found = [n for n in functions if reason.fullmatch(n.rpartition(".")[2])]
        assert not [n for n in found if not n.endswith("get_device")], found


def test_the_list_holds_only_what_exists():
    listed = allowed_names()
    assert all(callable(target) for target in listed.values())
    assert listed["fgraph.Model"] is fgraph.Model
