"""Adam and its relatives, as Keras defines them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from . import update_rules as rules
from .optimizer_factory import Groups, OptimizerFactory, fastest
from .whole_matrix_steps import WholeSteps


class _Betas(OptimizerFactory):
    """The settings that the family of Adam shares."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.betas = (
            self._number(beta_1, "beta_1", "[0, 1)"),
            self._number(beta_2, "beta_2", "[0, 1)"),
        )
        self.epsilon = self._number(epsilon, "epsilon")

    @property
    def _defaults(self) -> dict[str, Any]:
        return {
            "lr": self.learning_rate,
            "betas": self.betas,
            "eps": self.epsilon,
            "weight_decay": self.weight_decay,
        }


class Adam(_Betas):
    """Adam (Keras: `Adam`).

    Args:
        learning_rate: the step size.
        beta_1: the decay of the mean of gradients.
        beta_2: the decay of the mean of squared gradients.
        epsilon: added to the root, before its bias is corrected.
        amsgrad: whether to divide by the largest mean of squares so far.
        **settings: as in `OptimizerFactory`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **settings)
        self.amsgrad = amsgrad

    def epsilon_of_adam(self) -> float:
        """Return the epsilon."""
        return self.epsilon

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return torch's fused Adam."""
        # Adam with decoupled weight decay is AdamW; the decay of torch's Adam is not decoupled
        cls: type[Any] = torch.optim.AdamW if self.weight_decay else torch.optim.Adam
        optimizer: torch.optim.Optimizer = cls(
            groups, **self._defaults, amsgrad=self.amsgrad, **fastest(groups)
        )
        return optimizer


class AdamW(Adam):
    """Adam with decoupled weight decay (Keras: `AdamW`).

    Args:
        learning_rate: the step size.
        weight_decay: the fraction of the weights, times `learning_rate`, that each step subtracts.
        **settings: as in `Adam`.
    """

    def __init__(
        self, learning_rate: Any = 0.001, weight_decay: float = 0.004, **settings: Any
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **settings)


class Adamax(_Betas):
    """Adamax (Keras: `Adamax`).

    Args:
        learning_rate: the step size.
        beta_1: the decay of the mean of gradients.
        beta_2: the decay of the maximum of gradients.
        epsilon: added to the maximum of gradients.
        **settings: as in `OptimizerFactory`.
    """

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return the optimizer of `update_rules`."""
        return rules.KerasAdamax(groups, self._defaults)


class Nadam(_Betas):
    """Adam with Nesterov momentum (Keras: `Nadam`).

    Args:
        learning_rate: the step size.
        beta_1: the decay of the mean of gradients.
        beta_2: the decay of the mean of squared gradients.
        epsilon: added to the root.
        **settings: as in `OptimizerFactory`.
    """

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return `torch.optim.NAdam`, whose rule is Keras's with a decay counted in steps."""
        return torch.optim.NAdam(
            groups,
            **self._defaults,
            decoupled_weight_decay=True,
            momentum_decay=1.0,
            foreach=True,
        )


class Lamb(_Betas):
    """Adam with steps relative to each parameter's norm (You et al., 2020; Keras: `Lamb`).

    Args:
        learning_rate: the step size.
        beta_1: the decay of the mean of gradients.
        beta_2: the decay of the mean of squared gradients.
        epsilon: added to the root.
        **settings: as in `OptimizerFactory`.
    """

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return the optimizer of `update_rules`."""
        return rules.KerasLamb(groups, self._defaults)


class Lion(OptimizerFactory):
    """Steps along the sign of the momentum (Chen et al., 2023; Keras: `Lion`).

    Args:
        learning_rate: the step size.
        beta_1: the share of the momentum in a step's direction.
        beta_2: the decay of the momentum.
        **settings: as in `OptimizerFactory`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.betas = (
            self._number(beta_1, "beta_1", "(0, 1]"),
            self._number(beta_2, "beta_2", "[0, 1]"),
        )

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return the optimizer of `update_rules`."""
        defaults = {
            "lr": self.learning_rate,
            "betas": self.betas,
            "weight_decay": self.weight_decay,
        }
        return rules.KerasLion(groups, defaults)


class Muon(OptimizerFactory):
    """Orthogonalised momentum for matrices, AdamW for all else (Keras: `Muon`).

    Jordan et al., 2024, with the step sizes of Liu et al., 2025. torch orthogonalises in bfloat16.

    Args:
        learning_rate: the step size.
        adam_beta_1: AdamW's decay of the mean of gradients.
        adam_beta_2: AdamW's decay of the mean of squared gradients.
        adam_weight_decay: AdamW's weight decay.
        epsilon: AdamW's epsilon.
        weight_decay: the weight decay of matrices.
        exclude_layers: regular expressions; parameters whose names match take AdamW.
        exclude_embeddings: whether parameters with "embedding" in their names take AdamW.
        muon_a: the first coefficient of the Newton-Schulz iteration.
        muon_b: its second coefficient.
        muon_c: its third coefficient.
        adam_lr_ratio: the factor of AdamW's step size.
        momentum: the share of the momentum that is kept.
        ns_steps: the number of Newton-Schulz iterations.
        nesterov: whether to look ahead by Nesterov's rule.
        rms_rate: the root mean square of a matrix's update; 0.2 is the only value.
        **settings: as in `OptimizerFactory`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float = 0.004,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1.0,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float = 0.2,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **settings)
        if rms_rate != 0.2:
            raise ValueError(f"rms_rate of Muon must be 0.2, as torch has it, got {rms_rate!r}")
        self.defaults = {
            "betas": (
                self._number(adam_beta_1, "adam_beta_1", "[0, 1)"),
                self._number(adam_beta_2, "adam_beta_2", "[0, 1)"),
            ),
            "eps": self._number(epsilon, "epsilon"),
            "ns_coefficients": (float(muon_a), float(muon_b), float(muon_c)),
            "ratio": self._number(adam_lr_ratio, "adam_lr_ratio"),
            "momentum": self._number(momentum, "momentum", "[0, 1)"),
            "ns_steps": ns_steps,
            "nesterov": nesterov,
        }
        self.adam_weight_decay = self._number(adam_weight_decay or 0.0, "adam_weight_decay")
        self.excluded = [
            *(exclude_layers or []),
            *(["(?i)embedding"] if exclude_embeddings else []),
        ]

    def _groups(self, pairs: list[tuple[str, Any]]) -> Groups:
        """Divide parameters further, into matrices and all else."""
        names = {id(p): name for name, p in pairs}
        divided: Groups = []
        for group in super()._groups(pairs):
            parts: dict[bool, list[Any]] = {True: [], False: []}
            for p in group["params"]:
                excluded = any(re.search(pattern, names[id(p)]) for pattern in self.excluded)
                parts[p.ndim == 2 and not excluded].append(p)
            for muon, params in parts.items():
                decay = self.weight_decay if muon else self.adam_weight_decay
                options = {"weight_decay": decay, **group, "params": params, "muon": muon}
                divided += [options] if params else []
        return divided

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return the optimizer of `update_rules`."""
        defaults = {"lr": self.learning_rate, "weight_decay": self.weight_decay, "muon": True}
        optimizer = rules.KerasMuon(groups, defaults | self.defaults)
        WholeSteps().attach(optimizer)
        return optimizer
