"""Loss names, and the conversion of every accepted form of a loss to a `Loss`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..errors import unknown_name
from . import circle_loss, crossentropy, ctc_loss, focal, generalized, regression, segmentation
from .base import Loss
from .torch_losses import CallableLoss

_MODULES = (
    circle_loss, crossentropy, ctc_loss, focal, generalized, regression, segmentation
)  # fmt: skip

_CLASSES: dict[str, Callable[[], Loss]] = {
    "categorical_crossentropy": crossentropy.CategoricalCrossentropy,
    "sparse_categorical_crossentropy": crossentropy.SparseCategoricalCrossentropy,
    "binary_crossentropy": crossentropy.BinaryCrossentropy,
    "categorical_focal_crossentropy": focal.CategoricalFocalCrossentropy,
    "binary_focal_crossentropy": focal.BinaryFocalCrossentropy,
    "mean_squared_error": regression.MeanSquaredError,
    "mean_absolute_error": regression.MeanAbsoluteError,
    "mean_absolute_percentage_error": regression.MeanAbsolutePercentageError,
    "mean_squared_logarithmic_error": regression.MeanSquaredLogarithmicError,
    "huber": regression.Huber,
    "log_cosh": regression.LogCosh,
    "kl_divergence": regression.KLDivergence,
    "poisson": regression.Poisson,
    "hinge": regression.Hinge,
    "squared_hinge": regression.SquaredHinge,
    "categorical_hinge": regression.CategoricalHinge,
    "cosine_similarity": regression.CosineSimilarity,
    "ctc": ctc_loss.CTC,
    "dice": segmentation.Dice,
    "tversky": segmentation.Tversky,
    "circle": circle_loss.Circle,
    "categorical_generalized_cross_entropy": generalized.CategoricalGeneralizedCrossEntropy,
}

_ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "logcosh": "log_cosh",
    "huber_loss": "huber",
}

_BY_FUNCTION: dict[Callable[..., Any], Callable[[], Loss]] = {
    getattr(module, name): cls
    for name, cls in _CLASSES.items()
    for module in _MODULES
    if hasattr(module, name)
}


def _by_name() -> dict[str, Callable[[], Loss]]:
    names = dict(_CLASSES)
    names.update({alias: _CLASSES[name] for alias, name in _ALIASES.items()})
    names.update({cls.__name__: cls for cls in _CLASSES.values()})
    names.update({alias.upper(): _CLASSES[_ALIASES[alias]] for alias in ("mse", "mae", "mape")})
    return names


NAMES = _by_name()


def get(identifier: str | Loss | type[Loss] | Callable[..., Tensor]) -> Loss:
    """Return the loss object of a name, class, function, torch module or loss.

    Args:
        identifier: A Keras name (`"mse"`, `"categorical_crossentropy"`, ...), a `Loss` or its
            class, a function of this package, or any callable (see `CallableLoss`).

    Returns:
        A loss with Keras's default settings.

    Raises:
        ValueError: the name is unknown.
        TypeError: the value is none of these.
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        if identifier not in NAMES:
            raise ValueError(unknown_name("loss", identifier, NAMES))
        return NAMES[identifier]()
    if isinstance(identifier, type):
        made = identifier()
        return made if isinstance(made, Loss) else CallableLoss(made)
    if callable(identifier):
        known = _BY_FUNCTION.get(identifier) if _hashable(identifier) else None
        return known() if known else CallableLoss(identifier)
    raise TypeError(
        f"a loss must be a name, a Loss or a callable, got {type(identifier).__name__}: "
        f"{identifier!r}"
    )


def _hashable(value: object) -> bool:
    return type(value).__hash__ is not None
