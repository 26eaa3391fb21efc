"""A sine and a line, coupled by a rotation: a problem whose conditioning and coupling are two dials."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.protocol import FunctionOfX


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class Sine(FunctionOfX):
    """y = (sin(x̂₁/ξ), ξ·x̂₂) with x̂ = γ·R_φ·x, or y₁ = sin(x̂₁)/ξ with `inside=False`.

    ξ sets the conditioning, φ the coupling of the two coordinates. With ξ inside the sine every y₁ in [−1, 1] is
    reachable; outside, only |y₁| ≤ 1/ξ is.

    Attributes:
        xi: ξ > 0; at ξ = 1 the two forms agree.
        phi: φ, the angle of the rotation in radians.
        gamma: γ > 0.
        inside: whether ξ stands inside the sine.
    """

    xi: float = 1.0
    phi: float = 0.0
    gamma: float = 10.0
    inside: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        validation.positive("xi", self.xi)
        validation.real("phi", self.phi)
        validation.positive("gamma", self.gamma)

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """Return y = P(x), [batch, 2], for x [batch, 2].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` does not have two columns.
        """
        turned = self.turn(validation.columns("x", x, 2))
        angle = turned[:, 0] / self.xi if self.inside else turned[:, 0]
        first = tf.sin(angle) if self.inside else tf.sin(angle) / self.xi
        return tf.stack([first, self.xi * turned[:, 1]], axis=1)

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """Return the x closest to `x_guess` with P(x) = y: the two branches of the arcsine, shifted by full periods.

        Raises:
            TypeError: if `y` or `x_guess` is not floating.
            ValueError: if a shape is wrong, or y₁ is out of reach of the sine.
        """
        y = validation.columns("y", y, 2)
        x_guess = validation.like("x_guess", x_guess, y, "y")
        period = self.xi if self.inside else 1.0  # of x̂₁, over 2π
        near = self.turn(x_guess)[:, 0] / period
        arcsine = tf.asin(self.reachable(y[:, 0]))
        branches = tf.stack([arcsine, math.pi - arcsine], axis=1)
        full_turns = tf.round((near[:, tf.newaxis] - branches) / (2.0 * math.pi))
        branches = branches + 2.0 * math.pi * full_turns
        choice = tf.argmin(tf.abs(branches - near[:, tf.newaxis]), axis=1)
        angle = tf.gather(branches, choice, axis=1, batch_dims=1)
        return self.turn_back(tf.stack([period * angle, y[:, 1] / self.xi], axis=1))

    def distance(self, x: Any, y: Any, inputs: Any = None) -> tf.Tensor:
        """Return the distance [batch] of x [batch, 2] to the closest solution of P(x) = y.

        Raises:
            TypeError: if `x` or `y` is not floating.
            ValueError: if a shape is wrong, or y₁ is out of reach of the sine.
        """
        x = validation.columns("x", x, 2)
        return tf.norm(x - self.local_inverse(y, x), axis=1)

    def reachable(self, first: tf.Tensor) -> tf.Tensor:
        """The sine that y₁, the `first` column of y, asks for.

        Beyond ±1 it is refused eagerly; in a compiled run it becomes NaN. At that a model stops which trains by the
        inverse; in the `distance` that others report it stands as NaN.
        """
        sine = first if self.inside else first * self.xi
        validation.above("1 − |sine of y₁|", 1.0 - tf.abs(sine), 0.0, inclusive=True)
        return sine

    def turn(self, x: tf.Tensor) -> tf.Tensor:
        """Return x̂ = γ·R_φ·x."""
        c, s = self.gamma * math.cos(self.phi), self.gamma * math.sin(self.phi)
        return tf.stack([c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]], axis=1)

    def turn_back(self, turned: tf.Tensor) -> tf.Tensor:
        """Return x = R_φᵀ·x̂/γ for `turned`, x̂."""
        c, s = math.cos(self.phi) / self.gamma, math.sin(self.phi) / self.gamma
        return tf.stack([c * turned[:, 0] + s * turned[:, 1], c * turned[:, 1] - s * turned[:, 0]], axis=1)
