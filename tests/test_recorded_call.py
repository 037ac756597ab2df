"""Models written as for Keras: layers made in `__init__`, and a `call`."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, SymbolicError, layers


class Net(Model):
    """Layers, torch modules, a list of them and a parameter of its own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.hidden = layers.Dense(4, activation="relu")
        self.drop = layers.Dropout(0.5)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Tanh()])
        self.scale = nn.Parameter(torch.full((4,), 2.0))
        self.head = layers.Dense(2)

    def call(self, inputs, training=False):
        x = self.drop(self.hidden(inputs), training=training)
        for block in self.blocks:
            x = block(x)
        return self.head(x * self.scale)


def test_the_first_call_makes_a_graph_of_the_call():
    net = Net(name="net")
    assert not net.built
    x = torch.randn(5, 3)
    assert net(x).shape == (5, 2)
    assert net.built
    net.eval()
    h = torch.relu(net.hidden.module(x))
    expected = net.head.module(torch.tanh(net.blocks[0](h)) * net.scale)
    torch.testing.assert_close(net(x), expected)
    assert net(torch.randn(7, 3)).shape == (7, 2)  # another batch size
    assert net.output_shape == (None, 2)


def test_modules_and_parameters_keep_their_place():
    net = Net()
    net.build((None, 3))
    assert list(net.state_dict()) == [
        "scale", "blocks.0.weight", "blocks.0.bias",
        "dense_1.weight", "dense_1.bias", "dense_2.weight", "dense_2.bias",
    ]  # fmt: skip
    assert net.hidden.module is net.dense_1
    assert len(list(net.parameters())) == 7


def test_dropout_follows_the_mode_of_the_model():
    net = Net()
    x = torch.randn(50, 3)
    net(x)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net(x, training=False), net(x, training=False))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_run_on_weights_of_their_own(copied):
    net = Net().eval()
    x = torch.randn(4, 3)
    before = net(x)
    twin = copied(net)
    with torch.no_grad():
        net.scale.zero_()
    assert torch.equal(twin(x), before)
    assert twin.hidden.module is twin.dense_1


@pytest.mark.parametrize(
    "make", [Net, lambda: fgraph.Sequential([layers.Dense(4), layers.Dropout(0.5)])]
)
def test_a_mode_set_before_the_first_call_holds_in_it(make):
    net = make().eval()
    x = torch.randn(50, 3)
    assert torch.equal(net(x), net(x))


def test_it_trains_from_the_start():
    net = Net()
    net.compile("adam", "mse", metrics=["mae"])
    x = torch.randn(32, 3)
    history = net.fit(x, x[:, :2], epochs=20, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_its_own_parameters_train_behind_a_softmax():
    class Classifies(Net):
        def call(self, inputs):
            return torch.softmax(super().call(inputs), -1)

    net = Classifies()
    net.compile("sgd", "sparse_categorical_crossentropy")
    before = net.scale.detach().clone()
    net.fit(torch.randn(8, 3), torch.arange(8) % 2, verbose=0)
    assert not torch.equal(net.scale, before)


def test_inputs_have_the_names_of_the_parameters():
    class Two(Model):
        def __init__(self):
            super().__init__()
            self.head = layers.Dense(2)

        def call(self, left, right, mask=None):
            return {"sum": self.head(left) + self.head(right), "left": left}

    net, a, b = Two(), torch.ones(2, 3), torch.zeros(2, 3)
    given = net(a, right=b)
    assert net.input_names == ["left", "right"]
    torch.testing.assert_close(net(left=a, right=b)["sum"], given["sum"])


def test_nested_inputs_and_a_model_inside():
    class Outer(Model):
        def __init__(self):
            super().__init__()
            self.inner = Net()

        def call(self, inputs, training=None):
            first, second = inputs
            return self.inner(first, training=training) + self.inner(second)

    net = Outer()
    net.build([(None, 3), (None, 3)])
    assert net.compute_output_shape([(8, 3), (8, 3)]) == (8, 2)
    assert len(list(net.parameters())) == 7
    assert Outer()([Input((3,)), Input((3,))]).shape == (None, 2)


def test_code_that_needs_values_is_refused_with_what_to_write():
    class Asks(Model):
        def __init__(self):
            super().__init__()
            self.head = layers.Dense(2)

        def call(self, x, training=None):
            return self.head(x) if training else x

    with pytest.raises(SymbolicError, match="`training` has no value") as caught:
        Asks()(torch.ones(2, 3))
    assert any("goes into forward()" in note for note in caught.value.__notes__)


def test_an_argument_that_is_no_tensor_is_refused():
    class Takes(Model):
        def call(self, x, count):
            return x * count

    with pytest.raises(TypeError, match=r"Takes.call: count= expects tensors, got int: give it to"):
        Takes()(torch.ones(2, 3), 3)


def test_layers_in_a_forward_by_hand_point_to_call():
    class Torch(Model):
        def __init__(self):
            super().__init__()
            self.head = layers.Dense(2)

        def forward(self, x):
            return self.head(x)

    with pytest.raises(TypeError, match=r"in an fgraph.Model write `call` in place of `forward`"):
        Torch()(torch.ones(2, 3))


def test_what_needs_the_graph_says_how_to_build_it():
    with pytest.raises(AttributeError, match=r"Net.inputs: this model is not built yet: call it"):
        _ = Net().inputs


def test_its_graph_and_its_weights_are_saved(tmp_path):
    net, x = Net().eval(), torch.randn(4, 3)
    expected = net(x)
    with pytest.raises(fgraph.SaveError, match=r"save the graph alone, Model\(model.input"):
        net.save(tmp_path / "net.fgraph")
    Model(net.input, net.output).eval().save(tmp_path / "net.fgraph")
    torch.testing.assert_close(fgraph.load_model(tmp_path / "net.fgraph").eval()(x), expected)
    net.save_weights(tmp_path / "net.safetensors")
    new = Net().eval()
    new.build((None, 3))
    new.load_weights(tmp_path / "net.safetensors")
    torch.testing.assert_close(new(x), expected)


def test_layers_may_be_made_in_a_build_of_its_own():
    class Late(Model):
        def build(self, input_shape):
            self.dense = layers.Dense(input_shape[-1], use_bias=False)

        def call(self, x):
            return self.dense(x)

    model, x = Late(), torch.randn(2, 3)
    torch.testing.assert_close(model(x), x @ model.dense.module.weight.T)


@pytest.mark.parametrize(
    ("given", "way_out"),
    [
        ({"optional": True}, r"optional=True is not supported.*second Model"),
        ({"sparse": True}, r"sparse=True is not supported.*to_dense"),
        ({"ragged": True}, r"ragged=True is not supported.*pad_sequences"),
        ({"tensor": torch.ones(1, 3)}, r"tensor=.* is not supported.*Model\(tensor"),
    ],
)
def test_an_input_of_another_kind_is_refused_with_a_way_out(given, way_out):
    with pytest.raises(ValueError, match=f"(?s){way_out}"):
        Input((3,), **given)
    assert Input((3,), sparse=False, ragged=None, tensor=None).shape == (None, 3)


class Difference(Model):
    """One whose `call` takes all inputs in one argument, as Keras gives them."""

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(2)

    def call(self, inputs, training=None, mask=None):
        a, b = inputs.values() if isinstance(inputs, dict) else inputs
        return self.head(a - b)


@pytest.mark.parametrize("kind", [list, tuple, lambda pair: dict(zip("ab", pair, strict=True))])
def test_several_inputs_are_one_argument_of_call(kind):
    model = Difference()
    a, b = torch.randn(2, 8, 3)
    y = torch.randn(8, 2)
    model.compile(fgraph.optimizers.SGD(0.0), "mse")
    loss = model.fit(kind([a, b]), y, verbose=0).history["loss"][0]
    expected = model.head.module(a - b)
    assert loss == pytest.approx((expected - y).square().mean().item(), rel=1e-5)
    torch.testing.assert_close(model(kind([a, b])), expected)
    assert model.evaluate(kind([a, b]), y, verbose=0) == pytest.approx(loss)
