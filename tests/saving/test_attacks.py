"""Files that try to act, to hide, or to take what they do not need: one clear error, and no more.

Each is a valid file whose description was changed by hand, with the right checksums.
"""

from __future__ import annotations

import json
import os
import time

import pytest
import torch

import fgraph
from fgraph import Input, Model
from fgraph.saving import tensorfile
from saving.crafted import (
    Crafted,
    entry_of,
    graph_of,
    inputs,
    node_of,
    nothing_but_reading,
    victim,
)

CODE = '__import__("os").mkdir("made")'
ESCAPE = f'a", None) or {CODE} or getattr(self, "b'


@pytest.fixture(scope="module")
def crafted(tmp_path_factory):
    made = Crafted(victim(), tmp_path_factory.mktemp("crafted"))
    warm = fgraph.load_model(made.path)  # what torch imports when it is first used
    warm(inputs())
    warm.to_source()
    warm.summary(print_fn=lambda line: None)
    return made


def everywhere(value):
    """Put a value where values of many kinds are read."""
    return {
        "an argument of a layer": lambda d, t: entry_of(d, "Dense")["args"].append(value),
        "an option of a layer": lambda d, t: entry_of(d, "Dense").update(kwargs={"dtype": value}),
        "an argument of a module": lambda d, t: entry_of(d, "Dropout")["kwargs"].update(p=value),
        "a regularizer": lambda d, t: entry_of(d, "L2").update(config={"l2": value}),
        "a node": lambda d, t: node_of(d, "function", "tests>doubled").update(target=value),
        "an argument of a node": lambda d, t: node_of(d, "function", "tests>doubled").update(
            kwargs={"factor": value}
        ),
        "the optimizer": lambda d, t: d["compiled"]["settings"].update(optimizer=value),
        "the scheduler": lambda d, t: d["compiled"]["settings"].update(scheduler=value),
        "the state of training": lambda d, t: d["compiled"].update(state={"optimizer": [value]}),
        "the structure of the outputs": lambda d, t: graph_of(d).update(output_structure=value),
        "a setting": lambda d, t: entry_of(d, "Dropout").update(settings={"p": value}),
    }


METHODS = {
    "tofile": {"$method": [{"$array": "buffer_1"}, "tofile"]},
    "format": {"$method": ["{0.__class__.__init__.__globals__}", "format"]},
    "save": {"$partial": [{"$method": [{"$name": "fgraph.Model"}, "save"]}, [], {}]},
}


@pytest.mark.parametrize("value", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("place", everywhere(None))
def test_methods_are_no_values(place, value, crafted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse(crafted, everywhere(value)[place], r"\$method|no setting")


NAMES = [
    "os.system", "builtins.eval", "builtins.exec", "posix.system", "subprocess.Popen",
    "torch.load", "torch.save", "torch.hub.load", "torch.compile", "torch.from_file",
    "torch.set_default_device", "torch.manual_seed", "torch.utils.cpp_extension.load_inline",
    "torch.classes.load_library", "torch.ops.load_library", "torch.nn.Module.load_state_dict",
    "torch.Tensor.numpy", "torch.Tensor.apply_", "torch.Tensor.map_", "torch.Tensor.share_memory_",
    "torch.Tensor.register_hook", "torch.Tensor.set_", "torch.Tensor.untyped_storage",
    "torch.Tensor.data_ptr", "torch.Tensor.__reduce_ex__", "torch.Tensor.backward",
    "torch.Tensor.requires_grad_", "torch.Tensor.detach_", "torch.Tensor.__setitem__",
    "torch.as_strided", "torch.Tensor.as_strided", "torch.empty", "torch.empty_like",
    "torch.Tensor.resize_", "torch.fbgemm_linear_fp16_weight", "torch.lobpcg", "torch.vmap",
    "numpy.ndarray.tofile", "numpy.ndarray.dump", "numpy.load", "operator.call",
    "operator.attrgetter", "operator.methodcaller", "operator.setitem", "operator.iadd", "getattr",
    "fgraph.Model.save", "fgraph.Model.save_weights", "fgraph.load_model", "torch.jit.load",
    "fgraph.model.codegen.compile_forward", "fgraph.saving.registered_names.find",
    "fgraph.register", "fgraph.layers.core.torch", "fgraph.layers.os", "functools.partial",
    "tests.saving.crafted.os",
    "fgraph.callbacks.ModelCheckpoint", "fgraph.utils.plot_model", "__main__", "", ".", None, 3, [],
]  # fmt: skip


@pytest.mark.parametrize("place", everywhere(None))
def test_only_names_on_the_lists_are_found(place, crafted):
    for name in NAMES if place == "a node" else NAMES[::9]:
        refuse(crafted, everywhere({"$name": name})[place], None)
        if isinstance(name, str):
            partial = {"$partial": [{"$name": name}, [], {}]}
            refuse(crafted, everywhere(partial)[place], None)


# on the lists, but no functions of tensors that a node may call
WRONG_TARGETS = [
    {"$name": "torch.nn.Linear"}, {"$name": "torch.nn.init.normal_"}, {"$name": "torch.optim.Adam"},
    {"$partial": [{"$name": "torch.nn.LSTM"}, [1, 1], {"num_layers": 10**7}]},
    {"$name": "fgraph.Model"}, {"$name": "fgraph.layers.Dense"}, {"$object": 0}, {"$object": 3},
    {"$partial": [{"$partial": [{"$name": "torch.optim.SGD"}, [], {}]}, [], {}]}, "torch.relu",
]  # fmt: skip


@pytest.mark.parametrize("target", WRONG_TARGETS, ids=str)
def test_nodes_call_functions_of_tensors_only(target, crafted):
    refuse(crafted, everywhere(target)["a node"], "no function of tensors|calls more than")


SHADOWS = [
    "forward", "get_submodule", "__class__", "__call__", "_modules", "_call_impl", "state_dict",
    "_forward_hooks", "training", "__dict__", "x = 0; import os; self.y", "inplace.x",
]  # fmt: skip


@pytest.mark.parametrize("name", SHADOWS)
@pytest.mark.parametrize("kind", ["Dropout", "LSTM", "Dense", "Model", "L2"])
def test_settings_shadow_nothing(name, kind, crafted):
    def change(document, tensors):
        entry_of(document, kind)["settings"] = {name: 1}

    refuse(crafted, change, "no plain setting")


@pytest.mark.parametrize(
    "value", [{"$name": "torch.relu"}, {"$object": 0}, [1], {}, {"$array": "buffer_1"}]
)
def test_settings_are_plain(value, crafted):
    refuse(crafted, everywhere(value)["a setting"], "no plain setting")


UNSAFE = [ESCAPE, "a\nb", "\ufb01", "x\u00b2", "a.b", "", "forward", "_parameters", "\ud800"]


@pytest.mark.parametrize("name", UNSAFE, ids=repr)
@pytest.mark.parametrize("kind", ["Model", "Sequential"])
def test_names_of_children_are_checked(kind, name, crafted, tmp_path, monkeypatch):
    """torch.fx, and torch.export with it, write them into source as they are."""
    monkeypatch.chdir(tmp_path)

    def change(document, tensors):
        children = entry_of(document, kind)["children"]
        first = next(iter(children))
        renamed = {name if key == first else key: number for key, number in children.items()}
        entry_of(document, kind)["children"] = renamed
        if kind == "Model":
            for node in graph_of(document)["nodes"]:
                if node.get("path") == [first]:
                    node["path"] = [name]

    refuse(crafted, change, "named")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("key", ["node_names", "input_names"])
@pytest.mark.parametrize("name", [ESCAPE + "\n", "a\nb", "\ufb01", "", 3, None], ids=repr)
def test_names_of_nodes_and_inputs_are_checked(key, name, crafted):
    def change(document, tensors):
        graph_of(document)[key][0] = name

    refuse(crafted, change, "named|names")


@pytest.mark.parametrize("key", [f"x={CODE}", "x: int", "\ud800", "class", "\ufb01", ""])
def test_keyword_arguments_never_become_code(key, crafted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def change(document, tensors):
        node_of(document, "function", "tests>doubled")["kwargs"] = {key: 3.0}

    refuse(crafted, change, "unexpected keyword")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("value", [ESCAPE, "a\u2028b\n", "\ud800", '"""', "\\"], ids=repr)
def test_texts_never_become_code(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = Input((2,))
    made = Crafted(
        Model(x, fgraph.apply(echo, x, "text", **{"other": {"key": ("text",)}})), tmp_path
    )

    def change(document, tensors):
        node = node_of(document, "function")
        node["args"][1] = value
        node["kwargs"] = {"other": {value: {"$tuple": [value]}}}

    loaded = fgraph.load_model(made.write(change))
    heard.clear()
    loaded(torch.zeros(1, 2))
    assert heard == [(value, {value: (value,)})]
    assert [path.name for path in tmp_path.iterdir()] == ["crafted.fgraph"]


heard = []


@fgraph.register("tests>echo")
def echo(x, text, other):
    """Note what arrives."""
    heard.append((text, other))
    return x


READS = [
    "__class__",
    "__init__",
    "grad_fn",
    "_backward_hooks",
    f"T, {CODE}",
    "data; import os",
    "",
    1,
]


@pytest.mark.parametrize("name", READS, ids=repr)
def test_only_parts_of_tensors_are_read(name, crafted):
    def change(document, tensors):
        node_of(document, "read")["args"][1] = name

    refuse(crafted, change, "node of the kind 'read'")


def add_nested(document, levels, places):
    """Add modules, each of which holds the one before it in some places."""
    objects = document["objects"]
    entry = {"kind": "module", "class": "torch.nn.Sequential", "training": True}
    objects.append(entry)
    for _ in range(levels):
        children = {str(place): len(objects) - 1 for place in range(places)}
        objects.append({**entry, "children": children})


def configuration(outputs):
    """Write the configuration of a model with a large layer as a value."""
    x = Input((4,))
    config = Model(x, torch.nn.Linear(4, 2)(x)).get_config()
    linear = next(e for e in config["objects"] if e["class"].endswith("Linear"))
    linear["args"], linear["kwargs"] = [4, outputs], {}

    def escaped(part):
        if isinstance(part, dict):
            return {"$dict": [[key, escaped(item)] for key, item in part.items()]}
        return [escaped(item) for item in part] if isinstance(part, list) else part

    return escaped(json.loads(json.dumps(config)))


def built(document, kind, shape):
    """Let a layer be built for another shape."""
    number = document["objects"].index(entry_of(document, kind))
    entry = next(e for e in document["objects"] if e["kind"] == "build" and e["of"] == number)
    entry["shapes"] = [[{"$tuple": shape}], {}]


BOMBS = {
    "a tuple of a long range": lambda d, t: node_of(d, "function", "tests>doubled").update(
        kwargs={"factor": {"$tuple": {"$range": [0, 5 * 10**7, 1]}}}
    ),
    "a long range": lambda d, t: entry_of(d, "Dense").update(args=[{"$range": [0, 5 * 10**7, 1]}]),
    "many ranges": lambda d, t: entry_of(d, "Dense").update(
        args=[[{"$range": [0, 1000, 1]} for _ in range(1000)]]
    ),
    "many layers": lambda d, t: d["objects"].append(
        {"kind": "module", "class": "torch.nn.LSTM", "args": [1, 1, 10**5], "training": True}
    ),
    "a large layer": lambda d, t: entry_of(d, "layers.Dense").update(args=[10**12]),
    "a layer built for a large input": lambda d, t: built(d, "layers.Dense", [None, 10**12]),
    "a layer built for an impossible input": lambda d, t: built(d, "layers.LSTM", [3, 4, 2**62]),
    "a layer built many times": lambda d, t: d["objects"].extend(
        [
            {"kind": "layer", "class": "fgraph.layers.RNN", "args": [[{"$object": 0}] * 10**5]},
            {"kind": "build", "of": len(d["objects"]), "shapes": [[[2, 3, 4]], {}], "module": None},
        ]
    ),
    "copies of a layer": lambda d, t: d["objects"].insert(
        0,
        {"kind": "module", "class": "torch.nn.TransformerEncoder", "args": [{"$object": 0}, 10**7]},
    ),
    "copies of a new layer": lambda d, t: d["objects"].insert(
        0,
        {
            "kind": "module",
            "class": "torch.nn.Transformer",
            "kwargs": {"num_encoder_layers": 10**7},
        },
    ),
    "a large matrix": lambda d, t: entry_of(d, "Linear").update(args=[10**9, 10**9]),
    "an impossible matrix": lambda d, t: entry_of(d, "Linear").update(args=[2**62, 2**62]),
    "a huge number": lambda d, t: entry_of(d, "Linear").update(args=[10**400, 2]),
    "a lower bound": lambda d, t: entry_of(d, "Linear").update(args=[-1, 2]),
    "nested lists": lambda d, t: entry_of(d, "Dense").update(args=nested(500)),
    "deep JSON": lambda d, t: entry_of(d, "Dense").update(args=nested(900)),
    "itself": lambda d, t: entry_of(d, "Dense").update(args=[{"$object": len(d["objects"]) - 1}]),
    "a later object": lambda d, t: entry_of(d, "Sequential").update(children={"0": 99}),
    "a child of itself": lambda d, t: entry_of(d, "Sequential").update(
        children={"0": d["objects"].index(entry_of(d, "Sequential"))}
    ),
    "a module in many places": lambda d, t: add_nested(d, levels=60, places=2),
    "modules very deep": lambda d, t: add_nested(d, levels=200, places=1),
    "a module in itself": lambda d, t: d["objects"].extend(
        [
            {
                "kind": "module",
                "class": "torch.nn.AdaptiveLogSoftmaxWithLoss",
                "training": True,
                "args": [4, 9, [5]],
                "children": {"tail": "made"},
            },
            {
                "kind": "part",
                "of": [len(d["objects"]), "tail"],
                "training": True,
                "children": {"x": len(d["objects"])},
            },
        ]
    ),
    "memory of a device": lambda d, t: d["objects"].insert(
        0,
        {
            "kind": "module",
            "class": "torch.nn.BatchNorm1d",
            "args": [10**10],
            "kwargs": {"device": {"$device": "cpu"}},
        },
    ),
    "a model of a configuration": lambda d, t: d["objects"].insert(
        0, {"kind": "module", "class": "fgraph.Model", "config": configuration(10**10)}
    ),
    "a module as an object": lambda d, t: d["objects"].insert(
        0, {"kind": "object", "class": "fgraph.Model", "config": configuration(10**10)}
    ),
    "many thresholds": lambda d, t: d["objects"].append(
        {"kind": "object", "class": "fgraph.metrics.AUC", "args": [10**10]}
    ),
    "many classes": lambda d, t: d["objects"].append(
        {"kind": "object", "class": "fgraph.metrics.MeanIoU", "args": [10**10]}
    ),
    "many parts of a result": lambda d, t: (
        graph_of(d)["inputs"][0][2].append(10**8),
        node_of(d, "function", "tests>doubled").update(
            target={"$name": "torch.Tensor.unbind"}, kwargs={"dim": -1}
        ),
    ),
}


def calls(target, *args, **kwargs):
    """Let a node call something else; "X" stands for a tensor of the graph, "N" for its size."""

    def change(document, tensors):
        graph = graph_of(document)
        node = node_of(document, "function", "tests>doubled")
        node["declared"] = None
        given = {"X": node["args"][0], "N": {"$at": [len(graph["inputs"]), 0]}}
        if "N" in args:
            size = {
                "op": "function",
                "target": {"$name": "torch.Tensor.size"},
                "args": [{"$at": [0, 0]}, 0],
            }
            graph["nodes"].insert(0, size)
            graph["node_names"].insert(0, "size_1")
            for holder in graph["nodes"][1:], graph["outputs"], graph["calls"]:
                later(holder, len(graph["inputs"]))
            given["X"] = node["args"][0]
        node.update(target={"$name": target}, args=[given.get(str(a), a) for a in args])
        node["kwargs"] = kwargs

    return change


def later(part, first):
    """Let references to nodes mean the next ones."""
    for item in part.values() if isinstance(part, dict) else part:
        if isinstance(part, dict) and "$at" in part:
            if part["$at"][0] >= first:
                part["$at"][0] += 1
            return
        if isinstance(item, (dict, list)):
            later(item, first)


ENDLESS = {
    "a long tuple": calls("operator.mul", {"$tuple": [1]}, 10**9),
    "a long text": calls("operator.mod", "%1000000000d", 3),
    "a text of a tensor": calls("operator.mod", "%s", "X"),
    "a long list": calls("operator.mul", [0], "X"),
    "a huge power": calls("operator.pow", 10**9, 10**9),
    "a huge power of a size": calls("operator.pow", "N", 10**9),
    "a power of a power": calls("operator.pow", 2**70, "N"),
    "a huge power of ten": calls("builtins.round", "N", -(10**9)),
    "a huge shift": calls("operator.lshift", "N", 10**12),
    "numbers": calls("operator.add", 1, 2),
    "many parts": calls("torch.Tensor.tensor_split", "X", 10**8),
    "many matrices": calls("torch.linalg.multi_dot", [{"$tensor": "hidden.weight"}] * 1000),
    "many differences": calls(
        "torch.diff", {"$tensor": "large"}, n=10**5, dim=0, prepend={"$tensor": "large"}
    ),
    "many rows": calls("torch.Tensor.unbind", {"$tensor": "large"}),
    "many pieces": calls("torch.Tensor.split", {"$tensor": "large"}, 2),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_work_is_bounded_while_a_graph_is_recorded(name, crafted):
    def change(document, tensors):
        tensors["large"] = torch.zeros(10**5, 1)
        ENDLESS[name](document, tensors)

    refuse(crafted, change, "on no value|no number|too large|the limit")


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("name", BOMBS)
def test_sizes_are_compared_before_memory_is_taken(name, crafted):
    refuse(crafted, BOMBS[name], None)


LIMITS = {
    "a long range": "more than 16384 numbers, the limit",
    "many layers": "calls more than 1000 functions, the limit",
    "nested lists": "more than 64 levels deep, the limit",
    "a module in many places": r"more than 20\d\d\d parts, the limit",
    "modules very deep": "nested more than 64 deep, the limit",
    "a module in itself": "nested more than 64 deep, the limit",
    "a model of a configuration": "'fgraph.Model' is no class of which a file makes modules",
    "a module as an object": "'fgraph.Model' is no class of which a file makes modules",
    "many thresholds": "num_thresholds of AUC must be at most 100000",
    "many classes": "num_classes must be at most 65536",
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_named(name, crafted):
    refuse(crafted, BOMBS[name], LIMITS[name])


def change_view(nodes):
    nodes[2].update(
        target={"$name": "torch.Tensor.view"}, args=[{"$tensor": "hidden.weight"}, 3, 3]
    )
    nodes[4].update(target={"$name": "torch.Tensor.add_"}, args=[{"$at": [3, 0]}, 1])


MISFITS = {
    "an unknown object": lambda d, t: d["objects"].append({"kind": "file", "path": "/etc/passwd"}),
    "an unknown field": lambda d, t: entry_of(d, "LSTM").update(attributes={"": {"forward": 1}}),
    "an unknown field of the file": lambda d, t: d.update(code="import os"),
    "an unknown field of a node": lambda d, t: node_of(d, "function").update(hook=1),
    "an unknown setting of compile": lambda d, t: d["compiled"]["settings"].update(backend="x"),
    "a layer as a module": lambda d, t: entry_of(d, "Dense").update(kind="module"),
    "a module as a layer": lambda d, t: entry_of(d, "nn.Linear").update(kind="layer"),
    "a module as the model": lambda d, t: d.update(root=0),
    "no model": lambda d, t: d.update(root=10**6),
    "a stranger's class": lambda d, t: entry_of(d, "Dense").update({"class": "Mine"}),
    "a base class": lambda d, t: entry_of(d, "Dense").update({"class": "fgraph.layers.Layer"}),
    "a function as a class": lambda d, t: entry_of(d, "Dense").update({"class": "torch.relu"}),
    "another shape": lambda d, t: t.update({"hidden.weight": torch.zeros(5, 5)}),
    "a missing tensor": lambda d, t: t.__delitem__("hidden.weight"),
    "a tensor too few": lambda d, t: entry_of(d, "nn.Linear")["tensors"].pop(),
    "a tensor too many": lambda d, t: entry_of(d, "nn.Linear")["tensors"].append(
        ["more", "buffer", "hidden.bias"]
    ),
    "a tensor of another kind": lambda d, t: entry_of(d, "nn.Linear")["tensors"][0].__setitem__(
        1, "buffer"
    ),
    "a tensor of no kind": lambda d, t: entry_of(d, "nn.Linear")["tensors"][0].__setitem__(1, "x"),
    "tensors nowhere": lambda d, t: d.update(devices={"hidden.weight": "meta"}),
    "no device": lambda d, t: d.update(devices={"hidden.weight": "xyz"}),
    "names of inputs": lambda d, t: graph_of(d).update(input_names=["x", "y"]),
    "a structure of inputs": lambda d, t: graph_of(d).update(input_structure={"z": 0}),
    "a structure of outputs": lambda d, t: graph_of(d)["output_structure"].pop("a"),
    "outputs in another order": lambda d, t: graph_of(d).update(output_structure=[1, 0, 2, 3]),
    "an output too many": lambda d, t: graph_of(d)["outputs"].append({"$at": [1, 0]}),
    "a value of no node": lambda d, t: graph_of(d)["outputs"].__setitem__(0, {"$at": [99, 0]}),
    "no part of a node": lambda d, t: graph_of(d)["outputs"].__setitem__(0, {"$at": [2, 7]}),
    "a later value": lambda d, t: node_of(d, "module").update(args=[{"$at": [5, 0]}]),
    "a node too many": lambda d, t: graph_of(d)["nodes"].append(graph_of(d)["nodes"][-1]),
    "a node too few": lambda d, t: graph_of(d)["nodes"].pop(),
    "a module elsewhere": lambda d, t: node_of(d, "module").update(path=["hidden", "weight"]),
    "a dotted path": lambda d, t: node_of(d, "module").update(path=["lstm_1.__class__"]),
    "no path": lambda d, t: node_of(d, "module").update(path=[]),
    "an axis": lambda d, t: node_of(d, "function", "torch.Tensor.mean")["args"].__setitem__(1, 7),
    "out=": lambda d, t: node_of(d, "function", "torch.relu").update(
        kwargs={"out": {"$tensor": "hidden.weight"}}
    ),
    "a change of a weight": lambda d, t: node_of(d, "function", "torch.relu").update(
        target={"$name": "torch.Tensor.add_"},
        args=[{"$tensor": "hidden.weight"}, node_of(d, "function", "torch.relu")["args"][0]],
    ),
    "a change of a view of a weight": lambda d, t: change_view(graph_of(d)["nodes"]),
    "another input": lambda d, t: graph_of(d)["inputs"][0].__setitem__(2, [None, 6, 5]),
    "a call of no layer": lambda d, t: graph_of(d)["calls"][0].__setitem__(0, 3),
    "a call in itself": lambda d, t: graph_of(d)["calls"][0].__setitem__(3, 0),
    "modes": lambda d, t: node_of(d, "read").update(modes=["eval", []]),
    "an optimizer that is none": lambda d, t: d["compiled"]["settings"].update(optimizer=3),
    "state that acts": lambda d, t: d["compiled"].update(
        state={"optimizer": {"$name": "torch.relu"}}
    ),
    "a true version": lambda d, t: d.update(version=True),
    "a text as version": lambda d, t: d.update(version="2"),
    "a list": lambda d, t: [],
    "a text": lambda d, t: "model",
    "nothing": lambda d, t: {},
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_refused(name, crafted):
    refuse(crafted, MISFITS[name], None)


def refuse(crafted, change, match):
    """Check that a changed file gives one clear error, and does nothing else."""
    path = crafted.write(change)
    with pytest.raises(fgraph.LoadError, match=match) as caught, nothing_but_reading():
        fgraph.load_model(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_other_versions_say_what_to_do(crafted):
    path = crafted.write(lambda document, tensors: document.update(version=99))
    with pytest.raises(fgraph.LoadError, match=r"format version 99.*is older: upgrade it"):
        fgraph.load_model(path)
    path = crafted.write(lambda document, tensors: document.update(version=1))
    with pytest.raises(fgraph.LoadError, match=r"format version 1.*load_weights\(path\).*again"):
        fgraph.load_model(path)


def test_the_unchanged_file_loads(crafted):
    path = crafted.write(lambda document, tensors: None)
    with nothing_but_reading():
        loaded = fgraph.load_model(path)
        loaded(inputs())
        loaded.summary(print_fn=lambda line: None)
        assert "class Net" in loaded.to_source()


@pytest.mark.parametrize("where", ["xyz", 1.5, "cuda:99:1"])
def test_a_place_that_is_none_is_named(where, crafted):
    crafted.write(lambda document, tensors: None)
    with pytest.raises(fgraph.LoadError, match=r"map_location=.* is no device"):
        fgraph.load_model(crafted.path, map_location=where)


def test_a_key_that_is_there_twice_is_refused(crafted):
    text = json.dumps(crafted.document)
    tensorfile.write(crafted.path, crafted.tensors, {"fgraph": '{"version": 1, ' + text[1:]})
    with pytest.raises(fgraph.LoadError, match="same key twice"):
        fgraph.load_model(crafted.path)


def test_a_view_larger_than_its_owner_is_refused(crafted):
    """Few bytes could stand for many: an array of it would take them all."""
    views = {"big": ["hidden.bias", 0, [10**10], [0]]}
    texts = {"fgraph": json.dumps(crafted.document), "views": json.dumps(views)}
    tensorfile.write(crafted.path, crafted.tensors, texts)
    with pytest.raises(fgraph.LoadError, match=r"'big' is not within 'hidden.bias'"):
        fgraph.load_model(crafted.path)


def test_settings_of_a_training_never_compile_the_model(crafted):
    """`Model.compile` without them is torch's compiler, which runs programs and writes files."""
    path = crafted.write(lambda document, tensors: document["compiled"].update(settings={}))
    with nothing_but_reading():
        loaded = fgraph.load_model(path)
        loaded(inputs())
    assert loaded._compiled_call_impl is None


def test_many_iterations_are_not_run_to_find_shapes(tmp_path):
    x = Input((4,))
    layer = fgraph.layers.SpectralNormalization(fgraph.layers.Dense(3))
    made = Crafted(Model(x, layer(x)), tmp_path)
    path = made.write(
        lambda d, t: entry_of(d, "SpectralNormalization").update(kwargs={"power_iterations": 10**9})
    )
    assert fgraph.load_model(path).output_shape == (None, 3)


def test_many_small_tensors_load_in_a_second(crafted):
    def change(document, tensors):
        tensors.update({f"unused.{number}": torch.zeros(1) for number in range(20_000)})

    path = crafted.write(change)
    start = time.process_time()
    fgraph.load_model(path)
    assert time.process_time() - start < 1


def test_what_would_not_be_read_again_is_not_written(crafted, tmp_path, monkeypatch):
    path, written = tmp_path / "model.fgraph", crafted.write(lambda document, tensors: None)
    monkeypatch.setattr(tensorfile, "_MOST_VALUES", 100)
    with pytest.raises(fgraph.SaveError, match="over the limit of 100"):
        victim().save(path)
    monkeypatch.undo()
    monkeypatch.setattr(tensorfile, "_MOST_TENSORS", 2)
    with pytest.raises(fgraph.SaveError, match="over the limit of 2"):
        victim().save(path)
    with pytest.raises(fgraph.LoadError, match="over the limit of 2"):
        fgraph.load_model(written)
