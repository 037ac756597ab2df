"""Starts a program in several processes, as `torchrun` does, and reads the figures it prints.

The processes are copies of one that has imported torch and this package, which saves seconds in
each. A store that is there before them, as `torchrun` has one, lets them find each other.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import runpy
import shutil
import sys
import tempfile
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch.distributed as dist

HERE = Path(__file__).parent

# what the programs import: once, not in each process
_IMPORTED = [
    "torch", "torch.distributed.fsdp", "torch.distributed.tensor.parallel",
    "torch.distributed.pipelining", "torch.distributed.checkpoint", "fgraph.layers",
    "fgraph.callbacks", "fgraph.parallel", "parallel.launching",
]  # fmt: skip


@cache
def _copies() -> Any:
    """Return what makes processes; they see this environment's paths, and use a thread each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    paths = os.pathsep.join([str(HERE), *sys.path])
    kept = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "PYTHONPATH")}
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=paths)
    try:
        context.Process(target=int).start()  # starts the one that they are copies of
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return context


def _run(script: str, arguments: tuple[str, ...], environment: dict[str, str], files: Any) -> None:
    """Run a script in this process, with its output in files."""
    for number, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    os.environ.update(environment)
    sys.path.insert(0, str(HERE))
    sys.argv = [script, *arguments]
    warnings.filterwarnings("error", category=UserWarning, module="fgraph$")
    runpy.run_path(script, run_name="__main__")


class Started:
    """One process of a program."""

    def __init__(self, script: Path, arguments: tuple[str, ...], environment: dict[str, str]):
        self._folder = tempfile.mkdtemp()
        self._files = [os.path.join(self._folder, name) for name in ("out", "error")]
        for file in self._files:
            Path(file).touch()
        given = (str(script), arguments, environment, self._files)
        self._process = _copies().Process(target=_run, args=given)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """How it ended, `None` while it runs."""
        code: int | None = self._process.exitcode
        return code

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the end; return what it wrote.

        Raises:
            TimeoutError: it did not end in so many seconds.
        """
        self._process.join(timeout)
        out, error = (Path(file).read_text(encoding="utf-8") for file in self._files)
        if self.returncode is None:
            raise TimeoutError(f"no end after {timeout} s:\n{error[-3000:]}")
        return out, error

    def close(self) -> None:
        """End it if it still runs, and forget what it wrote."""
        self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def start(script: Path, processes: int, *arguments: str) -> list[Started]:
    """Start a script in so many processes; with one, outside of any group."""
    common = {}
    if processes > 1:
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        _stores.append(store)
        common = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # what listens there is not theirs to start
            "TORCHELASTIC_RESTART_COUNT": "0",
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
        }
    return [
        Started(script, arguments, common | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]


_stores: list[Any] = []


def leave() -> None:
    """End the group of processes, with nothing in use and nobody waited for."""
    if dist.is_initialized():
        gc.collect()  # models under DDP that have gone hold its threads
        dist.barrier()
        dist.destroy_process_group()


def finished(running: list[Started], seconds: float) -> list[tuple[str, str]]:
    """Return what processes wrote, once all have ended."""
    until = time.monotonic() + seconds
    try:
        return [process.communicate(max(until - time.monotonic(), 1)) for process in running]
    finally:
        for process in running:
            process.close()


def figures(script: Path, processes: int, *arguments: str, seconds: float = 400) -> dict[str, Any]:
    """Run a script and return the JSON on the last line that its first process prints."""
    running = start(script, processes, *arguments)
    outputs = finished(running, seconds)
    codes = [process.returncode for process in running]
    assert not any(codes), "\n".join(error[-3000:] for _, error in outputs)
    found: dict[str, Any] = json.loads(outputs[0][0].splitlines()[-1])
    return found
