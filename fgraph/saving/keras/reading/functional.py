"""Models from Keras's configurations: `Functional` and `Sequential`, also nested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ....errors import LoadError
from ....graph import Input, SymbolicTensor
from ....layers.base import Layer
from ....model import Model, Sequential
from ..keras_layers import make_layer
from ..keras_values import Values, text
from ..operations import is_operation, operation
from ..stored_weights import Place
from .filler import Filler
from .parsed_calls import Calls
from .parsed_parts import (
    first_dtype,
    groups_of,
    is_model,
    is_stateful,
    label_of,
    make_input,
    name_of,
    shape_of,
)  # fmt: skip


class Builder:
    """Makes models from configurations; each layer is filled when it is made.

    Args:
        values: the values of arguments.
        filler: is told where the weights of each layer are.
        shared: for each group of a part of several models, the group with its weights.
    """

    def __init__(
        self, values: Values, filler: Filler, shared: Mapping[str, str] | None = None
    ) -> None:
        self.values = values
        self.filler = filler
        self.shared = shared or {}
        self._made: dict[str, Any] = {}

    def model(self, written: Mapping[str, Any], place: Place, where: str = "the model") -> Model:
        """Make a model.

        Args:
            written: its class and configuration.
            place: where its weights are.
            where: what it is, for errors.

        Raises:
            LoadError: it is of another kind, or a part of it is not known.
        """
        kind, config = written.get("class_name"), written.get("config")
        if not is_model(written):
            raise LoadError(
                f"{where} is of class {kind!r:.60}, not a Functional or Sequential model: a class "
                "whose graph is Python code cannot be read; build it here, and copy its weights "
                "by set_weights"
            )
        config = {"layers": config} if isinstance(config, list) else config
        if not isinstance(config, dict) or not isinstance(config["layers"], list):
            raise LoadError(f"{where} has no list of layers")
        entries = config["layers"]
        if not all(isinstance(entry, dict) for entry in entries):
            raise LoadError(f"{where}: a layer is no object")
        make = self._sequential if kind == "Sequential" else self._functional
        made = make(config, entries, place, where)
        if config.get("trainable") is False:
            made.trainable = False
        return made

    def _part(self, entry: Mapping[str, Any], place: Place, where: str) -> Any:
        """Make a layer, model or operation, or return the one that several models share."""
        group = self.shared.get(place.group)
        if group is None:
            return self._new_part(entry, place, where)
        if group not in self._made:
            self._made[group] = self._new_part(entry, place._replace(group=group), where)
        return self._made[group]

    def _new_part(self, entry: Mapping[str, Any], place: Place, where: str) -> Any:
        if is_model(entry):
            return self.model(entry, place, where)
        if is_operation(entry):
            return operation(entry, self.values, where)

        def inner(written: Mapping[str, Any], where: str) -> Any:
            return self._part(written, place.inner("layer"), where)

        layer = make_layer(entry, self.values, inner, where)
        self.filler.put(layer, place)
        return layer

    def _places(
        self, kind: str, config: Mapping[str, Any], entries: list[Any], place: Place
    ) -> list[Place]:
        """Return the places of the parts of a model."""
        trained = config.get("trainable") is not False
        places = [place.inner(group, trained) for group in groups_of(kind, entries)]
        if place.top or place.group:
            return places
        return [p._replace(top=name_of(entry, k)) for k, (p, entry) in
                enumerate(zip(places, entries, strict=True))]  # fmt: skip

    # ------------------------------------------------------------------ Sequential

    def _sequential(
        self, config: Mapping[str, Any], entries: list[Any], place: Place, where: str
    ) -> Model:
        name = config.get("name")
        own_name = None if name is None else text(name, "a model's name")
        stack = self._stack(config, entries, place, where)
        try:
            return Sequential(stack, name=own_name)
        except LoadError:
            raise
        except Exception as error:
            raise LoadError(f"{where} {name!r:.60}: {error}") from error

    def _stack(
        self, config: Mapping[str, Any], entries: list[Any], place: Place, where: str
    ) -> list[Any]:
        """Return the input of a stack, if it is known, and its layers."""
        stack: list[Any] = []
        keeps = is_stateful(entries)  # otherwise the batch size may be that of a first call
        places = self._places("Sequential", config, entries, place)
        for entry, own in zip(entries, places, strict=True):
            label = label_of(entry)
            if entry.get("class_name") == "InputLayer":
                stack.append(make_input(entry, label, keeps))
                continue
            part = self._part(entry, own, label)
            if is_operation(entry):
                raise LoadError(f"{label}: an operation in a Sequential")
            given = (entry.get("config") or {}).get("batch_input_shape") if isinstance(
                entry.get("config"), dict) else None  # fmt: skip
            if given is not None and not stack:
                shape = shape_of(given, label, keeps)
                stack.append(Input(batch_shape=shape, dtype=first_dtype(entry, label)))
            stack.append(part)
        given = config.get("build_input_shape") or (config.get("build_config") or {}).get(
            "input_shape")  # fmt: skip
        if stack and not isinstance(stack[0], SymbolicTensor) and given is not None:
            shape = shape_of(given, where, keeps)
            stack.insert(0, Input(batch_shape=shape, dtype=_wanted(stack[0])))
        return stack

    # ------------------------------------------------------------------ Functional

    def _functional(
        self, config: Mapping[str, Any], entries: list[Any], place: Place, where: str
    ) -> Model:
        graph = Calls(self.values, entries, where)
        places = self._places("Functional", config, entries, place)
        for k, (entry, own) in enumerate(zip(entries, places, strict=True)):
            label, name = label_of(entry), graph.names[k]
            if entry.get("class_name") == "InputLayer":
                graph.outputs[name] = [make_input(entry, label)]
            else:
                graph.parts[name] = self._part(entry, own, label)
        graph.run()
        inputs = graph.tensors(config.get("input_layers"), f"{where}, input_layers")
        outputs = graph.tensors(config.get("output_layers"), f"{where}, output_layers")
        own_name = config.get("name")
        try:
            return Model(
                inputs, outputs, name=None if own_name is None else text(own_name, "a model's name")
            )
        except LoadError:
            raise
        except Exception as error:
            raise LoadError(f"{where} {own_name!r:.60}: {error}") from error


def _wanted(part: Any) -> torch.dtype | None:
    """Return the input dtype of a stack, from its first part."""
    return torch.int64 if isinstance(part, Layer) and part.expects.dtype == "integer" else None
