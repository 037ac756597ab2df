"""Several processes give the figures of one; see `checks.py` for the programs."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parallel.launching import HERE, figures, finished, start

FAST = ["arrays", "sequences", "predictions", "single_batches", "few_samples", "stopping"]


def names_in(program: str) -> list[str]:
    """Return the names of the checks in a program, which is not imported here."""
    tree = ast.parse(Path(HERE, program).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if any(ast.unparse(d) == "check" for d in f.decorator_list)]


@cache
def found(program: str, processes: int, names: str) -> dict[str, Any]:
    return figures(Path(HERE, program), processes, names)


def same(program: str, name: str, processes: int, names: str) -> dict[str, Any]:
    """Compare the figures of a check with those of one process; return the latter."""
    here = found(program, processes, names)[name]
    alone = found(program, 1, names)[name]
    for outcome in (alone, here):
        assert "error" not in outcome["figures"], outcome["figures"]["error"]
    assert here["everyone_alike"] is True, "the processes differ among themselves"
    for key, value in here["figures"].items():
        if key.startswith("text"):
            continue
        tolerance = 1e-2 if "about" in key else 1e-4
        np.testing.assert_allclose(
            np.asarray(value, float),
            np.asarray(alone["figures"][key], float),
            rtol=tolerance,
            atol=tolerance / 100,
            err_msg=key,
        )
    return here["figures"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", FAST)
def test_two_processes_give_what_one_gives(name):
    same("checks.py", name, 2, ",".join(FAST))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("name", [n for n in names_in("checks.py") if n != "refusals"])
def test_several_processes_give_what_one_gives(name, processes):
    same("checks.py", name, processes, "")


REFUSED = {
    "merge": "TypeError: metric 'largest'.*define merge",
    "other arrays": "ValueError: the processes were given different data.*sharded_data=True",
    "other batches": "ValueError: the processes were given different data",
    "norm": "a batch of 3 samples in 2 processes.*'batch_normalization_1'",
    "norm in a generator": "a batch of 3 samples in 2 processes",
    "backward": r"call self.backward\(loss\) in place of loss.backward\(\)",
    "step": r"call self.optimizer_step\(\) in place of optimizer.step\(\)",
    "sampler": "DistributedSampler of the data.*of 3, but here.* 2 parts",
    "no data": "ValueError: no data",
    "callbacks": "ValueError: process . and this one have different callbacks.*BackupAndRestore",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused_before_the_first_step(name):
    """By every process alike."""
    texts = same("checks.py", "refusals", 2, "")
    assert re.search(REFUSED[name], texts[f"text_{name}"]), texts[f"text_{name}"]
    assert not texts[f"text_{name}"].startswith("after steps")


@pytest.mark.slow
@pytest.mark.parametrize("name", names_in("loop_checks.py"))
def test_loops_do_what_those_of_one_process_do(name):
    """Stops, outputs, data of other processes, recomputation, compilers, resumed samplers."""
    texts = same("loop_checks.py", name, 2, "")
    if name == "several_outputs":
        refused = r"ValueError: predict: an output has 12 rows for 6 samples.*gather=False"
        assert re.search(refused, texts["text_rows"]), texts


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("name", [n for n in names_in("mesh_checks.py") if n != "errors"])
def test_sharded_models_give_what_whole_ones_give(name, processes):
    """FSDP2 by names and by hand, tensor parallelism, and both on a mesh of two axes."""
    same("mesh_checks.py", name, processes, "")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("name", [n for n in names_in("layer_checks.py") if n != "errors"])
def test_whatever_layers_are_sharded_train_as_whole_ones(name, processes):
    """Opened blocks, containers, shared, frozen and compiled layers, half precision, averages."""
    same("layer_checks.py", name, processes, "")


UNFIT = {
    "pattern": "ValueError: distribute: unknown layer 'dence_.'; did you mean 'dense_",
    "axes": "ValueError: distribute: plan and fsdp together need a mesh of two axes",
    "optimizer": "ValueError: distribute: the model is compiled with an optimizer",
    "unknown axes": r"RuntimeError: .* call fgraph.parallel.distribute\(model, mesh, plan\)",
    "other rows": "ValueError: the processes were given different data",
    "tied": "ValueError: distribute: 'tied_1.table.weight' and .* divide in different ways",
    "vector": "ValueError: LBFGS works on all weights as one vector",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_fit_a_mesh_is_refused(name):
    """With what to write instead."""
    program = "layer_checks.py" if name in ("tied", "vector") else "mesh_checks.py"
    texts = same(program, "errors", 2, "")
    assert re.search(UNFIT[name], texts[f"text_{name}"]), texts[f"text_{name}"]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["callback", "data"])
def test_an_error_in_one_process_ends_all(where):
    """The others do not wait for it; torchrun names the first that failed."""
    running = start(Path(HERE, "failing.py"), 2, where)
    (_, other), (_, own) = finished(running, 200)
    assert all(process.returncode for process in running)
    assert "ZeroDivisionError: a mistake of the user's" in own
    assert re.search("RuntimeError|DistBackendError|DistNetworkError", other), other[-2000:]
