"""Derivatives of spectral powers against finite differences and closed forms, at equal singular values above all."""

import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import spectral, training, updates
from tests.package.agreement import assert_close


def with_values(rng, m, n, values):
    """A matrix [m, n] with these singular values."""
    u = np.linalg.qr(rng.normal(size=(m, len(values))))[0]
    v = np.linalg.qr(rng.normal(size=(n, len(values))))[0]
    return u @ np.diag(values) @ v.T


def power_by_numpy(a, exponent, rcond, mode):
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    tau = rcond * s[0]
    if mode == "truncate":
        f = np.where(s > tau, np.where(s > tau, s, 1.0) ** exponent, 0.0)
    else:
        f = s * np.maximum(s, tau) ** (exponent - 1.0)
    return vt.T @ np.diag(f) @ u.T


def gradient_by_differences(function, a, size=1e-5):
    """Central differences, of fourth order."""
    result = np.zeros_like(a)
    for place in np.ndindex(a.shape):
        step = np.zeros_like(a)
        step[place] = size
        near, far = (function(a + k * step) - function(a - k * step) for k in (1.0, 2.0))
        result[place] = (8.0 * near - far) / (12.0 * size)
    return result


VALUES = {
    "apart": [3.0, 1.0, 0.4],
    "two equal": [2.0, 2.0, 0.5],
    "all equal": [1.5, 1.5, 1.5],
    "nearly equal": [2.0, 2.0 - 1e-9, 1.0],
    "two equal below the threshold": [2.0, 0.05, 0.05],
    "zeros below the threshold": [2.0, 1.0, 0.0],
}


@pytest.mark.parametrize("mode", ["truncate", "clamp"])
@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0, 1.0])
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5)])
@pytest.mark.parametrize("name", VALUES)
def test_both_forms_against_finite_differences(name, shape, exponent, mode, rng):
    a = with_values(rng, *shape, VALUES[name])
    weights, g = rng.normal(size=shape[::-1]), rng.normal(size=shape[0])
    expected = gradient_by_differences(lambda a: np.sum(weights * power_by_numpy(a, exponent, 0.1, mode)), a)
    x = tf.constant(a)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        whole = tf.reduce_sum(weights * spectral.spectral_power(x, exponent, rcond=0.1, mode=mode))
        applied = tf.reduce_sum(weights[:, 0] * spectral.apply_spectral_power(x, g, exponent, rcond=0.1, mode=mode))
        stepped = tf.reduce_sum(weights[:, 0] * spectral.spectral_step(x, g, exponent, rcond=0.1, mode=mode).step)
    # Differences of size 1e-5 leave 1e-10 of the largest entry, over other seeds at most 5e-10.
    assert_close(tape.gradient(whole, x), expected, rtol=1e-8)
    along = gradient_by_differences(lambda a: weights[:, 0] @ power_by_numpy(a, exponent, 0.1, mode) @ g, a)
    assert_close(tape.gradient(applied, x), along, rtol=1e-8)
    assert_close(tape.gradient(stepped, x), along, rtol=1e-8)


@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0, 1.0])
def test_an_exact_zero_has_the_slope_of_what_is_clamped(exponent, rng):
    """As where a column of J vanishes: f(σ) = τ^(p−1) σ there, which the filter leaves out."""
    a, weights = np.diag([1.0, 0.5, 0.0]), rng.normal(size=(3, 3))
    expected = gradient_by_differences(lambda a: np.sum(weights * power_by_numpy(a, exponent, 0.1, "clamp")), a)
    x = tf.constant(a)
    with tf.GradientTape() as tape:
        tape.watch(x)
        whole = tf.reduce_sum(weights * spectral.spectral_power(x, exponent, rcond=0.1, mode="clamp"))
    assert_close(tape.gradient(whole, x), expected, rtol=1e-8)


def mirrored(b):
    """x ↦ x + b·(x₂, x₁), whose Jacobian at b = 0 is the identity: all singular values are equal."""
    return lambda x: x + b * tf.reverse(x, axis=[1])


@pytest.mark.parametrize(("rule", "per_unit"), [(updates.gauss_newton, -1.0), (updates.half_inverse_gradient, -0.5)])
def test_a_rule_at_the_identity(rule, per_unit):
    """J = 1 + bS with (1 + bS)^p = 1 + pbS + …, so that the derivative of the first entry is p·Δy₂."""
    b = tf.constant(0.0, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(b)
        step = rule(mirrored(b), tf.constant([[1.0, 2.0]], tf.float64), tf.constant([[2.0, 3.0]], tf.float64))[0, 0]
    assert_close(tape.gradient(step, b), 3.0 * per_unit, rtol=1e-14)


def test_the_pseudo_inverse_at_the_identity(rng):
    """d(A⁻¹) = −A⁻¹ dA A⁻¹."""
    direction = rng.normal(size=(3, 3))
    x = tf.constant(np.eye(3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(direction * spectral.pseudo_inverse(x))
    assert_close(tape.gradient(value, x), -direction, rtol=1e-14)


def test_a_batch_in_a_graph_and_in_single_precision(rng):
    a = rng.normal(size=(4, 3, 2))
    g = rng.normal(size=(4, 3))

    def gradient(a, g):
        with tf.GradientTape() as tape:
            tape.watch([a, g])
            value = tf.reduce_sum(tf.sin(spectral.apply_spectral_power(a, g, -0.5, rcond=1e-3)))
        return tape.gradient(value, [a, g])

    exact = gradient(tf.constant(a), tf.constant(g))
    single = tf.function(gradient)(tf.constant(a, tf.float32), tf.constant(g, tf.float32))
    for found, expected in zip(single, exact, strict=True):
        assert_close(found, expected, rtol=1e-4)
    value = lambda g: np.sum(  # noqa: E731
        [np.sum(np.sin(power_by_numpy(a[i], -0.5, 1e-3, "truncate") @ g[i])) for i in range(4)]
    )
    assert_close(exact[1], gradient_by_differences(value, g), rtol=1e-8)


def test_the_spectrum_that_comes_with_a_step_has_the_derivative_u_vt(rng):
    matrix, vector = tf.constant(rng.normal(size=(5, 4))), tf.constant(rng.normal(size=5))
    with tf.GradientTape() as tape:
        tape.watch(matrix)
        found = spectral.spectral_step(matrix, vector, -0.5, rcond=1e-6)
        value = 2.0 * found.largest + found.smallest
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    expected = 2.0 * np.outer(u[:, 0], vt[0]) + np.outer(u[:, -1], vt[-1])
    assert_close(tape.gradient(value, matrix), expected, rtol=1e-10)


def test_a_second_derivative_is_refused():
    x = tf.constant(np.diag([2.0, 1.0]))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = spectral.half_inverse(x)[0, 0]
        slope = tape.gradient(value, x)[0, 0]
    with pytest.raises(NotImplementedError, match="no second derivative"):
        outer.gradient(slope, x)


@pytest.mark.parametrize("eigenvalues", [[3.0, 1.0, 0.5], [2.0, 2.0, 0.5], [2.0, -2.0, -2.0], [-1.0, -1.0, -1.0]])
def test_the_saddle_free_step_through_a_loss_with_equal_curvatures(eigenvalues, rng):
    """L = ½xᵀHx + b·x₁x₂: the step is −|H + bE|⁻¹(H + bE)x."""
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    h = q @ np.diag(eigenvalues) @ q.T
    e = np.zeros((3, 3))
    e[0, 1] = e[1, 0] = 1.0
    x, weights = rng.normal(size=3), rng.normal(size=3)

    def by_numpy(b):
        s, v = np.linalg.eigh(h + b * e)
        return -weights @ (v @ np.diag(1.0 / np.abs(s)) @ v.T @ (h + b * e) @ x)

    b = tf.constant(0.0, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(b)
        loss = lambda x: tf.einsum("bi,ij,bj->b", x, h + b * e, x) / 2.0  # noqa: E731
        value = tf.reduce_sum(weights * updates.saddle_free_newton(loss, tf.constant(x[np.newaxis]), 1.0))
    expected = gradient_by_differences(lambda b: by_numpy(b[0]), np.zeros(1))[0]
    np.testing.assert_allclose(tape.gradient(value, b), expected, rtol=1e-8, atol=1e-9)


def test_a_solver_that_jumps_is_not_differentiated():
    solver = training.SaddleFreeNewtonSolver()
    x = tf.constant([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = solver(lambda x: x**2, tf.constant([[1.0, 1.0]]), x)
    with pytest.raises(NotImplementedError, match="SaddleFreeNewtonSolver cannot be differentiated"):
        tape.gradient(found, x)
