"""The loss of the equations, ½|y − y*|²."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("physgrad_tf")
class HalfSquaredError(keras.losses.Loss):  # type: ignore[misc]
    """½|y − y*|², summed over all outputs of a sample, so that ∂L/∂y = y − y* for every sample.

    Keras's "mse" is twice its mean over the outputs.

    Args:
        reduction: "sum_over_batch_size" takes the mean over the samples, "sum" their sum.
        **options: passed on to `keras.losses.Loss`.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", **options: Any) -> None:
        super().__init__(reduction=reduction, **({"name": "half_squared_error"} | options))

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The loss of every sample, [batch], from y* (`y_true`) and y (`y_pred`)."""
        return tf.reduce_sum((y_pred - y_true) ** 2, axis=range(1, len(y_pred.shape))) / 2.0
