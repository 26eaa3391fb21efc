"""Every update rule against numpy in float64, finite differences, and its defining properties."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from physgrad_tf import simulators, updates
from tests.package.agreement import assert_close

SWIRL = simulators.Swirl(kappa=0.7)
COMPOSITE = simulators.QuadraticComposite()


def quadratic(y):
    return tf.reduce_sum(y**2, axis=1)


def coupled(x):
    """A loss with an indefinite Hessian that varies from point to point."""
    return x[:, 0] ** 2 * x[:, 1] + 0.5 * x[:, 1] ** 2 + tf.cos(x[:, 0])


def coupled_gradient(x):
    return np.stack([2 * x[:, 0] * x[:, 1] - np.sin(x[:, 0]), x[:, 0] ** 2 + x[:, 1]], axis=1)


def coupled_hessian(x):
    h = np.empty((len(x), 2, 2))
    h[:, 0, 0] = 2 * x[:, 1] - np.cos(x[:, 0])
    h[:, 0, 1] = h[:, 1, 0] = 2 * x[:, 0]
    h[:, 1, 1] = 1.0
    return h


def finite_difference_jacobian(function, x, h=1e-6):
    columns = []
    for j in range(x.shape[1]):
        shift = h * np.eye(x.shape[1])[j]
        columns.append((function(tf.constant(x + shift)) - function(tf.constant(x - shift))).numpy() / (2 * h))
    return np.stack(columns, axis=-1)


def to_three(x):
    """A simulator with more outputs than inputs: a tall Jacobian."""
    return tf.stack([tf.sin(x[:, 0]), x[:, 0] * x[:, 1], tf.exp(0.5 * x[:, 1])], axis=1)


def to_one(x):
    """A simulator with fewer outputs than inputs: a wide Jacobian."""
    return tf.reduce_sum(tf.sin(x) * tf.constant([1.0, 2.0], x.dtype), axis=1, keepdims=True)


@pytest.fixture
def x(rng):
    return rng.normal(size=(6, 2))


def test_gradient_descent_equals_closed_form(x):
    assert_close(updates.gradient_descent(coupled, tf.constant(x), 0.3), -0.3 * coupled_gradient(x), rtol=1e-12)


def test_newton_equals_numpy_solve(x):
    expected = [-0.4 * np.linalg.solve(h, g) for h, g in zip(coupled_hessian(x), coupled_gradient(x), strict=True)]
    assert_close(updates.newton(coupled, tf.constant(x), 0.4), expected, rtol=1e-10)


def test_saddle_free_newton_equals_scipy_absolute_hessian(x):
    expected = []
    for h, g in zip(coupled_hessian(x), coupled_gradient(x), strict=True):
        absolute = scipy.linalg.sqrtm(h @ h).real  # |H| without an eigendecomposition of our own
        expected.append(-0.4 * np.linalg.solve(absolute, g))
    assert_close(updates.saddle_free_newton(coupled, tf.constant(x), 0.4), expected, rtol=1e-7)


UNKNOWN = [tf.TensorSpec([None, 2], tf.float64)] * 2


@pytest.mark.parametrize(("n_points", "n_wishes"), [(1, 5), (5, 1)])
@pytest.mark.parametrize("rule", [updates.inverse_gradient, updates.physical_gradient, updates.gauss_newton])
def test_a_wish_of_another_batch_is_not_broadcast_where_only_the_run_knows(rule, n_points, n_wishes):
    points, wishes = np.ones((n_points, 2)), np.ones((n_wishes, 2))
    of_swirl = lambda x, wish: rule(SWIRL, x, wish)  # noqa: E731
    with pytest.raises(ValueError, match="delta_y must have the shape of"):
        of_swirl(points, wishes)
    with pytest.raises(tf.errors.InvalidArgumentError, match="delta_y must have the shape of"):
        tf.function(of_swirl, input_signature=UNKNOWN)(points, wishes)


def test_one_loss_for_all_samples_is_refused_where_only_the_run_knows():
    one = lambda x: updates.gradient_descent(lambda x: tf.reshape(tf.reduce_mean(x**2), [1]), x, 1.0)  # noqa: E731
    with pytest.raises(tf.errors.InvalidArgumentError, match="loss must return one value per sample"):
        tf.function(one, input_signature=UNKNOWN[:1])(np.ones((3, 2)))


@pytest.mark.parametrize("c", [1e-200, 1e-30, 1e30])
def test_the_unit_of_the_loss_does_not_matter_to_newton(c):
    """Nor to what counts as singular."""
    x = tf.constant([[1.0, -2.0], [0.5, 3.0]], tf.float64)
    loss = lambda x: 2.0 * x[:, 0] ** 2 - x[:, 0] * x[:, 1] - x[:, 1] ** 2 + x[:, 0]  # noqa: E731
    for rule in (updates.newton, updates.saddle_free_newton):
        np.testing.assert_allclose(rule(lambda x: c * loss(x), x, 0.5), rule(loss, x, 0.5), rtol=1e-12)


def test_saddle_free_newton_descends_where_newton_climbs():
    def saddle(x):
        return x[:, 0] ** 2 - x[:, 1] ** 2 + x[:, 1] ** 4 / 4

    start = tf.constant([[0.5, 0.3]], tf.float64)
    newton, saddle_free = updates.newton(saddle, start, 0.1), updates.saddle_free_newton(saddle, start, 0.1)
    assert newton[0, 1] < 0 < saddle_free[0, 1]  # towards the saddle at x₁ = 0, towards the minimum at x₁ = √2
    assert_close(np.abs(newton), np.abs(saddle_free), rtol=1e-12)


@pytest.mark.parametrize("simulator", [SWIRL, COMPOSITE])
def test_inverse_gradient_solves_the_finite_difference_system(simulator, x):
    delta_y = np.array([0.3, -0.2])
    matrix = finite_difference_jacobian(simulator, x)
    expected = [np.linalg.solve(a, delta_y) for a in matrix]
    step = updates.inverse_gradient(simulator, tf.constant(x), tf.constant(np.tile(delta_y, (6, 1))))
    np.testing.assert_allclose(step, expected, rtol=1e-7, atol=1e-9)


def test_physical_gradient_reaches_the_wanted_point(x):
    delta_y = tf.constant(np.random.default_rng(5).normal(size=(6, 2)))
    step = updates.physical_gradient(SWIRL, tf.constant(x), delta_y)
    np.testing.assert_allclose(SWIRL(x + step), SWIRL(tf.constant(x)) + delta_y, rtol=1e-13, atol=1e-13)


def test_physical_and_inverse_gradient_differ_in_second_order(x):
    distances = []
    for length in (1e-2, 1e-3):
        delta_y = tf.constant(np.tile([length, -length], (6, 1)))
        physical = updates.physical_gradient(SWIRL, tf.constant(x), delta_y)
        distances.append(np.abs(physical - updates.inverse_gradient(SWIRL, tf.constant(x), delta_y)).max())
    assert 80 < distances[0] / distances[1] < 125


@pytest.mark.parametrize("simulator", [to_three, to_one, SWIRL])
@pytest.mark.parametrize(("rule", "exponent"), [(updates.gauss_newton, -1.0), (updates.half_inverse_gradient, -0.5)])
def test_spectral_steps_equal_numpy_svd_of_the_finite_difference_jacobian(x, simulator, rule, exponent):
    y = simulator(tf.constant(x)).numpy()
    delta_y = -0.1 * y
    expected = []
    for matrix, d in zip(finite_difference_jacobian(simulator, x), delta_y, strict=True):
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
        expected.append(vt.T @ (s**exponent * (u.T @ d)))
    np.testing.assert_allclose(rule(simulator, tf.constant(x), tf.constant(delta_y)), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("simulator", [to_three, to_one])
def test_gauss_newton_is_lstsq(x, simulator):
    delta_y = -0.1 * simulator(tf.constant(x)).numpy()
    expected = [
        np.linalg.lstsq(matrix, d)[0]
        for matrix, d in zip(finite_difference_jacobian(simulator, x), delta_y, strict=True)
    ]
    np.testing.assert_allclose(updates.gauss_newton(simulator, tf.constant(x), delta_y), expected, rtol=1e-6, atol=1e-9)


def test_gauss_newton_equals_inverse_gradient_for_a_square_regular_jacobian(x):
    delta_y = tf.constant(np.tile([0.1, 0.2], (6, 1)))
    np.testing.assert_allclose(
        updates.gauss_newton(SWIRL, tf.constant(x), delta_y),
        updates.inverse_gradient(SWIRL, tf.constant(x), delta_y),
        rtol=1e-11,
        atol=1e-12,
    )


def all_rules():
    """Every rule with its other arguments filled in, as the trajectory runner takes it."""
    return {
        "gradient_descent": lambda x: updates.gradient_descent(lambda x: quadratic(COMPOSITE(x)), x, 0.01),
        "newton": lambda x: updates.newton(lambda x: quadratic(COMPOSITE(x)), x, 1 / 3),
        "saddle_free_newton": lambda x: updates.saddle_free_newton(lambda x: quadratic(COMPOSITE(x)), x, 1 / 3),
        "inverse_gradient": lambda x: updates.inverse_gradient(
            COMPOSITE, x, lambda y: updates.newton(quadratic, y, 0.3)
        ),
        "physical_gradient": lambda x: updates.physical_gradient(
            COMPOSITE, x, lambda y: updates.newton(quadratic, y, 0.3)
        ),
        "gauss_newton": lambda x: updates.gauss_newton(
            COMPOSITE, x, lambda y: updates.gradient_descent(quadratic, y, 0.15)
        ),
        "half_inverse_gradient": lambda x: updates.half_inverse_gradient(
            COMPOSITE, x, lambda y: updates.gradient_descent(quadratic, y, 0.01)
        ),
    }


@pytest.mark.parametrize("name", all_rules())
def test_eager_equals_graph_equals_trajectory(name):
    rule = all_rules()[name]
    x = tf.constant([[3.0, 3.0], [-1.0, 0.5]], tf.float64)
    eager = rule(x)
    compiled = tf.function(rule, autograph=False).get_concrete_function(tf.TensorSpec(x.shape, x.dtype))(x)
    assert_close(eager, compiled, rtol=1e-13)
    iterates = updates.trajectory(rule, x, 3)
    assert iterates.shape == (4, 2, 2)
    point = x
    for iterate in iterates:
        assert_close(iterate, point, rtol=1e-12)
        point = point + rule(point)


@pytest.mark.parametrize("name", all_rules())
def test_float32_agrees_with_float64(name):
    rule = all_rules()[name]
    step32 = rule(tf.constant([[3.0, 2.0]], tf.float32))
    assert step32.dtype == tf.float32
    assert_close(step32, rule(tf.constant([[3.0, 2.0]], tf.float64)), rtol=1e-5)


@pytest.mark.parametrize("name", all_rules())
def test_permuting_the_batch_permutes_the_steps(name, rng):
    x, order = 1 + rng.random(size=(5, 2)), rng.permutation(5)
    rule = all_rules()[name]
    assert_close(rule(tf.constant(x[order])), rule(tf.constant(x)).numpy()[order], rtol=1e-13)


def test_trajectories_follow_their_closed_forms():
    k = np.arange(11)
    closed = {
        "gradient_descent": (3 * 0.98**k, None),
        "newton": (3 * (2 / 3) ** k, 3 * (8 / 9) ** k),
        "inverse_gradient": (3 * 0.7**k, 3 * 0.85**k),
        "physical_gradient": (3 * 0.7**k, 3 * 0.7 ** (k / 2)),
    }
    for name, expected in closed.items():
        iterates = updates.trajectory(all_rules()[name], np.array([[3.0, 3.0]]), 10).numpy()[:, 0]
        for coordinate, values in zip(iterates.T, expected, strict=True):
            if values is not None:
                assert_close(coordinate, values, rtol=1e-12)


def test_a_diverging_trajectory_is_returned_whole():
    rule = all_rules()["gradient_descent"]
    iterates = updates.trajectory(lambda x: 30 * rule(x), np.array([[3.0, 3.0]]), 12).numpy()
    assert iterates.shape == (13, 1, 2)
    assert not np.isfinite(iterates[-1]).all()


def test_a_trajectory_of_no_steps_is_the_start():
    np.testing.assert_array_equal(updates.trajectory(lambda x: -x, np.ones((1, 2)), 0), np.ones((1, 1, 2)))


@hypothesis.given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 2**32 - 1))
def test_units(scale, seed):
    """Express x in another unit: Newton, IG and PG steps turn with it, the gradient step changes by 1/unit²."""
    x = tf.constant(0.5 + np.random.default_rng(seed).random(size=(1, 2)))
    in_other_units = {
        "simulate": lambda z: SWIRL(z / scale),
        "loss": lambda z: quadratic(SWIRL(z / scale) - 1.0),
        "inverse": lambda y, z: scale * SWIRL.local_inverse(y, z),
    }
    delta_y = tf.constant([[0.1, -0.1]], tf.float64)
    inverse = updates.inverse_gradient(SWIRL, x, delta_y)
    assert_close(updates.inverse_gradient(in_other_units["simulate"], scale * x, delta_y) / scale, inverse, rtol=1e-9)
    np.testing.assert_allclose(
        updates.physical_gradient(
            in_other_units["simulate"], scale * x, delta_y, local_inverse=in_other_units["inverse"]
        )
        / scale,
        updates.physical_gradient(SWIRL, x, delta_y),
        rtol=1e-9,
        atol=1e-12,
    )
    gradient = updates.gradient_descent(lambda z: quadratic(SWIRL(z) - 1.0), x, 1.0)
    other = updates.gradient_descent(in_other_units["loss"], scale * x, 1.0) / scale
    np.testing.assert_allclose(other, gradient / scale**2, rtol=1e-9, atol=1e-9 / scale**2)


ONES = np.ones((2, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: updates.gradient_descent(quadratic, ONES, 0.0), ValueError, "eta must be positive, got 0.0"),
        (lambda: updates.newton(quadratic, ONES, np.nan), ValueError, "eta must be finite"),
        (lambda: updates.newton(quadratic, ONES, "1"), TypeError, "eta must be a number, got str"),
        (lambda: updates.newton(lambda x: x[:, 0], ONES, 1.0), ValueError, "the Hessian of loss is singular"),
        (lambda: updates.saddle_free_newton(lambda x: x[:, 0], ONES, 1.0), ValueError, "Hessian of loss is singular"),
        (
            lambda: updates.saddle_free_newton(lambda x: (x[:, 0] + x[:, 1]) ** 2, ONES, 1.0),
            ValueError,
            "Hessian of loss is singular",
        ),
        (lambda: updates.inverse_gradient(to_three, ONES, 0.1), ValueError, "got a Jacobian of 3×2; gauss_newton"),
        (
            lambda: updates.inverse_gradient(COMPOSITE, np.zeros((1, 2)), 0.1),
            ValueError,
            "the Jacobian of simulator is singular",
        ),
        (lambda: updates.inverse_gradient(SWIRL, ONES, np.ones(2)), ValueError, "delta_y must have the shape of y"),
        (
            lambda: updates.inverse_gradient(SWIRL, ONES, np.ones((2, 2), np.float32)),
            TypeError,
            "delta_y must have the dtype of y, float64, got float32",
        ),
        (lambda: updates.physical_gradient(to_three, ONES, 0.1), TypeError, "simulator has no local_inverse"),
        (
            lambda: updates.physical_gradient(to_three, ONES, 0.1, local_inverse=lambda y, x: y),
            ValueError,
            "local_inverse must return the shape of x",
        ),
        (
            lambda: updates.physical_gradient(SWIRL, ONES, 0.1, local_inverse=lambda y, x: y * np.nan),
            ValueError,
            r"local_inverse\(y \+ Δy, x\) must be finite",
        ),
        (lambda: updates.physical_gradient(COMPOSITE, ONES, -2.0), ValueError, "y₂ must be at least 0, got -1"),
        (lambda: updates.physical_gradient(None, ONES, 0.1), TypeError, "simulator must be a function"),
        (lambda: updates.trajectory(lambda x: x, ONES, -1), ValueError, "n_steps must be at least 0, got -1"),
        (lambda: updates.trajectory(lambda x: x, ONES, 1.5), TypeError, "n_steps must be an integer, got float"),
        (lambda: updates.trajectory(lambda x: x[:, :1], ONES, 1), ValueError, "rule must return the shape of its"),
        (lambda: updates.trajectory(lambda x: x, ONES * np.inf, 1), ValueError, "x_start must be finite"),
        (lambda: updates.trajectory(ONES, ONES, 1), TypeError, "rule must be a function, got ndarray"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("rule", [updates.newton, updates.saddle_free_newton])
def test_a_singular_hessian_stops_a_compiled_trajectory(rule):
    with pytest.raises(tf.errors.InvalidArgumentError):
        updates.trajectory(lambda x: rule(lambda x: x[:, 0] + 0 * x[:, 1], x, 1.0), ONES, 2)


def test_an_unreachable_target_stops_a_compiled_trajectory():
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite"):
        updates.trajectory(lambda x: updates.physical_gradient(COMPOSITE, x, -2.0), ONES, 1)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (lambda x: updates.inverse_gradient(lambda x: x**2, x, 0.1), "the Jacobian of simulator"),
        (lambda x: updates.newton(lambda x: tf.reduce_sum(x**3, axis=1), x, 1.0), "the Hessian of loss"),
        (lambda x: updates.saddle_free_newton(lambda x: tf.reduce_sum(x**3, axis=1), x, 1.0), "the Hessian of loss"),
    ],
)
def test_singular_samples_are_named(rule, name):
    x = tf.constant([[1.0, 1.0], [0.0, 1.0], [2.0, 1.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match=rf"{name} is singular at a point \(samples 1, 3 of 4\)"):
        rule(x)
    with pytest.raises(ValueError, match=rf"{name} is singular at a point: the step is undefined there"):
        rule(x[1:2])
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.function(rule)(x)


class Throw:
    """A simulator as a model takes it: an object that cannot be called."""

    def simulate(self, x):
        return tf.stack([x[:, 0] * x[:, 1], x[:, 1]], axis=1)

    def local_inverse(self, y, x_guess):
        return tf.stack([y[:, 0] / y[:, 1], y[:, 1]], axis=1)


@pytest.mark.parametrize(
    "rule",
    [updates.inverse_gradient, updates.gauss_newton, updates.half_inverse_gradient, updates.physical_gradient],
)
def test_a_simulator_may_be_what_a_model_takes(rule):
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]], tf.float64)
    inverse = {"local_inverse": Throw().local_inverse} if rule is updates.physical_gradient else {}
    wish = [[0.1, 0.2], [0.3, 0.4]]
    assert_close(rule(Throw(), x, wish), rule(Throw().simulate, x, tf.constant(wish, x.dtype), **inverse), rtol=1e-14)
    with pytest.raises(TypeError, match="simulator must be a function or an object, got the class Throw: make an"):
        rule(Throw, x, 0.1)
    with pytest.raises(TypeError, match="delta_y must be float32 or float64, got None"):
        rule(Throw(), x, None)
