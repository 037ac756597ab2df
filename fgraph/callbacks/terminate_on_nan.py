"""Stop training when the loss is NaN or infinite."""

from __future__ import annotations

import math

from .base import Callback, Logs


class TerminateOnNaN(Callback):
    """Stop training when the loss is NaN or infinite (Keras: `TerminateOnNaN`).

    It reads the loss after each batch, so on a GPU the host waits for every step.

    Args:
        raise_error: whether to raise a `RuntimeError` instead of stopping.
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Read the loss.

        Raises:
            RuntimeError: with `raise_error`, the loss is NaN or infinite.
        """
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            if self.raise_error:
                raise RuntimeError(f"batch {batch}: the loss is {loss}")
            print(f"Batch {batch}: invalid loss, terminating training")
            self.model.stop_training = True
