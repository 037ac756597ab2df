"""Plots of learning curves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from ..errors import unknown_name

_INK = ("#1565C0", "#E65100")  # training, validation


def plot_history(
    history: Mapping[str, Sequence[Any]],
    epochs: Mapping[str, Sequence[int]] | None = None,
    names: Iterable[str] | str | None = None,
    to_file: str | os.PathLike[str] | None = None,
) -> list[Any]:
    """Plot the losses and metrics of a run below each other, each with its validation.

    Args:
        history: the values of each loss and metric, one an epoch:
            `{"loss": [...], "val_loss": [...]}`.
        epochs: for each of them, the epochs of its values, from 0; counted by default.
        names: which of them to plot, without `val_`; all that are numbers by default.
        to_file: a file to write, `.png`, `.svg` or `.pdf`.

    Returns:
        The matplotlib axes, one for each name; `axes[0].figure` is the whole.

    Raises:
        ImportError: matplotlib is missing; the message says how to install it.
        ValueError: a name is unknown, or there are none.
        OSError: the file cannot be written.

    Example:
        >>> axes = plot_history({"loss": [2.0, 1.0], "val_loss": [2.1, 1.4]})  # doctest: +SKIP
    """
    chosen = _chosen(history, names)
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "plotting a history needs matplotlib, which is missing. Install the extra `plot` from "
            "a clone of fgraph, `python -m pip install -e '.[plot]'`; the numbers themselves are "
            "in `history.history`"
        ) from error
    figure, grid = pyplot.subplots(
        len(chosen),
        sharex=True,
        squeeze=False,
        figsize=(6.4, 1.2 + 2.4 * len(chosen)),
        layout="constrained",
    )
    axes = list(grid[:, 0])
    for axis, name in zip(axes, chosen, strict=True):
        _draw(axis, name, history, epochs)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    if to_file is not None:
        _write(figure, Path(to_file))
        pyplot.close(figure)
    return axes


def _chosen(history: Mapping[str, Sequence[Any]], names: Iterable[str] | str | None) -> list[str]:
    """Return the names to plot, without those of validation."""
    known = {
        name.removeprefix("val_"): None
        for name, values in history.items()
        if values and all(isinstance(value, Real) for value in values)
    }
    if not known:
        raise ValueError("there is nothing to plot: the history is empty; call fit first")
    chosen = [names] if isinstance(names, str) else list(names or known)
    for name in chosen:
        if name not in known:
            raise ValueError(f"History.plot: {unknown_name('metric', name, known)}")
    return chosen


def _draw(
    axis: Any,
    name: str,
    history: Mapping[str, Sequence[Any]],
    epochs: Mapping[str, Sequence[int]] | None,
) -> None:
    """Plot one loss or metric and, if there is one, its validation."""
    for key, label, colour in ((name, "training", 0), (f"val_{name}", "validation", 1)):
        if key in history:
            values = history[key]
            at = [epoch + 1 for epoch in (epochs or {}).get(key, range(len(values)))]
            marker = "o" if len(values) < 30 else ""
            axis.plot(at, values, color=_INK[colour], marker=marker, markersize=3.5, label=label)
    axis.set_ylabel(name)
    axis.grid(color="#ECEFF1")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)


def _write(figure: Any, path: Path) -> None:
    from ..common.atomic_files import replacing

    with replacing(path) as new:
        figure.savefig(new, format=path.suffix.removeprefix(".") or "png", dpi=200)
