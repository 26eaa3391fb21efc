"""The Laplacian against a dense matrix, its inverse, its derivatives, and what it refuses."""

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from physgrad_tf import simulators
from tests.package.agreement import assert_close


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 5, 5, 1))


def dense(n):
    one_side = scipy.linalg.toeplitz([-2.0, 1.0] + [0.0] * (n - 2))
    return np.kron(one_side, np.eye(n)) + np.kron(np.eye(n), one_side)


def test_against_the_dense_matrix(x):
    expected = (dense(5) @ x.reshape(3, 25, 1)).reshape(x.shape)
    np.testing.assert_allclose(simulators.Laplacian(5)(tf.constant(x)), expected, atol=1e-13)


def test_inverse_and_condition_number_are_those_of_poisson(x):
    simulator = simulators.Laplacian(5)
    points = tf.constant(x)
    np.testing.assert_array_equal(simulator.local_inverse(points, points), simulators.Poisson(5)(points))
    np.testing.assert_allclose(simulator.local_inverse(simulator(points), points), x, atol=1e-12)
    assert_close(simulator.condition_number(), np.linalg.cond(dense(5)), rtol=1e-10)
    sources = simulator.smooth_sources(2, np.random.default_rng(1), length=1.0)
    np.testing.assert_array_equal(sources, simulators.Poisson(5).smooth_sources(2, np.random.default_rng(1), 1.0))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_eager_graph_and_xla_agree_with_their_gradients(x, dtype):
    simulator = simulators.Laplacian(5)

    def value_and_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = simulator(x)
            value = tf.reduce_sum(y**2) / 2.0
        return y, tape.gradient(value, x)

    points = tf.constant(x, dtype)
    eager = value_and_gradient(points)
    np.testing.assert_allclose(eager[1], simulator(eager[0]), atol=1e-4)  # symmetric: ∇²∇²x
    for options in ({}, {"jit_compile": True}):
        compiled = tf.function(value_and_gradient, autograph=False, **options)(points)
        for ours, theirs in zip(compiled, eager, strict=True):
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, theirs, atol=1e-4 if dtype == tf.float32 else 1e-12)


def test_protocol_and_saved_form():
    simulator = simulators.Laplacian(5)
    assert isinstance(simulator, simulators.InvertibleSimulator)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(simulator)) == simulator


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: simulators.Laplacian(0), ValueError, "n must be at least 1, got 0"),
        (lambda: simulators.Laplacian(5)(np.ones((2, 4, 5, 1))), ValueError, r"x must have shape \[batch, 5, 5, 1\]"),
        (lambda: simulators.Laplacian(5)(np.ones((2, 5, 5, 1), int)), TypeError, "x must be float32 or float64"),
        (lambda: simulators.Laplacian(1)(np.full((1, 1, 1, 1), np.nan)), ValueError, "x must be finite"),
        (
            lambda: simulators.Laplacian(5).local_inverse(np.ones((2, 5, 5, 1)), np.ones((1, 5, 5, 1))),
            ValueError,
            "x_guess must have the shape of y",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
