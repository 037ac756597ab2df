"""Reading values in Keras's configurations: tuples, slices, dtypes, initializers and so on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ... import activations, constraints, initializers, regularizers
from ...errors import LoadError
from ...graph.recording.input import as_dtype
from ..registered_names import registered

_MOST_NUMBERS = 10_000_000  # of a tensor that a configuration holds
_ROLES: dict[str, Any] = {
    "initializer": initializers,
    "regularizer": regularizers,
    "constraint": constraints,
    "activation": activations,
}
_OF_KERAS = ("keras", "tf_keras", "keras_hub", "tensorflow.keras", "tensorflow.python.keras")


def text(value: Any, what: str) -> str:
    """Return `value` if it is a text.

    Raises:
        LoadError: it is none.
    """
    if not isinstance(value, str):
        raise LoadError(f"{what} is {value!r:.80}, expected a text")
    return value


def is_of_keras(written: Mapping[str, Any]) -> bool:
    """Return whether an object is marked as one of Keras's own; old files do not mark them."""
    module = written.get("module")
    return module is None or str(module).partition(".")[0] in _OF_KERAS or str(module).startswith(
        ("tensorflow.keras", "tensorflow.python.keras", "tensorflow.python.ops.init_ops")
    )  # fmt: skip


def custom_object(written: Mapping[str, Any], custom: Mapping[str, Any]) -> Any:
    """Return the registered or custom object for an entry, `None` if there is none."""
    for key in (written.get("registered_name"), written.get("class_name")):
        if isinstance(key, str):
            found = custom.get(key) or custom.get(key.rpartition(">")[2]) or registered(key)
            if found is not None:
                return found
    return None


def dtype_of(written: Any, where: str) -> tuple[torch.dtype | None, str | None]:
    """Return the dtype of weights under a policy, and the policy's name if it is mixed."""
    name = written
    if isinstance(written, dict):
        if written.get("class_name") not in ("DTypePolicy", "Policy", "FloatDTypePolicy"):
            raise LoadError(f"{where}: dtype={written.get('class_name')!r:.60} is a policy that is "
                            "not known here")  # fmt: skip
        config = written.get("config")
        name = config.get("name") if isinstance(config, dict) else None
    if name is None:
        return None, None
    name = text(name, f"{where}: dtype=")
    if name.startswith("mixed_"):
        return None, name.removeprefix("mixed_")
    try:
        return as_dtype(name), None
    except (TypeError, ValueError) as error:
        raise LoadError(f"{where}: dtype={name!r:.60} is not known here") from error


def _dtypes_in(config: Any) -> set[str]:
    """Return the names of the floating-point dtypes of the parts of a model."""
    found, waiting = set(), [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += part.values()
            name = part.get("dtype")
            if isinstance(name, dict) and isinstance(name.get("config"), dict):
                name = name["config"].get("name")
            if isinstance(name, str) and "float" in name:
                found.add("float32" if name.startswith("mixed_") else name)
        elif isinstance(part, list):
            waiting += part
    return found


class Values:
    """Turns JSON into values; names are looked up in closed tables and in `custom`.

    Args:
        custom: the user's classes and functions by name.
        version: the version of Keras that wrote the file.
        config: the model in the file.

    Attributes:
        has_several_dtypes: whether its layers compute in different dtypes, so that each casts its
            inputs.
        mixed: the mixed policies of layers that were made.
        cudnn: layers with weights in cuDNN's layout in the file.
    """

    def __init__(self, custom: Mapping[str, Any], version: str = "3", config: Any = None) -> None:
        self.custom = custom
        self.has_several_dtypes = len(_dtypes_in(config)) > 1
        self.is_old = version.partition(".")[0] in ("1", "2")
        self.mixed: set[str] = set()
        self.cudnn: list[Any] = []

    def plain(self, written: Any, where: str, leaf: Any = None) -> Any:
        """Return a value without layers.

        Args:
            written: JSON.
            where: the layer and argument, for errors.
            leaf: converts an object of any other class.

        Raises:
            LoadError: it holds an object that is not known.
        """
        if isinstance(written, list):
            return [self.plain(item, where, leaf) for item in written]
        if not isinstance(written, dict):
            return written
        if "class_name" not in written:
            return {key: self.plain(item, where, leaf) for key, item in written.items()}
        kind, config = written["class_name"], written.get("config")
        if kind == "__tuple__":
            return tuple(self.plain(item, where, leaf) for item in _items(written, where))
        if kind == "__slice__" and isinstance(config, dict):
            parts = [self.plain(config.get(k), where, leaf) for k in ("start", "stop", "step")]
            return slice(*parts)
        if kind == "__ellipsis__":
            return ...
        if kind == "TensorShape":
            return tuple(_items(written, where))
        if kind in ("__tensor__", "__numpy__") and isinstance(config, dict):
            return _tensor(config, where)
        if leaf is not None:
            return leaf(written, where)
        raise refusal(written, where)

    def role(self, role: str, written: Any, where: str) -> Any:
        """Return an initializer, regularizer, constraint or activation.

        Raises:
            LoadError: it is not known, or holds code.
        """
        if written is None:
            return None
        room = _ROLES[role]
        if isinstance(written, dict):
            found = custom_object(written, self.custom)
            if found is None and not is_of_keras(written) and written.get("module") != "builtins":
                raise refusal(written, where)
            kind, config = written.get("class_name"), written.get("config")
            if kind == "function":
                written = text(config, where)
            elif found is None and (
                not isinstance(kind, str) or kind.startswith("_") or not isinstance(config, dict)
            ):
                raise refusal(written, where)
            else:
                arguments = self.plain(config or {}, where, _seed)
                try:
                    if found is not None:
                        make = getattr(found, "from_config", None)
                        return make(arguments) if make else found(**arguments)
                    return room.get({"class_name": _old_name(str(kind)), "config": arguments})
                except (TypeError, ValueError) as error:
                    raise LoadError(f"{where}: {error}") from error
        name = text(written, where)
        if (own := custom_object({"registered_name": name}, self.custom)) is not None:
            return own
        try:
            return room.get(name)
        except (TypeError, ValueError) as error:
            raise LoadError(
                f"{where}: {error}; pass one of your own as custom_objects={{{name!r:.40}: ...}}"
            ) from error


def refusal(written: Mapping[str, Any], where: str) -> LoadError:
    """Return the error for an object that is not read."""
    kind = str(written.get("class_name"))
    if kind in ("__lambda__", "Lambda") or "lambda" in kind.lower():
        reason = "it is Python code, which is never run: write it in torch, or as a layer"
    else:
        name = written.get("registered_name") or kind
        reason = (f"it is not known here: pass custom_objects={{{name!r:.60}: ...}} if it is a "
                  "class of your own")  # fmt: skip
    return LoadError(
        f"{where}: the file has {kind!r:.60} of {written.get('module')!r:.60}; {reason}"
    )


def _items(written: Mapping[str, Any], where: str) -> list[Any]:
    items = written.get("items")
    if not isinstance(items, list):
        raise LoadError(f"{where}: a tuple without items")
    return items


def _seed(written: Mapping[str, Any], where: str) -> Any:
    if written.get("class_name") == "SeedGenerator":
        config = written.get("config")
        seed = config.get("seed") if isinstance(config, dict) else None
        return seed if isinstance(seed, int) else None
    raise refusal(written, where)


def _old_name(name: str) -> str:
    return {"NormalizerInitializer": "RandomNormal"}.get(name, name)


def _tensor(config: Mapping[str, Any], where: str) -> torch.Tensor:
    try:
        found = np.asarray(config.get("value"))
        if found.dtype.kind not in "fiub" or found.size > _MOST_NUMBERS:
            raise LoadError(f"{where}: a tensor that is none, or has over {_MOST_NUMBERS} numbers")
        return torch.as_tensor(found, dtype=as_dtype(str(config.get("dtype", found.dtype))))
    except (TypeError, ValueError, RuntimeError) as error:
        raise LoadError(f"{where}: a tensor that cannot be read: {error}") from error
