"""Starts a program in several processes, as `torchrun` does, and reads the figures it prints."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist

HERE = Path(__file__).parent


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def start(script: Path, processes: int, *arguments: str) -> list[subprocess.Popen[str]]:
    """Start a script in so many processes; with one, outside of any group."""
    common = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    if processes > 1:
        common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        common |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    return [
        subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning:fgraph", str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]


def leave() -> None:
    """End the group of processes, with nothing in use and nobody waited for."""
    if dist.is_initialized():
        gc.collect()  # models under DDP that have gone hold its threads
        dist.barrier()
        dist.destroy_process_group()


def figures(script: Path, processes: int, *arguments: str, seconds: float = 400) -> dict[str, Any]:
    """Run a script and return the JSON on the last line that its first process prints."""
    running = start(script, processes, *arguments)
    outputs = []
    for process in running:
        try:
            outputs.append(process.communicate(timeout=seconds))
        except subprocess.TimeoutExpired:
            for other in running:
                other.kill()
            raise
    codes = [process.returncode for process in running]
    assert not any(codes), "\n".join(error[-3000:] for _, error in outputs)
    found: dict[str, Any] = json.loads(outputs[0][0].splitlines()[-1])
    return found
