"""A plane that is turned more the further out one goes."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.protocol import FunctionOfX


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class Swirl(FunctionOfX):
    """y = R(κ|x|²) x: every point keeps its radius and is turned by the angle κ|x|².

    The map is nonlinear, couples its two coordinates, preserves area (det ∂y/∂x = 1) and has an exact global inverse.

    Attributes:
        kappa: κ, angle in radians per squared length.
    """

    kappa: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a κ that is not a finite number."""
        validation.real("kappa", self.kappa)

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """Return y = P(x), [batch, 2], for x [batch, 2].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` does not have two columns.
        """
        return turn(validation.columns("x", x, 2), self.kappa)

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """Return x = R(−κ|y|²) y, since |y| = |x|; `x_guess` fixes the shape and nothing else.

        Raises:
            TypeError: if `y` or `x_guess` is not floating.
            ValueError: if a shape is wrong.
        """
        y = validation.columns("y", y, 2)
        validation.like("x_guess", x_guess, y, "y")
        return turn(y, -self.kappa)


def turn(points: tf.Tensor, kappa: float) -> tf.Tensor:
    """Turn every point [batch, 2] about the origin by κ times its squared radius."""
    angle = kappa * tf.reduce_sum(points**2, axis=1)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    first, second = points[:, 0], points[:, 1]
    return tf.stack([cosine * first - sine * second, sine * first + cosine * second], axis=1)
