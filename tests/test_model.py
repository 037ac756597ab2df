"""Models against hand-written modules with the same weights."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fgraph
from fgraph import AmbiguousNodeError, Input, Model, layers

pytestmark = pytest.mark.usefixtures("torch_untouched")


class Siamese(nn.Module):
    """The hand-written twin of `siamese()`."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(5, 4)
        self.head = nn.Linear(8, 2)

    def forward(self, left, right):
        both = torch.cat([F.relu(self.encode(left)), F.relu(self.encode(right))], dim=1)
        return torch.softmax(self.head(both), -1)


def siamese(twin: Siamese) -> Model:
    """A graph of the twin's own modules: two inputs, a shared layer, torch functions."""
    left, right = Input((5,), name="left"), Input((5,), name="right")
    encoded = [F.relu(twin.encode(side)) for side in (left, right)]
    return Model([left, right], torch.softmax(twin.head(torch.cat(encoded, dim=1)), -1))


@pytest.fixture
def twin() -> Siamese:
    return Siamese()


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(3, 5), torch.randn(3, 5)


# ------------------------------------------------------------------ running


def test_outputs_and_gradients_equal_the_hand_written_module_bit_for_bit(twin, data):
    model = siamese(twin)
    expected = twin(*data)
    assert torch.equal(model(*data), expected)
    expected.pow(2).sum().backward()
    wanted = {name: p.grad.clone() for name, p in twin.named_parameters()}
    twin.zero_grad()
    model(*data).pow(2).sum().backward()
    for name, parameter in twin.named_parameters():
        assert torch.equal(parameter.grad, wanted[name]), name


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda m, a, b: m(a, b), id="positional"),
        pytest.param(lambda m, a, b: m([a, b]), id="list"),
        pytest.param(lambda m, a, b: m((a, b)), id="tuple"),
        pytest.param(lambda m, a, b: m({"right": b, "left": a}), id="dict"),
        pytest.param(lambda m, a, b: m(right=b, left=a), id="keywords"),
        pytest.param(lambda m, a, b: m(a, right=b), id="mixed"),
    ],
)
def test_inputs_may_be_given_in_any_form(twin, data, call):
    assert torch.equal(call(siamese(twin), *data), twin(*data))


@pytest.mark.parametrize("kind", [list, tuple])
def test_outputs_come_back_in_the_structure_of_the_constructor(kind):
    x = Input((3,))
    model = Model(x, kind([x + 1, {"double": x * 2, "pair": (x, x - 1)}]))
    value = torch.randn(2, 3)
    first, rest = model(value)
    assert type(model(value)) is kind
    assert torch.equal(first, value + 1)
    assert torch.equal(rest["double"], value * 2)
    assert isinstance(rest["pair"], tuple)
    assert torch.equal(rest["pair"][1], value - 1)


def test_a_nested_dict_of_inputs_is_matched_by_key():
    a, b, c = Input((2,)), Input((3,)), Input((4,))
    model = Model({"pair": [a, b], "other": c}, torch.cat([a, b, c], dim=1))
    assert model.input_names == ["pair[0]", "pair[1]", "other"]
    values = [torch.randn(2, n) for n in (2, 3, 4)]
    expected = torch.cat(values, dim=1)
    given = {"other": values[2], "pair": values[:2]}
    assert torch.equal(model(given), expected)
    assert torch.equal(model(*values), expected)


def test_a_model_may_begin_at_an_intermediate_tensor():
    x = Input((4,))
    middle = nn.Linear(4, 3)(x)
    last = nn.Linear(3, 2)
    model = Model(middle, last(middle).relu())
    value = torch.randn(5, 3)
    assert torch.equal(model(value), last(value).relu())
    assert [name for name, _ in model.named_children()] == ["linear_1"]


def test_nodes_that_no_output_needs_are_left_out():
    x = Input((4,))
    used, unused = nn.Linear(4, 3), nn.Linear(4, 3)
    unused(x)
    model = Model(x, used(x))
    assert list(model.children()) == [used]


def test_random_numbers_are_drawn_in_the_order_of_the_code():
    first, second = nn.Dropout(0.5), nn.Dropout(0.5)
    x = Input((64,))
    a = first(x)
    b = second(x)
    model = Model(x, torch.cat([b, a], 1))  # the second call is used first
    value = torch.randn(4, 64)
    torch.manual_seed(1)
    got = model(value)
    torch.manual_seed(1)
    a = first(value)
    b = second(value)
    assert torch.equal(got, torch.cat([b, a], 1))


def test_activations_are_released_after_their_last_use():
    alive: list[weakref.ref] = []
    most = 0

    class Watch(nn.Module):
        def forward(self, x):
            nonlocal most
            y = x + 1
            alive.append(weakref.ref(y))
            most = max(most, sum(ref() is not None for ref in alive))
            return y

    x = Input((8,))
    y = x
    for _ in range(20):
        y = Watch()(y)
    model = Model(x, y)
    alive.clear()
    most = 0
    with torch.no_grad():
        model(torch.zeros(2, 8))
    assert most == 2  # the argument of the call that runs, and its result


# ------------------------------------------------------------------ names and code


def test_code_reads_like_hand_written_torch(twin):
    assert siamese(twin).code == (
        "def forward(self, left, right):\n"
        "    m = child_calls(self, left, right)\n"
        '    linear_1 = m["linear_1"](left)\n'
        "    relu_1 = torch.nn.functional.relu(linear_1, inplace=False); del linear_1\n"
        '    linear_1_2 = m["linear_1"](right)\n'
        "    relu_2 = torch.nn.functional.relu(linear_1_2, inplace=False); del linear_1_2\n"
        "    cat_1 = torch.cat([relu_1, relu_2], dim=1); del relu_1, relu_2\n"
        '    linear_2 = m["linear_2"](cat_1); del cat_1\n'
        "    softmax_1 = torch.softmax(linear_2, -1); del linear_2\n"
        "    return softmax_1\n"
    )


def test_names_are_counted_within_the_model_whatever_was_built_before():
    def build() -> Model:
        x = Input((4,))
        h = nn.Linear(4, 4)(x)
        return Model(x, nn.Linear(4, 2)(nn.BatchNorm1d(4)(h).relu()))

    first, second = build(), build()
    assert list(first.state_dict()) == list(second.state_dict())
    assert [name for name, _ in first.named_children()] == [
        "linear_1",
        "batch_norm1d_1",
        "linear_2",
    ]
    second.load_state_dict(first.state_dict())
    first.eval(), second.eval()
    value = torch.randn(3, 4)
    assert torch.equal(first(value), second(value))


def test_adding_a_function_does_not_rename_a_child():
    x = Input((4,))
    plain = Model(x, nn.ReLU()(x))
    model = Model(x, nn.ReLU()(x.relu()))
    assert list(plain._modules) == list(model._modules) == ["relu_1"]


def test_a_module_used_twice_is_registered_once(twin):
    model = siamese(twin)
    assert model.linear_1 is twin.encode
    assert len(list(model.modules())) == 3


def test_a_part_of_another_child_is_reached_through_it():
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    x = Input((4,))
    model = Model(x, block(x) + block[0](x))
    assert list(model._modules) == ["sequential_1"]
    assert 'self._modules["sequential_1"]._modules["0"](input_1)' in model.code
    value = torch.randn(2, 4)
    assert torch.equal(model(value), block(value) + block[0](value))


def test_a_name_given_at_the_call_names_the_child():
    x = Input((4,))
    model = Model(x, x(nn.Linear(4, 2), name="head"))
    assert isinstance(model.head, nn.Linear)
    assert model.output_names == ["head"]


RESERVED = {  # names that torch or Model use themselves, and where such a child is registered
    "input": "input_", "output": "output_", "name": "name_", "layers": "layers_", "fit": "fit_",
    "training": "training_", "forward": "forward_", "children": "children_", "_view": "_view_",
    "block.conv": "block_conv", "weight": "weight", "loss": "loss",
}  # fmt: skip


@pytest.mark.parametrize(("name", "place"), RESERVED.items())
def test_layers_may_have_any_name_and_are_found_by_it(name, place, tmp_path):
    hidden, layer = layers.Dense(2, name="hidden"), layers.Dense(1, name=name)
    x = Input((3,))
    model = Model(x, layer(hidden(x)))
    value = torch.ones(2, 3)
    assert [key for key in model.state_dict() if "hidden" not in key] == [
        f"{place}.weight", f"{place}.bias"
    ]  # fmt: skip
    assert model.get_layer(name) is layer
    assert model.output_names == [layer.name] == [name]
    assert Model(model.input, model.output_of(name)).output_shape == (None, 1)
    model.compile("sgd", {name: "mse"})
    model.fit(value, {name: torch.ones(2, 1)}, verbose=0)
    assert torch.equal(copy.deepcopy(model)(value), model(value))
    assert torch.equal(model.to_fx()(value), model(value))
    model.save(tmp_path / "a.fgraph")
    assert fgraph.load_model(tmp_path / "a.fgraph").get_layer(name).name == name
    assert name in "".join(str(line) for line in _summary(model).split())


def _summary(model):
    lines = []
    model.summary(print_fn=lines.append)
    return "\n".join(lines)


def test_places_of_children_do_not_collide():
    x = Input((3,))
    names = ["output", "output_", "a.b", "a_b", "a_b_"]
    model = Model(x, [layers.Dense(1, name=name)(x) for name in names])
    assert list(model._modules) == ["output__", "output_", "a_b__", "a_b", "a_b_"]
    assert [model.get_layer(name).name for name in names] == names


@pytest.mark.parametrize("name", [*RESERVED, "self", "m", "torch", "mask"])
def test_inputs_may_have_any_name(name):
    x = Input((3,), name=name)
    model = Model(x, x + 1)
    value = torch.ones(2, 3)
    assert model.input_names == [name]
    assert torch.equal(model(value), value + 1)
    assert torch.equal(model({name: value}), value + 1)
    assert torch.equal(model(**{name: value}), value + 1)


def test_nested_inputs_are_named_by_the_way_to_them():
    a, b = Input((3,)), Input((2,))
    model = Model({"p": a, "q": {"r": b}}, {"o": a.sum(1), "u": {"v": b + 1}})
    first, second = torch.ones(4, 3), torch.ones(4, 2)
    assert model.input_names == ["p", "q.r"]
    assert model.input_shape == {"p": (None, 3), "q": {"r": (None, 2)}}
    forms = [
        model({"p": first, "q": {"r": second}}), model(p=first, q={"r": second}),
        model(p=first, q_r=second), model({"q.r": second, "p": first}), model(first, second),
    ]  # fmt: skip
    for found in forms:
        assert torch.equal(found["u"]["v"], second + 1)
    model.compile("sgd", "mse")
    data = {"p": first, "q": {"r": second}}
    assert model.predict(data, verbose=0)["u"]["v"].shape == (4, 2)


def test_one_name_for_two_things_is_refused():
    x = Input((4,), name="x")
    y = x(nn.Linear(4, 2), name="x")
    with pytest.raises(ValueError, match="given to two things in one model"):
        Model(x, y)


@pytest.mark.parametrize("call", [lambda x: torch.max(x, 1), lambda x: x.sort(1)])
def test_results_of_torch_with_names_can_be_outputs(call):
    x = Input((3,))
    model, value = Model(x, call(x)), torch.randn(2, 3)
    found, expected = model(value), call(value)
    assert type(found) is type(expected)
    assert all(map(torch.equal, found, expected))
    assert type(copy.deepcopy(model)(value)) is type(expected)


def test_two_layers_of_one_name_are_refused():
    x = Input((4,))
    y = x(nn.Linear(4, 4), name="same")(nn.Linear(4, 4), name="same")
    with pytest.raises(ValueError, match="'same' is given to two things"):
        Model(x, y)


# ------------------------------------------------------------------ the boundary


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(
            lambda m, a, b: m(a), ValueError, r"takes 2 inputs \['left', 'right'\], got 1", id="few"
        ),
        pytest.param(lambda m, a, b: m(a, b, b), ValueError, "takes 2 inputs .*, got 3", id="many"),
        pytest.param(
            lambda m, a, b: m([a]), ValueError, "takes 2 inputs .*, got 1", id="short list"
        ),
        pytest.param(
            lambda m, a, b: m(left=a, other=b),
            ValueError,
            r"got \['left', 'other'\]: missing \['right'\], unknown \['other'\]",
            id="unknown key",
        ),
        pytest.param(lambda m, a, b: m(a, left=b), ValueError, "'left' is given twice", id="twice"),
        pytest.param(
            lambda m, a, b: m(a, b[:, :3]),
            ValueError,
            r"input 'right' expects shape \(None, 5\), got \(3, 3\)",
            id="size",
        ),
        pytest.param(
            lambda m, a, b: m(a[0], b),
            ValueError,
            r"input 'left' expects shape \(None, 5\), got \(5,\).*batch dimension is missing",
            id="rank",
        ),
        pytest.param(
            lambda m, a, b: m(a.numpy(), b),
            TypeError,
            r"input 'left' expects a torch tensor .* got a numpy.ndarray .*torch.from_numpy",
            id="numpy",
        ),
    ],
)
def test_wrong_inputs_are_refused_at_the_boundary(twin, data, call, error, message):
    with pytest.raises(error, match=message):
        call(siamese(twin), *data)


def test_a_dict_model_takes_no_list_and_names_both_sets_of_keys():
    a, b = Input((2,)), Input((2,))
    model = Model({"a": a, "b": b}, a - b)
    x, y = torch.ones(1, 2), torch.zeros(1, 2)
    with pytest.raises(ValueError, match="takes a dict with the keys"):
        model([x, y])
    with pytest.raises(ValueError, match=r"missing \['b'\], unknown \['c'\]"):
        model({"a": x, "c": y})
    assert torch.equal(model({"b": y, "a": x}), x - y)
    assert torch.equal(model(b=y, a=x), x - y)


def test_nothing_is_cast_or_squeezed(twin, data):
    model = siamese(twin)
    with pytest.raises(RuntimeError, match="dtype"):
        model(data[0].double(), data[1])
    with pytest.raises(ValueError, match=r"got \(3, 5, 1\)"):
        model(data[0].unsqueeze(-1), data[1])


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        pytest.param(
            lambda x, y: Model([x], nn.Linear(6, 1)(torch.cat([x, y], 1))),
            ValueError,
            r"Graph disconnected: Input 'b' of shape \(None, 3\) .*torch.cat needs it",
            id="disconnected",
        ),
        pytest.param(
            lambda x, y: Model([x, y, x], x + y), ValueError, "given twice in inputs=", id="twice"
        ),
        pytest.param(
            lambda x, y: Model(torch.ones(1), x),
            TypeError,
            "symbolic tensors in inputs=",
            id="real in",
        ),
        pytest.param(
            lambda x, y: Model(x, [x, None]),
            TypeError,
            r"in outputs=, got NoneType at \[1\]",
            id="none",
        ),
        pytest.param(
            lambda x, y: Model(x, []), ValueError, r"outputs=\[\] holds no tensor", id="empty"
        ),
        pytest.param(lambda x, y: Model(), TypeError, "expects inputs and outputs", id="nothing"),
        pytest.param(
            lambda x, y: Model(x, x + 1, 3), TypeError, "name= expects a string", id="name"
        ),
    ],
)
def test_bad_models_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build(Input((3,), name="a"), Input((3,), name="b"))


# ------------------------------------------------------------------ reuse


def test_a_model_is_a_layer_of_another_graph_with_shared_weights(twin, data):
    model = siamese(twin)
    x = Input((5,))
    outer = Model(x, model(x, x * 2) + 1)
    assert outer.model_1 is model
    assert torch.equal(outer(data[0]), twin(data[0], data[0] * 2) + 1)


def test_a_nested_model_keeps_its_structure_of_inputs_and_outputs():
    a, b = Input((2,)), Input((2,))
    inner = Model({"a": a, "b": b}, {"sum": a + b, "difference": a - b}, name="inner")
    x = Input((2,))
    both = inner({"b": x * 3, "a": x})
    outer = Model(x, both["sum"] * both["difference"])
    value = torch.randn(4, 2)
    assert torch.equal(outer(value), (value + value * 3) * (value - value * 3))
    assert outer.inner is inner


def test_a_sub_model_shares_modules(twin, data):
    model = siamese(twin)
    features = Model(model.inputs, model.outputs[0] * 2)
    assert features.linear_1 is model.linear_1
    assert torch.equal(features(*data), twin(*data) * 2)


def test_subclass_with_a_forward_of_its_own_is_plain_torch():
    class Net(Model):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(3, 2)

        def forward(self, x):
            return self.body(x).tanh()

    net = Net()
    value = torch.randn(4, 3)
    assert torch.equal(net(value), net.body(value).tanh())
    assert list(net.state_dict()) == ["body.weight", "body.bias"]
    with pytest.raises(AttributeError, match="has no graph, its forward is written by hand"):
        _ = net.code


class WithExtras(Model):
    """A functional subclass: builds its graph in the constructor."""

    def __init__(self, width: int) -> None:
        x = Input((width,))
        super().__init__(x, nn.Linear(width, 1)(x))
        self.width = width


class Doubling(Model):
    """A functional subclass with a forward that adds to the generated one."""

    def __init__(self) -> None:
        x = Input((2,))
        super().__init__(x, x + 1)

    def forward(self, x):
        return super().forward(x) * 2


def test_functional_subclass_keeps_class_and_attributes_in_copies():
    model = WithExtras(3)
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(made, WithExtras)
        assert type(made) is type(model)
        assert made.width == 3
        value = torch.randn(2, 3)
        assert torch.equal(made(value), model(value))


def test_a_forward_written_by_hand_may_call_the_generated_one():
    model = Doubling()
    value = torch.randn(3, 2)
    assert torch.equal(model(value), (value + 1) * 2)
    assert torch.equal(copy.deepcopy(model)(value), (value + 1) * 2)


# ------------------------------------------------------------------ state


def test_parameters_and_tensors_of_the_graph_become_state():
    scale, shift = nn.Parameter(torch.ones(4) * 2), torch.arange(4.0)
    x = Input((4,))
    model = Model(x, x * scale + shift)
    assert dict(model.named_parameters())["parameter_1"] is scale
    assert dict(model.named_buffers())["buffer_1"] is shift
    model.double()
    value = torch.randn(2, 4, dtype=torch.float64)
    assert torch.equal(model(value), value * 2 + torch.arange(4.0, dtype=torch.float64))


def test_a_tied_weight_is_not_registered_twice():
    table = nn.Embedding(7, 4)
    tokens = Input((3,), dtype="int64")
    model = Model(tokens, F.linear(table(tokens), table.weight))
    assert list(model.state_dict()) == ["embedding_1.weight"]
    value = torch.randint(7, (2, 3))
    assert torch.equal(model(value), F.linear(table(value), table.weight))


def test_building_and_dropping_models_leaves_nothing_behind():
    import linecache

    layer = nn.Linear(4, 4)
    before = set(linecache.cache)

    def build() -> weakref.ref:
        x = Input((4,))
        return weakref.ref(Model(x, layer(x) + len(alive)))

    alive: list[weakref.ref] = []
    alive.extend(build() for _ in range(20))
    gc.collect()
    assert not any(ref() for ref in alive)
    assert not [name for name in set(linecache.cache) - before if name.startswith("<fgraph")]
    assert fgraph.inbound_nodes(layer) == []


def test_a_moved_buffer_of_a_child_is_the_one_that_a_sub_model_uses():
    norm = nn.BatchNorm1d(4).eval()
    x = Input((4,))
    model = Model(x, norm(x) - norm.running_mean)
    model.double()
    part = Model(model.inputs, model.outputs[0] * 2)
    value = torch.randn(3, 4, dtype=torch.float64)
    assert list(part._modules) == ["batch_norm1d_1"]
    assert torch.equal(part(value), model(value) * 2)


def test_a_layer_shows_all_its_outputs_though_some_were_dropped():
    lstm = fgraph.layers.LSTM(4, return_state=True)
    x = Input((5, 3))
    last, _, _ = lstm(x)
    del _
    gc.collect()
    assert lstm.output[0] == last
    assert [state.shape for state in lstm.output] == [(None, 4)] * 3


# ------------------------------------------------------------------ cutting by name


def cut_me() -> Model:
    x = Input((4,), name="x")
    shared = nn.Linear(4, 4)
    h = shared(x).relu()
    h = layers.Dense(4, activation="tanh", name="narrow")(shared(h))
    out, (state, _) = nn.LSTM(4, 3)(h.unsqueeze(1))
    return Model(x, out.squeeze(1) + state.sum())


@pytest.mark.parametrize("name", ["x", "narrow", "relu_1", "lstm_1"])
def test_a_model_is_cut_at_any_name(name):
    model, value = cut_me(), torch.randn(3, 4)
    part = Model(model.inputs, model.output_of(name))
    if name == "x":
        assert part(value) is value
    else:
        expected = model.activations(value, names=name)[name]
        torch.testing.assert_close(part(value), expected)
    assert set(part.state_dict()) <= {*model.state_dict(), "linear_1.weight", "linear_1.bias"}


def test_one_call_of_several_is_cut_by_its_number():
    model, value = cut_me(), torch.randn(3, 4)
    first = Model(model.inputs, model.output_of("linear_1", 0))
    assert torch.equal(first(value), model.linear_1(value))
    last = Model(model.inputs, model.output_of("linear_1", -1))
    assert torch.equal(last(value), model.linear_1(model.linear_1(value).relu()))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (
            ("linear_1",),
            AmbiguousNodeError,
            r"called 2 times.*output_of\('linear_1', node_index=0\)",
        ),
        (("linear_1", 2), ValueError, "called 2 times, node_index=2 is not among"),
        (("narow",), ValueError, "unknown layer 'narow'; did you mean 'narrow'"),
    ],
)
def test_a_cut_that_cannot_be_made_says_why(arguments, error, text):
    with pytest.raises(error, match=text):
        cut_me().output_of(*arguments)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: x.mT, "mT_1"),
        (lambda x: x[0].T, "t_1"),
        (lambda x: fgraph.apply(lambda t: t + 1, x), "apply_1"),
        (layers.Lambda(lambda t: t.exp()), "lambda_1"),
        (lambda x: x**2, "pow_1"),
        (lambda x: torch.relu(x), "relu_1"),
    ],
)
def test_calls_are_named_by_what_they_do(call, name):
    x = Input((3, 4))
    made = Model(x, call(x))
    assert made.output_names == [name]
    assert f"    return {name}" in made.code


def test_what_a_part_of_the_class_overrides_comes_before_the_module():
    """A part that derived from `nn.Module` would hide the overrides of those behind it."""
    assert Model.__mro__[-2:] == (nn.Module, object)
