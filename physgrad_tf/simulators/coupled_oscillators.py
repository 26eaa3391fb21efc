"""A chain of masses on springs, steered by a force on the last one: many controls and one final state."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.protocol import SavedByFields


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class CoupledOscillators(SavedByFields):
    """N unit masses, each on a spring of its own, coupled in a chain, with a control u(t) on the last mass.

    With positions q and momenta p, and d = q_{i+1} − q_i along the chain, mass i feels the force

        −q_i + spring·d + cubic·d³ (from its right neighbour, the opposite from its left) + control_weight·u (if last).

    The sign is that of a push: a positive u accelerates the last mass towards positive q. A Hamiltonian would hold the
    term −control_weight·u·q_N. Without control the energy Σ(p²/2 + q²/2) + Σ(spring·d²/2 + cubic·d⁴/4) is conserved;
    a coupling energy α·d⁴ is cubic = 4α.

    u is constant during a step of length dt, and one step is one of the classical Runge-Kutta scheme of fourth order.
    All steps run in one loop that compiles once. The defaults are two masses with a cubic coupling, as in Schnell, Holl
    and Thuerey (Half-Inverse Gradients for Physical Deep Learning, ICLR 2022).

    Attributes:
        n_steps: number of time steps, at least 1.
        dt: length of a time step, positive; a single mass takes 2π for a round.
        n_masses: number of masses N, at least 1.
        spring: stiffness of the linear coupling, ≥ 0.
        cubic: coefficient of the cubic coupling, ≥ 0; with 0 the final state is linear in start and control.
        control_weight: force on the last mass per unit of u.
    """

    n_steps: int
    dt: float
    n_masses: int = 2
    spring: float = 0.0
    cubic: float = 1.0
    control_weight: float = 3.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        validation.count("n_steps", self.n_steps, minimum=1)
        validation.positive("dt", self.dt)
        validation.count("n_masses", self.n_masses, minimum=1)
        for name in ("spring", "cubic"):
            if validation.real(name, getattr(self, name)) < 0.0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}.")
        validation.real("control_weight", self.control_weight)

    def simulate(self, x: Any, inputs: Any) -> tf.Tensor:
        """The final state y = (q, p) [batch, 2N] after the controls x = (u_1 … u_n) [batch, n_steps].

        Args:
            x: controls, one column for each time step.
            inputs: start states (q, p) in the first 2N columns; further columns are ignored.

        Raises:
            TypeError: if an argument is not floating, or the two differ in dtype.
            ValueError: if a shape is wrong.
        """
        x = validation.columns("x", x, self.n_steps)
        start = validation.leading_columns("inputs", inputs, 2 * self.n_masses)
        check_pair("inputs", start, "x", x)
        controls = tf.TensorArray(x.dtype, self.n_steps).unstack(tf.transpose(x)[:, :, tf.newaxis])
        _, y = tf.while_loop(
            lambda k, state: k < self.n_steps,
            lambda k, state: (k + 1, self.runge_kutta(state, controls.read(k))),
            (tf.constant(0), start),
            maximum_iterations=self.n_steps,
        )
        return y

    def step(self, state: Any, control: Any) -> tf.Tensor:
        """The state [batch, 2N] after one time step from `state` [batch, 2N] under `control` [batch, 1].

        Raises:
            TypeError: if an argument is not floating, or the two differ in dtype.
            ValueError: if a shape is wrong.
        """
        state = validation.columns("state", state, 2 * self.n_masses)
        control = validation.columns("control", control, 1)
        check_pair("control", control, "state", state)
        return self.runge_kutta(state, control)

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any) -> tf.Tensor:
        """The controls [batch, n_steps] closest to `x_guess` that lead to the final state `y`; linear coupling alone.

        Where the final state is linear in the controls, with the matrix R of `response`, the closest controls are
        x_guess + R⁺(y − P(x_guess)), up to rounding. With a cubic coupling take `training.GaussNewtonSolver`.

        Args:
            y: final states [batch, 2N].
            x_guess: controls [batch, n_steps].
            inputs: start states, as in `simulate`.

        Raises:
            TypeError: if an argument is not floating, or the dtypes differ.
            ValueError: if a shape is wrong, the coupling is cubic, or the controls cannot reach every state.
        """
        response = self.response()
        if np.linalg.matrix_rank(response) < 2 * self.n_masses:
            raise ValueError(
                f"the controls cannot reach every final state: {self.n_masses} masses need at least "
                f"{2 * self.n_masses} steps, a coupling and a control weight, got {self}."
            )
        reached = self.simulate(x_guess, inputs)
        missing = validation.like("y", y, reached, "the simulated final state") - reached
        return x_guess + tf.matmul(missing, tf.constant(np.linalg.pinv(response).T, missing.dtype))

    def response(self) -> np.ndarray:
        """R [2N, n_steps] = ∂y/∂x in float64 for a linear coupling: column k is the final state after u_k = 1 alone.

        Raises:
            ValueError: if the coupling is cubic.
        """
        if self.cubic != 0.0:
            raise ValueError(f"only a linear coupling has one response for all states, got cubic = {self.cubic}.")
        n = self.n_masses
        chain = np.diff(np.eye(n), axis=0)  # q → d
        rates = np.block(
            [[np.zeros((n, n)), np.eye(n)], [-np.eye(n) - self.spring * chain.T @ chain, np.zeros((n, n))]]
        )
        powers = [np.linalg.matrix_power(self.dt * rates, order) for order in range(5)]
        one_step = np.sum([power / math.factorial(order) for order, power in enumerate(powers)], axis=0)
        push = np.sum([power / math.factorial(order + 1) for order, power in enumerate(powers[:4])], axis=0)
        column = self.dt * self.control_weight * push[:, -1]  # the response to a push in the last step
        columns = [column]
        for _ in range(self.n_steps - 1):
            columns.append(one_step @ columns[-1])
        return np.stack(columns[::-1], axis=1)

    def energy(self, state: Any) -> tf.Tensor:
        """Kinetic and potential energy [batch], without the control, of states [batch, 2N].

        Raises:
            TypeError: if `state` is not floating.
            ValueError: if `state` does not have 2N columns.
        """
        q, p = tf.split(validation.columns("state", state, 2 * self.n_masses), 2, axis=1)
        d = q[:, 1:] - q[:, :-1]
        each = tf.reduce_sum(p**2 + q**2, axis=1) / 2.0
        return each + tf.reduce_sum(self.spring * d**2 / 2.0 + self.cubic * d**4 / 4.0, axis=1)

    def random_states(self, n_states: int, rng: np.random.Generator) -> np.ndarray:
        """Random states (q, p) [n_states, 2N] in float32, every entry uniform in [0, 1).

        Args:
            n_states: how many states, at least 1.
            rng: a seeded `numpy.random.Generator`; the same one gives the same states.

        Raises:
            TypeError: if `rng` is not a Generator or `n_states` not an integer.
            ValueError: if `n_states` is below 1.
        """
        validation.count("n_states", n_states, minimum=1)
        validation.generator("rng", rng)
        return rng.random((n_states, 2 * self.n_masses), dtype=np.float32)

    def runge_kutta(self, state: tf.Tensor, control: tf.Tensor) -> tf.Tensor:
        """One step of the classical Runge-Kutta scheme, `control` [batch, 1] held."""
        k1 = self.velocity(state, control)
        k2 = self.velocity(state + 0.5 * self.dt * k1, control)
        k3 = self.velocity(state + 0.5 * self.dt * k2, control)
        k4 = self.velocity(state + self.dt * k3, control)
        return state + self.dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)

    def velocity(self, state: tf.Tensor, control: tf.Tensor) -> tf.Tensor:
        """(dq/dt, dp/dt) [batch, 2N] of the state (q, p) under `control` [batch, 1]."""
        q, p = tf.split(state, 2, axis=1)
        d = q[:, 1:] - q[:, :-1]
        coupling = self.spring * d + self.cubic * d**3
        from_right = tf.pad(coupling, [[0, 0], [0, 1]])  # the last mass has no right neighbour
        from_left = tf.pad(-coupling, [[0, 0], [1, 0]])  # the first has no left one
        push = tf.pad(self.control_weight * control, [[0, 0], [self.n_masses - 1, 0]])
        return tf.concat([p, -q + from_right + from_left + push], axis=1)


def check_pair(name: str, tensor: tf.Tensor, other_name: str, other: tf.Tensor) -> None:
    """Refuse two tensors of different dtype or batch."""
    if tensor.dtype != other.dtype:
        raise TypeError(f"{name} must have the dtype of {other_name}, {other.dtype.name}, got {tensor.dtype.name}.")
    if not tensor.shape[:1].is_compatible_with(other.shape[:1]):
        raise ValueError(f"{name} must have the batch of {other_name}, {other.shape[0]}, got {tensor.shape[0]}.")
