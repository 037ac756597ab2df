"""Loss, gradients and statistics under torch's pipeline schedules are those of the whole model."""

from __future__ import annotations

import pytest

from parallel.launching import HERE, figures


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_pipelines_train_as_the_whole_model_does(processes):
    found = figures(HERE / "pipeline_steps.py", processes)
    assert found["schedules"] == ["GPipe", "1F1B", "Interleaved1F1B"]
