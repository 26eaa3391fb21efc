"""The sine problem: closed form, inverse, and the distance to the closest solution by brute force."""

import itertools
import math

import keras
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from physgrad_tf import jacobians, simulators
from tests.package.agreement import assert_close

FORMS = [
    simulators.Sine(xi=1.0, phi=math.radians(15.0)),
    simulators.Sine(xi=8.0, phi=-0.4, gamma=3.0),
    simulators.Sine(xi=0.5, phi=2.0),
    simulators.Sine(xi=4.0, phi=0.7, gamma=2.0, inside=False),
]


@pytest.fixture
def x(rng):
    return rng.uniform(-1.0, 1.0, size=(6, 2))


def turned(sine, x):
    rotation = np.array([[math.cos(sine.phi), -math.sin(sine.phi)], [math.sin(sine.phi), math.cos(sine.phi)]])
    return sine.gamma * x @ rotation.T


@pytest.mark.parametrize("sine", FORMS)
def test_closed_form_in_both_dtypes_eager_and_compiled(sine, x):
    first, second = turned(sine, x).T
    expected = np.sin(first / sine.xi) if sine.inside else np.sin(first) / sine.xi
    y = np.stack([expected, sine.xi * second], axis=1)
    np.testing.assert_allclose(sine(tf.constant(x)), y, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(tf.function(sine, autograph=False)(tf.constant(x)), y, rtol=1e-12, atol=1e-13)
    single = sine(tf.constant(x, tf.float32))
    assert single.dtype == tf.float32
    np.testing.assert_allclose(single, y, rtol=1e-4, atol=1e-4)
    assert isinstance(sine, simulators.InvertibleSimulator)


def test_the_two_forms_agree_at_xi_one(x):
    inside, outside = simulators.Sine(1.0, 0.3), simulators.Sine(1.0, 0.3, inside=False)
    assert_close(inside(tf.constant(x)), outside(tf.constant(x)), rtol=1e-13)


@pytest.mark.parametrize("sine", FORMS)
def test_keras_saves_and_loads(sine, x):
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sine))
    assert loaded == sine
    np.testing.assert_array_equal(loaded(tf.constant(x)), sine(tf.constant(x)))


@pytest.mark.parametrize("sine", FORMS)
def test_jacobian_equals_finite_differences(sine, x):
    h = 1e-6
    differences = [(sine(tf.constant(x + e)) - sine(tf.constant(x - e))).numpy() / (2 * h) for e in h * np.eye(2)]
    np.testing.assert_allclose(
        jacobians.jacobian(sine, tf.constant(x)), np.stack(differences, axis=-1), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("sine", FORMS)
def test_the_local_inverse_returns_where_it_came_from_and_reaches_targets(sine, x, rng):
    points = tf.constant(x)
    np.testing.assert_allclose(sine.local_inverse(sine(points), points), x, atol=1e-7)
    y = rng.uniform(-1.0, 1.0, size=(6, 2))
    if not sine.inside:
        y[:, 0] /= sine.xi
    np.testing.assert_allclose(sine(sine.local_inverse(tf.constant(y), points)), y, atol=1e-9)


def closest_by_brute_force(sine, x, y):
    """Searches x̂₁ for all sign changes of the sine's misfit near x, by a fine grid and bisection; no arcsine."""

    def misfit(first):
        return (np.sin(first / sine.xi) if sine.inside else np.sin(first) / sine.xi) - y[0]

    first, second = turned(sine, x[np.newaxis])[0]
    period = 2.0 * math.pi * (sine.xi if sine.inside else 1.0)
    grid = np.linspace(first - period, first + period, 20_001)
    values = misfit(grid)
    roots = [
        scipy.optimize.brentq(misfit, left, right, xtol=1e-14)
        for (left, right), (a, b) in zip(itertools.pairwise(grid), itertools.pairwise(values), strict=True)
        if a * b <= 0.0
    ]
    return min(math.hypot(root - first, y[1] / sine.xi - second) for root in roots) / sine.gamma


@pytest.mark.parametrize("sine", FORMS)
def test_the_distance_is_that_of_the_closest_solution_found_by_brute_force(sine, rng):
    x = rng.uniform(-3.0, 3.0, size=(12, 2))
    y = rng.uniform(-0.95, 0.95, size=(12, 2))
    if not sine.inside:
        y[:, 0] /= sine.xi
    expected = [closest_by_brute_force(sine, *pair) for pair in zip(x, y, strict=True)]
    np.testing.assert_allclose(sine.distance(tf.constant(x), tf.constant(y)), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("sine", FORMS)
def test_the_distance_is_zero_at_solutions_and_counts_along_the_sharp_direction(sine, x):
    y = sine(tf.constant(x))
    np.testing.assert_allclose(sine.distance(tf.constant(x), y), np.zeros(6), atol=1e-7)
    along_second = np.array([math.sin(sine.phi), math.cos(sine.phi)])  # the row of R_φ that makes x̂₂
    moved = tf.constant(x + 1e-3 * along_second)
    assert_close(sine.distance(moved, y), np.full(6, 1e-3), rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: simulators.Sine(xi=0.0), ValueError, "xi must be positive, got 0.0"),
        (lambda: simulators.Sine(gamma=-1.0), ValueError, "gamma must be positive, got -1.0"),
        (lambda: simulators.Sine(phi="15°"), TypeError, "phi must be a number, got str"),
        (lambda: simulators.Sine()(np.ones((2, 3))), ValueError, r"x must have shape \[batch, 2\], got \(2, 3\)"),
        (lambda: simulators.Sine()(np.ones((2, 2), int)), TypeError, "x must be float32 or float64"),
        (
            lambda: simulators.Sine().local_inverse(np.ones((2, 2)), np.ones((1, 2))),
            ValueError,
            "x_guess must have the shape of y",
        ),
        (
            lambda: simulators.Sine().local_inverse(np.full((1, 2), 1.5), np.ones((1, 2))),
            ValueError,
            "1 − |sine of y₁| must be at least 0, got -0.5",
        ),
        (
            lambda: simulators.Sine(xi=32.0, inside=False).distance(np.ones((1, 2)), np.full((1, 2), 0.1)),
            ValueError,
            "1 − |sine of y₁| must be at least 0, got -2.2",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message.replace("|", r"\|")):
        call()


def test_an_unreachable_target_is_nan_in_a_compiled_run():
    sine = simulators.Sine(xi=2.0, inside=False)
    inverse = tf.function(sine.local_inverse, autograph=False)
    answer = inverse(tf.constant([[0.4, 0.0], [0.9, 0.0]]), tf.zeros([2, 2])).numpy()
    assert np.isfinite(answer[0]).all()
    assert np.isnan(answer[1]).any()
