"""Looking at a model: summary, profile, results in between, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .costs import Profile


class Views:
    """The methods of `Model` that show what is in it."""

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print the layers: name and type, output shape, parameters, where inputs come from.

        A layer that is called several times has a row for each call; its parameters are counted in
        the first. Below the table stand the totals and their size in memory, each parameter
        counted once. Of a model without a graph the children are shown.

        Args:
            line_length: the width in characters; that of the terminal by default, at most 120, and
                88 where there is no terminal.
            positions: where each column ends, in characters or as fractions of the line length:
                `[0.3, 0.6, 0.7, 1.0]`; by default the columns take what they need.
            print_fn: called with each line; `print` by default.
            expand_nested: whether a nested model is followed by its own rows, indented.
            show_trainable: whether a column says which layers are trained: `Y`, `N`, `part`.
            layer_range: names, or regular expressions for the names, of the first and the last
                layer to show.

        Raises:
            ValueError: an option is out of range, or names a layer that is not there.
            TypeError: an option is of another type.

        Example:
            >>> from fgraph import Input, Model, layers
            >>> x = Input((3,), name="x")
            >>> Model(x, layers.Dense(2)(x)).summary()
            Model: "model"
            ────────────────────────────────────────────────────
            Layer (type)     Output shape  Param #  Connected to
            ────────────────────────────────────────────────────
            x (Input)        (None, 3)           0
            dense_1 (Dense)  (None, 2)           8  x
            ────────────────────────────────────────────────────
            Total params: 8 (32 B)
            Trainable params: 8 (32 B)
            Non-trainable params: 0 (0 B)
        """
        from .summary import print_summary

        print_summary(
            self,  # type: ignore[arg-type]
            line_length,
            positions,
            print_fn,
            expand_nested,
            show_trainable,
            layer_range,
        )

    def profile(
        self,
        *inputs: Any,
        repeat: int = 10,
        backward: bool = False,
        sort: str | None = None,
    ) -> Profile:
        """Measure what each call of a model costs.

        The calls are run one by one, in the mode (training or not) that the model is in, with the
        hooks of the layers but not those of the model. Buffers such as running statistics,
        gradients and the state of random numbers are left as they were.

        Args:
            *inputs: what the model takes, as in a call.
            repeat: how often to run it, after one run to warm up; each time is the median.
            backward: whether to measure the gradients too: of the parameters that require them,
                and of the results in between that these need.
            sort: `"time"`, `"flops"`, `"memory"` or `"parameters"`, the largest first; by default
                the calls stay in order.

        Returns:
            The records; printing them shows a table.

        Raises:
            ValueError: an option is out of range, or an input does not fit.
            TypeError: `repeat` is not a whole number.
            AttributeError: the model has no graph.

        Example:
            >>> import torch
            >>> from fgraph import Input, Model, layers
            >>> x = Input((8,))
            >>> found = Model(x, layers.Dense(4)(x)).profile(torch.zeros(2, 8))
            >>> found.records[0].name, found.records[0].flops, found.records[0].memory
            ('dense_1', 128, 32)
        """
        from .profile import profile

        return profile(self, inputs, repeat, backward, sort)  # type: ignore[arg-type]

    def activations(self, *inputs: Any, names: Iterable[str] | str | None = None) -> dict[str, Any]:
        """Run a model once and return what its layers give.

        The calls are run one by one, with the hooks of the layers but not those of the model.

        Args:
            *inputs: what the model takes, as in a call.
            names: the names of layers, functions and inputs, as `model.summary()` writes them; all
                layers and functions by default. Only what these need is run.

        Returns:
            For each name, in the order given, the result of that call: a tensor, or the structure
            of tensors that the layer returns. Gradients flow through them unless grad mode is off.

        Raises:
            ValueError: there is no such name, or an input does not fit.
            AttributeError: the model has no graph.

        Example:
            >>> import torch
            >>> from fgraph import Input, Model
            >>> x = Input((3,))
            >>> model = Model(x, torch.relu(torch.nn.Linear(3, 2)(x)))
            >>> {name: tuple(y.shape) for name, y in model.activations(torch.ones(5, 3)).items()}
            {'linear_1': (5, 2), 'relu_1': (5, 2)}
        """
        from .probe import activations

        return activations(self, inputs, names)  # type: ignore[arg-type]

    def to_dot(
        self,
        show_shapes: bool = False,
        show_dtype: bool = False,
        show_layer_names: bool = False,
        rankdir: str = "TB",
        expand_nested: bool = False,
        show_layer_activations: bool = False,
        show_trainable: bool = False,
    ) -> str:
        """Write the picture of the model in DOT, the language of graphviz; nothing else is needed.

        Args:
            show_shapes: whether to write the shapes of inputs and outputs.
            show_dtype: whether to write their dtypes.
            show_layer_names: whether to write the names of layers.
            rankdir: where the graph runs: `"TB"` (top to bottom), `"BT"`, `"LR"`, `"RL"`.
            expand_nested: whether to show the layers of nested models, in a frame.
            show_layer_activations: whether to write the activation functions of layers.
            show_trainable: whether to write which layers are trained and which are frozen.

        Returns:
            The text.

        Raises:
            ValueError: `rankdir` is not known.
            AttributeError: the model has no graph.

        Example:
            >>> from fgraph import Input, Model
            >>> x = Input((3,))
            >>> print(Model(x, x.relu()).to_dot(rankdir="LR"))  # doctest: +ELLIPSIS
            digraph model {
              graph [rankdir=LR, ...
        """
        from .diagram import Show, diagram
        from .dot import to_dot

        show = Show(
            show_shapes,
            show_dtype,
            show_layer_names,
            expand_nested,
            show_layer_activations,
            show_trainable,
        )
        return to_dot(diagram(self, show, "to_dot"), rankdir)  # type: ignore[arg-type]

    def to_mermaid(
        self,
        show_shapes: bool = False,
        show_dtype: bool = False,
        show_layer_names: bool = False,
        rankdir: str = "TB",
        expand_nested: bool = False,
        show_layer_activations: bool = False,
        show_trainable: bool = False,
    ) -> str:
        """Write the picture of the model as a Mermaid flowchart; nothing else is needed.

        Args:
            show_shapes: whether to write the shapes of inputs and outputs.
            show_dtype: whether to write their dtypes.
            show_layer_names: whether to write the names of layers.
            rankdir: where the graph runs: `"TB"` (top to bottom), `"BT"`, `"LR"`, `"RL"`.
            expand_nested: whether to show the layers of nested models, in a frame.
            show_layer_activations: whether to write the activation functions of layers.
            show_trainable: whether to write which layers are trained and which are frozen.

        Returns:
            The text.

        Raises:
            ValueError: `rankdir` is not known.
            AttributeError: the model has no graph.

        Example:
            >>> from fgraph import Input, Model
            >>> x = Input((3,))
            >>> print(Model(x, x.relu()).to_mermaid())  # doctest: +ELLIPSIS
            flowchart TB
                n1(["Input"])
                n2("relu")
                n1 --> n2
                ...
        """
        from .diagram import Show, diagram
        from .mermaid import to_mermaid

        show = Show(
            show_shapes,
            show_dtype,
            show_layer_names,
            expand_nested,
            show_layer_activations,
            show_trainable,
        )
        return to_mermaid(diagram(self, show, "to_mermaid"), rankdir)  # type: ignore[arg-type]

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        """Show a notebook the picture, or the text alone where it cannot be drawn."""
        from .plot import notebook_picture

        picture = notebook_picture(self)  # type: ignore[arg-type]
        text = {"text/plain": repr(self)}
        return text if picture is None else {**text, "image/svg+xml": picture}
