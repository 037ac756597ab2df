"""Write the files of Keras 2 beside this script, with what the models compute.

Not run by the tests: it needs TensorFlow 2.15, `pip install tensorflow-cpu==2.15.1 h5py` for
Python 3.9 to 3.11. Each model is kept as `.h5` or `.keras`, and as `.npz` its inputs, outputs
and weights; for compiled ones also a batch of targets and the weights after a step on them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow import keras

L = keras.layers
HERE = Path(__file__).parent
rng = np.random.default_rng(0)


def recurrent():
    ids = keras.Input(6, dtype="int32")
    x = L.Embedding(9, 4, mask_zero=True)(ids)
    x = L.Bidirectional(L.LSTM(2, return_sequences=True, recurrent_activation="hard_sigmoid"))(x)
    x = L.GRU(3, return_sequences=True, reset_after=False)(x)
    x = L.TimeDistributed(L.Dense(2))(L.GRU(3, return_sequences=True)(x))
    return keras.Model(ids, L.RNN([L.LSTMCell(2), L.GRUCell(2)])(x))


def states():
    source, target = keras.Input((5, 3)), keras.Input((4, 3))
    _, h, c = L.LSTM(3, return_state=True)(source)
    x, _, _ = L.LSTM(3, return_sequences=True, return_state=True)(target, initial_state=[h, c])
    return keras.Model([source, target], L.Dense(2, activation="softmax")(x))


def nested():
    x, a = keras.Input(5), keras.Input(5)
    inner = keras.Sequential([L.Dense(5, input_shape=(5,)), L.BatchNormalization()])
    inner.layers[0].trainable = False
    block = keras.Model(a, [inner(L.BatchNormalization()(a)), L.Dense(2)(a)])
    first, second = block(x)
    third, fourth = block(first)
    frozen = keras.Sequential([L.Dense(3, input_shape=(2,)), L.BatchNormalization(), L.Dense(2)])
    frozen.trainable = False
    return keras.Model(x, [third, second, frozen(fourth)])


def functions():
    a, b = keras.Input((4, 6)), keras.Input((4, 6))
    x = tf.nn.relu(a + b * 2.0 - 1.0) / 3.0
    y = tf.concat([x, tf.reduce_mean(x, axis=-1, keepdims=True)], axis=-1)
    w = tf.nn.softmax(tf.matmul(a, b, transpose_b=True), axis=-1)
    u = tf.transpose(w, [0, 2, 1])[:, 0] + tf.reshape(y[:, 1:, :3], (-1, 9))[:, :4]
    u = tf.where(u > 0.2, 1.0 - u, tf.zeros_like(u))
    s, t = tf.split(tf.stack([u, u], axis=1), 2, axis=1)
    return keras.Model([a, b], tf.math.l2_normalize(tf.tile(s, [1, 2, 1]), axis=-1) + t)


def images():
    x = keras.Input((10, 10, 3))
    y = L.RandomFlip()(x)
    y = L.DepthwiseConv2D(3, padding="same")(L.Conv2D(3, 3, strides=2, use_bias=False)(y))
    y = L.LeakyReLU(0.2)(L.BatchNormalization()(y))
    y = L.ThresholdedReLU(0.1)(L.SeparableConv2D(4, 2)(y))
    y = L.GlobalAveragePooling2D()(L.Conv2DTranspose(2, 2)(y))
    return keras.Model(x, L.Dense(2, activation="hard_sigmoid")(y))


def attention():
    a, b = keras.Input((4, 6)), keras.Input((5, 8))
    x = L.MultiHeadAttention(2, 3)(query=a, value=b, use_causal_mask=True)
    x = L.LayerNormalization(epsilon=1e-5)(x + a)
    return keras.Model([a, b], L.AdditiveAttention()([L.Attention(use_scale=True)([x, a]), a]))


def inference_inside():
    x = keras.Input(4)
    base = keras.Sequential([L.Dense(3, input_shape=(4,)), L.BatchNormalization()])
    model = keras.Model(x, L.Dense(1)(base(x, training=False)))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def trained():
    x = keras.Input(4)
    model = keras.Model(x, L.Dense(2)(L.BatchNormalization()(L.GRU(3)(L.Reshape((2, 2))(x)))))
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)
    model.compile(keras.optimizers.Adam(rate), loss="mse", metrics=["mae"])
    model.fit(rng.normal(size=(16, 4)), rng.normal(size=(16, 2)), verbose=0, batch_size=8)
    return model


def trained_before():
    x = keras.Input(4)
    model = keras.Model(x, L.Dense(2)(L.Dense(3, activation="tanh")(x)))
    model.compile(keras.optimizers.legacy.Adam(0.05, decay=0.1), loss="mse")
    model.fit(rng.normal(size=(16, 4)), rng.normal(size=(16, 2)), verbose=0, batch_size=8)
    return model


def main():
    kept = {
        recurrent: "h5", states: "h5", nested: "h5 keras", functions: "h5", images: "h5",
        attention: "keras", inference_inside: "h5", trained: "h5 keras", trained_before: "h5",
    }  # fmt: skip
    for make, kinds in kept.items():
        keras.backend.clear_session()
        model = make()
        if model.optimizer is None or make is inference_inside:
            for weight in model.weights:
                value = rng.normal(scale=0.5, size=weight.shape)
                weight.assign(abs(value) + 0.5 if "variance" in weight.name else value)
        given = [
            rng.integers(0, 4, (2, *t.shape[1:])).astype("int32") if t.dtype == "int32"
            else rng.normal(size=(2, *t.shape[1:])).astype("float32") for t in model.inputs
        ]  # fmt: skip
        outputs = tf.nest.flatten(model(given if len(given) > 1 else given[0], training=False))
        found = {f"input{k}": value for k, value in enumerate(given)}
        found |= {f"output{k}": value.numpy() for k, value in enumerate(outputs)}
        found |= {f"weight{k}": value for k, value in enumerate(model.get_weights())}
        for kind in kinds.split():
            model.save(HERE / f"{make.__name__}.{kind}")
        if model.optimizer is not None:
            found["targets"] = rng.normal(size=(2, *model.output_shape[1:])).astype("float32")
            model.train_on_batch(given[0], found["targets"])
            found |= {f"after{k}": value for k, value in enumerate(model.get_weights())}
        np.savez_compressed(HERE / f"{make.__name__}.npz", **found)


if __name__ == "__main__":
    main()
