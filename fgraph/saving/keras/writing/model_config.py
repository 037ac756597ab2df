"""Writes models in the form of Keras's configurations; `functional` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ....errors import SaveError
from ....graph.specs import TensorSpec
from ....layers import Lambda, SpectralNormalization, TimeDistributed
from ....layers.base import Layer, snake_case
from ....model import Model, Sequential
from ..stored_weights import places
from .call_entries import allowed_name, free_name, input_entry, part_name
from .functional_config import ADVICE, Functional, dtypes_made, is_trainable
from .graph_entries import GraphEntry
from .keras_config import dtype_policy, keras_object
from .layer_config import dtype_of_layer, label, layer_entry, weights_of
from .torch_layers import REASONS, as_layer
from .weight_groups import WeightGroup, number


def put_weights(layer: Layer, name: str, group: WeightGroup) -> None:
    """Put the weights of a layer into a group.

    Raises:
        SaveError: it is not known where Keras keeps them.
    """
    weights = weights_of(layer) if layer.built else []
    found = places(layer, len(weights))
    if len(found) != len(weights):
        raise SaveError(f"{label(layer, name)}: it is not known where Keras keeps its weights")
    for (value, trained, at), paths in zip(weights, found, strict=True):
        group.weights.append((paths[0], value, at))
        group.links += [(path, paths[0]) for path in paths[1:]]
        if trained and any(tensor.requires_grad for tensor in at[0].tensors(at[1])):
            group.trained.append(at)
    if isinstance(layer, SpectralNormalization):  # Keras has the kernel once more
        group.links.append(("vars/0", found[0][0]))


class ModelWriter:
    """Writes models, including nested ones.

    Attributes:
        narrowed: the names of 64-bit operations that Keras on torch computes in 32 bits.
    """

    def __init__(self) -> None:
        self._owners: dict[int, tuple[Any, str]] = {}
        self.narrowed: list[str] = []

    def model(self, model: Model, name: str, group: WeightGroup) -> dict[str, Any]:
        """Return class and configuration of a model.

        Args:
            model: the model.
            name: its name.
            group: collects its weights and their places.

        Raises:
            SaveError: a part has no counterpart in Keras.
        """
        where = f"model {name!r}"
        if model._graph is None:
            raise SaveError(
                f"{where} has no graph" + (
                    ": call it once, or begin with Input(shape)" if model._is_unbuilt else
                    ", its forward is Python code: Keras's files hold graphs"
                )
            )  # fmt: skip
        if model._public_class().forward is not Model.forward:
            raise SaveError(f"{where}: its forward is written by hand; Keras's files hold graphs")
        graph = model._live_graph("save")
        for ref, given in zip(graph.inputs, model.input_names, strict=True):
            if not isinstance(ref.spec, TensorSpec):
                raise SaveError(f"{where}: its input {given!r} is no tensor; Keras's inputs are")
        if isinstance(model, Sequential) and _is_stack(model):
            return self._sequential(model, name, group)
        return Functional(self, model, name, group).run()

    def claim(self, part: Any, owner: Any, where: str) -> None:
        """Register the model that a layer belongs to.

        Raises:
            SaveError: it belongs to two.
        """
        before, name = self._owners.setdefault(id(part), (owner, where))
        if before is not owner:
            raise SaveError(
                f"{where} is also in {name}: a file of Keras keeps no layers that two models "
                "within each other share; use one model in the other, or save each by itself"
            )

    def layer(
        self, layer: Layer, name: str, dtype: torch.dtype, group: WeightGroup
    ) -> dict[str, Any]:
        """Return class and configuration of a layer, and put its weights into `group`."""

        taken: set[str] = set()

        def inner(found: Any, where: str) -> Any:
            if isinstance(found, Layer):
                own = dtype_of_layer(found, iter((dtype,)))
                base = found.explicit_name or snake_case(type(found).__name__)
                return layer_entry(found, free_name(part_name(base), taken), own, inner)
            if isinstance(found, Model) and isinstance(layer, TimeDistributed):
                name = part_name(found.name)
                group.inner.append(("layer", made := WeightGroup(name)))
                return self.model(found, name, made)
            raise SaveError(f"{where}: {type(found).__name__} has no counterpart in Keras")

        entry = layer_entry(layer, name, dtype, inner)
        if group.inner:  # a model in TimeDistributed
            return entry
        put_weights(layer, name, group)
        return entry

    def part(self, part: Any, name: str, owner: Any, dtypes: Iterator[torch.dtype]) -> GraphEntry:
        """Return the entry of a layer, model or torch module in a graph, without calls."""
        kind = "model" if isinstance(part, Model) else "layer"
        self.claim(part, owner, f"{kind} {name!r} of model {owner.name!r}")
        group = WeightGroup(name)
        if isinstance(part, Model):
            return GraphEntry(name, self.model(part, name, group), group)
        if isinstance(part, Layer):
            return GraphEntry(name, self.layer(part, name, dtype_of_layer(part, dtypes), group),
                             group)  # fmt: skip
        made = as_layer(part, name, next(dtypes, torch.get_default_dtype()))
        if made is None:
            raise SaveError(
                f"{name!r} ({type(part).__name__} of torch) of model {owner.name!r} has no exact "
                f"counterpart in Keras: {REASONS.get(type(part), ADVICE)}"
            )
        entry, weights = made
        for place, (value, weight, trained) in enumerate(weights):
            group.weights.append((f"vars/{place}", value, (weight, part)))
            if trained:
                group.trained.append((weight, part))
        return GraphEntry(name, entry, group)

    def _sequential(self, model: Sequential, name: str, group: WeightGroup) -> dict[str, Any]:
        """Write a stack of layers."""
        graph = model._live_graph("save")
        names = {id(layer): own for own, layer in model._layers_by_name().items()}
        first = input_entry(graph.inputs[0], allowed_name(model.input_names[0]))
        entries, held = [first], []
        dtypes = dtypes_made(graph.nodes)
        for layer in model.layers:
            made = self.part(layer, part_name(names[id(layer)]), model, iter(dtypes(layer)))
            entries.append(made.entry)
            held.append(made)
        number(held, group)
        config = {
            "name": name,
            "trainable": is_trainable(model),
            "dtype": dtype_policy(torch.get_default_dtype()),
            "layers": entries,
            "build_input_shape": first["config"]["batch_shape"],
        }
        return keras_object("Sequential", config, "keras")


def _is_stack(model: Sequential) -> bool:
    """Return whether Keras can store a model as a stack: each item is a layer, and occurs once."""
    items = model.layers
    if len({id(item) for item in items}) < len(items):
        return False
    return not any(
        isinstance(item, Lambda)  # it has no counterpart itself, but the calls inside may have
        or (not isinstance(item, (Layer, Model)) and as_layer(item, "") is None)
        for item in items
    )
