"""The plan of the package: imports go one way, and every file name says its idea once."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from code_size import by_room, core

PACKAGE = Path(__file__).parent.parent / "fgraph"

# from the bottom up; what stands in one tuple may not import each other
LAYERS = (
    ("errors",),
    ("absent",),
    ("graph",),
    ("common",),
    ("activations", "initializers", "constraints", "regularizers", "unfolding"),
    ("losses", "optimizers", "callbacks"),
    ("metrics",),
    ("layers", "training"),
    ("ops", "interface"),
    ("model",),
    ("constructions",),
    ("saving", "viewing", "export"),
    ("parallel",),
    ("models", "utils"),
)  # fmt: skip
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports_of(name: str) -> set[str]:
    """Every module of the package that a module imports, wherever the statement stands."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*(base if node.level else []), *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner in MODULES else source)
    return {target for target in found if target in MODULES and target != name}


IMPORTS = {name: imports_of(name) for name in MODULES}


def room(name: str) -> str:
    return name.split(".")[1]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "fgraph"])
def test_imports_run_downwards_between_rooms(name):
    upwards = [
        target
        for target in IMPORTS[name]
        if target == "fgraph"
        or (room(target) != room(name) and LEVEL[room(target)] >= LEVEL[room(name)])
    ]
    assert not upwards, f"{name} imports {upwards}, which stand beside or above it"


def test_every_room_has_a_place_in_the_plan():
    assert {room(name) for name in MODULES if name != "fgraph"} == set(LEVEL)


# the rooms within a room, from the bottom up; "." is for the files beside them
INNER_ROOMS = {
    "fgraph.graph": ((".",), ("inference",), ("recording",)),
    "fgraph.training": (("sources",), ("processes",), (".",)),
    "fgraph.saving.keras": ((".",), ("reading", "writing")),
}


def inner_room(outer: str, name: str) -> str:
    first, *rest = name.removeprefix(f"{outer}.").split(".")
    return first if rest or MODULES[name].name == "__init__.py" else "."


@pytest.mark.parametrize(
    ("outer", "name"),
    [
        (outer, name)
        for outer in INNER_ROOMS
        for name in MODULES
        if name.startswith(f"{outer}.")  # `__init__` of the room itself gathers from all
    ],
)
def test_imports_run_downwards_within_a_room(outer, name):
    level = {room: at for at, rooms in enumerate(INNER_ROOMS[outer]) for room in rooms}
    own = inner_room(outer, name)
    upwards = [
        target
        for target in IMPORTS[name]
        if target.startswith(f"{outer}.")
        and (other := inner_room(outer, target)) != own
        and level[other] >= level[own]
    ]
    assert not upwards, f"{name} imports {upwards}, which stand beside or above it"


def test_no_modules_import_each_other_in_a_circle():
    left = {name: set(targets) for name, targets in IMPORTS.items()}
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    # a package's `__init__` gathers its modules, which may not import it back
    assert not left, f"circles among {sorted(left)}"


def test_a_file_name_stands_once():
    """But for `__init__`, the `base` of a family, and `layers/modules`, which mirrors `layers`."""
    names = Counter(path.name for path in FILES if path.parent != PACKAGE / "layers" / "modules")
    repeated = {name for name, count in names.items() if count > 1} - {"__init__.py", "base.py"}
    assert not repeated


def test_the_core_does_not_grow_unnoticed():
    """Who needs more raises the limit in the same change, and says why."""
    assert core(by_room()) <= 6_400


def test_rooms_above_are_named_in_one_file_only():
    """Strings for `importlib` are the way around the other tests."""
    users = defaultdict(list)
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("import_module", "__import__"):
                users[name].append(node.lineno)
    assert set(users) <= {"fgraph.interface.lazy_methods", "fgraph.export.inline"}


def test_one_function_tells_the_classes_of_this_package():
    found = {
        name for name, path in MODULES.items() if 'startswith("fgraph' in path.read_text("utf-8")
    }
    assert found == {"fgraph.common.configured"}, "call `is_of_fgraph`"


HEAVY = [
    "ops",
    "parallel",
    "saving.decoder",
    "viewing.dot",
    "viewing.summary",
    "export.source",
    "torch.onnx",
    "matplotlib",
    "keras",
]


def test_importing_the_package_leaves_heavy_rooms_alone():
    code = (
        "import sys, fgraph; "
        f"print([n for n in {HEAVY} if n in sys.modules or 'fgraph.' + n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("frozen", [False, True], ids=["collected", "frozen"])
def test_importing_the_package_leaves_the_garbage_collector_as_it_was(frozen):
    code = (
        f"import gc, torch; {'gc.freeze()' if frozen else ''}; import fgraph; "
        "print(gc.isenabled(), gc.get_freeze_count() > 0)"
    ).replace("; ;", ";")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", str(frozen)]
