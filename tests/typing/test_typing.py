"""Type checkers see in a user's code what its author sees: `user_code.py`, by mypy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api")
CODE = Path(__file__).with_name("user_code.py")


@pytest.mark.slow
def test_types_of_a_users_code():
    """Types are asserted in the code; each line with a mistake says which error is expected."""
    expected = [
        (number, match[1])
        for number, line in enumerate(CODE.read_text(encoding="utf-8").splitlines(), 1)
        if (match := re.search(r"# error: ([\w-]+)$", line))
    ]
    report, errors, _ = api.run(["--strict", "--python-version=3.11", str(CODE)])
    assert not errors
    found = re.findall(r"^.*?:(\d+): error: .*\[([\w-]+)\]$", report, re.MULTILINE)
    assert sorted({(int(number), kind) for number, kind in found}) == expected, report
