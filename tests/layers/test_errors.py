"""What layers refuse, and what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fgraph import Input, Model, layers
from fgraph.errors import BuildError

ARGUMENTS: list[tuple[Any, type[Exception], str]] = [
    (lambda: layers.Dense(0), ValueError, r"Dense: units= expects a positive integer, got 0"),
    (lambda: layers.Dense(-3), ValueError, "units= expects a positive integer, got -3"),
    (lambda: layers.Dense(2.5), ValueError, "units= expects a positive integer, got 2.5"),
    (lambda: layers.Dense(2, activation="rleu"), ValueError, "unknown activation 'rleu'.*'relu'"),
    (lambda: layers.Activation("sofmax"), ValueError, "unknown activation 'sofmax'.*'softmax'"),
    (lambda: layers.Dense(2, activation=3), TypeError, "activation expects a name.*got 3"),
    (lambda: layers.Dense(2, kernel_initializer="glorot"), ValueError,
     "initializer 'glorot'.*glorot"),
    (lambda: layers.Dense(2, bias_regularizer="l3"), ValueError, "unknown regularizer 'l3'.*'l2'"),
    (lambda: layers.Dense(2, kernel_constraint="maxnorm"), ValueError,
     "constraint 'maxnorm'.*'MaxNorm'"),
    (lambda: layers.Dense(2, kernel_initialiser="zeros"), TypeError,
     "Dense: unknown argument 'kernel_initialiser'.*'kernel_initializer'"),
    (lambda: layers.LSTM(2, return_sequence=True), TypeError,
     "'return_sequence'.*'return_sequences'"),
    (lambda: layers.Dense(2, name=3), TypeError, "Dense: name= expects a string, got 3"),
    (lambda: layers.Embedding(0, 2), ValueError, "Embedding: input_dim= expects a positive"),
    (lambda: layers.Conv2D(2, (3, 3, 3)), ValueError, "kernel_size= expects 2 numbers or one"),
    (lambda: layers.Conv2D(2, 0), ValueError, "Conv2D: kernel_size= expects a positive"),
    (lambda: layers.Conv2D(2, 3, padding="sam"), ValueError,
     "Conv2D: unknown padding 'sam'.*'same'"),
    (lambda: layers.Conv2D(2, 3, padding="causal"), ValueError, "unknown padding 'causal'"),
    (lambda: layers.Conv2D(2, 3, data_format="last"), ValueError,
     "data_format 'last'.*channels_last"),
    (lambda: layers.Conv2D(3, 3, groups=2), ValueError, "filters=3 is not divisible by groups=2"),
    (lambda: layers.MaxPooling2D(-1), ValueError, "MaxPooling2D: pool_size= expects a positive"),
    (lambda: layers.Dropout(1.5), ValueError, "Dropout: rate= expects a number between 0 and 1"),
    (lambda: layers.Permute((1, 3)), ValueError, "Permute: dims= expects each of the axes 1 to 2"),
    (lambda: layers.Cropping2D((1, 2, 3)), ValueError, "Cropping2D: cropping= expects one number"),
    (lambda: layers.UpSampling2D(2, interpolation="linear"), ValueError, "'linear'.*'bilinear'"),
    (lambda: layers.TimeDistributed("dense"), TypeError,
     "TimeDistributed expects a layer, a model"),
    (lambda: layers.Bidirectional(layers.Dense(2)), TypeError,
     "expects a recurrent layer, got Dense"),
    (lambda: layers.Bidirectional(layers.LSTM(2), "cat"), ValueError, "merge_mode 'cat'.*'concat'"),
    (lambda: layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2)), ValueError,
     "expects go_backwards=True"),
    (lambda: layers.RNN(layers.Dense(2)), TypeError, "RNN expects a cell layer"),
    (lambda: layers.EinsumDense("ab->a", 2), ValueError, "EinsumDense: equation= expects one such"),
    (lambda: layers.EinsumDense("ab,bc->ac", 2, bias_axes="d"), ValueError,
     "bias_axes='d' names 'd'"),
    (lambda: layers.GroupQueryAttention(4, 3, 2), ValueError, "num_query_heads=3 is not divisible"),
    (lambda: layers.Normalization(mean=1.0), ValueError, "both of mean= and variance="),
    (lambda: layers.Discretization(), ValueError, "either bin_boundaries= or num_bins="),
    (lambda: layers.ReLU(max_value=-1.0), ValueError,
     "ReLU: max_value= expects no negative number"),
    (lambda: layers.Lambda(3), TypeError, "Lambda: function= expects a function, got 3"),
    (lambda: layers.Dot(axes=(1, 2, 3)), ValueError, "Dot: axes= expects one axis, or two"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "text"), ARGUMENTS, ids=[row[2] for row in ARGUMENTS])
def test_arguments_are_refused_when_the_layer_is_made(
    make: Any, kind: type[Exception], text: str
) -> None:
    """The layer, the argument, what was given and what is close to it are named."""
    with pytest.raises(kind, match=text):
        make()


CALLS: list[tuple[Any, Any, str]] = [
    (lambda: layers.Conv2D(2, 3), lambda: Input((4,)),
     r"Conv2D expects \(batch, height, width, channels\), got \(None, 4\)"),
    (lambda: layers.Conv2D(2, 3, data_format="channels_first"), lambda: Input((4,)),
     r"expects \(batch, channels, height, width\), got \(None, 4\)"),
    (lambda: layers.LSTM(2), lambda: Input((4,)),
     r"LSTM expects \(batch, steps, features\), got \(None, 4\)"),
    (lambda: layers.Dense(2), lambda: Input(()), r"Dense expects \(batch, ..., features\)"),
    (lambda: layers.MaxPooling1D(2), lambda: Input((4,)), r"MaxPooling1D expects \(batch, steps"),
    (lambda: layers.RepeatVector(2), lambda: Input((4, 2)), r"expects \(batch, features\), got"),
    (lambda: layers.ConvLSTM2D(2, 3), lambda: Input((4, 4, 2)),
     r"\(batch, steps, height, width, c"),
    (lambda: layers.Dense(2), lambda: Input((None,)), r"Dense needs to know the size of axis -1"),
    (lambda: layers.LSTM(2), lambda: Input((4, None)), r"LSTM needs to know the size of axis -1"),
    (lambda: layers.Conv2D(2, 5), lambda: Input((4, 4, 1)),
     r"Conv2D: a window of \(5, 5\) does not fit into an input of \(4, 4\)"),
    (lambda: layers.AveragePooling2D(5), lambda: Input((4, 4, 1)),
     r"AveragePooling2D: a window of \(5, 5\) does not fit"),
    (lambda: layers.Conv2D(4, 3, groups=2), lambda: Input((4, 4, 3)),
     "3 channels are not divisible by 2 groups"),
    (lambda: layers.Cropping1D(2), lambda: Input((4, 3)),
     r"leaves nothing of axis 1 of \(None, 4, 3"),
    (lambda: layers.Reshape((3, 3)), lambda: Input((8,)),
     r"has 8 values and cannot have the shape"),
    (lambda: layers.Reshape((3, -1)), lambda: Input((8,)),
     r"has 8 values and cannot have the shape"),
    (lambda: layers.BatchNormalization(axis=3), lambda: Input((4,)), r"axis=3 does not exist"),
    (lambda: layers.GroupNormalization(3), lambda: Input((4,)),
     "4 features cannot be split into 3"),
    (lambda: layers.LSTM(2, stateful=True), lambda: Input((4, 3)), "needs to know the batch size"),
    (lambda: layers.PReLU(), lambda: Input((None, 3)), "name those axes in shared_axes="),
    (lambda: layers.TimeDistributed(layers.LSTM(2, return_state=True)), lambda: Input((2, 4, 3)),
     "TimeDistributed expects a layer of one output"),
    (lambda: layers.Concatenate(), lambda: [Input((4, 3)), Input((5, 3))],
     r"Concatenate\(axis=-1\) expects equal sizes along the other axes"),
    (lambda: layers.Dot(1), lambda: [Input((4,)), Input((5,))],
     r"Dot.*\(None, 4\) and \(None, 5\)"),
    (lambda: layers.Attention(), lambda: [Input((4, 3))], r"expects a list \[query, value\]"),
    (lambda: layers.EinsumDense("abc,cd->abd", 2), lambda: Input((3, 4)), "'abd' does not fit"),
    (lambda: layers.Discretization(num_bins=3), lambda: Input((3,)), r"call adapt\(data\)"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "given", "text"), CALLS, ids=[row[2] for row in CALLS])
def test_inputs_are_refused_when_the_layer_is_called(make: Any, given: Any, text: str) -> None:
    """The layer, what it expects and what was given are named."""
    with pytest.raises(ValueError, match=text):
        make()(given())


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        (lambda: Input((3,)), TypeError, r"Add expects one list of tensors: layers.Add\(\)"),
        (lambda: [], TypeError, "layers.Add expects symbolic tensors, from Input"),
        (lambda: [Input((3,)), 1.0], TypeError, "Add expects a list of symbolic tensors.*float"),
        (lambda: [Input((3,)), Input((4,))], BuildError, "Add.*cannot be called on"),
    ],
    ids=["tensor", "none", "number", "sizes"],
)  # fmt: skip
def test_merging_layers_expect_a_list(given: Any, kind: type[Exception], text: str) -> None:
    """One tensor, or a list of something else, is refused."""
    with pytest.raises(kind, match=text):
        layers.Add()(given())


def test_subtract_expects_two() -> None:
    """A third tensor is refused."""
    with pytest.raises(ValueError, match="Subtract expects a list of 2 tensors, got 3"):
        layers.subtract([Input((3,))] * 3)


def test_reuse_on_another_number_of_features_is_refused() -> None:
    """A built layer names the number that it was built for."""
    layer = layers.Dense(2, name="shared")
    layer(Input((4,)))
    with pytest.raises(BuildError, match=r"Dense 'shared' was built for 4 features.*\(None, 5\)"):
        layer(Input((5,)))


def test_set_weights_names_what_it_expects() -> None:
    """Number and shapes are compared before anything is written."""
    layer = layers.Dense(2, name="head")
    with pytest.raises(ValueError, match="Layer head has no weights yet"):
        layer.get_weights()
    layer(Input((3,)))
    before = layer.get_weights()
    with pytest.raises(ValueError, match=r"head has 2 weights \['kernel', 'bias'\], got 1"):
        layer.set_weights([np.zeros((3, 2))])
    with pytest.raises(ValueError, match=r"'bias' has shape \(2,\).*got \(3,\)"):
        layer.set_weights([np.zeros((3, 2)), np.zeros(3)])
    np.testing.assert_array_equal(layer.get_weights()[0], before[0])


def test_index_outside_the_table_is_refused() -> None:
    """The error of `nn.Embedding` names the layer, by a note."""
    tokens = Input((2,), dtype="int64")
    model = Model(tokens, layers.Embedding(3, 2, name="words")(tokens))
    with pytest.raises(IndexError, match="index out of range") as caught:
        model(torch.tensor([[0, 3]]))
    notes = getattr(caught.value, "__notes__", ["words Embedding(3, 2)"])  # notes: Python 3.11
    assert any("words" in note and "Embedding(3, 2" in note for note in notes)


def test_initial_state_of_another_number_is_refused() -> None:
    """An LSTM has two states."""
    x, state = Input((4, 3)), Input((2,))
    with pytest.raises(BuildError, match="LSTM expects 2 tensors in initial_state=, got 1"):
        layers.LSTM(2)(x, initial_state=[state])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(
            lambda x: layers.Dense(3)([x, x]),
            r"Dense expects one tensor \(batch, ..., features\), got a list of 2: join them first, "
            r"for example layers.concatenate\(\[a, b\]\)",
            id="a list for one tensor",
        ),
        pytest.param(
            lambda x: layers.TimeDistributed(layers.Dense(3))(x),
            r"TimeDistributed\(Dense\(3\)\)\) cannot be built for inputs of shape \(None, 10\)",
            id="no steps",
        ),
    ],
)
def test_a_layer_that_cannot_be_built_is_named_with_the_shapes(call, message):
    with pytest.raises(BuildError, match=message):
        call(Input((10,)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv2D(3), r"^Conv2D needs kernel_size=: Conv2D\(filters, kernel_size\)$"),
        (lambda: layers.LSTM(units=3, lora_rank=2), "LSTM: unknown argument 'lora_rank'"),
        (lambda: layers.Dense(3, lora_rank=2), "Dense: lora_rank= is not supported: adapt the"),
        (lambda: layers.Add(nmae="sum"), r"Add: unknown argument 'nmae'; did you mean 'name'\?"),
    ],
)
def test_a_constructor_says_which_argument_is_wrong(make: Any, message: str) -> None:
    """Missing, unknown and unsupported arguments are told of the layer's own class."""
    with pytest.raises(TypeError, match=message):
        make()


def test_arguments_that_change_nothing_are_taken() -> None:
    """Keras writes unsupported arguments with their defaults, and some that only it needs."""
    assert layers.Dense(3, lora_rank=None).units == 3
    assert layers.GRU(3, implementation=2, unroll=True).units == 3


def test_layers_and_tensors_of_keras_itself_are_refused() -> None:
    """One graph is made of one package."""
    keras = pytest.importorskip("keras_oracle").keras
    with pytest.raises(TypeError, match=r"got a KerasTensor of Keras itself"):
        layers.Dense(3)(keras.Input((4,)))


def test_a_policy_of_keras_is_refused_as_a_dtype() -> None:
    """Weights stay float32; the trainer has the precision."""
    with pytest.raises(ValueError, match=r"model\.compile\(\.\.\., precision='bfloat16'\)"):
        layers.Dense(3, dtype="mixed_bfloat16")
