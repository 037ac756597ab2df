"""A run in which the last process fails: in a callback or in its data, as the argument says."""

from __future__ import annotations

import sys
from typing import Any

import torch
from checks import binary, rank, world

import fgraph
from fgraph.callbacks import Callback


class Fails(Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if rank() == world() - 1 and batch == 2:
            raise ZeroDivisionError("a mistake of the user's")


def batches() -> Any:
    for number in range(9):
        if rank() == world() - 1 and number == 3:
            raise ZeroDivisionError("a mistake of the user's")
        yield torch.ones(8, 4), torch.ones(8, 1)


def main() -> None:
    fgraph.parallel.start("cpu")
    if sys.argv[1] == "callback":
        binary().fit(torch.ones(64, 4), torch.ones(64, 1), 8, verbose=0, callbacks=Fails())
    else:
        binary().fit(batches(), verbose=0)


if __name__ == "__main__":
    main()
