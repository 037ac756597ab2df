"""`model.save("x.keras")`: Keras opens the file, with equal outputs, weights and training."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("h5py")
import fgraph
from fgraph import Input, Model, Sequential, layers, ops, optimizers
from fgraph.errors import LoadError, SaveError
from fgraph.interface.keras_order import flat
from keras_oracle import in_fgraph, keras, random_values
from layers.rows import ROWS

# Keras's own, on numpy 2; and what it says of layers that take no masks
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*it changes its input at random:UserWarning"),
    pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`:UserWarning"),
]
L = layers


def given(model: Any, values: list[torch.Tensor]) -> Any:
    names = getattr(model, "input", None)
    if isinstance(names, dict):
        return dict(zip(names, values, strict=True))
    return values if len(values) > 1 else values[0]


def outputs_of(model: Any, values: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        if isinstance(model, Model):
            return list(flat(model(*values)))
        return list(flat(model(given(model, values), training=False)))


def agree(own: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(own) == len(theirs)
    for mine, reference in zip(own, theirs, strict=True):
        assert mine.dtype == reference.dtype
        size = max(1.0, float(mine.double().abs().max())) if mine.numel() else 1.0
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-5 * size)


def opened(model: Model, values: list[torch.Tensor], path: Path) -> Any:
    """Save a model, open it in Keras and here, and compare the outputs; return Keras's."""
    model.eval()
    model.save(path)
    own = outputs_of(model, values)
    agree(own, outputs_of(fgraph.load_model(path), values))
    theirs = keras.models.load_model(path)
    agree(own, outputs_of(theirs, values))
    return theirs


def scrambled(model: Model) -> Model:
    """Draw other weights, so that none is what its layer begins with."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4)
    return model


# ---------------------------------------------------------------------- models


def shared() -> Any:
    a, b = Input((4,)), Input((4,), name="second")
    dense = L.Dense(4, activation="tanh", kernel_regularizer="l2", name="same")
    inner = Sequential([Input((4,)), L.Dense(4), L.BatchNormalization()], name="stack")
    x = inner(dense(dense(a)))
    y = L.Dense(3, kernel_constraint="max_norm")(L.Dense(4)(L.Dense(4)(b)))
    return [a, b], {"z": L.Concatenate()([x, dense(b)]), "a": [y, inner(b)]}


def nested() -> Any:
    x, y = Input((4,)), Input((4,))
    h = L.Dense(4)(x)
    block = Model({"q": x, "p": y}, {"z": L.Dense(2)(L.Dense(4)(y) + h), "a": L.Dense(3)(h)})
    a = Input((4,))
    first = block({"q": a, "p": a})
    again = block({"q": L.Dense(4)(a), "p": a})
    return a, [first["z"], L.Concatenate()([again["a"], first["a"], again["z"]])]


def masks() -> Any:
    ids = Input((6,), dtype="int64")
    x = L.Concatenate()([L.Embedding(9, 5, mask_zero=True)(ids),
                         L.Embedding(9, 3, mask_zero=True)(ids)])  # fmt: skip
    x = L.Bidirectional(L.GRU(3, return_sequences=True))(x)
    steps = Input((6, 6))
    inner = Model(steps, L.LSTM(3, return_sequences=True)(steps))
    heads = L.MultiHeadAttention(2, 3)(x, x)
    out, state = L.GRU(6, return_state=True)(x)
    y = L.GRU(6)(x, initial_state=state)  # masked, too: Keras would pass no mask here
    return ids, [
        L.GlobalAveragePooling1D()(L.Attention()([heads, x])), L.LSTM(2)(inner(x)), out + y,
        L.LSTM(3)(L.Multiply()([x, x])), L.TimeDistributed(L.Dense(2))(L.Masking(0.1)(x)),
    ]  # fmt: skip


def wrappers() -> Any:
    x = Input((5, 4))
    stack = Sequential([Input((4,)), L.Dense(3), L.Dense(2)])
    a = Input((4,))
    graph = Model(a, L.Dense(2)(L.Dense(3)(a) * 2.0))
    back = L.GRU(3, return_sequences=True, go_backwards=True)
    both = L.Bidirectional(L.LSTM(3, return_sequences=True), None, backward_layer=back)(x)
    return x, [
        L.TimeDistributed(stack)(x), L.TimeDistributed(graph)(x), *both,
        L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_sequences=True)(x),
        L.SpectralNormalization(L.Dense(3))(x), L.GroupQueryAttention(4, 4, 2)(x, x),
    ]  # fmt: skip


def functions() -> Any:
    x, y = Input((4, 6)), Input((4, 6))
    h = 2 - x[:, 1:3] ** 2 / 3
    h = torch.cat([h, y[:, :2].relu(), F.gelu(x[:, :1])], dim=1)
    h = torch.einsum("bij,bkj->bik", h, x) @ y.view(-1, 4, 6).permute(0, 2, 1).mT.transpose(1, 2).mT
    top = x.max(dim=1).values + y.std(1) + F.normalize(x, dim=-1).sum(1)
    kept = torch.where((x > 0) & ~(y > 1), x.masked_fill(y < 0, 0.5), y.clamp(min=0.1))
    again = ops.rearrange(ops.softmax(x), "b (h w) c -> b h (w c)", h=2)
    attended = F.scaled_dot_product_attention(x[:, None], y[:, None], x[:, None]).squeeze(1)
    table = torch.arange(6.0)
    return [x, y], [
        h, top, kept, again, attended, x.flatten(1) * 1.5, x.unsqueeze(-1).expand(-1, 4, 6, 2),
        x.argmax(-1), x.to(torch.float64), F.pad(x, (1, 2)), x.sort(-1)[0], x.chunk(2, 1)[1],
        F.one_hot(y.abs().clamp(max=3).long(), 4), x * table, F.layer_norm(x, (6,)),
        L.Lambda(lambda z: z.cumsum(1) + 1)(x), x.logsumexp(1), torch.stack([x, y], 1).unbind(1)[1],
        ops.cumsum(x, axis=1), ops.cumprod(x, axis=-1),
    ]  # fmt: skip


def modules() -> Any:
    x = Input((3, 8, 8))
    h = nn.ReLU(inplace=True)(nn.Conv2d(3, 4, 3, padding=1)(x))
    h = nn.MaxPool2d(2)(nn.GroupNorm(2, 4)(h))
    h = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Dropout(0.2), nn.GELU())(h)
    return x, nn.LayerNorm(6)(h)


def others() -> Any:
    x = Input((4,), name="my.in")
    dense, norm = L.Dense(3, name="block.conv/1"), L.BatchNormalization()
    h = norm(dense(x))
    dense.trainable = norm.trainable = False
    return x, [L.Dense(2, name="fit")(h), L.Dropout(0.5)(h, training=False), x, Tripled()(x)]


@fgraph.register("written>Tripled")
class Tripled(L.Layer):
    """A layer of the user's."""

    def __init__(self, factor: float = 3.0, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight((input_shape[-1],), "ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale * self.factor


def keras_tripled() -> None:
    class Tripled(keras.layers.Layer):
        def __init__(self, factor: float = 1.0, **options: Any) -> None:
            super().__init__(**options)
            self.factor = factor

        def build(self, input_shape: Any) -> None:
            self.scale = self.add_weight(shape=(input_shape[-1],), name="scale")

        def call(self, inputs: Any) -> Any:
            return inputs * self.scale * self.factor

    keras.saving.register_keras_serializable("written", "Tripled")(Tripled)


keras_tripled()
MODELS = [shared, nested, masks, wrappers, functions, modules, others]


def made(build: Any) -> tuple[Model, list[torch.Tensor]]:
    model = scrambled(Model(*build()))
    values = [
        torch.randn(3, *ref.shape[1:]) if ref.dtype.is_floating_point
        else torch.randint(0, 9, (3, *ref.shape[1:])) for ref in model.inputs
    ]  # fmt: skip
    return model, values


def names_in_keras(model: Model) -> set[str]:
    """Return the names that layers have there, which has no dots or slashes in those of layers."""
    return {
        name.replace("/", "_") if name in model.input_names else
        name.replace("/", "_").replace(".", "_")
        for name, layer in model._layers_by_name().items()
        if not isinstance(layer, (L.Lambda, nn.Sequential))
    }  # fmt: skip


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_keras_opens_the_file_with_equal_outputs_and_names(build: Any, tmp_path: Path) -> None:
    model, values = made(build)
    theirs = opened(model, values, tmp_path / "model.keras")
    assert names_in_keras(model) <= {x.name for x in theirs.layers}
    lines: list[str] = []
    theirs.summary(print_fn=lines.append)
    theirs.save(tmp_path / "again.keras")
    agree(outputs_of(model, values), outputs_of(fgraph.load_model(tmp_path / "again.keras"),
                                                values))  # fmt: skip


def test_frozen_layers_stay_so(tmp_path: Path) -> None:
    model, values = made(others)
    theirs = opened(model, values, tmp_path / "model.keras")
    assert [theirs.get_layer(name).trainable for name in ("block_conv_1", "fit")] == [False, True]
    assert len(theirs.trainable_weights) == 3


@pytest.mark.parametrize("items", [
    [L.InputLayer((4,)), L.Dense(3, activation="relu"), L.Dense(2)],
    [L.Dense(3), Sequential([L.Dense(3), nn.Dropout(0.1)]), L.Rescaling(2.0)],
    [L.InputLayer((4,)), nn.Linear(4, 3), nn.ReLU(), L.Dense(2)],
])  # fmt: skip
def test_stacks_stay_stacks(items: list[Any], tmp_path: Path) -> None:
    model = Sequential(items)
    model(torch.zeros(1, 4))
    theirs = opened(scrambled(model), [torch.randn(3, 4)], tmp_path / "model.keras")
    assert isinstance(theirs, keras.Sequential)
    assert [x.name for x in theirs.layers] == [
        name for name in model._layers_by_name() if name not in model.input_names
    ]


def test_stacks_with_functions_or_a_layer_twice_become_graphs(tmp_path: Path) -> None:
    dense = L.Dense(4)
    model = Sequential([Input((4,)), dense, L.Lambda(lambda x: x * 2), dense])
    theirs = opened(scrambled(model), [torch.randn(3, 4)], tmp_path / "model.keras")
    assert not isinstance(theirs, keras.Sequential)


@pytest.mark.parametrize("build", [shared, masks, wrappers], ids=lambda build: build.__name__)
def test_weights_alone_go_both_ways(build: Any, tmp_path: Path) -> None:
    model, values = made(build)
    model.eval()
    model.save(tmp_path / "model.keras")
    expected = outputs_of(model, values)
    theirs = keras.models.load_model(tmp_path / "model.keras")
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    scrambled(model)
    model.save_weights(tmp_path / "own.weights.h5")
    theirs.load_weights(tmp_path / "own.weights.h5")
    agree(outputs_of(model, values), outputs_of(theirs, values))
    model.load_weights(tmp_path / "theirs.weights.h5")
    agree(outputs_of(model, values), expected)


def test_weights_of_another_model_change_nothing(tmp_path: Path) -> None:
    x = Input((4,))
    small, large = Model(x, L.Dense(2)(x)), Model(x, L.Dense(3)(x))
    small.save_weights(tmp_path / "small.weights.h5")
    before = large.get_weights()
    with pytest.raises(LoadError, match=r"has the shape \(4, 3\)"):
        large.load_weights(tmp_path / "small.weights.h5")
    for a, b in zip(large.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------------- training


def trained(optimizer: Any, path: Path, **settings: Any) -> None:
    """Train, save, and go on both here and in Keras: losses and weights stay equal."""
    torch.manual_seed(0)
    x = Input((4, 6))
    h = L.GRU(5, return_sequences=True)(x)
    h = L.BatchNormalization()(L.Conv1D(4, 2, activation="relu")(h))
    model = Model(x, L.Dense(3, kernel_regularizer="l2", name="last")(L.Flatten()(h)))
    model.compile(optimizer=optimizer, loss={"last": "mse"}, metrics=["mae"], **settings)
    data, target = torch.randn(16, 4, 6), torch.randn(16, 3)
    for _ in range(2):
        model.train_on_batch(data, target)
    model.save(path)
    theirs = keras.models.load_model(path)
    for _ in range(2):
        own = model.train_on_batch(data, target)
        expected = theirs.train_on_batch(data.numpy(), target.numpy())
        np.testing.assert_allclose(np.ravel(own)[0], np.ravel(expected)[0], rtol=1e-4)
    for mine, reference in zip(model.layers[1:], theirs.layers[1:], strict=True):
        weights = [w.numpy() for w in reference.weights if "seed" not in w.path]
        for a, b in zip(mine.get_weights(), weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


DECAY = optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
QUICK = {
    "adam": optimizers.Adam(0.01, amsgrad=True, clipnorm=1.0),
    "momentum": optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "schedule": optimizers.RMSprop(DECAY, momentum=0.5, centered=True),
}
SLOW = {
    **{name: getattr(optimizers, name)(0.01) for name in (
        "SGD", "RMSprop", "Adagrad", "Adadelta", "Ftrl", "Adam", "AdamW", "Adamax", "Nadam",
        "Lamb", "Lion")},
    "averages": optimizers.Adam(0.01, use_ema=True),
    "decay": optimizers.SGD(0.01, weight_decay=0.1),
}  # fmt: skip


@pytest.mark.parametrize("optimizer", QUICK.values(), ids=QUICK.keys())
def test_training_goes_on_in_keras(optimizer: Any, tmp_path: Path) -> None:
    trained(optimizer, tmp_path / "model.keras")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", SLOW.values(), ids=SLOW.keys())
def test_training_goes_on_with_every_optimizer(optimizer: Any, tmp_path: Path) -> None:
    trained(optimizer, tmp_path / "model.keras")


def test_settings_of_losses_and_metrics_come_along(tmp_path: Path) -> None:
    x = Input((4,))
    model = Model(x, {"a": L.Dense(1, name="a")(x), "b": L.Dense(3, name="b")(x)})
    model.compile(
        "adam", {"a": fgraph.losses.Huber(delta=0.5), "b": nn.MSELoss()},
        metrics={"a": ["mae", fgraph.metrics.RootMeanSquaredError()], "b": "accuracy"},
        loss_weights={"a": 2.0, "b": 0.5}, clip_grad_norm=1.0,
    )  # fmt: skip
    model.save(tmp_path / "model.keras")
    theirs = keras.models.load_model(tmp_path / "model.keras")
    data = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    target = {"a": data[:, :1], "b": data[:, :3]}
    own = model.evaluate(torch.tensor(data), {k: torch.tensor(v) for k, v in target.items()},
                         verbose=0, return_dict=True)  # fmt: skip
    expected = theirs.evaluate(data, target, verbose=0, return_dict=True)
    assert theirs.optimizer.global_clipnorm == 1.0
    np.testing.assert_allclose(own["loss"], expected["loss"], rtol=1e-5)
    model.save(tmp_path / "bare.keras", include_optimizer=False)
    assert not keras.models.load_model(tmp_path / "bare.keras").compiled


@pytest.mark.parametrize(("settings", "text"), [
    ({"optimizer": torch.optim.Adam}, "the optimizer Adam is not one of fgraph.optimizers"),
    ({"optimizer": "adam", "precision": "bfloat16"}, "compile's precision="),
    ({"optimizer": "adafactor"}, "the state of the optimizer Adafactor"),
    ({"optimizer": "adam", "loss": lambda a, b: (a - b).abs()}, "is not Keras's"),
    ({"optimizer": "adam", "metrics": [lambda y_true, y_pred: y_pred]}, "left out"),
])  # fmt: skip
def test_one_warning_names_what_keras_does_not_have(
    settings: dict[str, Any], text: str, tmp_path: Path
) -> None:
    x = Input((4,))
    model = Model(x, L.Dense(2)(x))
    model.compile(**{"loss": "mse", **settings})
    with pytest.warns(UserWarning, match=text) as caught:
        model.save(tmp_path / "model.keras")
    assert len(caught) == 1


def test_operations_that_keras_does_in_32_bits_are_cast_and_named(tmp_path: Path) -> None:
    x = Input((4, 4), dtype="float64")
    model = Model(x, [x @ x, torch.maximum(x, x * 2).sum(1), x + 1])
    with pytest.warns(UserWarning, match=r"computes 'matmul_1', 'maximum_1' in 32 bits"):
        model.save(tmp_path / "model.keras")
    value = torch.randn(3, 4, 4, dtype=torch.float64)
    agree(outputs_of(model, [value]),
          outputs_of(keras.models.load_model(tmp_path / "model.keras"), [value]))  # fmt: skip


# ---------------------------------------------------------------------- refusals


def hidden(x: Any) -> Any:
    inner = Model(x, L.Dense(4)(x))
    return Model(x, inner(inner.layers[1](x)))


class Odd(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def halfway(x: Any) -> Any:
    dense = L.Dense(2)
    model = Model(x, dense(x))
    dense.module.bias.requires_grad_(False)
    return model


def replaced(x: Any) -> Any:
    model = Model(x, L.Dense(2, name="d")(x))
    model.d = nn.Sequential(nn.Linear(4, 2))
    return model


def in_place(x: Any) -> Any:
    h = x * 2
    seen = h[:, :2]
    h.add_(1)
    return Model(x, [seen + 0, h])


REFUSED: dict[str, tuple[Any, str]] = {
    "module": (lambda x: Odd()(x), r"'odd_1' \(Odd of torch\) of model 'model' has no exact"),
    "batch norm": (lambda x: nn.BatchNorm1d(4)(x), "use layers.BatchNormalization"),
    "function": (lambda x: torch.fft.fft(x).real, "Keras has no operation that is torch's"),
    "size": (lambda x: x * x.shape[0], "'size_1' .* is a number or other value of run time"),
    "parameter": (lambda x: x * nn.Parameter(torch.ones(4)), "a parameter itself"),
    "regularizer": (lambda x: L.Dense(2, kernel_regularizer=lambda w: w.sum())(x),
                    "layer 'dense_1' .*argument 'kernel_regularizer'"),
    "activation": (lambda x: L.Dense(2, activation=lambda y: y + 1)(x), "argument 'activation'"),
    "shared between models": (hidden, "also in"),
    "half frozen": (halfway, "some of its parameters require gradients"),
    "replaced": (replaced, "is a Sequential, the layer makes a Linear"),
    "two sizes": (lambda x: (x[:, None] * x).reshape(x.shape[0], 1, x.shape[0], 4), "run time"),
    "in place": (in_place, "in place"),
    "no grad": (lambda x: under_no_grad(x), "no_grad"),
}  # fmt: skip


def under_no_grad(x: Any) -> Any:
    h = L.Dense(2)(x)
    with torch.no_grad():
        h = h * 2
    return L.Dense(2)(h)


@pytest.mark.parametrize(("build", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_what_keras_does_not_have_is_refused_by_name(build: Any, text: str, tmp_path: Path) -> None:
    x = Input((4,))
    result = build(x)
    model = result if isinstance(result, Model) else Model(x, result)
    path = tmp_path / "model.keras"
    path.write_bytes(b"before")
    with pytest.raises(SaveError, match=text):
        model.save(path)
    assert path.read_bytes() == b"before"
    assert [found.name for found in tmp_path.iterdir()] == ["model.keras"]


def test_models_without_graph_are_refused(tmp_path: Path) -> None:
    class ByHand(Model):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(SaveError, match="its forward is Python code"):
        ByHand().save(tmp_path / "model.keras")
    with pytest.raises(SaveError, match="call it once"):
        Sequential([L.Dense(2)]).save(tmp_path / "model.keras")


def test_h5_files_are_read_not_written(tmp_path: Path) -> None:
    x = Input((4,))
    with pytest.raises(SaveError, match=r"write \.keras"):
        Model(x, L.Dense(2)(x)).save(tmp_path / "model.h5")


# ---------------------------------------------------------------------- from Keras and back


def test_the_configuration_comes_back_as_keras_wrote_it(tmp_path: Path) -> None:
    x = keras.Input((6, 4), name="x")
    h = keras.layers.LSTM(3, return_sequences=True, kernel_initializer="he_normal")(x)
    h = keras.layers.Dense(2, bias_regularizer=keras.regularizers.L1(0.1), activation="gelu")(h)
    theirs = keras.Model(x, keras.layers.Conv1D(3, 2, padding="causal", name="last")(h))
    theirs.save(tmp_path / "a.keras")
    fgraph.load_model(tmp_path / "a.keras").save(tmp_path / "b.keras")
    first, second = (layers_in(tmp_path / name) for name in ("a.keras", "b.keras"))
    assert [entry["name"] for entry in second] == [entry["name"] for entry in first]
    for before, after in zip(first, second, strict=True):
        config = {k: v for k, v in before["config"].items() if k in after["config"]}
        assert after["class_name"] == before["class_name"]
        assert without_ids({**config, "dtype": None}) == {**after["config"], "dtype": None}


def layers_in(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))["config"]["layers"]


def without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_ids(v) for k, v in value.items() if k != "shared_object_id"}
    return value


# ---------------------------------------------------------------------- many

_NOT_IN_KERAS_HERE = (  # needs TensorFlow; or fails in a graph, or returns another shape, in Keras
    "hashing", "integer lookup", "equalization", "random crop", "random elastic",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_layer_comes_back_from_keras(row: tuple[Any, ...], tmp_path: Path) -> None:
    name, make, shapes, *call = row
    if name.startswith(_NOT_IN_KERAS_HERE):
        pytest.skip("Keras cannot open its own file of it here")
    shapes = shapes if isinstance(shapes, list) else [shapes]
    layer, model = in_fgraph(make, shapes, *call)
    with torch.no_grad():
        for _, module, weight in layer._held_weights():
            value = weight.read(module)
            if value.is_floating_point():
                weight.write(module, torch.rand_like(value) * 0.5 + 0.1)
    values = [torch.as_tensor(random_values(s, np.random.default_rng(0))) for s in shapes]
    opened(model, values, tmp_path / "model.keras")


def random_graph(seed: int) -> tuple[Model, list[torch.Tensor]]:
    """Return a graph whose dense layers Keras numbers in an order that is hard to guess."""
    rng = random.Random(seed)
    inputs = [Input((4,)) for _ in range(rng.randint(1, 3))]
    known: list[Any] = list(inputs)
    shared = [L.Dense(4) for _ in range(3)]
    for _ in range(rng.randint(4, 18)):
        first, second, kind = rng.choice(known), rng.choice(known), rng.random()
        if kind < 0.45:
            known.append(L.Dense(4)(first))
        elif kind < 0.6:
            known.append(rng.choice(shared)(first))
        elif kind < 0.85:
            known.append(L.Add()([first, second]) if kind < 0.75 else first * 2 + second)
        else:
            a, b = Input((4,)), Input((4,))
            h = L.Dense(4)(a)
            block = Model([a, b], [L.Dense(4)(L.Dense(4)(b) + h), h])
            known.append(block([first, second])[rng.randint(0, 1)])
    made = known[len(inputs) :]
    outputs = rng.sample(made, min(len(made), rng.randint(1, 3)))
    return scrambled(Model(inputs, outputs)), [torch.randn(3, 4) for _ in inputs]


@pytest.mark.parametrize(
    "seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 30))]
)
def test_weights_find_their_layers_in_any_graph(seed: int, tmp_path: Path) -> None:
    model, values = random_graph(seed)
    opened(model, values, tmp_path / "model.keras")


APPLICATIONS = ("MobileNetV2", "MobileNetV3Small", "ResNet50V2", "DenseNet121", "EfficientNetB0",
                "ConvNeXtTiny", "InceptionResNetV2", "Xception", "VGG16")  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications_go_through_both_ways(name: str, tmp_path: Path) -> None:
    make = getattr(keras.applications, name)
    theirs = make(weights=None, classes=7)
    theirs.save(tmp_path / "a.keras")
    fgraph.load_model(tmp_path / "a.keras").save(tmp_path / "b.keras")
    again = keras.models.load_model(tmp_path / "b.keras")
    x = torch.rand(1, *theirs.input_shape[1:]) * 255
    agree(outputs_of(again, [x]), outputs_of(theirs, [x]))
    assert [x.name for x in again.layers if x.weights] == [
        x.name for x in theirs.layers if x.weights
    ]


def test_a_users_lambda_is_written_whatever_its_name(tmp_path):
    double = layers.Lambda(lambda x: x * 2, name="cast")
    model = Sequential([Input((3,)), double, layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    x = torch.rand(4, 3)
    expected = model(x)
    torch.testing.assert_close(fgraph.load_model(tmp_path / "model.keras")(x), expected)
    again = keras.models.load_model(tmp_path / "model.keras")
    torch.testing.assert_close(again(x), expected)
