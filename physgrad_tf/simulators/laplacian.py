"""The Laplacian on a square: the sources of a potential, its short waves the loudest."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.poisson import Poisson
from physgrad_tf.simulators.protocol import FunctionOfX


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class Laplacian(FunctionOfX):
    """y = ∇²x on n×n points at distance 1, with x = 0 outside; the inverse map of `Poisson`.

    ∇² is the five-point stencil. A network that is given y and trained through this simulator learns to solve the
    Poisson equation. Computation is in float64 inside.

    Attributes:
        n: points along each side, at least 1.
    """

    n: int

    def __post_init__(self) -> None:
        """Refuse a grid without points."""
        validation.count("n", self.n, minimum=1)

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """The sources y = ∇²x [batch, n, n, 1] of a potential x [batch, n, n, 1].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` is not [batch, n, n, 1] or holds NaN or Inf.
        """
        x = self.poisson.fields("x", x)
        return self.poisson.local_inverse(x, x)

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """The potential x [batch, n, n, 1] with ∇²x = y, by sine transforms; `x_guess` fixes the shape alone.

        Raises:
            TypeError: if `y` or `x_guess` is not floating.
            ValueError: if a shape is wrong or `y` holds NaN or Inf.
        """
        y = self.poisson.fields("y", y)
        validation.like("x_guess", x_guess, y, "y")
        return self.poisson(y)

    def condition_number(self) -> float:
        """Largest over smallest |λ|: the condition number of the linear map x → y."""
        return self.poisson.condition_number()

    def smooth_sources(self, n_fields: int, rng: np.random.Generator, length: float = 2.0) -> np.ndarray:
        """Random fields y [n_fields, n, n, 1], as `Poisson.smooth_sources` draws them.

        Args:
            n_fields: how many fields, at least 1.
            rng: a seeded `numpy.random.Generator`; the same one gives the same fields.
            length: how far the noise is blurred, ≥ 0, in points.

        Raises:
            TypeError: if `rng` is not a Generator, or a number is not a number.
            ValueError: if `n_fields` is below 1 or `length` is negative.
        """
        return self.poisson.smooth_sources(n_fields, rng, length)

    @property
    def poisson(self) -> Poisson:
        """The inverse map, on the same grid."""
        return Poisson(self.n)
