"""Masks reach the layers inside a model that is called on masked tensors, and come out of it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import fgraph
from fgraph import Input, Model, Sequential, layers
from keras_oracle import compare_models, keras

pytestmark = pytest.mark.filterwarnings("ignore")

TOKENS = np.array([[1, 2, 0, 0, 0], [3, 0, 4, 5, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 2]])
KINDS = {
    layers: (Input, Model, Sequential),
    keras.layers: (keras.Input, keras.Model, keras.Sequential),
}


def embedding(L):
    return L.Embedding(6, 4, mask_zero=True)


def inner(L, make, *shape):
    """Make a nested model by `make(x)`, which returns its output and its layers."""
    Inputs, Models, _ = KINDS[L]
    x = Inputs(shape)
    output, made = make(x)
    return Models(x, output), made


def lstm_inside(L, tokens):
    table, lstm, head = embedding(L), L.LSTM(3), L.Dense(2)
    encode, _ = inner(L, lambda x: (lstm(x), [lstm]), 5, 4)
    return head(encode(table(tokens))), [table, lstm, head]


def mask_passes_through(L, tokens):
    table, dense, lstm = embedding(L), L.Dense(3), L.LSTM(3)
    encode, _ = inner(L, lambda x: (dense(x), [dense]), 5, 4)
    return lstm(encode(table(tokens))), [table, dense, lstm]


def mask_comes_out(L, tokens):
    Inputs, Models, _ = KINDS[L]
    table, first, last = embedding(L), L.LSTM(3, return_sequences=True), L.GRU(2)
    x = Inputs((5,), dtype="int64" if L is layers else "int32")
    encode = Models(x, first(table(x)))
    return last(encode(tokens)), [table, first, last]


def mask_made_inside(L, tokens):
    table, dense, masking, lstm = L.Embedding(6, 4), L.Dense(4, "relu"), L.Masking(), L.LSTM(3)
    encode, _ = inner(L, lambda x: (masking(dense(x)), []), 5, 4)
    return lstm(encode(table(tokens))), [table, dense, lstm]


def two_levels(L, tokens):
    table, dense, lstm = embedding(L), L.Dense(4), L.LSTM(3)
    within, _ = inner(L, lambda x: (lstm(x), []), 5, 4)
    outside, _ = inner(L, lambda x: (within(dense(x)), []), 5, 4)
    return outside(table(tokens)), [table, dense, lstm]


def a_sequential(L, tokens):
    _, _, Stack = KINDS[L]
    table, lstm, dense = embedding(L), L.LSTM(3, return_sequences=True), L.Dense(2)
    stack = Stack([KINDS[L][0]((5, 4)), lstm, dense])
    pool = L.GlobalAveragePooling1D()
    return pool(stack(table(tokens))), [table, lstm, dense]


def attention(L, tokens):
    table, attend, pool = embedding(L), L.MultiHeadAttention(2, 3), L.GlobalAveragePooling1D()
    encode, _ = inner(L, lambda x: (attend(x, x), []), 5, 4)
    return pool(encode(table(tokens))), [table, attend]


def shared_with_and_without(L, tokens):
    table, plain, lstm = embedding(L), L.Embedding(6, 4), L.LSTM(3)
    encode, _ = inner(L, lambda x: (lstm(x), []), 5, 4)
    return L.Add()([encode(table(tokens)), encode(plain(tokens))]), [table, plain, lstm]


def two_inputs(L, tokens):
    Inputs, Models, _ = KINDS[L]
    table, plain, lstm, gru = embedding(L), L.Embedding(6, 4), L.LSTM(3), L.GRU(3)
    a, b = Inputs((5, 4)), Inputs((5, 4))
    both = Models([a, b], [lstm(a), gru(b)])
    left, right = both([plain(tokens), table(tokens)])
    return L.Concatenate()([left, right]), [table, plain, lstm, gru]


CASES = [
    lstm_inside, mask_passes_through, mask_comes_out, mask_made_inside, two_levels, a_sequential,
    attention, shared_with_and_without, two_inputs,
]  # fmt: skip


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_nested_models_see_masks_as_in_keras(build):
    compare_models(build, [TOKENS])


def model_of(build):
    tokens = Input((5,), dtype="int64")
    return Model(tokens, build(layers, tokens)[0]).eval()


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_nested_masks_survive_copies_files_clones_and_export(build, tmp_path):
    model, tokens = model_of(build), torch.tensor(TOKENS)
    expected = model(tokens)
    model.save(tmp_path / "model.fgraph")
    clone = fgraph.models.clone_model(model)
    clone.load_state_dict(model.state_dict())
    made = [
        copy.deepcopy(model), pickle.loads(pickle.dumps(model)), clone.eval(),
        fgraph.load_model(tmp_path / "model.fgraph"),
        fgraph.load_model(tmp_path / "model.fgraph").train(),
        torch.export.export(model, (tokens,)).module(),
    ]  # fmt: skip
    for other in made:
        torch.testing.assert_close(other(tokens), expected)


def test_a_compiled_model_sees_masks_too():
    torch._dynamo.reset()
    model, tokens = model_of(attention), torch.tensor(TOKENS)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(tokens), model(tokens))


def test_hooks_of_the_inner_model_fire_and_its_layers_have_one_output():
    table, lstm = embedding(layers), layers.LSTM(3, return_state=True)
    x = Input((5, 4))
    encode = Model(x, lstm(x)[0])
    tokens = Input((5,), dtype="int64")
    model = Model(tokens, encode(table(tokens)))
    seen = []
    encode.register_forward_hook(lambda module, args, output: seen.append(len(args)))
    model(torch.tensor(TOKENS))
    assert seen == [2]
    assert lstm.output is not None
    assert list(model.state_dict()) == [
        "embedding_1.weight", "model_1.lstm_1.weight_ih_l0", "model_1.lstm_1.weight_hh_l0",
        "model_1.lstm_1.bias_ih_l0", "model_1.lstm_1.bias_hh_l0",
    ]  # fmt: skip


def test_a_replaced_inner_layer_is_called_with_the_mask():
    model, tokens = model_of(mask_passes_through), torch.tensor(TOKENS)
    before = model(tokens)
    model.lstm_1.weight_ih_l0.data.mul_(2)
    assert not torch.equal(model(tokens), before)


def test_a_mask_may_be_given_by_hand():
    x = Input((None, 4))
    encode = Model(x, layers.LSTM(3)(x)).eval()
    values, mask = torch.randn(4, 5, 4), torch.tensor(TOKENS) != 0
    short = torch.stack([encode(values[i : i + 1, mask[i]])[0] for i in range(4)])
    torch.testing.assert_close(encode(values, mask=mask), short)
    given = Input((5,), dtype="bool")
    outer = Model([x, given], encode(x, mask=given))
    torch.testing.assert_close(outer(values, mask), short)


def test_a_nested_model_that_ignores_masks_is_called_without():
    tokens = Input((5,), dtype="int64")
    x = Input((5, 4))
    inner = Model(x, layers.Conv1D(3, 2)(x))
    model = Model(tokens, inner(embedding(layers)(tokens)))
    assert "mask" not in model.code


def test_a_fixed_mode_and_a_mask_go_together():
    x = Input((5, 4))
    noisy = Model(x, layers.LSTM(3)(layers.Dropout(0.5)(x)))
    tokens = Input((5,), dtype="int64")
    vectors = embedding(layers)(tokens)
    quiet, loud = (Model(tokens, noisy(vectors, training=mode)) for mode in (False, True))
    values = torch.tensor(TOKENS)
    torch.testing.assert_close(quiet.train()(values), quiet.eval()(values))
    assert not torch.equal(loud.eval()(values), loud(values))


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_plain_source_has_a_method_for_masked_inputs(build):
    model, tokens = model_of(build), torch.tensor(TOKENS)
    space: dict = {}
    exec(model.to_source("Net"), space)
    plain = space["Net"]()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain.eval()(tokens), model(tokens), rtol=0, atol=0)


def test_a_child_keeps_its_name_beside_the_method_for_masked_inputs():
    x, tokens = Input((5, 4)), Input((5,), dtype="int64")
    encode = Model(x, layers.LSTM(3, name="forward_masked")(x))
    model = Model(tokens, encode(embedding(layers)(tokens))).eval()
    space: dict = {}
    exec(model.to_source("Net"), space)
    plain = space["Net"]()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(torch.tensor(TOKENS)), model(torch.tensor(TOKENS)))


def penalised_inside(L, tokens):
    table, plain, lstm = embedding(L), L.Embedding(6, 4), L.LSTM(3, activity_regularizer="l2")
    dense = L.Dense(3, activity_regularizer="l1")
    encode, _ = inner(L, lambda x: (lstm(dense(x)), []), 5, 4)
    return L.Add()([encode(table(tokens)), encode(plain(tokens))]), [table, plain, dense, lstm]


def test_penalties_of_every_call_of_a_nested_model_count():
    models, weights = [], None
    for L, (Inputs, Models, _) in KINDS.items():
        tokens = Inputs((5,), dtype="int64" if L is layers else "int32")
        output, parts = penalised_inside(L, tokens)
        model = Models(tokens, output)
        if weights is None:
            weights = [part.get_weights() for part in parts]
        for part, values in zip(parts, weights, strict=True):
            part.set_weights(values)
        model.compile("sgd", "mse")
        models.append(model.evaluate(TOKENS, np.zeros((4, 3)), verbose=0))
    assert models[0] == pytest.approx(models[1], rel=1e-5)


def nested_lstm():
    """A model on tokens, and the model in it that is called on masked vectors."""
    x = Input((5, 4))
    encode = Model(x, layers.LSTM(3)(x), name="encode")
    tokens = Input((5,), dtype="int64")
    return Model(tokens, encode(embedding(layers)(tokens))), encode


def test_hooks_of_a_nested_model_see_it_and_its_output_and_may_change_it():
    model, encode = nested_lstm()
    tokens, seen = torch.tensor(TOKENS), []
    hook = encode.register_forward_hook(lambda part, args, out: seen.append((part, out)))
    expected = model(tokens)
    ((part, output),) = seen
    assert part is encode
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    hook.remove()
    encode.register_forward_hook(lambda part, args, out: 2 * out)
    torch.testing.assert_close(model(tokens), 2 * expected, rtol=0, atol=0)


def test_an_error_inside_a_nested_model_with_masks_names_the_layer_there():
    model, encode = nested_lstm()
    encode.lstm_1 = torch.nn.LSTM(7, 3, batch_first=True)
    with pytest.raises(RuntimeError) as caught:
        model(torch.tensor(TOKENS))
    assert "in model 'encode', layer 'lstm_1'" in caught.value.__notes__[0]
