"""Losses, metrics and optimizers have the configuration that they were made with, as in Keras."""

from __future__ import annotations

import pytest

from fgraph import losses, metrics, optimizers

MADE = [
    losses.Huber(2.0, reduction="sum"),
    losses.CosineSimilarity(axis=1),
    losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
    metrics.AUC(num_thresholds=5),
    metrics.Precision(thresholds=[0.2, 0.5], name="p"),
    optimizers.Adam(0.1, beta_1=0.5, clipnorm=1.0),
    optimizers.SGD(momentum=0.9, nesterov=True, weight_decay=0.1),
]


@pytest.mark.parametrize("made", MADE, ids=lambda made: type(made).__name__)
def test_an_object_made_of_its_configuration_is_alike(made):
    config = made.get_config()
    again = type(made).from_config(config)
    assert again.get_config() == config
    kept = {key: value for key, value in vars(made).items() if isinstance(value, (int, float, str))}
    assert kept
    assert kept.items() <= vars(again).items()


def test_a_configuration_has_the_defaults():
    assert losses.Huber(2.0).get_config()["delta"] == 2.0
    assert optimizers.Adam().get_config()["learning_rate"] == 0.001
