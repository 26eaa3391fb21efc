"""The quantum dipole against the matrix exponential, its norm, its derivatives and loss, and what it refuses."""

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from physgrad_tf import simulators
from physgrad_tf.simulators import overlap_loss
from tests.package.agreement import assert_close

SMALL = simulators.QuantumDipole(n_points=6, n_steps=12, dt=0.1)


@pytest.fixture
def fields(rng):
    return 3.0 * rng.normal(size=(3, 12))


def hamiltonian(system, field):
    """−∂²/∂r² + u·r as a matrix, by three-point differences, zero at 0 and 2."""
    n = system.n_points
    spacing = 2.0 / (n + 1)
    kinetic = scipy.linalg.toeplitz([2.0, -1.0] + [0.0] * (n - 2)) / spacing**2
    return kinetic + field * np.diag(spacing * np.arange(1, n + 1))


def by_matrices(system, fields, step):
    """The final states, each time step by the matrix that `step` makes of −i·dt·H."""
    waves = []
    for row in fields:
        wave = system.eigenstate(1).astype(complex)
        for field in row:
            wave = step(-1j * system.dt * hamiltonian(system, field)) @ wave
        waves.append(np.concatenate([wave.real, wave.imag]))
    return np.array(waves)


def test_a_step_is_that_of_crank_and_nicolson(fields):
    def cayley(a):
        return np.linalg.solve(np.eye(len(a)) - a / 2.0, np.eye(len(a)) + a / 2.0)

    np.testing.assert_allclose(SMALL(tf.constant(fields)), by_matrices(SMALL, fields, cayley), atol=1e-13)


def test_halving_the_step_divides_the_error_by_four(fields):
    errors = []
    for parts in (16, 32):
        finer = simulators.QuantumDipole(n_points=6, n_steps=12 * parts, dt=0.1 / parts)
        held = np.repeat(fields[:1], parts, axis=1)
        exact = by_matrices(SMALL, fields[:1], scipy.linalg.expm)
        errors.append(np.linalg.norm(tf.function(finer)(tf.constant(held)) - exact))
    assert_close(np.divide(errors[:-1], errors[1:]), 4.0, rtol=0.02)  # 25 other fields: 3.96 to 4.003


def test_the_norm_is_kept_at_the_published_size_and_under_strong_fields(rng):
    system = simulators.QuantumDipole()
    assert (system.n_points, system.n_steps, system.dt) == (14, 384, 0.05)
    y = tf.function(system)(tf.constant(100.0 * rng.normal(size=(2, 384))))
    np.testing.assert_allclose(np.sum(y**2, axis=1), 1.0, atol=1e-11)


def test_no_control_moves_the_state_along_itself(fields):
    """y is a left null vector of ∂y/∂x: the norm is constant."""
    x = tf.constant(fields)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = SMALL(x)
        along_itself = tf.reduce_sum(tf.stop_gradient(y) * y)
    np.testing.assert_allclose(tape.gradient(along_itself, x), 0.0, atol=1e-13)


def test_without_field_a_level_stays_what_it_is():
    y = SMALL(tf.zeros([2, 12], tf.float64))
    ground = np.concatenate([SMALL.eigenstate(1), np.zeros(6)])
    np.testing.assert_allclose(overlap_loss(np.array([ground, ground]), y), 0.0, atol=1e-13)
    for level in (1, 2, 3):
        image = hamiltonian(SMALL, 0.0) @ SMALL.eigenstate(level)
        energy = 4.0 * (7 / 2.0) ** 2 * np.sin(np.pi * level / 14) ** 2
        np.testing.assert_allclose(image, energy * SMALL.eigenstate(level), atol=1e-12)


def test_the_gradient_against_finite_differences(fields, rng):
    target = tf.constant(SMALL.random_targets(3, rng), tf.float64)
    x = tf.constant(fields)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(overlap_loss(target, SMALL(x)))
    gradient = tape.gradient(loss, x)
    direction = rng.normal(size=fields.shape)
    ahead, behind = (tf.reduce_sum(overlap_loss(target, SMALL(x + s * direction))) for s in (1e-6, -1e-6))
    np.testing.assert_allclose(np.sum(gradient * direction), (ahead - behind) / 2e-6, rtol=1e-7, atol=1e-10)


def test_the_second_derivative_against_finite_differences(fields, rng):
    """The derivative of a step is written by hand; it must be right to be differentiated again."""
    direction = rng.normal(size=(3, 12))

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(SMALL(x) ** 3)
        return tape.gradient(loss, x)

    x = tf.constant(fields)
    with tf.GradientTape() as tape:
        tape.watch(x)
        along = tf.reduce_sum(slope(x) * direction)
    ahead, behind = slope(x + 1e-6 * direction), slope(x - 1e-6 * direction)
    np.testing.assert_allclose(tape.gradient(along, x), (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_eager_graph_and_xla_agree_with_their_gradients(dtype, fields):
    def value_and_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = SMALL(x)
            value = tf.reduce_sum(y**3)
        return y, tape.gradient(value, x)

    x = tf.constant(fields, dtype)
    eager = value_and_gradient(x)
    assert all(tensor.dtype == dtype for tensor in eager)
    atol = 1e-5 if dtype == tf.float32 else 1e-12
    for options in ({}, {"jit_compile": True}):
        compiled = tf.function(value_and_gradient, autograph=False, **options)(x)
        for ours, theirs in zip(compiled, eager, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=atol)


def test_a_batch_of_unknown_size_is_taken(fields):
    compiled = tf.function(SMALL, input_signature=[tf.TensorSpec([None, 12], tf.float64)])
    np.testing.assert_allclose(compiled(tf.constant(fields)), SMALL(tf.constant(fields)), atol=1e-13)


def test_targets_are_real_superpositions_of_levels_two_and_three():
    targets = SMALL.random_targets(2000, np.random.default_rng(4))
    np.testing.assert_array_equal(targets, SMALL.random_targets(2000, np.random.default_rng(4)))
    assert targets.shape == (2000, 12)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets[:, 6:], 0.0)
    shares = targets[:, :6] @ np.array([SMALL.eigenstate(2), SMALL.eigenstate(3)]).T
    np.testing.assert_allclose(np.sum(shares**2, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(shares.mean(axis=0), 0.0, atol=0.08)
    np.testing.assert_allclose((shares**2).mean(axis=0), 0.5, atol=0.05)


def test_the_loss_is_one_minus_the_overlap_and_ignores_phases(rng):
    a, b = (wave / np.linalg.norm(wave, axis=1, keepdims=True) for wave in rng.normal(size=(2, 5, 8)))
    complex_a, complex_b = a[:, :4] + 1j * a[:, 4:], b[:, :4] + 1j * b[:, 4:]
    expected = 1.0 - np.abs(np.sum(complex_a.conj() * complex_b, axis=1)) ** 2
    np.testing.assert_allclose(overlap_loss(a, b), expected, atol=1e-14)
    turned = np.exp(0.7j) * complex_b
    assert_close(overlap_loss(a, np.concatenate([turned.real, turned.imag], axis=1)), expected)
    np.testing.assert_allclose(overlap_loss(a, a), 0.0, atol=1e-14)


def test_keras_takes_saves_and_loads_simulator_and_loss():
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(SMALL))
    assert loaded == SMALL
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(12)])
    model.compile(loss=overlap_loss)
    targets = SMALL.random_targets(4, np.random.default_rng(0))
    expected = np.mean(overlap_loss(targets, model(targets)))
    assert_close(model.evaluate(targets, targets, verbose=0), expected, rtol=1e-5)
    assert isinstance(SMALL, simulators.Simulator)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: simulators.QuantumDipole(n_points=2), ValueError, "n_points must be at least 3, got 2"),
        (lambda: simulators.QuantumDipole(n_steps=0), ValueError, "n_steps must be at least 1"),
        (lambda: simulators.QuantumDipole(dt=0.0), ValueError, "dt must be positive"),
        (lambda: SMALL(tf.ones([3, 11])), ValueError, r"x must have shape \[batch, 12\], got \(3, 11\)"),
        (lambda: SMALL(np.ones((3, 12), int)), TypeError, "x must be float32 or float64"),
        (lambda: SMALL.eigenstate(7), ValueError, "level must be at most n_points = 6, got 7"),
        (lambda: SMALL.eigenstate(0), ValueError, "level must be at least 1"),
        (lambda: SMALL.random_targets(0, np.random.default_rng(0)), ValueError, "n_targets must be at least 1"),
        (lambda: SMALL.random_targets(1, 0), TypeError, "rng must be a numpy.random.Generator, got int"),
        (lambda: overlap_loss(tf.ones([3, 4]), tf.ones([3, 6])), ValueError, "target must have the shape of y"),
        (lambda: overlap_loss(tf.ones([3, 5]), tf.ones([3, 5])), ValueError, "an even number of columns"),
        (lambda: overlap_loss(np.ones((3, 4)), tf.ones([3, 4])), TypeError, "target must have the dtype of y"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
