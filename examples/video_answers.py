"""The guide's visual and video question answering, built from one vision model, on made data.

The pictures are made here: a bright square on a dark ground, that stands in one quarter of an
image, or moves through a short video. The questions ask where it stands, or which way it moves.
"""

import argparse

import numpy as np
import torch

from fgraph.layers import (
    LSTM,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    Input,
    MaxPooling2D,
    TimeDistributed,
    concatenate,
)
from fgraph.models import Model, Sequential

SIDE, FRAMES, WORDS = 16, 6, 8
WAYS = ((0, -1), (0, 1), (-1, 0), (1, 0))  # left, right, up, down


def frame(row: int, column: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a square of 4x4 pixels on a noisy ground."""
    image = rng.random((SIDE, SIDE, 1), dtype="float32") * 0.3
    image[row : row + 4, column : column + 4] = 1.0
    return image


def visual(count: int, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Make images with the question "is it in the <upper, lower> <left, right>?"."""
    images, questions, answers = [], [], []
    for _ in range(count):
        row, column = rng.integers(0, 2, 2) * 8 + rng.integers(0, 5, 2)
        asked = rng.integers(0, 2, 2)
        images.append(frame(row, column, rng))
        questions.append([1, 2, 3 + asked[0], 5 + asked[1]])
        answers.append([float((row >= 8) == asked[0] and (column >= 8) == asked[1])])
    return [np.stack(images), np.array(questions, "int32")], np.array(answers, "float32")


def videos(count: int, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Make videos with the question "does it move <left, right, up, down>?"; half of them do."""
    films, questions, answers = [], [], []
    for number in range(count):
        way = rng.integers(4)
        asked = way if number % 2 else (way + rng.integers(1, 4)) % 4
        start = np.array([6, 6]) - np.array(WAYS[way]) * 5
        places = [start + np.array(WAYS[way]) * 2 * step for step in range(FRAMES)]
        films.append(np.stack([frame(*place.clip(0, SIDE - 4), rng) for place in places]))
        questions.append([7, 1, 2, 3 + asked])
        answers.append([float(asked == way)])
    return [np.stack(films), np.array(questions, "int32")], np.array(answers, "float32")


def build() -> tuple[Model, Model]:
    """Build both models; the vision model and the question encoder are shared."""
    vision_model = Sequential(name="vision")
    vision_model.add(
        Conv2D(8, (3, 3), activation="relu", padding="same", input_shape=(SIDE, SIDE, 1))
    )
    vision_model.add(MaxPooling2D((2, 2)))
    vision_model.add(Conv2D(16, (3, 3), activation="relu"))
    vision_model.add(MaxPooling2D((2, 2)))
    vision_model.add(Flatten())

    image_input = Input(shape=(SIDE, SIDE, 1))
    question_input = Input(shape=(4,), dtype="int32")
    encoded_question = LSTM(32)(Embedding(input_dim=WORDS, output_dim=16)(question_input))
    question_encoder = Model(question_input, encoded_question, name="question")
    merged = concatenate([question_encoder(question_input), vision_model(image_input)])
    answer = Dense(1, activation="sigmoid")(Dense(64, activation="relu")(merged))
    visual_model = Model([image_input, question_input], answer)

    video_input = Input(shape=(FRAMES, SIDE, SIDE, 1))
    video_question = Input(shape=(4,), dtype="int32")
    encoded_video = LSTM(64)(TimeDistributed(vision_model)(video_input))
    merged = concatenate([encoded_video, question_encoder(video_question)])
    answer = Dense(1, activation="sigmoid")(Dense(64, activation="relu")(merged))
    return visual_model, Model([video_input, video_question], answer)


def main() -> None:
    """Train one model after the other, and print what they reach on data made afresh."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    visual_model, video_model = build()
    for title, model, make in (("visual", visual_model, visual), ("video", video_model, videos)):
        model.to(options.device)
        model.summary()
        model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
        x, y = make(2000, rng)
        model.fit(x, y, epochs=options.epochs, verbose=2)
        x, y = make(1000, rng)
        _, accuracy = model.evaluate(x, y, verbose=0)
        majority = max(y.mean(), 1 - y.mean())
        print(f"{title} answers: {accuracy:.1%} accuracy, majority rate: {majority:.1%}")


if __name__ == "__main__":
    main()
