"""One script for one process and for several: `torchrun --nproc-per-node=2 several_devices.py`.

Every process takes its share of each batch, so the result is the same to rounding.
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits

from fgraph import Input, Model, layers, parallel


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training and held-out digits of 8 x 8 pixels with their labels."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = (images[order] / 16).astype("float32"), labels[order]
    return images[360:], labels[360:], images[:360], labels[:360]


def build() -> Model:
    """Build a network of two hidden layers."""
    inputs = Input((64,))
    x = layers.Dense(64, activation="relu")(inputs)
    x = layers.Dense(64, activation="relu")(x)
    return Model(inputs, layers.Dense(10, activation="softmax")(x))


def main() -> None:
    """Train, then print the held-out accuracy, in the first process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()

    device = parallel.start()
    torch.manual_seed(0)
    images, labels, held_images, held_labels = load()
    model = build().to(device)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, batch_size=64, epochs=options.epochs, verbose=2)
    _, accuracy = model.evaluate(held_images, held_labels, verbose=0)
    rows = model.predict(held_images, verbose=0)  # all of them, in every process
    assert abs((rows.argmax(1) == held_labels).mean() - accuracy) < 1e-6
    majority = np.bincount(held_labels).max() / len(held_labels)
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        print(f"held-out accuracy: {accuracy:.1%}, majority rate: {majority:.1%}")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
