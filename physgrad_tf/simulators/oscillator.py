"""One mass on a spring, stepped in time by two integrators: one can be run backwards, the other cannot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.protocol import FunctionOfX


@dataclasses.dataclass(frozen=True)
class Oscillator(FunctionOfX):
    """A unit mass with position q and momentum p under the force F(q) = −stiffness·q − cubic·q³.

    The state is (q, p); the energy is p²/2 + stiffness·q²/2 + cubic·q⁴/4.

    Attributes:
        n_steps: number of time steps, at least 1.
        dt: length of a time step, positive.
        stiffness: coefficient of the linear force.
        cubic: coefficient of the cubic force.
    """

    n_steps: int
    dt: float
    stiffness: float = 1.0
    cubic: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        validation.count("n_steps", self.n_steps, minimum=1)
        validation.positive("dt", self.dt)
        validation.real("stiffness", self.stiffness)
        validation.real("cubic", self.cubic)

    def force(self, q: tf.Tensor) -> tf.Tensor:
        """F(q), coordinate by coordinate."""
        return -self.stiffness * q - self.cubic * q**3

    def energy(self, state: Any) -> tf.Tensor:
        """Kinetic and potential energy [batch] of states [batch, 2].

        Raises:
            TypeError: if `state` is not floating.
            ValueError: if `state` does not have two columns.
        """
        state = validation.columns("state", state, 2)
        q, p = state[:, 0], state[:, 1]
        return p**2 / 2.0 + self.stiffness * q**2 / 2.0 + self.cubic * q**4 / 4.0

    def repeat(
        self, step: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]], state: tf.Tensor
    ) -> tf.Tensor:
        """Apply one time step (q, p) → (q, p) n_steps times to states [batch, 2], in a loop that compiles once."""
        _, q, p = tf.while_loop(
            lambda k, q, p: k < self.n_steps,
            lambda k, q, p: (k + 1, *step(q, p)),
            (tf.constant(0), state[:, 0], state[:, 1]),
            maximum_iterations=self.n_steps,
        )
        return tf.stack([q, p], axis=1)


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class LeapfrogOscillator(Oscillator):
    """The oscillator stepped by leapfrog: half a kick, a drift, half a kick.

    The scheme is its own inverse under dt → −dt, preserves area in (q, p) exactly, and energy up to O(dt²) for all
    times.
    """

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """The final state y = (q, p) [batch, 2] from the initial state x [batch, 2].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` does not have two columns.
        """
        return self.repeat(self.leapfrog(self.dt), validation.columns("x", x, 2))

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """The initial state [batch, 2], exact up to rounding: the same steps backwards in time.

        Raises:
            TypeError: if `y` or `x_guess` is not floating.
            ValueError: if a shape is wrong.
        """
        y = validation.columns("y", y, 2)
        validation.like("x_guess", x_guess, y, "y")
        return self.repeat(self.leapfrog(-self.dt), y)

    def leapfrog(self, dt: float) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """One step of length `dt`, which may be negative."""

        def step(q: tf.Tensor, p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            p = p + 0.5 * dt * self.force(q)
            q = q + dt * p
            return q, p + 0.5 * dt * self.force(q)

        return step


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class EulerOscillator(Oscillator):
    """The oscillator stepped by the explicit Euler scheme.

    It gains energy at every step, and the scheme with dt → −dt is *not* its inverse: it misses by O(dt). Since no
    closed form undoes a step with a nonlinear force, this simulator offers no `local_inverse`.
    """

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """The final state y = (q, p) [batch, 2] from the initial state x [batch, 2].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` does not have two columns.
        """
        return self.repeat(lambda q, p: (q + self.dt * p, p + self.dt * self.force(q)), validation.columns("x", x, 2))
