"""Keeping a model: files, configurations, other formats, source text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import Model


class Files:
    """The methods of `Model` that write it down; each imports what it needs when it is called."""

    def save(self, path: str | os.PathLike[str], include_optimizer: bool = True) -> None:
        """Write the model to one file that `fgraph.load_model` reads.

        The arguments and errors are those of `fgraph.saving.model_file.save_model`.
        """
        from .saving.model_file import save_model

        save_model(self, path, include_optimizer)  # type: ignore[arg-type]

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights alone: `.safetensors`, or `.pt` as `torch.save` does.

        The arguments and errors are those of `fgraph.saving.weights.save_weights`.
        """
        from .saving.weights import save_weights

        save_weights(self, path)  # type: ignore[arg-type]

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Take over the weights in a file; where they do not fit nothing is changed.

        The arguments and errors are those of `fgraph.saving.weights.load_weights`.
        """
        from .saving.weights import load_weights

        load_weights(self, path)  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        """Return the graph and the layers' configurations as plain data, without weights.

        The errors are those of `fgraph.saving.config.get_config`.
        """
        from .saving.config import get_config

        return get_config(self)  # type: ignore[arg-type]

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Model:
        """Make a model with fresh weights from what `get_config` returned.

        The arguments and errors are those of `fgraph.saving.config.from_config`.
        """
        from .saving.config import from_config

        return from_config(config, custom_objects)

    def to_json(self, **options: Any) -> str:
        """Return `get_config()` as JSON text; the keywords are those of `json.dumps`."""
        from .saving.config import to_json

        return to_json(self, **options)  # type: ignore[arg-type]

    def export(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the model for other programs: `.onnx`, or `.pt2` of `torch.export`.

        The arguments and errors are those of `fgraph.export.export_model`.
        """
        from .export import export_model

        export_model(self, path, **options)  # type: ignore[arg-type]

    def to_source(
        self,
        class_name: str = "Net",
        constructors: Mapping[str, str] | None = None,
        imports: Iterable[str] = (),
    ) -> str:
        """Return the model as the text of a plain PyTorch file, without fgraph.

        The arguments and errors are those of `fgraph.source.to_source`.
        """
        from .source import to_source

        return to_source(self, class_name, constructors, imports)  # type: ignore[arg-type]
