"""The pushed pendulum against scipy, its conserved quantities, its saved form and what it refuses."""

import keras
import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf

from physgrad_tf import jacobians, simulators, training
from tests.package.agreement import assert_close

PENDULUM = simulators.PushedPendulum(dt=0.4)


@pytest.fixture
def starts(rng):
    return rng.normal(size=(5, 2))


@pytest.fixture
def pushes(rng):
    return rng.normal(size=(5, 4))


def by_scipy(start, pushes, dt):
    state = start
    for push in pushes:
        state = scipy.integrate.solve_ivp(
            lambda t, s, push=push: [s[1], push - np.sin(s[0])], (0.0, dt), state, rtol=1e-10, atol=1e-12
        ).y[:, -1]
    return state


def test_against_scipy_at_second_order(starts, pushes):
    """The same pushes held for 0.4; halving the step of the scheme divides its error by four."""
    exact = np.array([by_scipy(*pair, dt=0.4) for pair in zip(starts, pushes, strict=True)])
    errors = []
    for parts in (1, 2, 4):
        finer = simulators.PushedPendulum(dt=0.4 / parts)
        y = finer.simulate(tf.constant(np.repeat(pushes, parts, axis=1)), tf.constant(starts))
        errors.append(np.abs(y - exact).max())
    assert errors[0] < 0.1
    assert_close(np.divide(errors[:-1], errors[1:]), 4.0, rtol=0.15)


def test_simulating_is_stepping_again_and_again(starts, pushes):
    state = tf.constant(starts)
    for k in range(4):
        state = PENDULUM.step(state, tf.constant(pushes[:, k : k + 1]))
    assert_close(PENDULUM.simulate(tf.constant(pushes), tf.constant(starts)), state, rtol=1e-13)


def test_without_gravity_the_mass_is_free(starts, pushes):
    """q and p from constant acceleration, which leapfrog solves exactly."""
    q, p = starts.T.copy()
    for push in pushes.T:
        q, p = q + 0.4 * p + 0.08 * push, p + 0.4 * push
    free = simulators.PushedPendulum(dt=0.4, gravity=0.0)
    assert_close(free.simulate(tf.constant(pushes), tf.constant(starts)).numpy().T, [q, p], rtol=1e-12)


def test_a_step_preserves_area(starts):
    states = tf.constant(starts)
    pushes = tf.ones([5, 1], tf.float64)
    matrices = jacobians.jacobian(lambda state: PENDULUM.step(state, pushes), states)
    assert_close(np.linalg.det(matrices), 1.0, rtol=1e-12)


def test_further_columns_of_the_inputs_are_ignored(starts, pushes):
    wider = np.concatenate([starts, np.full((5, 3), 7.0)], axis=1)
    assert_close(
        PENDULUM.simulate(tf.constant(pushes), tf.constant(wider)),
        PENDULUM.simulate(tf.constant(pushes), tf.constant(starts)),
        rtol=1e-13,
    )


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_eager_equals_graph_and_keeps_the_dtype(starts, pushes, dtype):
    pushes, starts = tf.constant(pushes, dtype), tf.constant(starts, dtype)
    y = PENDULUM.simulate(pushes, starts)
    assert isinstance(PENDULUM, simulators.Simulator)
    assert y.dtype == dtype
    rtol = 1e-5 if dtype == tf.float32 else 1e-12
    np.testing.assert_allclose(tf.function(PENDULUM.simulate)(pushes, starts), y, rtol=rtol, atol=rtol)


def test_gauss_newton_finds_pushes_that_reach_a_state(starts, pushes):
    target = tf.constant(starts[::-1])
    found = training.GaussNewtonSolver(n_steps=6)(
        lambda x: PENDULUM.simulate(x, tf.constant(starts)), target, tf.constant(pushes)
    )
    np.testing.assert_allclose(PENDULUM.simulate(found, tf.constant(starts)), target, atol=1e-9)


def test_keras_saves_and_loads():
    pendulum = simulators.PushedPendulum(dt=0.3, gravity=2.0)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(pendulum)) == pendulum


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: simulators.PushedPendulum(dt=0.0), ValueError, "dt must be positive"),
        (lambda: simulators.PushedPendulum(dt=0.1, gravity=-1.0), ValueError, "gravity must be at least 0"),
        (
            lambda: PENDULUM.simulate(tf.ones([3, 4]), tf.ones([3, 1])),
            ValueError,
            r"inputs must have at least 2 columns, got shape \(3, 1\)",
        ),
        (lambda: PENDULUM.simulate(tf.ones([3]), tf.ones([3, 2])), ValueError, r"x must have shape \[batch, n\]"),
        (
            lambda: PENDULUM.simulate(tf.ones([2, 4]), tf.ones([3, 2])),
            ValueError,
            "control must have the shape of one column of state",
        ),
        (
            lambda: PENDULUM.step(tf.ones([3, 2]), tf.ones([3, 1], tf.float64)),
            TypeError,
            "control must have the dtype of one column of state, float32",
        ),
        (lambda: PENDULUM.step(tf.ones([3, 3]), tf.ones([3, 1])), ValueError, r"state must have shape \[batch, 2\]"),
        (lambda: PENDULUM.simulate([[1]], [[1, 1]]), TypeError, "x must be float32 or float64, got int32"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
