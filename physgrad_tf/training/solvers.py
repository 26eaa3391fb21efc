"""Inverse simulators by iteration, for simulators that have none of their own.

`solver.of(simulate)` is a local inverse, (y, x_guess) → an x near x_guess with simulate(x) closer to y, and
`solver(simulate, y, x_guess)` its value, with or without a model. Both solvers differentiate the simulator with respect
to x alone, sample by sample; they are meant for x of few dimensions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf import jacobians, updates, validation
from physgrad_tf.simulators.protocol import SavedByFields


class Solver(SavedByFields):
    """What makes a local inverse of a simulator."""

    def __call__(self, simulate: Callable[[tf.Tensor], tf.Tensor], y: tf.Tensor, x_guess: tf.Tensor) -> tf.Tensor:
        """Return x [batch, n] after the steps from `x_guess` towards simulate(x) = y [batch, m].

        Raises:
            TypeError: if y does not have the dtype of simulate(x), or simulate does not return that of x.
            ValueError: if y does not have the shape of simulate(x); nothing is broadcast but a number.
        """
        raise NotImplementedError

    def of(self, simulate: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """The local inverse of `simulate`, a function of (y, x_guess), as `simulator.local_inverse` is one."""
        return functools.partial(self, simulate)


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class SaddleFreeNewtonSolver(Solver):
    """Saddle-free Newton steps on ½|P(x) − y|², limited along flat directions.

    Along an eigenvector of the Hessian with eigenvalue s and gradient component g the step is −sign(g)·|g/s|. Where
    |s| is at most the geometric mean of all |s|, it is cut to limit/|g| (Holl, Koltun and Thuerey, NeurIPS 2022,
    appendix).

    Attributes:
        limit: the bound of the flat steps is limit/|g|; positive.
        n_steps: number of steps, at least 1.
    """

    limit: float = 0.2
    n_steps: int = 1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        validation.positive("limit", self.limit)
        validation.count("n_steps", self.n_steps, minimum=1)

    def __call__(self, simulate: Callable[[tf.Tensor], tf.Tensor], y: tf.Tensor, x_guess: tf.Tensor) -> tf.Tensor:
        """Return x [batch, n] after the steps from `x_guess` towards simulate(x) = y [batch, m]."""

        def loss(x: tf.Tensor) -> tf.Tensor:
            y_now = validation.one_point_per_sample("simulate", simulate(x), x)
            return tf.reduce_sum((y_now - validation.like("y", y, y_now, "simulate(x)")) ** 2, axis=1) / 2.0

        x = validation.batch_of_points("x_guess", x_guess)
        for _ in range(self.n_steps):
            x = x + self.step(jacobians.gradient(loss, x), jacobians.hessian(loss, x))
        return x

    def step(self, slope: tf.Tensor, curvature: tf.Tensor) -> tf.Tensor:
        """The limited step Δx [batch, n] from gradients `slope` [batch, n] and Hessians `curvature` [batch, n, n]."""
        s, q = eigenvectors(curvature)  # H = Q S Qᵀ
        g = tf.linalg.matvec(q, slope, transpose_a=True)  # ∂L/∂x → Qᵀ ∂L/∂x
        tiny = np.finfo(slope.dtype.as_numpy_dtype).tiny
        size, length = tf.maximum(tf.abs(s), tiny), tf.abs(g)
        mean = tf.exp(tf.reduce_mean(tf.math.log(size), axis=1, keepdims=True))
        newton = length / size
        limited = tf.minimum(newton, self.limit / tf.maximum(length, tiny))
        return tf.linalg.matvec(q, -tf.sign(g) * tf.where(size > mean, newton, limited))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def eigenvectors(matrix: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tf.Tensor]]:
    """Eigenvalues and eigenvectors of symmetric matrices, with no derivative.

    Raises:
        NotImplementedError: if one is asked for; the steps made of these jump where eigenvalues meet.
    """

    def refuse(*upstream: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError("SaddleFreeNewtonSolver cannot be differentiated: its steps jump.")

    return tuple(tf.linalg.eigh(matrix)), refuse


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class GaussNewtonSolver(Solver):
    """Gauss-Newton steps x ← x + J⁺(y − P(x)).

    Where many x reach y, each step is the shortest that does so to first order. Where it ends after several is near
    x_guess; the closest x with P(x) = y it is if P is linear, and in general not.

    Attributes:
        n_steps: number of steps, at least 1.
        rcond: relative threshold of the singular values of J, in [0, 1), see `spectral.spectral_power`. Inside a
            function that XLA compiles, singular values below 1e-6 of the largest are noise in float64 too.
    """

    n_steps: int = 1
    rcond: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        validation.count("n_steps", self.n_steps, minimum=1)
        if not 0.0 <= validation.real("rcond", self.rcond) < 1.0:
            raise ValueError(f"rcond must be at least 0 and below 1, got {self.rcond}.")

    def __call__(self, simulate: Callable[[tf.Tensor], tf.Tensor], y: tf.Tensor, x_guess: tf.Tensor) -> tf.Tensor:
        """Return x [batch, n] after the steps from `x_guess` towards simulate(x) = y [batch, m]."""

        def towards(y_now: tf.Tensor) -> tf.Tensor:
            return validation.like("y", y, y_now, "simulate(x)") - y_now

        x = validation.batch_of_points("x_guess", x_guess)
        for _ in range(self.n_steps):
            x = x + updates.gauss_newton(simulate, x, towards, rcond=self.rcond)
        return x
