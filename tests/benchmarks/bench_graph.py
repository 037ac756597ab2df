"""Ratios of graphs to the same thing written by hand: `python tests/benchmarks/bench_graph.py`.

The candidates of a row run in turn, A B A B, in one process; the medians are compared. Times of a
machine say nothing, ratios do. "limit" is the same computation by torch functions with the weights
bound beforehand. pytorch-symbolic, where it is installed, replaces `nn.Module.__call__` for the
whole process; it is put back for everything but its own row "before".
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import os
import statistics
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fgraph import Input, Model, layers

PLAIN_CALL = nn.Module.__call__

Run = Callable[[], Any]


def medians(
    candidates: dict[str, Run],
    seconds: float,
    before: Run = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Run the candidates in turn for some seconds; return the median time of each.

    `before` is called before each run, and not timed.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(next(iter(times.values()))) < 3:
        for name, run in candidates.items():
            before()
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def row(title: str, value: str, target: str = "") -> None:
    """Print one line of the table."""
    print(f"{title:<66}{value:>12}   {target}", flush=True)


def ratios(title: str, candidates: dict[str, Run], seconds: float, targets: dict[str, str]) -> None:
    """Print each candidate against the class written by hand."""
    found = medians(candidates, seconds)
    for name, median in found.items():
        if name != "by hand":
            row(
                f"{title}: {name} / by hand",
                f"{median / found['by hand']:.3f}",
                targets.get(name, ""),
            )


# ------------------------------------------------------------------ forward


class Chain(nn.Module):
    """Linears in a row, as a person would write a few of them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        for number in range(1, count + 1):
            setattr(self, f"linear_{number}", nn.Linear(16, 16))


def _write(kind: type[nn.Module], lines: list[str]) -> None:
    """Give a class the forward that a person would have written, line by line."""
    namespace: dict[str, Any] = {"torch": torch, "F": F}
    body = "".join(f"    {line}\n" for line in lines)
    exec(f"def forward(self, x):\n{body}    return x\n", namespace)
    kind.forward = namespace["forward"]


def chain_candidates(count: int = 100) -> dict[str, Run]:
    """The forward of chained linears."""
    _write(Chain, [f"x = self.linear_{number}(x)" for number in range(1, count + 1)])
    hand, data = Chain(count), torch.randn(4, 16)
    x = h = Input((16,))
    for child in hand.children():
        h = child(h)
    model = Model(x, h)
    weights = [(child.weight, child.bias) for child in hand.children()]

    def limit() -> Tensor:
        h = data
        for weight, bias in weights:
            h = F.linear(h, weight, bias)
        return h

    peers = symbolic_chain(list(hand.children()), data)
    return {"by hand": lambda: hand(data), "fgraph": lambda: model(data), "limit": limit, **peers}


def symbolic_chain(modules: list[nn.Module], data: Tensor) -> dict[str, Run]:
    """The same chain in pytorch-symbolic, before and after its optimize_module_calls()."""
    try:
        import pytorch_symbolic
    except ImportError:
        return {}
    x = h = pytorch_symbolic.Input((16,))
    for module in modules:
        h = h(module)
    peer = pytorch_symbolic.SymbolicModel(x, h)
    patched = nn.Module.__call__
    restore_torch()

    def before() -> Tensor:
        nn.Module.__call__ = patched
        try:
            return peer(data)
        finally:
            nn.Module.__call__ = PLAIN_CALL

    version = importlib.metadata.version("pytorch-symbolic")
    name = f"pytorch-symbolic {version}"
    return {f"{name}, before": before, f"{name}, optimized": lambda: peer(data)}


def restore_torch() -> None:
    """Put back what pytorch-symbolic replaces."""
    nn.Module.__call__ = PLAIN_CALL
    nn.Module.__new__ = staticmethod(lambda kind, *args, **kwargs: object.__new__(kind))


class Blocks(nn.Module):
    """Pre-norm residual blocks with functions in between."""

    def __init__(self, count: int) -> None:
        super().__init__()
        for number in range(1, count + 1):
            setattr(self, f"norm_{number}", nn.LayerNorm(16))
            setattr(self, f"up_{number}", nn.Linear(16, 32))
            setattr(self, f"down_{number}", nn.Linear(32, 16))


def block_candidates(count: int = 30) -> dict[str, Run]:
    """The forward of residual blocks."""
    _write(
        Blocks,
        [
            f"x = x + self.down_{n}(F.gelu(self.up_{n}(self.norm_{n}(x))))"
            for n in range(1, count + 1)
        ],
    )
    hand, data = Blocks(count), torch.randn(4, 16)
    x = h = Input((16,))
    parts = list(hand.children())
    blocks = list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))
    for norm, up, down in blocks:
        h = h + down(F.gelu(up(norm(h))))
    model = Model(x, h)
    weights = [
        (*norm.parameters(), *up.parameters(), *down.parameters()) for norm, up, down in blocks
    ]

    def limit() -> Tensor:
        h = data
        for gain, shift, w1, b1, w2, b2 in weights:
            h = h + F.linear(F.gelu(F.linear(F.layer_norm(h, (16,), gain, shift), w1, b1)), w2, b2)
        return h

    return {"by hand": lambda: hand(data), "fgraph": lambda: model(data), "limit": limit}


class Siamese(nn.Module):
    """The Keras guide's two tweets and one LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.LSTM(256, 64, batch_first=True)
        self.head = nn.Linear(128, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        sides = [self.encode(side)[0][:, -1] for side in (a, b)]
        return torch.sigmoid(self.head(torch.cat(sides, dim=-1)))


def siamese_candidates() -> dict[str, Run]:
    """The forward of the guide's siamese network, of 140 steps."""
    hand = Siamese()
    a, b = torch.randn(8, 140, 256), torch.randn(8, 140, 256)
    left, right = Input((140, 256)), Input((140, 256))
    encode = layers.LSTM(64)
    merged = layers.concatenate([encode(left), encode(right)], axis=-1)
    model = Model([left, right], layers.Dense(1, activation="sigmoid")(merged))
    return {"by hand": lambda: hand(a, b), "fgraph": lambda: model(a, b)}


# ------------------------------------------------------------------ build


def build_chain(modules: list[nn.Module]) -> Model:
    """Record a chain and make a model of it."""
    x = h = Input((16,))
    for module in modules:
        h = module(h)
    return Model(x, h)


def build_against_symbolic(count: int = 1000) -> None:
    """Print the time to build a chain against pytorch-symbolic's."""
    modules = [nn.Linear(16, 16) for _ in range(count)]
    candidates: dict[str, Run] = {"fgraph": lambda: build_chain(modules)}
    try:
        import pytorch_symbolic
    except ImportError:
        return

    def peer() -> Any:
        x = h = pytorch_symbolic.Input((16,))
        for module in modules:
            h = h(module)
        return pytorch_symbolic.SymbolicModel(x, h)

    candidates["peer"] = peer
    # or each would pay for the other's garbage; other programs change processor time little
    found = medians(candidates, 3, before=gc.collect, clock=time.process_time)
    restore_torch()
    ratio = found["fgraph"] / found["peer"]
    row(f"build of {count:,} linears: fgraph / pytorch-symbolic", f"{ratio:.3f}", "<= 1")


def build_growth() -> None:
    """Print how the time to build grows with the number of nodes, each a module of its own."""
    known = None
    for count, repeats in ((1_000, 9), (10_000, 7), (100_000, 2)):
        modules = [nn.Tanh() for _ in range(count)]
        gc.collect()
        found = min(_timed(lambda modules=modules: build_chain(modules)) for _ in range(repeats))
        if known is not None:
            title = f"build of {count:,} nodes / {count // 10:,} nodes"
            row(title, f"{found / known:.1f}", "<= 14")
        known = found


def _timed(run: Run) -> float:
    """Return the processor time, which other programs do not change much."""
    start = time.process_time()
    run()
    return time.process_time() - start


def build_beyond_modules(count: int = 1000) -> None:
    """Print what calling modules and making the model take, the modules being there already."""
    modules = [nn.Linear(16, 16) for _ in range(count)]
    found = min(_timed(lambda: build_chain(modules)) for _ in range(5))
    title = f"build of {count:,} chained linears, beyond the modules"
    row(title, f"{found * 1e3:.0f} ms", "<= 150 ms")


def build_siamese() -> None:
    """Print the time to build the guide's two tweets of 140 steps, modules included."""

    def build() -> Model:
        a, b = Input((140, 256)), Input((140, 256))
        encode = layers.LSTM(64)
        merged = layers.concatenate([encode(a), encode(b)], axis=-1)
        return Model([a, b], layers.Dense(1, activation="sigmoid")(merged))

    row("build of the guide's siamese LSTM", f"{_timed(build) * 1e3:.0f} ms", "<= 80 ms")


def build_gru() -> None:
    """Print the time to build a long recurrent network of raw torch."""
    gru = nn.GRU(32, 64, num_layers=2, bidirectional=True, batch_first=True)

    def build() -> Model:
        x = Input((1000, 32))
        return Model(x, gru(x)[0])

    row(
        "build of a 1,000-step two-layer bidirectional GRU",
        f"{_timed(build) * 1e3:.1f} ms",
        "< 80 ms",
    )


def resnet50(x: Any) -> Any:
    """Write a ResNet-50 on a symbolic image."""

    def conv(x: Any, width: int, size: int, stride: int = 1) -> Any:
        x = nn.Conv2d(x.shape[1], width, size, stride, size // 2, bias=False)(x)
        return nn.BatchNorm2d(width)(x)

    x = nn.MaxPool2d(3, 2, 1)(conv(x, 64, 7, 2).relu())
    for stage, (width, depth) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)):
        for number in range(depth):
            stride = 2 if stage and not number else 1
            y = conv(conv(conv(x, width, 1).relu(), width, 3, stride).relu(), 4 * width, 1)
            x = (y + (x if number else conv(x, 4 * width, 1, stride))).relu()
    return nn.Linear(2048, 1000)(x.mean((2, 3)))


def build_resnet() -> None:
    """Print the time to build a ResNet-50 whose weights are not initialised."""

    class NoInit(torch.overrides.TorchFunctionMode):
        """Leaves out what `nn.init` would do."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if getattr(func, "__module__", None) == "torch.nn.init":
                return kwargs["tensor"] if "tensor" in (kwargs or {}) else args[0]
            return func(*args, **(kwargs or {}))

    def build() -> Model:
        with NoInit():
            x = Input((3, 224, 224))
            return Model(x, resnet50(x))

    row("build of a ResNet-50 without weight initialisation", f"{_timed(build):.2f} s", "< 1 s")


# ------------------------------------------------------------------ memory, import


class Watched(torch.overrides.TorchFunctionMode):
    """Counts the results of torch functions that are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.most = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.alive.add(result)
            self.most = max(self.most, len(self.alive))
        return result


def peak_memory() -> None:
    """Print how many activations are alive at once in inference."""
    candidates = block_candidates()
    for name in ("fgraph", "by hand"):
        with torch.no_grad(), Watched() as watched:
            candidates[name]()
        row(
            f"activations alive at once in 30 residual blocks: {name}",
            str(watched.most),
            "the same",
        )


def import_time() -> None:
    """Print what `import fgraph` takes beyond `import torch`, once its files are compiled."""
    code = (
        "import time, torch; t = time.process_time(); import fgraph; print(time.process_time() - t)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        times = [
            float(subprocess.check_output([sys.executable, "-c", code], env=environment))
            for _ in range(6)
        ]
    row("import fgraph beyond import torch", f"{statistics.median(times[1:]):.3f} s", "<= 0.10 s")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="for each row of ratios")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, Python {sys.version.split()[0]}\n")
    build_chain(
        [nn.Linear(16, 16)]
    )  # the first use of meta tensors makes torch import its compiler
    build_beyond_modules()
    build_siamese()
    build_gru()  # while nothing is remembered of its shapes
    build_resnet()
    for title, candidates, goals in (
        ("100 chained linears", chain_candidates(), {"fgraph": "<= 0.90"}),
        ("30 residual blocks", block_candidates(), {"fgraph": "<= 0.95"}),
        ("siamese LSTM, 140 steps", siamese_candidates(), {}),
    ):
        with torch.no_grad():  # around the calls alone: a graph records the grad mode
            ratios(title, candidates, seconds, goals)
    build_against_symbolic()
    build_growth()
    peak_memory()
    import_time()


if __name__ == "__main__":
    main()
