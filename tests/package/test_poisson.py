"""The Poisson simulator against scipy's sine transform and a dense Laplacian, its data, and what it refuses."""

import keras
import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import tensorflow as tf

from physgrad_tf import simulators, training
from tests.package.agreement import assert_close


def dense_laplacian(n):
    """The five-point stencil on n×n interior points as a matrix [n², n²]."""
    one_side = scipy.linalg.toeplitz([-2.0, 1.0] + [0.0] * (n - 2))
    return np.kron(one_side, np.eye(n)) + np.kron(np.eye(n), one_side)


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 9, 9, 1))


def test_the_potential_equals_a_dense_solve(x):
    expected = np.linalg.solve(dense_laplacian(9), x.reshape(3, 81, 1)).reshape(x.shape)
    np.testing.assert_allclose(simulators.Poisson(9)(tf.constant(x)), expected, rtol=1e-11, atol=1e-12)


def test_the_inverse_equals_the_dense_laplacian(x):
    expected = (dense_laplacian(9) @ x.reshape(3, 81, 1)).reshape(x.shape)
    np.testing.assert_allclose(simulators.Poisson(9).local_inverse(tf.constant(x), x), expected, rtol=1e-12, atol=1e-13)


def test_the_sine_transform_equals_scipys_and_undoes_itself(x):
    transform = simulators.Poisson(9).sine_transform
    expected = scipy.fft.dstn(x, type=1, axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(transform(tf.constant(x)), expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(transform(transform(tf.constant(x))), x, rtol=1e-11, atol=1e-12)


def test_the_condition_number_is_that_of_the_matrix_and_441_at_32():
    assert_close(simulators.Poisson(9).condition_number(), np.linalg.cond(dense_laplacian(9)), rtol=1e-10)
    assert round(simulators.Poisson(32).condition_number()) == 441
    assert_close(simulators.Poisson(1)(np.ones((1, 1, 1, 1))), [[[[-0.25]]]], rtol=1e-14)


def test_round_trips_in_both_dtypes_and_directions(rng):
    simulator = simulators.Poisson(32)
    for dtype, tolerance in ((np.float32, 2e-4), (np.float64, 1e-11)):
        x = tf.constant(rng.normal(size=(2, 32, 32, 1)), dtype)
        assert simulator(x).dtype == simulator.local_inverse(x, x).dtype == dtype
        np.testing.assert_allclose(simulator.local_inverse(simulator(x), x), x, atol=tolerance)
        np.testing.assert_allclose(simulator(simulator.local_inverse(x, x)), x, atol=tolerance)


def test_float32_comes_back_rounded_once(x):
    """Neither the transforms nor the stencil of a smooth field lose digits on the way."""
    poisson = simulators.Poisson(9)
    for there, field in ((poisson, x), (lambda y: poisson.local_inverse(y, y), poisson(tf.constant(x)).numpy())):
        rounded = tf.constant(field, tf.float32)
        exact = there(tf.cast(rounded, tf.float64)).numpy()
        np.testing.assert_array_equal(there(rounded), exact.astype(np.float32))


def test_the_gradient_is_the_transposed_map_which_is_the_map_itself(x, rng):
    simulator, points = simulators.Poisson(9), tf.constant(x)
    w = tf.constant(rng.normal(size=x.shape))
    with tf.GradientTape() as tape:
        tape.watch(points)
        product = tf.reduce_sum(w * simulator(points))
    np.testing.assert_allclose(tape.gradient(product, points), simulator(w), rtol=1e-11, atol=1e-12)


def test_protocol_eager_graph_and_xla_agree(x):
    simulator = simulators.Poisson(9)
    assert isinstance(simulator, simulators.InvertibleSimulator)
    np.testing.assert_array_equal(simulator(x), simulator.simulate(x, inputs="ignored"))
    for function in (simulator, lambda y: simulator.local_inverse(y, y)):
        for options in ({}, {"jit_compile": True}):
            compiled = tf.function(function, autograph=False, **options)
            np.testing.assert_allclose(compiled(tf.constant(x)), function(tf.constant(x)), rtol=1e-11, atol=1e-12)


def test_a_batch_of_unknown_size_is_taken(x):
    simulator = simulators.Poisson(9)
    signature = [tf.TensorSpec([None, 9, 9, 1], tf.float64)]
    compiled = tf.function(lambda x: simulator.local_inverse(simulator(x), x), input_signature=signature)
    np.testing.assert_allclose(compiled(tf.constant(x)), x, atol=1e-11)


def test_keras_saves_and_loads_the_simulator_and_a_model_with_it(x, tmp_path):
    simulator = simulators.Poisson(9)
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(simulator))
    assert loaded == simulator
    network = keras.Sequential([keras.Input((9, 9, 1)), keras.layers.Conv2D(1, 3, padding="same")])
    model = training.ScaleInvariantPhysics(network, simulator)
    model.compile(keras.optimizers.SGD(1e-3))
    y = simulator(x.astype(np.float32)).numpy()
    model.fit(y, y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(y), model(y))


def test_sources_repeat_with_the_seed_and_have_unit_power():
    simulator = simulators.Poisson(16)
    first = simulator.smooth_sources(400, np.random.default_rng(5))
    again = simulator.smooth_sources(400, np.random.default_rng(5))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert first.shape == (400, 16, 16, 1)
    assert abs(np.mean(first**2) - 1.0) < 0.05
    assert np.abs(np.mean(first, axis=0)).max() < 0.4  # 6 standard errors of 400 fields with a power of at most 1.5
    assert np.any(first[0] != simulator.smooth_sources(1, np.random.default_rng(6))[0])


def test_each_wave_of_the_sources_is_damped_by_the_power_that_is_documented():
    simulator, length = simulators.Poisson(8), 1.5
    fields = simulator.smooth_sources(4000, np.random.default_rng(7), length=length).astype(np.float64)
    power = np.mean(scipy.fft.dstn(fields, type=1, axes=(1, 2), norm="ortho") ** 2, axis=0)[..., 0]
    expected = np.exp(simulator.eigenvalues() * length**2)
    assert_close(power / power[0, 0], expected / expected[0, 0], rtol=0.2)
    white = simulator.smooth_sources(4000, np.random.default_rng(8), length=0.0)
    np.testing.assert_allclose(np.var(white, axis=0), 1.0, atol=0.2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: simulators.Poisson(0), ValueError, "n must be at least 1, got 0"),
        (lambda: simulators.Poisson(8.0), TypeError, "n must be an integer, got float"),
        (
            lambda: simulators.Poisson(8)(np.ones((2, 9, 9, 1))),
            ValueError,
            r"x must have shape \[batch, 8, 8, 1\], got \(2, 9, 9, 1\)",
        ),
        (lambda: simulators.Poisson(8)(np.ones((2, 8, 8))), ValueError, r"x must have shape \[batch, 8, 8, 1\]"),
        (lambda: simulators.Poisson(8)(np.ones((2, 8, 8, 2))), ValueError, r"x must have shape \[batch, 8, 8, 1\]"),
        (lambda: simulators.Poisson(8)(np.ones((0, 8, 8, 1))), ValueError, "x must hold at least one field"),
        (lambda: simulators.Poisson(8)(np.ones((2, 8, 8, 1), int)), TypeError, "x must be float32 or float64"),
        (
            lambda: simulators.Poisson(2)(np.array([1.0, np.nan, 2.0, np.inf]).reshape(1, 2, 2, 1)),
            ValueError,
            "x must be finite, got 2 NaN or Inf among 4 values",
        ),
        (
            lambda: simulators.Poisson(2).local_inverse(np.full((1, 2, 2, 1), np.nan), np.ones((1, 2, 2, 1))),
            ValueError,
            "y must be finite",
        ),
        (
            lambda: simulators.Poisson(8).local_inverse(np.ones((2, 8, 8, 1)), np.ones((1, 8, 8, 1))),
            ValueError,
            "x_guess must have the shape of y",
        ),
        (
            lambda: simulators.Poisson(8).smooth_sources(0, np.random.default_rng(0)),
            ValueError,
            "n_fields must be at least 1, got 0",
        ),
        (
            lambda: simulators.Poisson(8).smooth_sources(1, 0),
            TypeError,
            "rng must be a numpy.random.Generator, got int",
        ),
        (
            lambda: simulators.Poisson(8).smooth_sources(1, np.random.default_rng(0), length=-1.0),
            ValueError,
            "length must be at least 0, got -1.0",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_compiled_run_stops_at_what_is_not_finite():
    compiled = tf.function(simulators.Poisson(2), autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="x must be finite"):
        compiled(tf.fill([1, 2, 2, 1], tf.constant(np.nan, tf.float64)))
