"""Where an unfolded module hangs in a model, and the names of the calls recorded in it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import nn


class Home:
    """A module that `unfold` opens, and the name that it is registered under in a model.

    Attributes:
        module: the module.
        name: the name that it is registered under; `""` if its children are.
    """

    __slots__ = ("_counts", "_given", "module", "name")

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module
        self.name = name
        paths = (path for path, _ in module.named_modules(prefix=name) if path)
        self._counts = Counter(dict.fromkeys(paths, 1))
        self._given: list[str] = []

    def free(self, name: str, for_good: bool = False) -> str:
        """Return `name`, or the next of `name_1`, `name_2`, ... if it is taken.

        Args:
            name: the name wished for.
            for_good: whether it stays taken, whatever `take_back` says.
        """
        count = self._counts[name]
        self._counts[name] += 1
        if not for_good:
            self._given.append(name)
        return self.free(f"{name}_{count}", for_good) if count else name

    @property
    def given(self) -> int:
        """How many names were taken so far, to go back to."""
        return len(self._given)

    def take_back(self, given: int) -> None:
        """Free the names that were taken since `given` was read."""
        self._counts.subtract(self._given[given:])
        del self._given[given:]

    def replaced(self, new: Mapping[int, Any]) -> Home:
        """Return the home of a module like this one, with some of its direct parts replaced.

        The parts of one without a name hang in the model, which replaces them there.

        Args:
            new: what takes the place of each module or tensor, by the `id` of the old one.
        """
        groups = ("_modules", "_parameters", "_buffers")
        parts = {group: getattr(self.module, group) for group in groups}
        if self.name or not any(id(p) in new for group in parts.values() for p in group.values()):
            return self
        module = copy.copy(self.module)
        for group, held in parts.items():
            module.__dict__[group] = {name: new.get(id(part), part) for name, part in held.items()}
        return Home(module, self.name)
