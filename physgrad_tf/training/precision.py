"""Losses, metrics and data in the precision of the network, whatever Keras's `floatx` says.

Keras computes losses and metrics, and hands over arrays, in `keras.config.floatx()`, which is float32 unless set. A
float64 network would see its targets rounded, and its loss stand still where float32 ends.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf.jacobians.tapping import everything_below


def precision_of(network: keras.Layer) -> str:
    """What a network computes in: "float64" if one of its layers does, else "float32".

    Raises:
        TypeError: if one of its layers computes in half precision.
    """
    found = {layer.compute_dtype for layer in everything_below(network)}
    if not found <= {"float32", "float64"}:
        raise TypeError(f"network must compute in float32 or float64, got {', '.join(sorted(found))}.")
    return "float64" if "float64" in found else "float32"


@contextlib.contextmanager
def floatx(dtype: str) -> Iterator[None]:
    """Let Keras take `dtype` where it would take its own default, for a while."""
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before)


@keras.saving.register_keras_serializable("physgrad_tf")
class LossInPrecision(keras.losses.Loss):  # type: ignore[misc]
    """Another loss, computed in a precision of choice.

    Args:
        loss: a Keras loss.
        dtype: "float32" or "float64".
    """

    def __init__(self, loss: keras.losses.Loss, dtype: str) -> None:
        super().__init__(name=loss.name, reduction=loss.reduction, dtype=dtype)
        self.loss = loss

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The values of the other loss, from y* (`y_true`) and y (`y_pred`)."""
        return self.loss.call(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """The other loss and the precision, serialised."""
        return {"loss": keras.saving.serialize_keras_object(self.loss), "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LossInPrecision:
        """A loss from its serialised parts."""
        return cls(keras.saving.deserialize_keras_object(config["loss"]), config["dtype"])


def losses_in(dtype: str, losses: Any) -> Any:
    """The same losses, computed in `dtype` at least. Names and functions are left to `floatx`.

    Raises:
        TypeError: if a loss computes in less and cannot be told otherwise.
    """
    return keras.tree.map_structure(lambda loss: _loss_in(dtype, loss), losses)


def _loss_in(dtype: str, loss: Any) -> Any:
    if not isinstance(loss, keras.losses.Loss) or dtype == "float32" or loss.dtype == dtype:
        return loss
    if type(loss).__call__ is not keras.losses.Loss.__call__:
        raise TypeError(f"loss {loss.name} computes in {loss.dtype}, the network in {dtype}: give it dtype={dtype!r}.")
    return LossInPrecision(loss, dtype)


def warn_of_metrics(dtype: str, metrics: Any) -> None:
    """Warn of metrics that are less precise than the network."""
    for metric in keras.tree.flatten(metrics):
        if isinstance(metric, keras.metrics.Metric) and dtype == "float64" and metric.dtype != dtype:
            warnings.warn(
                f"metric {metric.name} computes in {metric.dtype}, the network in {dtype}: its last digits are noise. "
                f'Give it dtype="{dtype}", or give its name.',
                stacklevel=3,
            )
