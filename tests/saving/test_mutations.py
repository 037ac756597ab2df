"""Files with any value changed: a clear error, or a model that works."""

from __future__ import annotations

import copy
import gc
import random
import resource
import time

import pytest
import torch

import fgraph
from fgraph.graph.torch_functions import _NAMESPACES
from saving.crafted import Crafted, layered_victim, nothing_but_reading, opened_victim, victim


@pytest.fixture(scope="module")
def crafted(tmp_path_factory):
    makers = (victim, victim, opened_victim, layered_victim)
    made = [Crafted(make(), tmp_path_factory.mktemp("crafted")) for make in makers]
    for one in made:
        use(fgraph.load_model(one.path))  # what torch imports when it is first used
    repr(torch.zeros(1))
    gc.collect()
    gc.freeze()  # a collection of what other tests left would count as a file's time
    yield made
    gc.unfreeze()


def use(model):
    """Do with a model what everybody does."""
    assert model.code
    model.summary(print_fn=lambda line: None)
    try:
        model(*[inputs_like(symbol) for symbol in model.inputs])
    except ValueError as error:  # a model inside may be built for one batch size
        assert "expects shape" in str(error)  # noqa: PT017
    assert model.to_source()


def inputs_like(symbol):
    shape = [24 if size is None else size for size in symbol.spec.shape]  # as in shape inference
    return torch.zeros(shape, dtype=symbol.dtype)


TEXTS = [
    "", "x", "a\nb", 'a", None) or f(', "__class__", "forward", "\ufb01", "\ud800", "0", "module",
    "layer", "model", "object", "function", "read", "parameter", "buffer", "float32", "os.system",
    "torch.nn.Linear", "torch.nn.LSTM", "torch.nn.Sequential", "fgraph.layers.LSTM", "fgraph.Model",
    "fgraph.Sequential", "torch.optim.Adam", "tests>doubled", "relu", "mse", "hidden.weight",
]  # fmt: skip
NUMBERS = [-1, 0, 1, 2, 3, 5, 7, 64, 10**4, 2**31, 2**62, -(2**63), 0.5, -1.5, 1e300, True, False]
FUNCTIONS = [f"{space}.{name}" for space, owner in _NAMESPACES.items() for name in dir(owner)]


def value(numbers):
    """Draw a value, of any kind that a file may hold."""
    kind = numbers.randrange(12)
    if kind < 2:
        return numbers.choice(TEXTS)
    if kind < 5:
        return numbers.choice(NUMBERS)
    if kind == 5:
        return numbers.choice([None, [], {}, {"x": 1}, [[]], {"$unknown": 1}])
    if kind == 6:
        return {"$object": numbers.randrange(24)}
    if kind == 7:
        return {"$at": [numbers.randrange(16), numbers.randrange(2)]}
    if kind == 8:
        return {"$name": numbers.choice(FUNCTIONS)}
    if kind == 9:
        return {"$tensor": numbers.choice(["hidden.weight", "lstm_1.bias_hh_l0", "buffer_1", "x"])}
    tag = numbers.choice(
        ["$tuple", "$slice", "$range", "$size", "$float", "$complex", "$dtype", "$device", "$bytes",
         "$set", "$partial", "$structure", "$enum", "$held", "$dict", "$ordered", "$numpy.float32",
         "$home", "$optimizer", "$autograd", "$array", "$frozenset", "$counter", "$ellipsis",
         "$memory_format", "$layout"]
    )  # fmt: skip
    return {tag: numbers.choice(["float32", "nan", "cpu", 3, [1, 2], [[1, 2]], [0, 9, 2], []])}


def places(document, way=()):
    """Yield each container and the key of each value in it."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, part in items:
        yield document, key
        if isinstance(part, (dict, list)):
            yield from places(part)


def mutate(numbers, document):
    """Change a few values, or move, repeat or remove parts."""
    for _ in range(numbers.choice((1, 1, 1, 2, 4))):
        (holder, key), (other, place) = numbers.choices(list(places(document)), k=2)
        how = numbers.randrange(10)
        if how < 5:
            holder[key] = value(numbers)
        elif how == 5:
            del holder[key]
        elif how == 6:
            holder[key] = copy.deepcopy(other[place])
        elif how == 7 and isinstance(holder, list):
            holder.insert(numbers.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        elif how == 8 and isinstance(holder, dict):
            holder[numbers.choice(TEXTS)] = holder.pop(key)
        elif isinstance(holder[key], int):
            holder[key] += numbers.choice((-1, 1))


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, for odd numbers
@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_changed_descriptions_load_and_work_or_say_why(count, crafted):
    numbers, loaded = random.Random(count), 0
    for number in range(count):
        path = numbers.choice(crafted).write(lambda document, tensors: mutate(numbers, document))
        before, start = peak(), time.process_time()
        with nothing_but_reading():
            try:
                model = fgraph.load_model(path)
            except fgraph.LoadError as error:
                assert str(path) in str(error)  # noqa: PT017
            else:
                loaded += 1
                use(model)
        assert time.process_time() - start < 1, number
        assert peak() - before < 2 * path.stat().st_size + 64e6, number
    assert loaded > count / 50
