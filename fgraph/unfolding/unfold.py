"""`unfold`: record the calls inside a torch module instead of the module.

How a forward is run on symbolic values is in `traced_module`, which parts stay whole in `leaves`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import BuildError
from ..graph.home import Home
from ..graph.inference.shape_cache import remembering
from ..graph.recording.record import module_calls
from .leaves import Leaf, Leaves, origin
from .side_effects import RecordDraws
from .symbolic_factories import symbolic_factories
from .traced_module import ModeIsAsked, trace


def unfold(
    module: nn.Module,
    name: str | None = None,
    leaf: Leaf | tuple[Leaf, ...] = (),
    strict: bool = False,
) -> Unfolded:
    """Open a torch module, so that calling it on symbolic tensors records the calls inside.

    The `forward` of the module runs, and those of its children down to leaves: modules of
    `torch.nn` other than containers. The nodes have qualified names, `layer1.0.conv1`. The model
    registers the module's own children, so that its `state_dict` has the same keys and tensors.
    Parameters, buffers and `self.training` are read when the model runs. A child that is named as
    an attribute of `Model`, such as `layers`, keeps its keys; `get_submodule` finds it, but
    `torch.export` and `to_fx` need a `name`.

    A number that depends on the mode, `p if self.training else 0.0`, is chosen when the model runs.
    A part that makes different calls in training and evaluation is kept as one leaf; if the module
    itself does, its current mode is recorded, with a warning. A part that cannot be recorded, since
    it branches on values, is kept as a leaf, with a warning that says why.

    Args:
        module: any torch module: of torchvision, timm, transformers, or your own.
        name: the module's name in the model; by default its children become children of the model.
            Two unfolded modules in one model need names.
        leaf: further modules not to open: a class, a pattern of qualified names (`"layer4.*"`), a
            function of the module that returns a bool, or a tuple of these.
        strict: whether to raise an error instead of keeping a part as a leaf.

    Returns:
        A callable that records on symbolic tensors, and calls the module on real ones.

    Raises:
        TypeError: `module` is not a torch module.
        BuildError: with `strict`, a part cannot be recorded; always, the module refuses the shapes.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> x = Input((3,))
        >>> model = Model(x, fgraph.unfold(net)(x))
        >>> list(model.state_dict()) == list(net.state_dict())
        True
        >>> Model(x, model.output_of("1")).output_shape
        (None, 4)
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"unfold expects a torch module, got {type(module).__name__}: {module!r:.80}"
        )
    if name is not None and (not isinstance(name, str) or not name or "." in name):
        raise TypeError(f"unfold: name= expects a string without dots, got {name!r}")
    rules = leaf if isinstance(leaf, tuple) else (leaf,)
    for rule in rules:
        if not (isinstance(rule, str) or callable(rule)):
            raise TypeError(
                f"unfold: leaf= expects classes, name patterns or functions, got {rule!r}"
            )
    return Unfolded(Home(module, name or ""), Leaves(rules, strict))


class Unfolded:
    """A torch module that is unfolded when called on symbolic tensors; see `unfold`."""

    def __init__(self, home: Home, leaves: Leaves) -> None:
        self._home = home
        self._leaves = leaves

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Record the calls inside the module; call it if no argument is symbolic."""
        module, leaves = self._home.module, self._leaves
        if not module_calls.has_symbolic((args, kwargs)):
            return module(*args, **kwargs)
        leaves.restart()
        with RecordDraws(module) as draws, symbolic_factories(), remembering():
            try:
                result = trace(self._home, leaves, draws, None, args, kwargs)
            except ModeIsAsked as error:
                text = (
                    f"unfold: the forward of {type(module).__qualname__} decides on its mode"
                    f"{origin(error)}: the graph has what it does in "
                    f"{'training' if module.training else 'evaluation'} mode"
                )
                if leaves.strict:
                    raise BuildError(text) from error
                leaves.restart(text)
                result = trace(self._home, leaves, draws, module.training, args, kwargs)
        leaves.warn()
        return result
