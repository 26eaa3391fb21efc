"""Options that are moved from their defaults, against formulas written out: each of them counts."""

import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf

from physgrad_tf import simulators, spectral, training, updates
from tests.package.agreement import assert_close


@pytest.mark.parametrize("kind", [simulators.LeapfrogOscillator, simulators.EulerOscillator])
def test_an_oscillator_with_its_own_stiffness_and_cubic_force(kind, rng):
    oscillator = kind(n_steps=4000, dt=0.0005, stiffness=2.0, cubic=0.5)
    x = rng.uniform(-1.0, 1.0, (3, 2))
    for start, end in zip(x, oscillator(tf.constant(x)).numpy(), strict=True):
        exact = scipy.integrate.solve_ivp(
            lambda t, s: [s[1], -2.0 * s[0] - 0.5 * s[0] ** 3], (0.0, 2.0), start, rtol=1e-10, atol=1e-12
        ).y[:, -1]
        np.testing.assert_allclose(end, exact, rtol=0.0, atol=5e-3)  # Euler's error at this step is 1e-3
    q, p = x.T
    assert_close(oscillator.energy(tf.constant(x)), p**2 / 2.0 + 2.0 * q**2 / 2.0 + 0.5 * q**4 / 4.0, rtol=1e-12)


def kick_drift_kick(q, p, dt, force):
    """The scheme, as it is documented; drift, kick, drift is another one of the same order."""
    middle = p + dt / 2.0 * force(q)
    end = q + dt * middle
    return np.stack([end, middle + dt / 2.0 * force(end)], axis=1)


def test_leapfrog_is_half_a_kick_a_drift_and_half_a_kick(rng):
    x, push = rng.uniform(-2.0, 2.0, (4, 2)), rng.normal(size=(4, 1))
    oscillator = simulators.LeapfrogOscillator(n_steps=1, dt=0.7, stiffness=2.0, cubic=0.5)
    found = oscillator(tf.constant(x))
    assert_close(found, kick_drift_kick(*x.T, 0.7, lambda q: -2.0 * q - 0.5 * q**3), 1e-14)
    pendulum = simulators.PushedPendulum(dt=0.7, gravity=1.5)
    found = pendulum.step(tf.constant(x), tf.constant(push))
    assert_close(found, kick_drift_kick(*x.T, 0.7, lambda q: push[:, 0] - 1.5 * np.sin(q)), 1e-14)


@pytest.mark.parametrize("mode", ["truncate", "clamp"])
@pytest.mark.parametrize("exponent", [-1.0, -0.5])
def test_threshold_and_mode_reach_every_function_of_the_family(mode, exponent, rng):
    matrix = np.linalg.qr(rng.normal(size=(4, 4)))[0] * [1.0, 0.5, 0.05, 0.01]
    u, s, vt = np.linalg.svd(matrix)
    tau = 0.1 * s[0]
    f = np.where(s > tau, s**exponent, 0.0) if mode == "truncate" else s * np.maximum(s, tau) ** (exponent - 1.0)
    expected = vt.T @ np.diag(f) @ u.T
    options = {"rcond": 0.1, "mode": mode}
    inverse = spectral.pseudo_inverse if exponent == -1.0 else spectral.half_inverse
    assert_close(inverse(matrix, **options), expected, rtol=1e-12)
    update = updates.gauss_newton if exponent == -1.0 else updates.half_inverse_gradient
    x, delta = rng.normal(size=(2, 4)), rng.normal(size=(2, 4))
    step = update(lambda x: tf.linalg.matvec(matrix, x), tf.constant(x), tf.constant(delta), **options)
    assert_close(step, delta @ expected.T, rtol=1e-10)


def test_the_solvers_use_their_own_threshold_and_limit(rng):
    matrix = np.diag([1.0, 0.1])
    linear = lambda x: tf.linalg.matvec(tf.constant(matrix), x)  # noqa: E731
    y, x = rng.normal(size=(2, 2)), np.zeros((2, 2))
    for rcond, kept in ((0.01, [1.0, 10.0]), (0.5, [1.0, 0.0])):
        found = training.GaussNewtonSolver(rcond=rcond)(linear, tf.constant(y), tf.constant(x))
        assert_close(found, y * kept, rtol=1e-12)
    y = np.array([[1.0, 0.5]])  # H = diag(1, 0.01): the second direction is the flat one, with slope −0.05
    for limit in (0.2, 0.02):
        found = training.SaddleFreeNewtonSolver(limit=limit)(linear, tf.constant(y), tf.zeros([1, 2], tf.float64))
        assert_close(found, [[1.0, min(5.0, limit / 0.05)]], rtol=1e-10)
