"""The methods of `Model` that higher rooms implement: saving, export and viewing.

`model/` must not import the rooms above it, and `import fgraph` should not load them. Only this
file connects them: each method imports its room on first use.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from ..common.whole_model import whole

Self = TypeVar("Self", bound="LazyMethods")


def _above(module: str) -> Any:
    """Return a module of a room above this one: `_above("viewing.summary")`."""
    return importlib.import_module(f"...{module}", __name__)


class LazyMethods:
    """Saving, export and viewing, as methods of `Model`."""

    # ------------------------------------------------------------------ saving

    def save(self, path: str | os.PathLike[str], include_optimizer: bool = True) -> None:
        """Write the model to a file for `fgraph.load_model`, or with `.keras` also for Keras.

        The file holds the graph, the weights and, once compiled, the training settings and the
        optimizer's state. It is in the safetensors format: any reader of that format finds the
        weights under the names of `model.state_dict()`. An existing file is replaced only when the
        new one is complete. Hooks and the values of metrics are not saved. All processes of a
        sharded model must call it; the first one writes.

        Args:
            path: the file; the usual suffix is `.fgraph`. With `.keras` it is a file of Keras 3,
                for models of Keras-named layers and of functions that Keras has operations for;
                this needs h5py.
            include_optimizer: whether to save the settings of `compile` and the optimizer's state.

        Raises:
            SaveError: a part of the model cannot be written as data, or has no counterpart in
                Keras; the message says which.
            OSError: the file cannot be written.
        """
        with whole(self) as has_all:
            if has_all:
                _above("saving.model_file").save_model(self, path, include_optimizer)

    def check_savable(self, path: str | os.PathLike[str] = "") -> None:
        """Raise `SaveError`, as `save` would, if a part of the model cannot be written; write
        nothing.

        Args:
            path: the file that is to be written; its suffix says in which format.

        Raises:
            SaveError: a part of the model cannot be written as data; the text says which.
        """
        with whole(self) as has_all:
            if has_all:
                _above("saving.model_file").check_savable(self, path)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write only the weights, as `.safetensors`, `.weights.h5` for Keras, or `.pt` like torch.

        See `fgraph.saving.weight_files.save_weights` for arguments and errors.
        """
        with whole(self) as has_all:
            if has_all:
                _above("saving.weight_files").save_weights(self, path)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Copy the weights in a file into the model; change nothing if they do not fit.

        See `fgraph.saving.weight_files.load_weights` for arguments and errors.
        """
        with whole(self, everywhere=True, changes=True):
            _above("saving.weight_files").load_weights(self, path)

    def get_config(self) -> dict[str, Any]:
        """Return the graph and the layers' configurations as plain data, without weights.

        Raises:
            SaveError: a part of the model cannot be written as data.
        """
        config: dict[str, Any] = _above("saving.json_config").get_config(self)
        return config

    @classmethod
    def from_config(
        cls: type[Self], config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """Return a model with fresh weights from a configuration of `get_config`.

        Args:
            config: the configuration.
            custom_objects: your own classes and functions by name.

        Raises:
            LoadError: the configuration needs something unknown.
        """
        custom = {cls.__name__: cls, **(custom_objects or {})}
        model: Self = _above("saving.json_config").from_config(config, custom)
        return model

    def to_json(self, **options: Any) -> str:
        """Return `get_config()` as JSON text; the keywords are those of `json.dumps`."""
        return str(_above("saving.json_config").to_json(self, **options))

    # ------------------------------------------------------------------ export

    def export(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the model for other programs: `.onnx`, or `.pt2` of `torch.export`.

        See `fgraph.export.pt2_and_onnx.export_model` for options and errors.
        """
        _above("export.pt2_and_onnx").export_model(self, path, **options)

    def to_source(
        self,
        class_name: str = "Net",
        constructors: Mapping[str, str] | None = None,
        imports: Iterable[str] = (),
    ) -> str:
        """Return the model as the text of a plain PyTorch file that does not need fgraph.

        See `fgraph.export.source.to_source` for arguments and errors.
        """
        return str(_above("export.source").to_source(self, class_name, constructors, imports))

    def to_fx(self) -> torch.fx.GraphModule:
        """Return the graph as a `torch.fx.GraphModule` that shares the modules.

        See `fgraph.export.fx.to_fx` for details and errors.
        """
        module: torch.fx.GraphModule = _above("export.fx").to_fx(self)
        return module

    @staticmethod
    def _trace_modes(graph: Any) -> None:
        """Let a graph of `torch.fx` that is being traced record grad mode and autocast."""
        _above("export.traced_modes").trace_modes(graph)

    # ------------------------------------------------------------------ memory

    def recompute(self, budget: Any, example: Any = None) -> Any:
        """Save memory: keep less for gradients, and compute it again in the backward pass.

        Parts of the forward become functions that run through `torch.utils.checkpoint`; they can be
        read in `model.code`. Layers and names do not change, and results stay equal bit for bit:
        outputs, gradients, running statistics, random numbers. Nothing changes for calls without
        gradients.

        With a budget, the model is run once on the example, in training mode, to measure what each
        call makes, saves and computes. The plan stays within the budget and recomputes as little as
        possible. The budget covers activations, what layers save, and gradients of activations; not
        parameters, their gradients, optimizer states, inputs or the loss.

        A plan is for batches like the example, and for the autocast that is active in this call.
        Copies and pickles keep it; files, `to_source` and exports do not. A nested model counts as
        one call; it can have its own plan.

        Args:
            budget: the largest number of bytes, or `"2 GB"` (10^9 bytes each), `"500 MiB"` (2^20
                bytes each). Or a list of name patterns, `["block_*"]`: each matching layer or block
                of an opened module is computed again. `None` removes the plan.
            example: the inputs of a batch, as in a call: a tensor, or a list or dict of them; for
                a budget.

        Returns:
            A `fgraph.parallel.recompute.Recomputation`: the parts, and the expected peak in bytes.

        Raises:
            ValueError: the budget cannot be met, and the text says which can; or there is no layer
                of such a name, or it cannot be computed again.
            TypeError: an argument is of another type, or the example is missing.
            AttributeError: the model has no graph.

        Example:
            >>> import torch
            >>> from fgraph import Input, Model, layers
            >>> x = h = Input((64,))
            >>> for _ in range(12):
            ...     h = torch.sin(layers.Dense(64, activation="tanh")(h))
            >>> model = Model(x, h)
            >>> plan = model.recompute("120 kB", example=torch.zeros(32, 64))
            >>> plan.peak <= 120_000 < plan.peak_without
            True
            >>> model(torch.zeros(2, 64)).sum().backward()
        """
        return _above("parallel.recompute").recompute(self, budget, example)

    # ------------------------------------------------------------------ viewing

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
        the first. The totals below the table count each parameter once. For a model without a
        graph, the children are shown.

        Args:
            line_length: the width in characters; by default that of the terminal, at most 120, or
                88 without a terminal.
            positions: where each column ends, in characters or as fractions of the line length:
                `[0.3, 0.6, 0.7, 1.0]`; by default columns are as wide as needed.
            print_fn: called with each line; `print` by default.
            expand_nested: whether a nested model is followed by its own rows, indented.
            show_trainable: whether to add a column for trainable layers: `Y`, `N`, `part`.
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
        _above("viewing.summary").print_summary(
            self,
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
        expand_nested: bool = False,
    ) -> Any:
        """Measure what each call of a model costs.

        The calls are run one by one, in the model's current mode, with the hooks of the layers but
        not those of the model. Buffers such as running statistics, gradients and random states are
        unchanged afterwards.

        Args:
            *inputs: the inputs of the model, as in a call.
            repeat: the number of runs after a warm-up run; times are medians.
            backward: whether to measure the gradients, too: of the parameters that require them,
                and of the intermediate results that these need.
            sort: `"time"`, `"flops"`, `"memory"` or `"parameters"`, the largest first; by default
                the calls stay in order.
            expand_nested: whether blocks of an opened module (see `unfold`) have a record for each
                call inside, instead of one with totals.

        Returns:
            A `fgraph.viewing.costs.Profile` with a record for each call; printing it shows a table.

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
        return _above("viewing.profile").profile(
            self, inputs, repeat, backward, sort, expand_nested
        )

    def activations(self, *inputs: Any, names: Iterable[str] | str | None = None) -> dict[str, Any]:
        """Run a model once and return the outputs of its layers.

        The calls are run one by one, with the hooks of the layers but not those of the model.

        Args:
            *inputs: the inputs of the model, as in a call.
            names: the names of layers, functions and inputs, as `model.summary()` writes them; all
                layers and functions by default. Only the calls that these need are run.

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
        found: dict[str, Any] = _above("viewing.intermediate_outputs").activations(
            self, inputs, names
        )
        return found

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
        """Return a picture of the model in DOT, the language of graphviz; needs no extra package.

        Args:
            show_shapes: whether to write the shapes of inputs and outputs.
            show_dtype: whether to write their dtypes.
            show_layer_names: whether to write the names of layers.
            rankdir: the direction of the graph: `"TB"` (top to bottom), `"BT"`, `"LR"`, `"RL"`.
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
        return str(
            _above("viewing.dot").to_dot(
                self,
                rankdir,
                show_shapes=show_shapes,
                show_dtype=show_dtype,
                show_layer_names=show_layer_names,
                expand_nested=expand_nested,
                show_layer_activations=show_layer_activations,
                show_trainable=show_trainable,
            )
        )

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
        """Return a picture of the model as a Mermaid flowchart; needs no extra package.

        Args:
            show_shapes: whether to write the shapes of inputs and outputs.
            show_dtype: whether to write their dtypes.
            show_layer_names: whether to write the names of layers.
            rankdir: the direction of the graph: `"TB"` (top to bottom), `"BT"`, `"LR"`, `"RL"`.
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
        return str(
            _above("viewing.mermaid").to_mermaid(
                self,
                rankdir,
                show_shapes=show_shapes,
                show_dtype=show_dtype,
                show_layer_names=show_layer_names,
                expand_nested=expand_nested,
                show_layer_activations=show_layer_activations,
                show_trainable=show_trainable,
            )
        )

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        """Return the picture for a notebook, or text if it cannot be drawn."""
        picture = _above("viewing.plot").notebook_picture(self)
        text = {"text/plain": repr(self)}
        return text if picture is None else {**text, "image/svg+xml": picture}
