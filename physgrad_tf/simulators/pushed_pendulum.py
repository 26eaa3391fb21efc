"""A pendulum that is pushed along its way: many controls, and one final state."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.protocol import SavedByFields


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class PushedPendulum(SavedByFields):
    """A pendulum of unit mass and length: dq/dt = p and dp/dt = −gravity·sin q + u.

    q is the angle, 0 when it hangs down, p the momentum, and u the push, which is constant during a control step and
    may change from step to step. The state is (q, p). A control step is one leapfrog step: half a kick, a drift, half
    a kick.

    With n control steps the Jacobian of the final state with respect to the pushes is 2×n: many sequences of pushes
    lead to one state, and the simulator has no inverse of its own. `training.GaussNewtonSolver` finds one near a given
    sequence, by steps each of which is the shortest; it is in general not the closest.

    Attributes:
        dt: length of a control step, positive, in units of 1/√gravity if gravity is 1.
        gravity: gravity ≥ 0; 0 leaves a free mass, which is linear.
    """

    dt: float
    gravity: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        validation.positive("dt", self.dt)
        if validation.real("gravity", self.gravity) < 0.0:
            raise ValueError(f"gravity must be at least 0, got {self.gravity}.")

    def step(self, state: Any, control: Any) -> tf.Tensor:
        """The state [batch, 2] after one control step from `state` [batch, 2] with the pushes `control` [batch, 1].

        Raises:
            TypeError: if an argument is not floating, or the two differ in dtype.
            ValueError: if a shape is wrong.
        """
        state = validation.columns("state", state, 2)
        q, p = state[:, :1], state[:, 1:]
        control = validation.like("control", control, q, "one column of state")
        p = p + 0.5 * self.dt * (control - self.gravity * tf.sin(q))
        q = q + self.dt * p
        p = p + 0.5 * self.dt * (control - self.gravity * tf.sin(q))
        return tf.concat([q, p], axis=1)

    def simulate(self, x: Any, inputs: Any) -> tf.Tensor:
        """The final state y [batch, 2] after the pushes x [batch, n], one control step for each column.

        Args:
            x: pushes [batch, n]; n is the number of control steps, which are unrolled.
            inputs: start states in the first two columns, [batch, 2] or wider; further columns are ignored.

        Raises:
            TypeError: if an argument is not floating, or the two differ in dtype.
            ValueError: if a shape is wrong.
        """
        x = validation.batch_of_points("x", x)
        state = validation.leading_columns("inputs", inputs, 2)
        for control in tf.split(x, x.shape[1], axis=1):
            state = self.step(state, control)
        return state
