"""`compile`, `fit`, `evaluate` and `predict`, as Keras documents them, on torch's own parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from ..callbacks import Callback, History
from . import checks as arguments
from . import distributed
from .arrays import common_length
from .data import is_loader
from .feed import Feed
from .loops import Loops
from .run import Run
from .settings import Compiled


class Trainer(Loops):
    """Training for an `nn.Module`: mix it in before `nn.Module` and give the class a `forward`.

    Example:
        >>> class Net(Trainer, nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.linear = nn.Linear(4, 1)
        ...     def forward(self, x):
        ...         return self.linear(x)
        >>> net = Net()
        >>> net.compile("sgd", "mse")
        >>> history = net.fit(torch.ones(8, 4), torch.ones(8, 1), epochs=2, verbose=0)
        >>> len(history.history["loss"])
        2
    """

    def compile(
        self,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        *,
        scheduler: Any = None,
        precision: str | None = None,
        clip_grad_norm: float | None = None,
        gradient_accumulation_steps: int = 1,
        jit_compile: bool | str = False,
        **torch_compile_options: Any,
    ) -> None:
        """Sets up training; or compiles the module in place, as `torch.nn.Module.compile` does.

        With any argument but torch's options it does the first, with any of torch's options or
        `jit_compile=True`, or with nothing at all, the second; with both sets, both.

        Args:
            optimizer: A Keras name with Keras's default settings, an object of
                `fgraph.optimizers`, a `torch.optim.Optimizer`, or a callable
                `params -> optimizer`. Default: `"rmsprop"`. Only an optimizer that exists
                already is used as it is; all others are made of the parameters that require
                gradients when training begins.
            loss: A Keras name, an object of `fgraph.losses`, a torch loss module or function;
                for several outputs one for all, a list, or a dict by output name, with None for
                outputs without. A callable whose parameters are named `y_true` and `y_pred` gets
                them in that order, every other one gets torch's `(prediction, target)`.
            metrics: Names, objects of `fgraph.metrics`, torchmetrics objects or functions: a
                list for one output; a list with an entry for each, or a dict by output name, for
                several. Functions are called as losses are.
            loss_weights: A number for each output's loss, as a list or a dict.
            weighted_metrics: As `metrics`, weighted by `sample_weight` and `class_weight`.
            scheduler: A torch scheduler, a callable `optimizer -> scheduler`, or a pair of one of
                these and `"batch"`, `"epoch"`, or the name of the figure it takes. By default
                `OneCycleLR` and `CyclicLR` step after each batch, all others after each epoch,
                and `ReduceLROnPlateau` takes `val_loss`, or `loss` without validation.
            precision: `"bfloat16"` or `"float16"` for autocast (the latter with a gradient
                scaler); None or `"float32"` for none.
            clip_grad_norm: Largest norm of all gradients together, or None.
            gradient_accumulation_steps: Batches whose gradients make one step. The gradient is
                the mean over them; an epoch's last step takes those that are left.
            jit_compile: Whether to compile in place too; `"auto"` is False, since compiling takes
                longer than many a training.
            **torch_compile_options: Keywords of `torch.compile`: `mode`, `backend`, ...

        Raises:
            ValueError: An unknown name, or another number of losses, weights or metrics than of
                outputs (for a hand-written `forward`, whose outputs are not known yet, this is
                found at the first batch).
            TypeError: An unknown keyword, or a value of the wrong kind.
        """
        arguments.check_options(torch_compile_options, arguments.names_of(Trainer.compile))
        trains = any(
            argument is not None
            for argument in (optimizer, loss, metrics, loss_weights, weighted_metrics, scheduler,
                             precision, clip_grad_norm)
        ) or gradient_accumulation_steps != 1  # fmt: skip
        if trains:
            compiled = Compiled(
                optimizer,
                loss,
                metrics,
                loss_weights,
                weighted_metrics,
                scheduler,
                precision,
                clip_grad_norm,
                gradient_accumulation_steps,
            )
            names = getattr(self, "output_names", None)
            if names is not None:
                compiled.bind(list(names))
            self._compiled = compiled
        if torch_compile_options or jit_compile is True or not trains:
            nn.Module.compile(self, **torch_compile_options)  # type: ignore[arg-type]

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Iterable[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Iterable[int] = 1,
    ) -> History:
        """Trains for a number of epochs, as Keras's `Model.fit`.

        Args:
            x: Inputs: numpy arrays or tensors, nested in lists or dicts; or a `Dataset`, a
                `DataLoader` or an iterable of batches `(x, y)`, `(x, y, sample_weight)` or dicts.
            y: Targets, nested as the outputs are; None where `x` yields them.
            batch_size: Samples in a step, over all processes; 32 where None.
            epochs: Number of the epoch to stop before; with `initial_epoch=0` their count.
            verbose: 1 for a bar, 2 for a line an epoch, 0 for silence; `"auto"` is 1.
            callbacks: `Callback` objects.
            validation_split: Share of the arrays, from their end, that is kept for validation.
            validation_data: `(x, y)`, `(x, y, sample_weight)` or a loader.
            shuffle: Whether arrays and data sets are shuffled before each epoch, by torch's
                global generator.
            class_weight: Weight of each class, for a model with one output.
            sample_weight: Weight of each sample, `(N,)`, or by output.
            initial_epoch: Number of the first epoch.
            steps_per_epoch: Steps in an epoch; None for all batches. Where it is less, the next
                epoch goes on with the batches that are left.
            validation_steps: Steps of validation; None for all.
            validation_batch_size: Samples in a step of validation; `batch_size` where None.
            validation_freq: Validate after every so many epochs, or after those listed, from 1.

        Returns:
            The history of all figures, as plain floats.

        Raises:
            RuntimeError: The model is not compiled.
            ValueError: Something does not fit; the text says what.
            TypeError: A value of the wrong kind.
        """
        compiled = self._require_compiled("fit")
        arguments.check_counts(
            {"epochs": epochs, "initial_epoch": initial_epoch},
            {"steps_per_epoch": steps_per_epoch, "validation_steps": validation_steps},
        )
        distributed.start(self._device())
        if validation_split:
            parts = arguments.split_validation(x, y, sample_weight, validation_split)
            (x, y, sample_weight), kept = parts
            validation_data = kept if validation_data is None else validation_data
        train = self._source(x, y, sample_weight, batch_size, shuffle, class_weight)
        run = Run(self, Feed(train, steps_per_epoch), epochs, initial_epoch)
        if validation_data is not None:
            triple = arguments.unpack_validation(validation_data)
            size = validation_batch_size or (None if is_loader(triple[0]) else batch_size)
            run.validation = Feed(self._source(*triple, size), validation_steps)
            run.validation_frequency = validation_freq
        compiled.make_optimizer(self)
        params = {"verbose": verbose, "epochs": epochs, "steps": run.feed.epoch_steps}
        run.callbacks = self._callback_list(callbacks, params, run.history)
        self.history = run.history
        self._fit(run)
        return run.history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Iterable[Callback] | Callback | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Computes the loss and the metrics without training, as Keras's `Model.evaluate`.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            batch_size: As in `fit`.
            verbose: As in `fit`.
            sample_weight: As in `fit`.
            steps: Steps; None for all batches.
            callbacks: `Callback` objects.
            return_dict: Whether to return a dict by name.

        Returns:
            The loss, or with several figures a list in the order of `metrics_names`, or a dict.

        Raises:
            RuntimeError: The model is not compiled.
            ValueError: Something does not fit; the text says what.
        """
        self._require_compiled("evaluate")
        arguments.check_counts({}, {"steps": steps})
        distributed.start(self._device())
        feed = Feed(self._source(x, y, sample_weight, batch_size), steps)
        params = {"verbose": verbose, "steps": feed.epoch_steps}
        logs = self._evaluate(feed, self._callback_list(callbacks, params))
        return logs if return_dict else self._in_order(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Iterable[Callback] | Callback | None = None,
    ) -> Any:
        """Computes the outputs for all inputs, as Keras's `Model.predict`.

        Args:
            x: As in `fit`; of batches that have targets, these are ignored.
            batch_size: As in `fit`.
            verbose: As in `fit`.
            steps: Steps; None for all batches.
            callbacks: `Callback` objects.

        Returns:
            numpy arrays in the structure of the model's outputs.

        Raises:
            ValueError: There is no data.
        """
        arguments.check_counts({}, {"steps": steps})
        feed = Feed(self._source(x, None, None, batch_size), steps)
        params = {"verbose": verbose, "steps": feed.epoch_steps}
        return self._predict(feed, self._callback_list(callbacks, params))

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Makes one step of training on one batch.

        Args:
            x: Inputs of the batch.
            y: Its targets.
            sample_weight: Weights of its samples.
            class_weight: Weight of each class.
            return_dict: Whether to return a dict by name.

        Returns:
            The figures of this batch, before the step, as `evaluate` returns them.
        """
        compiled = self._require_compiled("train_on_batch")
        compiled.make_optimizer(self)
        batch = self._one_batch(x, y, sample_weight, class_weight)
        logs = self._on_batch(batch, training=True)
        return logs if return_dict else self._in_order(logs)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Computes the figures of one batch without training; see `train_on_batch`."""
        self._require_compiled("test_on_batch")
        logs = self._on_batch(self._one_batch(x, y, sample_weight), training=False)
        return logs if return_dict else self._in_order(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the outputs for one batch, as numpy arrays in their structure."""
        return self.predict(x, batch_size=common_length({"x": x}), verbose=0)

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The torch optimizer; it is made when first looked at after `compile`, or by `fit`."""
        compiled = self._compiled
        return None if compiled is None else compiled.make_optimizer(self)

    @property
    def metrics_names(self) -> list[str]:
        """The names of the figures, in the order in which `evaluate` returns them."""
        return self._figure_names()
