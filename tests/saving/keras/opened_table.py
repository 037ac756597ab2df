"""Print what `load_model` opened of `keras.applications`, by family, from a run of the checks.

All architectures take an hour on one core and up to 6 GiB; name some to run these alone:

    python tests/saving/keras/opened_table.py ResNet50 MobileNetV2
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[3]))
warnings.simplefilter("ignore")

from saving.keras.applications import (  # noqa: E402
    NAMES,
    Opened,
    compare_trained,
    compare_written,
    family,
)


def figures(name: str) -> Opened:
    """Compare an architecture; return the worst of its figures."""
    found = []
    for compare in (compare_trained, compare_written):
        with tempfile.TemporaryDirectory() as folder:
            found.append(compare(name, Path(folder)))
        gc.collect()
    trained, written = found
    return written._replace(error=max(f.error for f in found), step=trained.step)


def row(names: list[str], found: list[Opened]) -> str:
    """Return a line of the table, for a family."""
    error, step = max(f.error for f in found), max(f.step for f in found)
    seconds, theirs = sum(f.seconds for f in found), sum(f.theirs for f in found)
    return f"| {', '.join(names)} | {error:.0e} | {step:.0e} | {seconds:.1f} | {theirs:.1f} |"


def main(wanted: list[str]) -> int:
    """Run the checks and print the table; progress goes to stderr."""
    print("| architectures | output | step | s to open | Keras, s |\n|---|---|---|---|---|")
    families: dict[str, list[str]] = {}
    for name in wanted:
        families.setdefault(family(name), []).append(name)
    failed = 0
    for names in families.values():
        found = {}
        for name in names:
            started = time.monotonic()
            try:
                found[name] = figures(name)
            except Exception:
                traceback.print_exc()
                failed += 1
            took = time.monotonic() - started
            print(f"{name}: {found.get(name, 'FAILED')}, {took:.0f} s", file=sys.stderr, flush=True)
        if found:
            print(row(list(found), list(found.values())), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or NAMES))
