"""`compile`, `fit`, `evaluate` and `predict`, as Keras documents them, on torch's own parts."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from ..callbacks import Callback, CallbackList, History
from ..common.number_checks import whole_number
from . import argument_checks as arguments
from . import preflight
from .data_preparation import DataPreparation
from .fit_run import FitRun
from .processes.own_device import OnOwnDevice
from .settings import CompileSettings
from .sources.array_source import common_length
from .sources.feed import Feed
from .state import TrainingState

# keeps the options of models that are compiled in place
compile_options: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()


class Trainer(DataPreparation, OnOwnDevice):
    """Training for an `nn.Module`: inherit from it before `nn.Module`, and define a `forward`.

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
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        auto_scale_loss: bool = True,
        **torch_compile_options: Any,
    ) -> None:
        """Set up training, or compile the module in place, like `torch.nn.Module.compile`.

        Any training argument sets up training. Any of torch's options, `jit_compile=True`, or no
        argument at all compiles the module. Arguments of both kinds do both. For a class that
        overrides `train_step` or `compute_loss`, a call without arguments also sets up training.

        Args:
            optimizer: a Keras name with Keras's default settings, an object of `fgraph.optimizers`,
                a `torch.optim.Optimizer`, or a callable `params -> optimizer`; `"rmsprop"` by
                default. An existing optimizer is used unchanged; all others are made from the
                parameters that require gradients when training begins.
            loss: a Keras name, an object of `fgraph.losses`, a torch loss module or function; for
                several outputs one for all, a list, a dict by output name with `None` for outputs
                without, or losses in the structure of the outputs. A callable whose parameters
                are named `y_true` and `y_pred` is called in that order, every other one in
                torch's, `(prediction, target)`.
            metrics: names, objects of `fgraph.metrics`, torchmetrics objects or functions: a list
                for one output; a list with an entry for each, a dict by output name, or entries
                in the structure of the outputs, for several. Functions are called as losses are.
            loss_weights: a number for each output's loss, as a list or a dict.
            weighted_metrics: like `metrics`, weighted by `sample_weight` and `class_weight`.
            scheduler: a torch scheduler, a callable `optimizer -> scheduler`, or a pair of one of
                these and `"batch"`, `"epoch"`, or the name of the metric it takes. By default
                `OneCycleLR` and `CyclicLR` step after each batch, all others after each epoch,
                and `ReduceLROnPlateau` takes `val_loss`, or `loss` without validation.
            precision: `"bfloat16"` or `"float16"` for autocast (the latter with a gradient
                scaler); `None` or `"float32"` for none. Losses are computed in float32.
            clip_grad_norm: the largest norm of all gradients together, or `None`.
            gradient_accumulation_steps: the number of batches for each optimizer step. The gradient
                is their mean; the last step of an epoch takes the remaining ones.
            jit_compile: whether to compile in place too; `"auto"` is `False`, since compiling often
                takes longer than training.
            run_eagerly: accepted for compatibility with Keras; torch runs eagerly unless
                `jit_compile`.
            steps_per_execution: accepted for compatibility with Keras; ignored.
            auto_scale_loss: whether float16 uses a gradient scaler.
            **torch_compile_options: keywords of `torch.compile`: `mode`, `backend`, ...

        Raises:
            ValueError: a name is unknown, or the number of losses, weights or metrics is not that
                of the outputs (for a hand-written `forward`, whose outputs are not known yet, this
                is found before the first step).
            TypeError: a keyword is unknown, or a value of the wrong type.
        """
        arguments.check_options(torch_compile_options, arguments.names_of(Trainer.compile))
        whole_number(steps_per_execution, "steps_per_execution")
        for name, flag in {"run_eagerly": run_eagerly, "auto_scale_loss": auto_scale_loss}.items():
            if not isinstance(flag, bool):
                raise TypeError(f"compile: {name} must be True or False, got {flag!r}")
        if run_eagerly and jit_compile is True:
            raise ValueError("compile: run_eagerly=True and jit_compile=True exclude each other")
        given = {
            "optimizer": optimizer,
            "loss": loss,
            "metrics": metrics,
            "loss_weights": loss_weights,
            "weighted_metrics": weighted_metrics,
            "scheduler": scheduler,
            "precision": precision,
            "clip_grad_norm": clip_grad_norm,
        }
        trains = gradient_accumulation_steps != 1 or any(v is not None for v in given.values())
        if not torch_compile_options and not jit_compile:
            trains = trains or any(map(self._overrides, ("train_step", "compute_loss")))
        if trains:
            settings = CompileSettings(
                **given,
                gradient_accumulation_steps=gradient_accumulation_steps,
                auto_scale_loss=auto_scale_loss,
            )
            self._train_with(settings)
        if torch_compile_options or jit_compile is True or not trains:
            compile_options[self] = torch_compile_options
            nn.Module.compile(self, **torch_compile_options)  # type: ignore[arg-type]

    def _train_with(self, settings: CompileSettings) -> None:
        """Start a new training state with these settings."""
        state = TrainingState(settings)
        outputs = self._known_outputs()
        if outputs is not None:
            state.bind(outputs)
        self._trainer = state

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
        *,
        sharded_data: bool = False,
    ) -> History:
        """Train for a number of epochs, like Keras's `Model.fit`.

        Before the first step, the first batches of training and validation data are evaluated once,
        so that mistakes are found before training.

        Args:
            x: the inputs: numpy arrays or tensors, nested in lists or dicts; or a `Dataset`, a
                `DataLoader` or an iterable of batches `(x, y)`, `(x, y, sample_weight)` or dicts.
                Arrays are converted to the dtypes of the model's inputs.
            y: the targets, nested as the outputs are; `None` if `x` yields them.
            batch_size: the number of samples in a step, over all processes; 32 by default.
            epochs: the epoch to stop at; with `initial_epoch=0`, the number of epochs.
            verbose: 1 for a progress bar, 2 for a line per epoch, 0 for no output; `"auto"` is 1.
            callbacks: `Callback` objects.
            validation_split: the fraction of the arrays, from their end, to use for validation.
            validation_data: `(x, y)`, `(x, y, sample_weight)` or a loader.
            shuffle: whether arrays and data sets are shuffled before each epoch, by torch's
                global generator.
            class_weight: the weight of each class, for a model with one output; missing classes
                have weight 1.
            sample_weight: the weight of each sample, `(N,)`, or by output.
            initial_epoch: the number of the first epoch.
            steps_per_epoch: the steps in an epoch; `None` for all batches. If it is less, the next
                epoch continues with the remaining batches.
            validation_steps: the steps of validation, the same batches each time; `None` for all.
            validation_batch_size: the samples in a step of validation; `batch_size` by default.
            validation_freq: the period of validation in epochs, or a list of epochs, from 1.
            sharded_data: under several processes, whether `x` and `validation_data` hold or yield
                each process's own samples. Otherwise the data must be equal in all processes, and
                each computes its share of every batch. A loader whose sampler divides the samples,
                such as torch's `DistributedSampler`, is recognised.

        Returns:
            The history of losses and metrics, as plain floats.

        Raises:
            RuntimeError: the model is not compiled.
            ValueError: an argument does not fit; the message says which.
            TypeError: a value is of the wrong type.
        """
        state = self._require_compiled("fit")
        epochs = whole_number(epochs, "epochs", least=0)
        initial_epoch = whole_number(initial_epoch, "initial_epoch", least=0)
        steps = arguments.optional_count(steps_per_epoch, "steps_per_epoch")
        validates = arguments.validation_epochs(validation_freq)
        shuffle = arguments.check_shuffle(shuffle)
        if validation_split:
            parts = arguments.split_validation(x, y, sample_weight, validation_split)
            (x, y, sample_weight), kept = parts
            validation_data = kept if validation_data is None else validation_data
        placement = self._placement(sharded_data)
        train = self._source(x, y, sample_weight, batch_size, placement, shuffle, class_weight)
        feed = Feed(train, steps)
        validation = self._validation_feed(
            validation_data, validation_batch_size, validation_steps, batch_size, placement
        )
        history = History()
        params = {"verbose": verbose, "epochs": epochs, "steps": feed.epoch_steps}
        run = FitRun(
            self,
            feed,
            epochs,
            self._callback_list(callbacks, params, history),
            epoch=initial_epoch,
            history=history,
            validation=validation,
            validation_epochs=validates,
        )
        preflight.build(self, feed)
        state.make_optimizer(self)
        preflight.check_fit(self, run)
        self.history = history
        self._fit(run)
        placement.random.release()
        return history

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
        *,
        sharded_data: bool = False,
    ) -> Any:
        """Compute the loss and the metrics without training, like Keras's `Model.evaluate`.

        Args:
            x: as in `fit`.
            y: as in `fit`.
            batch_size: as in `fit`.
            verbose: as in `fit`.
            sample_weight: as in `fit`.
            steps: the steps; `None` for all batches.
            callbacks: `Callback` objects.
            return_dict: whether to return a dict by name.
            sharded_data: as in `fit`.

        Returns:
            The loss, or with metrics a list in the order of `metrics_names`, or a dict.

        Raises:
            RuntimeError: the model is not compiled.
            ValueError: an argument does not fit; the message says which.
        """
        self._require_compiled("evaluate")
        count = arguments.optional_count(steps, "steps")
        placement = self._placement(sharded_data)
        feed = Feed(self._source(x, y, sample_weight, batch_size, placement), count, fresh=True)
        params = {"verbose": verbose, "epochs": 1, "steps": feed.epoch_steps}
        callback_list = self._callback_list(callbacks, params)
        preflight.check_division(feed)
        preflight.build(self, feed)
        preflight.check_evaluate(self, feed)
        logs = self._evaluate(feed, callback_list)
        placement.random.release()
        return logs if return_dict else self._in_order(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Iterable[Callback] | Callback | None = None,
        *,
        gather: bool = True,
        sharded_data: bool = False,
    ) -> Any:
        """Compute the outputs for all inputs, like Keras's `Model.predict`.

        Args:
            x: as in `fit`; targets in batches are ignored.
            batch_size: as in `fit`.
            verbose: as in `fit`.
            steps: the steps; `None` for all batches.
            callbacks: `Callback` objects.
            gather: in several processes, which share each batch, whether every process returns all
                rows, in order; all processes must then call `predict`. `False` returns this
                process's own rows.
            sharded_data: as in `fit`; the rows come process by process.

        Returns:
            numpy arrays in the structure of the model's outputs and, as in Keras, in their dtypes,
            such as float16 with `precision="float16"`. bfloat16, which numpy lacks, becomes
            float32. The only output of `Model(x, [y])` comes by itself, also as in Keras.

        Raises:
            ValueError: there is no data.
        """
        count = arguments.optional_count(steps, "steps")
        placement = self._placement(sharded_data, joins=False)
        feed = Feed(self._source(x, None, None, batch_size, placement), count, fresh=True)
        params = {"verbose": verbose, "epochs": 1, "steps": feed.epoch_steps}
        preflight.check_division(feed)
        rows = self._predict(feed, self._callback_list(callbacks, params), gather)
        placement.random.release()
        return rows

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Train on one batch.

        Args:
            x: the inputs of the batch.
            y: its targets.
            sample_weight: the weights of its samples.
            class_weight: the weight of each class.
            return_dict: whether to return a dict by name.

        Returns:
            The loss and metrics of this batch, before the step, as `evaluate` returns them.
        """
        state = self._require_compiled("train_on_batch")
        feed = self._one_batch(x, y, sample_weight, class_weight)
        preflight.build(self, feed)
        state.make_optimizer(self)
        if not self._overrides("train_step"):
            preflight.check_evaluate(self, feed, "training")
        logs = self._train_once(feed)
        return logs if return_dict else self._in_order(logs)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Compute the loss and metrics of one batch without training; see `train_on_batch`."""
        self._require_compiled("test_on_batch")
        feed = self._one_batch(x, y, sample_weight)
        preflight.check_evaluate(self, feed)
        logs = self._evaluate(feed, CallbackList([], self, {}))
        return logs if return_dict else self._in_order(logs)

    def predict_on_batch(self, x: Any, *, gather: bool = True) -> Any:
        """Return the outputs for one batch, as numpy arrays in their structure; see `predict`."""
        return self.predict(x, batch_size=common_length({"x": x}), verbose=0, gather=gather)

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The torch optimizer; made on first access after `compile`, or by `fit`.

        As in Keras its `learning_rate` can be read and set.
        """
        return None if self._trainer is None else self._trainer.make_optimizer(self)

    @property
    def metrics_names(self) -> list[str]:
        """The names in logs, in the order in which `evaluate` returns the values."""
        return self._log_names()
