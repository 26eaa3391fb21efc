"""One linear and one quadratic coordinate: the smallest problem on which the update rules part."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.protocol import FunctionOfX


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class QuadraticComposite(FunctionOfX):
    """y = (x₁, x₂²), with two coordinates of no unit.

    The Jacobian diag(1, 2x₂) is singular at x₂ = 0, and y₂ < 0 cannot be reached.
    """

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """Return y = P(x), [batch, 2], for x [batch, 2].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` does not have two columns.
        """
        x = validation.columns("x", x, 2)
        return tf.stack([x[:, 0], x[:, 1] ** 2], axis=1)

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """Return x = (y₁, ±√y₂), with the sign of `x_guess`: the closest pre-image. At 0, + is taken.

        Raises:
            TypeError: if `y` or `x_guess` is not floating.
            ValueError: if a shape is wrong or some y₂ is negative. In a graph that gives NaN.
        """
        y = validation.columns("y", y, 2)
        x_guess = validation.like("x_guess", x_guess, y, "y")
        root = tf.sqrt(validation.above("y₂", y[:, 1], 0.0, inclusive=True))
        return tf.stack([y[:, 0], tf.where(x_guess[:, 1] < 0, -root, root)], axis=1)
