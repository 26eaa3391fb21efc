"""Derivatives against closed forms, finite differences in float64, and each other."""

import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import jacobians
from tests.package.agreement import assert_close


def mixing(x):
    """A nonlinear map from three to two coordinates, every output depending on every input."""
    return tf.stack([tf.sin(x[:, 0]) * x[:, 1] + x[:, 2] ** 2, tf.exp(0.3 * x[:, 2]) - x[:, 0] * x[:, 1]], axis=1)


def mixing_jacobian(x):
    """Its Jacobian in closed form, with numpy."""
    x0, x1, x2 = x.T
    first = np.stack([np.cos(x0) * x1, np.sin(x0), 2 * x2], axis=1)
    second = np.stack([-x1, -x0, 0.3 * np.exp(0.3 * x2)], axis=1)
    return np.stack([first, second], axis=1)


def quartic(x):
    return tf.reduce_sum(x**4, axis=1) + x[:, 0] * x[:, 1] * x[:, 2]


def central_differences(function, x, h=1e-5):
    """[batch, n_out, n] from function values alone."""
    columns = []
    for j in range(x.shape[1]):
        shift = h * np.eye(x.shape[1])[j]
        columns.append((function(tf.constant(x + shift)).numpy() - function(tf.constant(x - shift)).numpy()) / (2 * h))
    return np.stack(columns, axis=-1)


def test_jacobian_equals_closed_form_and_finite_differences(rng):
    x = rng.normal(size=(5, 3))
    computed = jacobians.jacobian(mixing, tf.constant(x)).numpy()
    assert computed.shape == (5, 2, 3)
    np.testing.assert_allclose(computed, mixing_jacobian(x), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(computed, central_differences(mixing, x), rtol=1e-8, atol=1e-8)


def test_gradient_equals_finite_differences(rng):
    x = rng.normal(size=(4, 3))
    np.testing.assert_allclose(
        jacobians.gradient(quartic, tf.constant(x)), central_differences(quartic, x), rtol=1e-7, atol=1e-8
    )


def test_hessian_equals_closed_form(rng):
    x = rng.normal(size=(4, 3))
    expected = np.zeros((4, 3, 3))
    for j in range(3):
        expected[:, j, j] = 12 * x[:, j] ** 2
    for i, j, k in [(0, 1, 2), (0, 2, 1), (1, 2, 0)]:
        expected[:, i, j] = expected[:, j, i] = x[:, k]
    np.testing.assert_allclose(jacobians.hessian(quartic, tf.constant(x)), expected, rtol=1e-13, atol=1e-13)


def test_hessian_of_a_linear_loss_is_zero():
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]], tf.float64)
    np.testing.assert_array_equal(jacobians.hessian(lambda x: 3.0 * x[:, 0] - x[:, 1], x), np.zeros((2, 2, 2)))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize(
    ("derivative", "function"),
    [(jacobians.gradient, quartic), (jacobians.hessian, quartic), (jacobians.jacobian, mixing)],
)
def test_eager_equals_graph(rng, dtype, derivative, function):
    x = tf.constant(rng.normal(size=(6, 3)), dtype)
    compiled = tf.function(lambda x: derivative(function, x), autograph=False)
    tolerance = {tf.float32: 1e-5, tf.float64: 1e-14}[dtype]
    assert derivative(function, x).dtype == dtype
    np.testing.assert_allclose(derivative(function, x), compiled(x), rtol=tolerance, atol=tolerance)


def test_permuting_the_batch_permutes_the_derivatives(rng):
    x = rng.normal(size=(7, 3))
    order = rng.permutation(7)
    whole = jacobians.jacobian(mixing, tf.constant(x)).numpy()
    assert_close(jacobians.jacobian(mixing, tf.constant(x[order])), whole[order], rtol=1e-13)


@pytest.mark.parametrize("derivative", [jacobians.gradient, jacobians.hessian])
@pytest.mark.parametrize(
    ("loss", "x", "error", "message"),
    [
        (quartic, np.ones((2, 3), int), TypeError, "x must be float32 or float64, got int64"),
        (quartic, np.ones(3), ValueError, r"x must have shape \[batch, n\], got \(3,\)"),
        (quartic, np.ones((0, 3)), ValueError, "batch ≥ 1"),
        (lambda x: x, np.ones((2, 3)), ValueError, "loss must return one value per sample"),
        (lambda x: tf.reduce_sum(x), np.ones((2, 3)), ValueError, "loss must return one value per sample"),
        (lambda x: tf.cast(quartic(x), tf.float32), np.ones((2, 3)), TypeError, "loss must return the dtype"),
        (lambda x: tf.ones([2], tf.float64), np.ones((2, 3)), ValueError, "loss does not depend on x"),
        (lambda x: np.ones(2), np.ones((2, 3)), TypeError, "loss must return a tensor, got ndarray"),
        ("quartic", np.ones((2, 3)), TypeError, "loss must be a function, got str"),
    ],
)
def test_gradient_and_hessian_refuse(derivative, loss, x, error, message):
    with pytest.raises(error, match=message):
        derivative(loss, x)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (quartic, ValueError, "function must return one point per sample"),
        (lambda x: mixing(x)[:1], ValueError, "function must return one point per sample"),
        (lambda x: tf.ones([2, 2], tf.float64), ValueError, "function does not depend on x"),
        (None, TypeError, "function must be a function, got NoneType"),
    ],
)
def test_jacobian_refuses(function, error, message):
    with pytest.raises(error, match=message):
        jacobians.jacobian(function, np.ones((2, 3)))


def looped(x):
    """x ↦ three rounds of y + sin(y)·rolled y / 10, as a loop."""
    body = lambda i, y: (i + 1, y + tf.sin(y) * tf.roll(y, 1, axis=1) / 10.0)  # noqa: E731
    return tf.while_loop(lambda i, y: i < 3, body, (0, x), maximum_iterations=3)[1]


def unrolled(x):
    for _ in range(3):
        x = x + tf.sin(x) * tf.roll(x, 1, axis=1) / 10.0
    return x


@pytest.mark.parametrize("loop", [looped, tf.function(looped)], ids=["loop", "loop in a function"])
def test_loops_compile(loop, rng):
    """XLA takes no vectorised pass through a loop; eager, graph and compiled values are those without a loop."""
    x = tf.constant(rng.normal(size=(4, 3)))
    loss = lambda function: lambda x: tf.reduce_sum(function(x) ** 2, axis=1)  # noqa: E731
    expected = [jacobians.jacobian(unrolled, x), jacobians.hessian(loss(unrolled), x)]
    both = lambda x: [jacobians.jacobian(loop, x), jacobians.hessian(loss(loop), x)]  # noqa: E731
    for way in (both, tf.function(both), tf.function(both, jit_compile=True)):
        for found, right in zip(way(x), expected, strict=True):
            assert_close(found, right, rtol=1e-12)
