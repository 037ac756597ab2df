"""Every code block of the Keras functional guide, with `keras` replaced by `fgraph`.

The blocks run as the guide writes them, at the guide's sizes; what they make is then compared with
the same computation written in torch, with the same weights.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import fgraph
from fgraph.layers import (
    LSTM,
    Activation,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    Input,
    MaxPooling2D,
    TimeDistributed,
)
from fgraph.models import Model, Sequential
from fgraph.utils import to_categorical


def first_model() -> Model:
    inputs = Input(shape=(784,))
    x = Dense(64, activation="relu")(inputs)
    x = Dense(64, activation="relu")(x)
    predictions = Dense(10, activation="softmax")(x)
    return Model(inputs=inputs, outputs=predictions)


def by_hand(model: Model, x: torch.Tensor) -> torch.Tensor:
    """What `first_model` computes."""
    h = F.relu(model.dense_1(x))
    return torch.softmax(model.dense_3(F.relu(model.dense_2(h))), -1)


def test_first_model_trains():
    model = first_model()
    data = np.random.default_rng(0).random((64, 784), dtype="float32")
    labels = to_categorical(np.arange(64) % 10)
    value = torch.from_numpy(data)
    torch.testing.assert_close(model(value), by_hand(model, value), rtol=0, atol=0)
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(data, labels, epochs=20, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_a_model_is_called_like_a_layer():
    model = first_model()
    x = Input(shape=(784,))
    y = model(x)
    value = torch.rand(3, 784)
    assert torch.equal(Model(x, y)(value), by_hand(model, value))


def test_time_distributed_applies_a_model_to_every_step():
    model = first_model()
    input_sequences = Input(shape=(20, 784))
    processed_sequences = TimeDistributed(model)(input_sequences)
    assert processed_sequences.shape == (None, 20, 10)
    value = torch.rand(2, 20, 784)
    got = Model(input_sequences, processed_sequences)(value)
    expected = torch.stack([by_hand(model, value[:, step]) for step in range(20)], dim=1)
    torch.testing.assert_close(got, expected)


def headlines() -> Model:
    main_input = Input(shape=(100,), dtype="int32", name="main_input")
    x = Embedding(output_dim=512, input_dim=10000, input_length=100)(main_input)
    lstm_out = LSTM(32)(x)
    auxiliary_output = Dense(1, activation="sigmoid", name="aux_output")(lstm_out)
    auxiliary_input = Input(shape=(5,), name="aux_input")
    x = fgraph.layers.concatenate([lstm_out, auxiliary_input])
    x = Dense(64, activation="relu")(x)
    x = Dense(64, activation="relu")(x)
    x = Dense(64, activation="relu")(x)
    main_output = Dense(1, activation="sigmoid", name="main_output")(x)
    return Model(inputs=[main_input, auxiliary_input], outputs=[main_output, auxiliary_output])


@pytest.fixture
def headline_data() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return (
        rng.integers(1, 10000, (48, 100)).astype("int32"),
        rng.random((48, 5), dtype="float32"),
        rng.integers(0, 2, (48, 1)).astype("float32"),
        rng.integers(0, 2, (48, 1)).astype("float32"),
    )


def test_two_inputs_and_two_outputs_with_lists(headline_data):
    headline, additional, labels, other_labels = headline_data
    model = headlines()
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", loss_weights=[1.0, 0.2])
    history = model.fit([headline, additional], [labels, other_labels], epochs=2, verbose=0)
    one = history.history
    assert list(sorted(one)) == ["aux_output_loss", "loss", "main_output_loss"]
    for total, main, aux in zip(
        one["loss"], one["main_output_loss"], one["aux_output_loss"], strict=True
    ):
        assert total == pytest.approx(main + 0.2 * aux, rel=1e-5)


def test_two_named_inputs_and_outputs_with_dicts(headline_data):
    headline, additional, labels, other_labels = headline_data
    model = headlines()
    model.compile(
        optimizer="rmsprop",
        loss={"main_output": "binary_crossentropy", "aux_output": "binary_crossentropy"},
        loss_weights={"main_output": 1.0, "aux_output": 0.2},
    )
    model.fit(
        {"main_input": headline, "aux_input": additional},
        {"main_output": labels, "aux_output": other_labels},
        epochs=1,
        batch_size=32,
        verbose=0,
    )
    main, aux = model.predict({"main_input": headline, "aux_input": additional}, verbose=0)
    with torch.no_grad():
        encoded, _ = model.lstm_1(model.embedding_1(torch.from_numpy(headline)))
        expected = torch.sigmoid(model.aux_output(encoded[:, -1]))
    np.testing.assert_allclose(aux, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert main.shape == (48, 1)


def test_shared_lstm_trains():
    tweet_a = Input(shape=(140, 256))
    tweet_b = Input(shape=(140, 256))
    shared_lstm = LSTM(64)
    encoded_a = shared_lstm(tweet_a)
    encoded_b = shared_lstm(tweet_b)
    merged_vector = fgraph.layers.concatenate([encoded_a, encoded_b], axis=-1)
    predictions = Dense(1, activation="sigmoid")(merged_vector)
    model = Model(inputs=[tweet_a, tweet_b], outputs=predictions)
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    data_a, data_b = np.random.default_rng(0).random((2, 8, 140, 256), dtype="float32")
    labels = np.arange(8).reshape(8, 1) % 2
    model.fit([data_a, data_b], labels.astype("float32"), epochs=1, verbose=0)
    assert sum(1 for _ in model.children()) == 2
    a, b = torch.from_numpy(data_a), torch.from_numpy(data_b)
    with torch.no_grad():
        both = torch.cat([model.lstm_1(side)[0][:, -1] for side in (a, b)], -1)
        expected = torch.sigmoid(model.dense_1(both))
        torch.testing.assert_close(model(a, b), expected)


def test_a_layer_called_once_has_one_output():
    a = Input(shape=(140, 256))
    lstm = LSTM(32)
    encoded_a = lstm(a)
    assert lstm.output == encoded_a


def test_a_layer_called_twice_has_outputs_by_node():
    a = Input(shape=(140, 256))
    b = Input(shape=(140, 256))
    lstm = LSTM(32)
    encoded_a = lstm(a)
    encoded_b = lstm(b)
    with pytest.raises(
        AssertionError,
        match='Layer lstm_1 has multiple inbound nodes, hence the notion of "layer output" is '
        r"ill-defined. Use `get_output_at\(node_index\)` instead.",
    ):
        _ = lstm.output
    assert lstm.get_output_at(0) == encoded_a
    assert lstm.get_output_at(1) == encoded_b


def test_input_shape_is_defined_while_all_nodes_agree():
    a = Input(shape=(32, 32, 3))
    b = Input(shape=(64, 64, 3))
    conv = Conv2D(16, (3, 3), padding="same")
    conved_a = conv(a)
    assert conv.input_shape == (None, 32, 32, 3)
    conved_b = conv(b)
    assert conv.get_input_shape_at(0) == (None, 32, 32, 3)
    assert conv.get_input_shape_at(1) == (None, 64, 64, 3)
    with pytest.raises(AssertionError, match="get_input_shape_at"):
        _ = conv.input_shape
    assert (conved_a.shape, conved_b.shape) == ((None, 32, 32, 16), (None, 64, 64, 16))


def nhwc(function, *values: torch.Tensor) -> torch.Tensor:
    """Apply a channels-first function to channels-last values."""
    return function(*(value.permute(0, 3, 1, 2) for value in values)).permute(0, 2, 3, 1)


def test_inception_module():
    input_img = Input(shape=(256, 256, 3))
    tower_1 = Conv2D(64, (1, 1), padding="same", activation="relu")(input_img)
    tower_1 = Conv2D(64, (3, 3), padding="same", activation="relu")(tower_1)
    tower_2 = Conv2D(64, (1, 1), padding="same", activation="relu")(input_img)
    tower_2 = Conv2D(64, (5, 5), padding="same", activation="relu")(tower_2)
    tower_3 = MaxPooling2D((3, 3), strides=(1, 1), padding="same")(input_img)
    tower_3 = Conv2D(64, (1, 1), padding="same", activation="relu")(tower_3)
    output = fgraph.layers.concatenate([tower_1, tower_2, tower_3], axis=1)
    assert output.shape == (None, 768, 256, 64)
    model = Model(input_img, output)
    value = torch.rand(1, 256, 256, 3)

    def towers(x: torch.Tensor) -> torch.Tensor:
        one = F.relu(model.conv2d_2(F.relu(model.conv2d_1(x))))
        two = F.relu(model.conv2d_4(F.relu(model.conv2d_3(x))))
        three = F.relu(model.conv2d_5(F.max_pool2d(x, 3, 1, 1)))
        return torch.cat([one, two, three], dim=2)  # axis 1 of channels-last is the height

    with torch.no_grad():
        torch.testing.assert_close(model(value), nhwc(towers, value))


def test_residual_connection():
    x = Input(shape=(256, 256, 3))
    y = Conv2D(3, (3, 3), padding="same")(x)
    z = fgraph.layers.add([x, y])
    model = Model(x, z)
    value = torch.rand(1, 256, 256, 3)
    with torch.no_grad():
        torch.testing.assert_close(model(value), value + nhwc(model.conv2d_1, value))


def test_shared_vision_model():
    digit_input = Input(shape=(27, 27, 1))
    x = Conv2D(64, (3, 3))(digit_input)
    x = Conv2D(64, (3, 3))(x)
    x = MaxPooling2D((2, 2))(x)
    out = Flatten()(x)
    vision_model = Model(digit_input, out)

    digit_a = Input(shape=(27, 27, 1))
    digit_b = Input(shape=(27, 27, 1))
    out_a = vision_model(digit_a)
    out_b = vision_model(digit_b)
    concatenated = fgraph.layers.concatenate([out_a, out_b])
    out = Dense(1, activation="sigmoid")(concatenated)
    classification_model = Model([digit_a, digit_b], out)

    a, b = torch.rand(2, 3, 27, 27, 1)

    def see(image: torch.Tensor) -> torch.Tensor:
        seen = nhwc(
            lambda x: F.max_pool2d(vision_model.conv2d_2(vision_model.conv2d_1(x)), 2), image
        )
        return seen.flatten(1)

    with torch.no_grad():
        both = torch.cat([see(a), see(b)], 1)
        expected = torch.sigmoid(classification_model.dense_1(both))
        torch.testing.assert_close(classification_model(a, b), expected)


def vision(size: int) -> Sequential:
    vision_model = Sequential()
    vision_model.add(
        Conv2D(64, (3, 3), activation="relu", padding="same", input_shape=(size, size, 3))
    )
    vision_model.add(Conv2D(64, (3, 3), activation="relu"))
    vision_model.add(MaxPooling2D((2, 2)))
    vision_model.add(Conv2D(128, (3, 3), activation="relu", padding="same"))
    vision_model.add(Conv2D(128, (3, 3), activation="relu"))
    vision_model.add(MaxPooling2D((2, 2)))
    vision_model.add(Conv2D(256, (3, 3), activation="relu", padding="same"))
    vision_model.add(Conv2D(256, (3, 3), activation="relu"))
    vision_model.add(Conv2D(256, (3, 3), activation="relu"))
    vision_model.add(MaxPooling2D((2, 2)))
    vision_model.add(Flatten())
    return vision_model


@pytest.mark.parametrize(("size", "left"), [(60, 4), pytest.param(224, 25, marks=pytest.mark.slow)])
def test_visual_and_video_question_answering(size, left):
    vision_model = vision(size)
    image_input = Input(shape=(size, size, 3))
    encoded_image = vision_model(image_input)
    question_input = Input(shape=(100,), dtype="int32")
    embedded_question = Embedding(input_dim=10000, output_dim=256, input_length=100)(question_input)
    encoded_question = LSTM(256)(embedded_question)
    merged = fgraph.layers.concatenate([encoded_question, encoded_image])
    output = Dense(1000, activation="softmax")(merged)
    vqa_model = Model(inputs=[image_input, question_input], outputs=output)

    image, question = torch.rand(1, size, size, 3), torch.randint(1, 10000, (1, 100))
    with torch.no_grad():
        seen = image.permute(0, 3, 1, 2)
        for layer in vision_model.layers[:-1]:
            seen = layer.module(seen) if layer.module is not None else F.max_pool2d(seen, 2)
            seen = F.relu(seen)  # pooling of what is not negative stays so
        read = vqa_model.lstm_1(vqa_model.embedding_1(question))[0][:, -1]
        both = torch.cat([read, seen.permute(0, 2, 3, 1).flatten(1)], 1)
        expected = torch.softmax(vqa_model.dense_1(both), -1)
        torch.testing.assert_close(vqa_model(image, question), expected)

    video_input = Input(shape=(100, size, size, 3))
    encoded_frame_sequence = TimeDistributed(vision_model)(video_input)
    encoded_video = LSTM(256)(encoded_frame_sequence)
    question_encoder = Model(inputs=question_input, outputs=encoded_question)
    video_question_input = Input(shape=(100,), dtype="int32")
    encoded_video_question = question_encoder(video_question_input)
    merged = fgraph.layers.concatenate([encoded_video, encoded_video_question])
    output = Dense(1000, activation="softmax")(merged)
    video_qa_model = Model(inputs=[video_input, video_question_input], outputs=output)
    assert video_qa_model.output_shape == (None, 1000)
    assert encoded_frame_sequence.shape == (None, 100, left * left * 256)
    shared = {id(p) for p in vqa_model.parameters()} & {id(p) for p in video_qa_model.parameters()}
    read = [*vision_model.parameters(), *question_encoder.parameters()]
    assert shared == {id(p) for p in read}


def test_activation_by_name_is_a_layer():
    x = Input((3,))
    model = Model(x, Activation("tanh")(x))
    value = torch.randn(2, 3)
    assert torch.equal(model(value), value.tanh())
