"""`plot_model`, and the picture of a model in a notebook."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ..common.atomic_files import replacing
from ..model import Model

_DOTS = ("png", "jpg", "jpeg", "gif")
_FORMATS = (*_DOTS, "svg", "pdf", "dot", "gv")
_NOTEBOOK_BOXES = 400  # with more, graphviz takes many seconds and the picture cannot be read


def plot_model(
    model: Model,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> Any:
    """Draw a model into a file, like `keras.utils.plot_model`.

    graphviz draws it if it is installed; otherwise matplotlib does, more plainly and only from top
    to bottom. Each call of a layer is a box. Calls that share their weights have one colour and are
    joined by a dashed line; nested models have a double border.

    Args:
        model: a model that has a graph.
        to_file: the file; its suffix is the format: `.png` (also without a suffix),
            `.svg`, `.pdf`, `.jpg`, `.gif`, or `.dot` for the text.
        show_shapes: whether to write the shapes of inputs and outputs.
        show_dtype: whether to write their dtypes.
        show_layer_names: whether to write the names of layers. Those of nested models, and of
            inputs that were named by hand, are always written.
        rankdir: the direction of the graph: `"TB"` (top to bottom), `"BT"`, `"LR"`, `"RL"`.
        expand_nested: whether to draw the layers of nested models, in a frame.
        dpi: dots per inch, for bitmap formats.
        show_layer_activations: whether to write the activation functions of layers.
        show_trainable: whether to write which layers are trained and which are frozen.

    Returns:
        In a notebook the picture, else `None`.

    Raises:
        ImportError: graphviz and matplotlib are missing; the message says how to install them.
        ValueError: the ending, `rankdir` or `dpi` is not one that can be drawn.
        AttributeError: the model has no graph.
        OSError: the file cannot be written.

    Example:
        >>> import fgraph
        >>> x = fgraph.Input((3,))
        >>> plot_model(fgraph.Model(x, x.relu()), "relu.png")  # doctest: +SKIP
    """
    from .dot import check_rankdir, to_dot  # not with `fgraph.utils`, which everybody imports

    path = Path(to_file)
    kind = path.suffix.removeprefix(".").lower() or "png"
    if kind not in _FORMATS:
        raise ValueError(
            f"plot_model: to_file={str(to_file)!r} should end in one of "
            f"{', '.join('.' + name for name in _FORMATS)}"
        )
    if isinstance(dpi, bool) or not isinstance(dpi, int) or dpi < 1:
        raise ValueError(f"plot_model: dpi= expects a whole number of at least 1, got {dpi!r}")
    check_rankdir(rankdir)
    show = {
        "show_shapes": show_shapes,
        "show_dtype": show_dtype,
        "show_layer_names": show_layer_names,
        "expand_nested": expand_nested,
        "show_layer_activations": show_layer_activations,
        "show_trainable": show_trainable,
    }
    text = to_dot(model, rankdir, dpi if kind in _DOTS else None, purpose="plot_model", **show)
    if kind in ("dot", "gv"):
        picture = text.encode() + b"\n"
    else:
        try:
            picture = render(text, kind)
        except ImportError as error:
            picture = _drawn_without_graphviz(error, model, kind, rankdir, dpi, show)
    _write(path, picture)
    return _displayed(picture, kind)


def render(dot: str, kind: str) -> bytes:
    """Draw DOT text as `"svg"`, `"png"`, `"pdf"`, ....

    Raises:
        ImportError: the Python package graphviz or the system's `dot` is missing.
    """
    try:
        import graphviz
    except ImportError as error:
        raise ImportError(_missing("the Python package graphviz")) from error
    try:
        picture: bytes = graphviz.Source(dot).pipe(format=kind)
    except graphviz.ExecutableNotFound as error:
        raise ImportError(_missing("the program `dot`")) from error
    return picture


def notebook_picture(model: Model) -> str | None:
    """Return the SVG of a model, `None` where it cannot be drawn or is too large."""
    if model._graph is None or len(model._graph.nodes) > _NOTEBOOK_BOXES:
        return None
    from .dot import to_dot

    try:
        return render(to_dot(model, show_shapes=True, show_layer_names=True), "svg").decode()
    except Exception:  # displaying an object must never fail: its text is shown instead
        return None


def _drawn_without_graphviz(
    missing: ImportError, model: Model, kind: str, rankdir: str, dpi: int, show: dict[str, bool]
) -> bytes:
    """Return a plainer picture, drawn by matplotlib; raise `missing` if that is missing too."""
    from .matplotlib_picture import draw

    if kind == "gif":
        raise missing
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise missing from None
    return draw(model, kind, rankdir, dpi, **show)


def _missing(what: str) -> str:
    return (
        f"drawing a model needs {what}, which is missing. Install the extra `plot` from a clone of "
        "fgraph, `python -m pip install -e '.[plot]'`, and the system package, "
        "`apt-get install graphviz` (Debian, Ubuntu) or `brew install graphviz` (macOS). "
        "`model.to_dot()` and `model.to_mermaid()` give the picture as text and need neither"
    )


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as new:
        new.write_bytes(content)


def _displayed(picture: bytes, kind: str) -> Any:
    """Return the object that a notebook displays; `None` outside of notebooks."""
    display = sys.modules.get("IPython.display")
    if display is None or kind not in ("png", "jpg", "jpeg", "gif", "svg"):
        return None
    return display.SVG(picture) if kind == "svg" else display.Image(picture)
