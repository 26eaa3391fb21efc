"""One training after the other of one model, each from given weights and with a given learning rate."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf.comparison.method import Method


@dataclasses.dataclass(frozen=True)
class Training:
    """What came out of one training; all values are infinite from the record at which it had died."""

    measured: np.ndarray  # [record]
    history: dict[str, np.ndarray]  # what Keras logged of the batches, name → [record]
    stopped_at: int | None  # the number of the step that was not finite
    stopped_by: str | None  # what was not finite
    weights: list[np.ndarray]  # of the network, at the end
    seconds_per_step: np.ndarray  # [records that were reached]


class Trainer:
    """Trains the network of one method again and again; what is compiled is compiled once.

    Args:
        method: how to train.
        network: a built network; `method.build` makes a model of it, and its weights are written over.
        data: inputs and goals, arrays or structures of arrays.
        measure: maps the model to the number that is compared.
        n_records: how often a training is measured, at equal distances.

    Raises:
        TypeError: if `method.build` does not return a Keras model.
        ValueError: if that is not compiled, or its learning rate follows a schedule.
    """

    def __init__(
        self,
        method: Method,
        network: keras.Model,
        data: tuple[Any, Any],
        measure: Callable[[keras.Model], float],
        n_records: int,
    ) -> None:
        """Build the model and remember how it starts."""
        self.method, self.network, self.data, self.measure, self.n_records = method, network, data, measure, n_records
        self.model = method.build(network)
        if not isinstance(self.model, keras.Model):
            raise TypeError(f"build must return a keras.Model, got {type(self.model).__name__}.")
        if not getattr(self.model, "compiled", False):
            raise ValueError("build must return a compiled model: call its compile before you return it.")
        optimizer = self.model.optimizer
        try:
            optimizer.learning_rate = method.rates[0]
        except (TypeError, ValueError) as error:
            raise ValueError("build must leave the learning rate free: its optimizer follows a schedule.") from error
        optimizer.build(self.model.trainable_variables)
        # All that a training changes: weights, the state of the optimizer, what the model itself keeps.
        self.variables = [*self.model.variables, *optimizer.variables]
        self.start = [variable.numpy() for variable in self.variables]

    def train(self, weights: list[np.ndarray], rate: float, seed: int) -> Training:
        """One training from `weights`; batches are drawn by `seed`."""
        for variable, value in zip(self.variables, self.start, strict=True):
            variable.assign(value)
        self.network.set_weights(weights)
        self.model.optimizer.learning_rate = rate
        records = Records(self.measure)
        steps = {"steps_per_epoch": self.method.n_steps // self.n_records, "epochs": self.n_records}
        stopped_at = stopped_by = None
        try:
            self.model.fit(self.batches(seed), callbacks=[records], shuffle=False, verbose=0, **steps)
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            stopped_by = what_is_not_finite(error)
            if stopped_by is None:
                raise
        if records.died:
            stopped_by = "what is measured"
        if stopped_by is not None:
            stopped_at = int(self.model.optimizer.iterations.numpy())
        history = {name: self.filled([log[name] for log in records.logs]) for name in (records.logs or [{}])[0]}
        seconds = np.array(records.seconds) / steps["steps_per_epoch"]
        return Training(
            self.filled(records.measured), history, stopped_at, stopped_by, self.network.get_weights(), seconds
        )

    def filled(self, values: list[float]) -> np.ndarray:
        """The values by record, infinite where there is none."""
        known = np.array([*values, *[np.inf] * (self.n_records - len(values))], float)
        return np.where(np.isfinite(known), known, np.inf)

    def batches(self, seed: int) -> tf.data.Dataset:
        """Batches of the data without end, shuffled anew after each pass."""
        # A list would become one tensor there.
        samples = tf.data.Dataset.from_tensor_slices(keras.tree.lists_to_tuples(self.data))
        shuffled = samples.shuffle(samples.cardinality(), seed=seed).repeat()
        return shuffled.batch(self.method.batch_size, drop_remainder=True)


def what_is_not_finite(error: Exception) -> str | None:
    """What `physgrad_tf.training.guard` found, or `validation.finite` before it; None if the error is another one."""
    # In a graph the message of the guard stands in brackets, eagerly in quotation marks.
    found = re.search(r"(?P<what>the [^\[\]']*) is not finite; the weights", str(error)) or re.search(
        r"(?P<what>[\w()., ]+) must be finite", str(error)
    )
    return found["what"] if found else None


class Records(keras.callbacks.Callback):  # type: ignore[misc]
    """Measures the model after every epoch, without its time; stops where there is nothing left to train.

    Args:
        measure: maps the model to the number that is compared.
    """

    def __init__(self, measure: Callable[[keras.Model], float]) -> None:
        """Nothing is recorded yet."""
        super().__init__()
        self.measure = measure
        self.measured: list[float] = []
        self.logs: list[dict[str, float]] = []
        self.seconds: list[float] = []
        self.died = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self.begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Record."""
        self.seconds.append(time.perf_counter() - self.begin)
        self.logs.append(dict(logs or {}))
        self.measured.append(float(self.measure(self.model)))
        self.died = not np.isfinite(self.measured[-1])
        self.model.stop_training = self.died
