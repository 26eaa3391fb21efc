"""A quantum particle in a box, driven by an electric field: no control can change the norm of its wave."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.protocol import FunctionOfX

LENGTH = 2.0


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class QuantumDipole(FunctionOfX):
    """i ∂ψ/∂t = (−∂²/∂r² + u(t)·r) ψ for 0 < r < 2, with ψ = 0 at both ends, from the ground state of u = 0.

    ψ is known at n_points places r_j = 2j/(n_points + 1). A step of the Crank-Nicolson scheme holds u and takes ψ to
    (1 + ½i·dt·H)⁻¹ (1 − ½i·dt·H) ψ, which keeps the norm Σ|ψ_j|² = 1: one direction at least in which no control can
    move y. States are real vectors y = (Re ψ_1 … Re ψ_n, Im ψ_1 … Im ψ_n), and wave functions are counted as equal if
    they differ by a phase: see `overlap_loss`. The defaults are those of Schnell, Holl and Thuerey (Half-Inverse
    Gradients for Physical Deep Learning, ICLR 2022).

    Attributes:
        n_points: number of points inside of the box, at least 3.
        n_steps: number of time steps, at least 1.
        dt: length of a time step, positive.
    """

    n_points: int = 14
    n_steps: int = 384
    dt: float = 0.05

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        validation.count("n_points", self.n_points, minimum=3)
        validation.count("n_steps", self.n_steps, minimum=1)
        validation.positive("dt", self.dt)

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """The final state y [batch, 2 n_points] after the fields x = (u_1 … u_n) [batch, n_steps].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` does not have n_steps columns.
        """
        x = validation.columns("x", x, self.n_steps)
        start = tf.constant(self.eigenstate(1), x.dtype)
        wave = tf.complex(tf.ones_like(x[:, :1]) * start, tf.zeros_like(x[:, :1]) * start)
        fields = tf.TensorArray(x.dtype, self.n_steps).unstack(tf.transpose(x)[:, :, tf.newaxis])
        _, wave = tf.while_loop(
            lambda k, wave: k < self.n_steps,
            lambda k, wave: (k + 1, self.crank_nicolson(wave, fields.read(k))),
            (tf.constant(0), wave),
            maximum_iterations=self.n_steps,
        )
        return tf.concat([tf.math.real(wave), tf.math.imag(wave)], axis=1)

    def eigenstate(self, level: int) -> np.ndarray:
        """The eigenstate of the box without field, [n_points], real and of norm 1; level 1 is the ground state.

        Raises:
            TypeError: if `level` is not an integer.
            ValueError: if `level` is not between 1 and n_points.
        """
        if validation.count("level", level, minimum=1) > self.n_points:
            raise ValueError(f"level must be at most n_points = {self.n_points}, got {level}.")
        wave = np.sin(np.pi * level * np.arange(1, self.n_points + 1) / (self.n_points + 1))
        return wave / np.linalg.norm(wave)

    def random_targets(self, n_targets: int, rng: np.random.Generator) -> np.ndarray:
        """Random real superpositions of the levels 2 and 3, as states [n_targets, 2 n_points] in float32 of norm 1.

        Args:
            n_targets: how many states, at least 1.
            rng: a seeded `numpy.random.Generator`; the same one gives the same states.

        Raises:
            TypeError: if `rng` is not a Generator or `n_targets` not an integer.
            ValueError: if `n_targets` is below 1.
        """
        validation.count("n_targets", n_targets, minimum=1)
        validation.generator("rng", rng)
        angle = rng.uniform(0.0, 2.0 * np.pi, (n_targets, 1))
        real = np.cos(angle) * self.eigenstate(2) + np.sin(angle) * self.eigenstate(3)
        return np.concatenate([real, np.zeros_like(real)], axis=1).astype(np.float32)

    def crank_nicolson(self, wave: tf.Tensor, field: tf.Tensor) -> tf.Tensor:
        """One step from `wave` [batch, n_points] under `field` [batch, 1]: 2 (1 + iA)⁻¹ψ − ψ with A = ½dt·H."""

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def solve(wave: tf.Tensor, field: tf.Tensor) -> tuple[tf.Tensor, Any]:
            solution = self.eliminate(wave, field)

            def pull_back(cotangent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                """(1 + iA)⁻ᴴv by one more solution, since A is symmetric; for u, dφ = −(1 + iA)⁻¹ i dA φ."""
                adjoint = tf.math.conj(solve(tf.math.conj(cotangent), field))
                slope = 0.5 * self.dt * tf.constant(self.places(), field.dtype)  # dA/du, on the diagonal
                moved = tf.math.imag(tf.math.conj(adjoint) * solution)
                return adjoint, tf.reduce_sum(slope * moved, axis=1, keepdims=True)

            return solution, pull_back

        return 2.0 * solve(wave, field) - wave

    def eliminate(self, wave: tf.Tensor, field: tf.Tensor) -> tf.Tensor:
        """(1 + iA)⁻¹ψ [batch, n_points] for ψ = `wave` under `field` [batch, 1].

        The matrix has three bands. Its Hermitian part is 1, so no pivot is smaller than 1 and plain elimination is
        stable. The loops over the points are unrolled: they are few, and XLA fuses them. Every row is divided by its
        pivot, since XLA computes once only what ends in a division; cheaper operations it repeats at every use.
        """
        beside = 0.5 * self.dt * (-1.0 / self.spacing**2)  # of A
        beside = tf.complex(tf.zeros([], field.dtype), tf.constant(beside, field.dtype))
        above: list[tf.Tensor] = []  # of each row of the triangle, with 1 on its diagonal
        right: list[tf.Tensor] = []
        for j, place in enumerate(self.places()):
            potential = field[:, 0] * place
            pivot = tf.complex(tf.ones_like(potential), 0.5 * self.dt * (2.0 / self.spacing**2 + potential))
            value = wave[:, j]
            if j > 0:
                pivot, value = pivot - beside * above[-1], value - beside * right[-1]
            above.append(beside / pivot)
            right.append(value / pivot)
        solution = [right[-1]]
        for factor, value in zip(above[-2::-1], right[-2::-1], strict=True):
            solution.append(value - factor * solution[-1])
        return tf.stack(solution[::-1], axis=1)

    @property
    def spacing(self) -> float:
        """The distance of two points."""
        return LENGTH / (self.n_points + 1)

    def places(self) -> np.ndarray:
        """The points r_j, [n_points]."""
        return self.spacing * np.arange(1, self.n_points + 1)


@keras.saving.register_keras_serializable("physgrad_tf")  # type: ignore[untyped-decorator]
def overlap_loss(target: Any, y: Any) -> tf.Tensor:
    """1 − |⟨target|ψ⟩|², the probability not to find the particle in the target state; a loss for `compile`.

    Args:
        target: states of norm 1, [batch, 2n], real parts first.
        y: states [batch, 2n].

    Returns:
        Values [batch] between 0 and 1, if both have norm 1. A phase of either does not matter.

    Raises:
        TypeError: if an argument is not floating, or the two differ in dtype.
        ValueError: if a shape is wrong or the number of columns is odd.
    """
    y = validation.batch_of_points("y", y)
    target = validation.like("target", target, y, "y")
    if y.shape[1] % 2 == 1:
        raise ValueError(f"y must have real and imaginary parts, an even number of columns, got shape {y.shape}.")
    (a, b), (c, d) = tf.split(target, 2, axis=1), tf.split(y, 2, axis=1)
    real = tf.reduce_sum(a * c + b * d, axis=1)  # Re ⟨a + ib | c + id⟩
    imaginary = tf.reduce_sum(a * d - b * c, axis=1)
    return 1.0 - real**2 - imaginary**2
