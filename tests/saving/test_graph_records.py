"""A loaded graph knows of each call what the recorded one knew."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import fgraph
from fgraph import Input, Model, layers
from fgraph.graph.flat_graph import Entry
from fgraph.graph.node import Ref
from fgraph.saving.graph_records import _NODE_FIELDS
from saving.crafted import Crafted, graph_of
from strategies import assert_same


@fgraph.register("tests>clipped")
def clipped(x, options):
    """A function that reads settings given at each call."""
    return x.clamp(options["low"], options["high"])


class Scaled(nn.Module):
    """A module that a function brings along."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def get_config(self):
        return {}

    def forward(self, x):
        return self.linear(x) * 2


fgraph.register("tests>Scaled")(Scaled)


@fgraph.register("tests>with_module")
def with_module(x, module, weight):
    """A function that is given a module and a parameter."""
    return module(x) * weight


@fgraph.register("tests>first_ten")
def first_ten(x):
    """A function that cuts off what it is given."""
    return x[:, :10]


def grad_modes():
    x = Input((4,))
    with torch.no_grad():
        kept = nn.Linear(4, 4)(x)
        with torch.enable_grad():
            more = nn.Linear(4, 4)(kept)
    return Model(x, [kept + more, nn.Linear(4, 4)(more)])


def autocast():
    x = Input((4,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = nn.Linear(4, 4)(x)
        with torch.autocast("cpu", enabled=False):
            full = nn.Linear(4, 4)(low.float())
    return Model(x, [low, full, nn.Linear(4, 4)(full)])


def in_place():
    x = Input((6, 4))
    h = nn.Linear(4, 4)(x)
    h[:, 0] = 1.0
    h[:, 1:, 2] *= 3
    h.add_(x).clamp_(-1, 1)
    part = h[:, 2]
    part.add_(2)
    return Model(x, [h, part, nn.ReLU(inplace=True)(h.clone())])


def views():
    x = Input((6, 4))
    h = x * 2
    flat = h.view(h.shape[0], -1)
    flat[:, 0] = 5
    turned = h.transpose(1, 2)
    turned.add_(1)
    return Model(x, {"whole": h, "flat": flat, "turned": turned})


def held_modules():
    x = Input((4,))
    return Model(x, fgraph.apply(with_module, x, Scaled(), nn.Parameter(torch.rand(4))))


brought = nn.Linear(4, 4)


@fgraph.register("tests>brings_module")
def brings_module(x, factor):
    """A function that uses a module without being given it."""
    return factor(brought(x))


@fgraph.register("tests>tripled")
def tripled(x):
    """A function that another one is given."""
    return x * 3 + brought.bias


def modules_from_outside():
    x = Input((4,))
    return Model(x, fgraph.apply(brings_module, x, factor=tripled))


@fgraph.register("tests>places")
def places(x):
    """A function whose result has a shape that only its declaration tells."""
    return torch.nonzero(x.detach().clone())


def declared():
    x = Input((4,))
    found = fgraph.apply(places, x, output_shape=(None, 2))
    return Model(x, found.float().sum(0))


def cut_sizes():
    x = Input((None, 4))
    return Model(x, [x[:, :10], fgraph.apply(first_ten, x), nn.MaxPool1d(2)(x.mT[:, :, :7])])


def sizes_that_were_read():
    x = Input((None, 4))
    h = fgraph.apply(first_ten, x).mT[:, :, :1]
    return Model(x, h * int(h.shape[-1]) + int(x[:, :1].shape[1]))


def symbolic_sizes():
    x = Input((None, 4))
    batch, length, width = x.shape
    positions = torch.arange(length, dtype=torch.float32)
    h = x.reshape(batch, length * width)[:, : length // 2 + 1] / (length**0.5)
    return Model(x, [h, x + positions[:, None], x.new_zeros(batch, length // 3) + batch])


def nested_masks():
    tokens = Input((6,), dtype="int64")
    inner_in = Input((6, 4))
    inner = Model(inner_in, layers.LSTM(3)(layers.Dropout(0.1)(inner_in)), name="inner")
    return Model(tokens, inner(layers.Embedding(5, 4, mask_zero=True)(tokens))).eval()


def masks_out():
    tokens = Input((6,), dtype="int64")
    inner_in = Input((6,), dtype="int64")
    inner = Model(inner_in, layers.Embedding(5, 4, mask_zero=True)(inner_in), name="inner")
    return Model(tokens, layers.GRU(3)(inner(tokens)))


def data_inputs():
    x, scale = Input((4,)), Input(example=2.0, name="scale")
    count, how = Input(example=3), Input(example={"low": 0.1, "high": 0.9}, name="how")
    return Model([x, scale, count, how], [x * scale + count, fgraph.apply(clipped, x, how)])


def data_arguments():
    return {"scale": 3.0, "how": {"low": 0.2, "high": 0.3}, "input_2": 5}


def any_names():
    x = Input((4,), name="the input")
    h = layers.Dense(4, name="output")(x)
    h = layers.Dense(4, name="block.conv")(h)
    h = layers.Dense(4, name="_view")(h)
    return Model({"a b": x}, layers.Dense(2, name="loss")(h), name="Mein Netz ß")


def nested_inputs():
    a, b, c = Input((4,)), Input((4,)), Input((4,))
    return Model({"left": [a, b], "right": {"c": c}}, torch.max(a + b * c, 1))


def intermediate_inputs():
    x = Input((None, 4))
    h = x[:, :10]
    return Model(h, nn.Linear(4, 2)(h) * h.shape[1])


def shared_calls():
    x, y = Input((4,)), Input((4,))
    dense, norm = layers.Dense(4, activation="relu"), nn.BatchNorm1d(4)
    return Model([x, y], [norm(dense(x)), norm(dense(y)), dense(dense(x) - y)])


def structures():
    x = Input((6, 4))
    out, (h, c) = nn.LSTM(4, 3, batch_first=True)(x)
    best = x.max(1)
    return Model(x, {"out": out, "states": [h, c], "best": best, "split": x.split(2, 1)[1]})


MODELS = [
    grad_modes, autocast, in_place, views, held_modules, modules_from_outside, declared,
    cut_sizes, sizes_that_were_read, symbolic_sizes, nested_masks, masks_out, data_inputs,
    any_names, nested_inputs, intermediate_inputs, shared_calls, structures,
]  # fmt: skip


def reload(model, folder):
    model.save(folder / "model.fgraph")
    return fgraph.load_model(folder / "model.fgraph")


def knowledge(model):
    """Return what each node of a graph holds, with references as numbers."""
    graph = model._graph
    places = {ref: number for number, ref in enumerate(graph.inputs)}
    for number, node in enumerate(graph.nodes):
        places |= {Ref(node, index): (number, index) for index in range(len(node.specs))}

    def placed(value):
        return pytree.tree_map(lambda leaf: places.get(leaf) if type(leaf) is Ref else leaf, value)

    nodes = [
        (
            node.op, node.kind, node.name, node.specs, str(node.structure), node.effects,
            node.modes, node.declared, node.loops,
            {i: placed(ref) for i, ref in (node.masks or {}).items()},
            [placed(ref) for ref in node.refs()],
            node.call and (node.call.owner.name, type(node.call.owner)),
        )
        for node in graph.nodes
    ]  # fmt: skip
    return nodes, [(read[0].spec, read[1]) for read in model._signature.reads]


def arguments(model):
    """Return an argument for each input."""
    generator = torch.Generator().manual_seed(1)
    known, found = data_arguments(), []
    for name, ref in zip(model.input_names, model._graph.inputs, strict=True):
        if ref.spec.shape is None:
            found.append(known[name])
        elif ref.spec.dtype == torch.int64:
            found.append(torch.randint(0, 4, (2, 6), generator=generator))
        else:
            shape = [2 if axis == 0 else size or 12 for axis, size in enumerate(ref.spec.shape)]
            found.append(torch.rand(shape, generator=generator))
    return found


def results(model, values):
    """Run a model, forwards and backwards; return all numbers."""
    values = [v.clone().requires_grad_() if _is_float(v) else v for v in values]
    model.zero_grad()
    leaves = pytree.tree_leaves(model(dict(zip(model.input_names, values, strict=True))))
    total = sum(leaf.float().sum() for leaf in leaves)
    if total.requires_grad:
        total.backward()
    grads = [value.grad for value in (*model.parameters(), *filter(_is_float, values))]
    return [leaf.detach() for leaf in leaves] + [g for g in grads if g is not None]


def _is_float(value):
    return isinstance(value, torch.Tensor) and value.is_floating_point()


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_what_is_known_of_each_call_comes_back(make, tmp_path):
    model = make()
    loaded = reload(model, tmp_path)
    assert loaded.code == model.code
    assert loaded.input_names == model.input_names
    assert loaded.output_names == model.output_names
    assert [*loaded._modules] == [*model._modules]
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    if make is not intermediate_inputs:  # an input is open where the value was cut
        assert knowledge(loaded) == knowledge(model)
    assert [s.spec.shape for s in pytree.tree_leaves(loaded.outputs)] == [
        s.spec.shape for s in pytree.tree_leaves(model.outputs)
    ]
    values = arguments(model)
    assert_same(results(loaded, values), results(model, values))


def test_a_cut_size_is_not_believed_after_loading(tmp_path):
    x = Input((None, 4))
    loaded = reload(Model(x, x[:, :10]), tmp_path)
    assert loaded.output.spec.shape == (None, None, 4)
    total = loaded.output.sum(1) / loaded.output.shape[1]
    mean = Model(loaded.inputs, total)
    again = reload(mean, tmp_path)
    for length in (3, 10, 12):
        values = torch.rand(2, length, 4)
        expected = values[:, :10].mean(1)
        for model in (mean, again):
            torch.testing.assert_close(model(values), expected)


def test_sizes_that_code_read_are_compared_after_loading(tmp_path):
    x = Input((None, 4))
    cut = x[:, :1]
    loaded = reload(Model(x, cut * int(cut.shape[1])), tmp_path)
    assert loaded._signature.reads
    assert loaded(torch.ones(2, 5, 4)).shape == (2, 1, 4)
    with pytest.raises(ValueError, match="was read while the graph was built, as 1"):
        loaded(torch.ones(2, 0, 4))


def test_what_only_reads_need_may_be_a_view_of_what_changes(tmp_path):
    x = Input((4,))
    kept = x * 1.0
    view = kept[:, :2]
    kept += 1.0
    assert view.float().shape[1] == 2
    part = x[:, :3]
    assert int(part.shape[1]) == 3
    model = Model(x, kept * 2.0)
    value = torch.rand(2, 4)
    assert torch.equal(reload(model, tmp_path)(value), model(value))


def test_files_have_all_that_is_known_of_a_node():
    """Or it is found again when the node is recorded."""
    found_again = {"function", "specs", "template", "effects"}
    assert {*Entry._fields} == (_NODE_FIELDS - {"path"}) | found_again


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda g: g["nodes"][0].update(operation=1), "number 1 of 1"),
        (lambda g: g["nodes"][0].update(operation=-1), "number -1 of 1"),
        (lambda g: g["operations"].__setitem__(0, 3), "an operation takes 3"),
        (lambda g: g["operations"].__setitem__(0, [None]), r"an operation takes \[None\]"),
        (lambda g: g["operations"].__setitem__(0, [{"$at": [9, 0]}]), "number 9 of"),
        (lambda g: g["operations"].__setitem__(0, [{"$at": [0, 9]}]), "range"),
    ],
)
def test_a_file_with_other_operations_is_refused(change, match, tmp_path):
    x = Input((4,))
    made = Crafted(Model(x, fgraph.ops.normalize(x)), tmp_path)
    assert graph_of(made.document)["operations"] == [[{"$at": [0, 0]}]]
    path = made.write(lambda document, tensors: change(graph_of(document)))
    with pytest.raises(fgraph.LoadError, match=match):
        fgraph.load_model(path)


def test_methods_of_modules_are_refused(tmp_path):
    x = Input((4,))
    model = Model(x, fgraph.apply(nn.Linear(4, 4).forward, x))
    with pytest.raises(fgraph.SaveError, match=r"forward is a method: write a function.*register"):
        model.save(tmp_path / "model.fgraph")
