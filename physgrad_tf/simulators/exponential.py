"""Exponential growth: one system whose sensitivity spans orders of magnitude."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.protocol import FunctionOfX


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class Exponential(FunctionOfX):
    """y = eˣ, coordinate by coordinate. The sensitivity ∂y/∂x equals y."""

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """Return y = P(x), [batch, n], for x [batch, n].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` is not [batch, n].
        """
        return tf.exp(validation.batch_of_points("x", x))

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """Return x = log y, the only pre-image; `x_guess` fixes the shape and nothing else.

        Raises:
            TypeError: if `y` or `x_guess` is not floating.
            ValueError: if a shape is wrong or some y is not positive. In a graph that gives NaN, or −∞ for 0.
        """
        y = validation.batch_of_points("y", y)
        validation.like("x_guess", x_guess, y, "y")
        return tf.math.log(validation.above("y", y, 0.0, inclusive=False))
