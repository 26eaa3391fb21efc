"""The stacked Jacobian against finite differences in the weights, and the flattening of weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf.jacobians import StackedJacobian, flatten_weights, unflatten_weights


@pytest.fixture
def network():
    keras.utils.set_random_seed(3)
    network = keras.Sequential(
        [
            keras.Input((3,), dtype="float64"),
            keras.layers.Dense(4, "tanh", dtype="float64"),
            keras.layers.Dense(2, dtype="float64"),
        ]
    )
    network.compile()
    return network


def test_flatten_and_unflatten_are_inverse(network):
    weights = network.trainable_variables
    theta = flatten_weights(weights)
    assert theta.shape == (3 * 4 + 4 + 4 * 2 + 2,)
    parts = unflatten_weights(theta, weights)
    for part, weight in zip(parts, weights, strict=True):
        np.testing.assert_array_equal(part, weight)


def test_reverse_equals_finite_differences(network, rng):
    x = tf.constant(rng.normal(size=(5, 3)))
    weights = network.trainable_variables
    dense = StackedJacobian.reverse(lambda: network(x) ** 2, weights).to_dense().numpy()
    assert dense.shape == (10, 26)
    theta, h, columns = flatten_weights(weights).numpy(), 1e-6, []
    for direction in np.eye(len(theta)):
        ends = []
        for sign in (1, -1):
            for weight, part in zip(weights, unflatten_weights(theta + sign * h * direction, weights), strict=True):
                weight.assign(part)
            ends.append((network(x) ** 2).numpy().ravel())
        columns.append((ends[0] - ends[1]) / (2 * h))
    np.testing.assert_allclose(dense, np.stack(columns, axis=1), rtol=1e-7, atol=1e-8)


def test_gram_and_transpose_matvec_agree_with_the_dense_matrix(network, rng):
    x = tf.constant(rng.normal(size=(5, 3)))
    stacked = StackedJacobian.reverse(lambda: network(x), network.trainable_variables)
    dense, w = stacked.to_dense().numpy(), rng.normal(size=10)
    assert (stacked.n_rows, stacked.n_weights) == (10, 26)
    np.testing.assert_allclose(stacked.gram(), dense @ dense.T, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(stacked.transpose_matvec(w), dense.T @ w, rtol=1e-13, atol=1e-14)


def test_transpose_matvec_with_the_loss_gradient_is_the_weight_gradient(network, rng):
    x = tf.constant(rng.normal(size=(5, 3)))
    with tf.GradientTape() as tape:
        y = network(x)
        loss = 0.5 * tf.reduce_sum(y**2)
    gradient = flatten_weights(tape.gradient(loss, network.trainable_variables))
    stacked = StackedJacobian.reverse(lambda: network(x), network.trainable_variables)
    np.testing.assert_allclose(stacked.transpose_matvec(tf.reshape(y, [-1])), gradient, rtol=1e-12, atol=1e-14)


def test_eager_equals_graph(network, rng):
    x = tf.constant(rng.normal(size=(3, 3)))

    @tf.function(autograph=False)
    def compiled():
        return StackedJacobian.reverse(lambda: network(x), network.trainable_variables).to_dense()

    eager = StackedJacobian.reverse(lambda: network(x), network.trainable_variables).to_dense()
    np.testing.assert_allclose(eager, compiled(), rtol=1e-13, atol=1e-15)


def test_permuting_the_batch_permutes_blocks_of_rows(network, rng):
    x, order = rng.normal(size=(4, 3)), np.array([2, 0, 3, 1])
    weights = network.trainable_variables
    whole = StackedJacobian.reverse(lambda: network(tf.constant(x)), weights).to_dense().numpy().reshape(4, 2, -1)
    mixed = StackedJacobian.reverse(lambda: network(tf.constant(x[order])), weights).to_dense().numpy()
    np.testing.assert_allclose(mixed.reshape(4, 2, -1), whole[order], rtol=1e-13, atol=1e-15)


def test_a_weight_without_influence_has_zero_columns():
    used, unused = tf.Variable([1.0, 2.0]), tf.Variable([[3.0]])
    dense = StackedJacobian.reverse(lambda: used[tf.newaxis] ** 2, [used, unused]).to_dense()
    np.testing.assert_array_equal(dense, [[2.0, 0.0, 0.0], [0.0, 4.0, 0.0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: flatten_weights([]), ValueError, "weights must hold at least one tensor"),
        (lambda: flatten_weights([np.ones(2), np.ones(2, np.float32)]), TypeError, "one dtype, got float32, float64"),
        (lambda: flatten_weights([np.ones(2, int)]), TypeError, r"weights\[0\] must be float32 or float64"),
        (lambda: unflatten_weights(np.ones(3), [np.ones((2, 2))]), ValueError, r"vector must have shape \[4\]"),
        (lambda: unflatten_weights(np.ones((4, 1)), [np.ones((2, 2))]), ValueError, r"vector must have shape \[4\]"),
        (
            lambda: StackedJacobian.reverse(lambda: tf.ones([2, 2]), [tf.Variable(1.0)]),
            ValueError,
            "does not depend on any of the weights",
        ),
        (lambda: StackedJacobian.reverse(tf.ones([2, 2]), [tf.Variable(1.0)]), TypeError, "outputs must be a function"),
        (
            lambda: StackedJacobian.of_matrix(np.ones((2, 3))).transpose_matvec(np.ones(3)),
            ValueError,
            r"w must have shape \[2\]",
        ),
        (
            lambda: StackedJacobian.of_matrix(np.ones((2, 3))).scaled_rows(np.ones(3)),
            ValueError,
            r"factors must have shape \[2\]",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
