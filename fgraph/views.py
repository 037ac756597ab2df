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
        """Print a table of the layers: name and type, output shape, parameters, connections.

        The arguments and errors are those of `fgraph.summary.print_summary`, and mean what they
        mean in Keras.
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
        """Measure time, operations, memory and parameters of each call, on these inputs.

        The arguments and errors are those of `fgraph.profile.profile`.

        Returns:
            The records, which print as a table: `print(model.profile(x))`.
        """
        from .profile import profile

        return profile(self, inputs, repeat, backward, sort)  # type: ignore[arg-type]

    def activations(self, *inputs: Any, names: Iterable[str] | str | None = None) -> dict[str, Any]:
        """Run the model once and return the results in between, by the names of `summary()`.

        The arguments and errors are those of `fgraph.probe.activations`.

        Returns:
            The result of each layer and function, or of those in `names`.
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

        The arguments and errors are those of `fgraph.utils.plot_model`.
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

        The arguments and errors are those of `fgraph.utils.plot_model`.
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
