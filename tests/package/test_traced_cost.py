"""Memory and operations read from graphs, against what can be counted by hand."""

import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf.training import jacobian_size
from physgrad_tf.training.traced_cost import n_operations, peak_bytes

N = 64
MATRIX = 4 * N * N


def graph_of(function, *shapes):
    specs = [tf.TensorSpec(shape) for shape in shapes]
    return tf.function(function, autograph=False).get_concrete_function(*specs).graph


@pytest.mark.parametrize(
    ("function", "matrices"),
    [
        (lambda a: tf.tanh(tf.matmul(a, a)), 1),  # tanh writes over the product
        (lambda a: tf.matmul(tf.matmul(a, a), a), 2),
        (lambda a: tf.reshape(tf.identity(tf.matmul(a, a)), [-1]), 1),
        (lambda a: [tf.matmul(a, a), tf.matmul(a, a, transpose_b=True), tf.matmul(a, a, transpose_a=True)], 3),
        (lambda a: tf.reduce_sum(tf.matmul(a, a) * tf.tanh(a)), 2),
        (lambda a: tf.function(lambda b: tf.matmul(tf.matmul(b, b), b))(a), 2),
        (lambda a: tf.cond(a[0, 0] > 0.0, lambda: tf.matmul(a, a), lambda: tf.matmul(tf.matmul(a, a), a)), 2),
        (lambda a: tf.einsum("ij,jk->ik", a, a), 2),  # and its work space
        (lambda a: tf.identity_n([tf.matmul(a, a), tf.tanh(a)])[1], 2),
    ],
)
def test_the_peak_of_memory(function, matrices):
    peak = peak_bytes(graph_of(function, [N, N]))
    assert matrices * MATRIX <= peak < (matrices + 0.1) * MATRIX


@pytest.mark.parametrize("step", [1, 2])
def test_a_loop_keeps_what_its_gradient_reads(step):
    """Ten rounds keep ten arguments of the sine; the gradient holds at most a few more."""

    def gradient(a):
        with tf.GradientTape() as tape:
            tape.watch(a)
            end = tf.while_loop(lambda k, b: k < 10 * step, lambda k, b: (k + step, tf.sin(b)), [0, a])[1]
        return tape.gradient(end, a)

    assert 10 * MATRIX <= peak_bytes(graph_of(gradient, [N, N])) < 14 * MATRIX
    forward = graph_of(lambda a: tf.while_loop(lambda k, b: k < 7, lambda k, b: (k + 1, tf.sin(b)), [0, a])[1], [N, N])
    assert peak_bytes(forward) < 3 * MATRIX
    assert 7 * N * N <= n_operations(forward) < 7.1 * N * N
    unknown = graph_of(lambda a: tf.while_loop(lambda b: tf.norm(b) > 1.0, lambda b: [tf.sin(b)], [a])[0], [N, N])
    assert n_operations(unknown) < 3 * N * N  # one round


@pytest.mark.parametrize(
    ("function", "shapes", "operations"),
    [
        (tf.matmul, ([3, 5], [5, 7]), 2 * 3 * 5 * 7),
        (lambda a, b: tf.matmul(a, b, transpose_a=True), ([5, 3], [5, 7]), 2 * 3 * 5 * 7),
        (lambda a, b: tf.matmul(a, b, transpose_a=True), ([4, 5, 3], [4, 5, 7]), 4 * 2 * 3 * 5 * 7),
        (lambda a, b: tf.einsum("bij,bjk->bik", a, b), ([4, 3, 5], [4, 5, 7]), 4 * 2 * 3 * 5 * 7),
        (lambda a: a + 1.0, ([6, 7],), 42),
        (lambda a: tf.reshape(a, [-1]), ([6, 7],), 0),
        (lambda a, k: tf.nn.conv2d(a, k, 1, "SAME"), ([2, 8, 8, 3], [3, 3, 3, 4]), 2 * (2 * 8 * 8 * 4) * 27),
    ],
)
def test_operations_are_those_of_the_textbook(function, shapes, operations):
    assert n_operations(graph_of(function, *shapes)) == operations


def test_a_convolution_backwards_costs_what_it_costs_forwards():
    def gradients(a, k):
        with tf.GradientTape() as tape:
            tape.watch([a, k])
            y = tf.nn.conv2d(a, k, 1, "SAME")
        return tape.gradient(y, [a, k])

    forwards = 2 * (2 * 8 * 8 * 4) * 27
    found = n_operations(graph_of(gradients, [2, 8, 8, 3], [3, 3, 3, 4]))
    assert 2 * forwards <= found < 2.2 * forwards or 3 * forwards <= found < 3.2 * forwards


def test_decompositions_take_a_cube():
    graph = graph_of(lambda a: tf.numpy_function(np.linalg.eigvalsh, [a], tf.float32), [N, N])
    assert n_operations(graph) == 9 * N**3
    assert peak_bytes(graph) >= 4 * MATRIX
    graph = graph_of(lambda a: tf.linalg.svd(a, compute_uv=True), [2, 50, 20])
    assert n_operations(graph) >= 2 * (4 * 50**2 * 20 + 22 * 20**3)


def test_polynomials_through_one_and_two_values():
    few = jacobian_size.FEW
    assert jacobian_size.polynomial([3 * few])(7) == pytest.approx(21)
    curve = lambda b: 5 * b + 2 * b**2  # noqa: E731
    assert jacobian_size.polynomial([curve(few), curve(4 * few)])(7) == pytest.approx(curve(7))
    assert jacobian_size.polynomial([few, 3 * few])(64) == pytest.approx(64)  # never a negative square


@pytest.mark.parametrize(("n_bytes", "words"), [(0, "0 bytes"), (1023, "1023 bytes"), (3 * 2**30, "3 GiB")])
def test_bytes_in_words(n_bytes, words):
    assert jacobian_size.in_words(n_bytes) == words
