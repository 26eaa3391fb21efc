"""The square: two branches of one inverse."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.protocol import FunctionOfX


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class Square(FunctionOfX):
    """y = x², coordinate by coordinate: not injective, and flat at x = 0."""

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """Return y = P(x), [batch, n], for x [batch, n].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` is not [batch, n].
        """
        return validation.batch_of_points("x", x) ** 2

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """Return x = ±√y with the sign of `x_guess`, the closest pre-image. At x_guess = 0, + is taken.

        Raises:
            TypeError: if `y` or `x_guess` is not floating.
            ValueError: if a shape is wrong or some y is negative: it has no pre-image. In a graph it gives NaN.
        """
        y = validation.batch_of_points("y", y)
        x_guess = validation.like("x_guess", x_guess, y, "y")
        root = tf.sqrt(validation.above("y", y, 0.0, inclusive=True))
        return tf.where(x_guess < 0, -root, root)
