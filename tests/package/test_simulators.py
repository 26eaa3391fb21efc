"""Every simulator against a closed form or scipy, its inverse, its saved form and what it refuses."""

import dataclasses

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import tensorflow as tf

from physgrad_tf import jacobians, simulators
from tests.package.agreement import assert_close

ALL = [
    simulators.Diffusion(nu_t=0.5),
    simulators.EulerOscillator(n_steps=20, dt=0.05, cubic=1.0),
    simulators.Exponential(),
    simulators.LeapfrogOscillator(n_steps=20, dt=0.05, cubic=1.0),
    simulators.QuadraticComposite(),
    simulators.Square(),
    simulators.Swirl(kappa=0.7),
]
INVERTIBLE = [simulator for simulator in ALL if isinstance(simulator, simulators.InvertibleSimulator)]


@pytest.fixture
def x(rng):
    return rng.normal(size=(5, 2))


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Stretched(simulators.SavedByFields):
    """A reader's own simulator."""

    factor: float
    shifts: tuple[float, ...] = (0.0, 0.0)

    def simulate(self, x):
        return self.factor * x + self.shifts


def test_a_simulator_of_ones_own_is_saved_by_its_fields(x):
    own = Stretched(3.0, (1.0, -1.0))
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(own))
    assert isinstance(loaded, Stretched)
    np.testing.assert_array_equal(loaded.simulate(x), own.simulate(x))


def test_only_the_euler_oscillator_has_no_inverse():
    assert [type(s).__name__ for s in ALL if s not in INVERTIBLE] == ["EulerOscillator"]


@pytest.mark.parametrize("simulator", ALL)
def test_protocol_call_dtype_and_shape(simulator, x):
    assert isinstance(simulator, simulators.Simulator)
    for dtype in (tf.float32, tf.float64):
        points = tf.constant(x, dtype)
        y = simulator(points)
        assert y.dtype == dtype
        assert y.shape == x.shape
        np.testing.assert_array_equal(y, simulator.simulate(points))


@pytest.mark.parametrize("simulator", ALL)
def test_keras_saves_and_loads(simulator, x):
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(simulator))
    assert loaded == simulator
    np.testing.assert_array_equal(loaded(tf.constant(x)), simulator(tf.constant(x)))


@pytest.mark.parametrize("simulator", ALL)
def test_eager_equals_graph(simulator, x):
    compiled = tf.function(simulator, autograph=False)
    np.testing.assert_allclose(compiled(tf.constant(x)), simulator(tf.constant(x)), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("simulator", INVERTIBLE)
def test_the_local_inverse_returns_where_it_came_from(simulator, x):
    points = tf.constant(x)
    np.testing.assert_allclose(simulator.local_inverse(simulator(points), points), x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("simulator", INVERTIBLE)
def test_the_local_inverse_reaches_a_nearby_target(simulator, x):
    points = tf.constant(np.abs(x) + 0.5)
    target = 1.01 * simulator(points)
    np.testing.assert_allclose(simulator(simulator.local_inverse(target, points)), target, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("simulator", ALL)
def test_jacobian_equals_finite_differences(simulator, x):
    h = 1e-6
    columns = [
        (simulator(tf.constant(x + shift)) - simulator(tf.constant(x - shift))).numpy() / (2 * h)
        for shift in h * np.eye(2)
    ]
    np.testing.assert_allclose(
        jacobians.jacobian(simulator, tf.constant(x)), np.stack(columns, axis=-1), rtol=1e-7, atol=1e-8
    )


def test_closed_forms(x):
    points = tf.constant(x)
    assert_close(simulators.Square()(points), x**2, rtol=1e-15)
    assert_close(simulators.Exponential()(points), np.exp(x), rtol=1e-14)
    assert_close(simulators.QuadraticComposite()(points), np.stack([x[:, 0], x[:, 1] ** 2], axis=1), rtol=1e-15)
    z = x[:, 0] + 1j * x[:, 1]
    turned = z * np.exp(0.7j * np.abs(z) ** 2)
    np.testing.assert_allclose(
        simulators.Swirl(0.7)(points), np.stack([turned.real, turned.imag], axis=1), rtol=1e-13, atol=1e-13
    )


def test_the_swirl_preserves_area(x):
    determinants = tf.linalg.det(jacobians.jacobian(simulators.Swirl(2.0), tf.constant(x)))
    assert_close(determinants, np.ones(5), rtol=1e-12)


@pytest.mark.parametrize("simulator", [simulators.Square(), simulators.QuadraticComposite()])
def test_the_local_inverse_keeps_the_branch(simulator):
    guess = tf.constant([[1.0, -3.0]], tf.float64)
    y = tf.constant([[4.0, 4.0]], tf.float64)
    assert simulator.local_inverse(y, guess).numpy()[0, 1] == -2.0
    assert simulator.local_inverse(y, -guess).numpy()[0, 1] == 2.0


def test_diffusion_equals_the_matrix_exponential(rng):
    n, nu_t = 9, 0.7
    u = rng.normal(size=(2, n))
    k2 = np.fft.ifft((2 * np.pi * np.fft.fftfreq(n)) ** 2 * np.fft.fft(np.eye(n), axis=0).T, axis=1).real
    expected = (scipy.linalg.expm(-nu_t * k2) @ u.T).T
    np.testing.assert_allclose(simulators.Diffusion(nu_t)(tf.constant(u)), expected, rtol=1e-11, atol=1e-12)


def test_diffusion_conserves_the_mean_and_its_condition_number_is_that_of_its_jacobian(rng):
    u = tf.constant(rng.normal(size=(1, 16)))
    simulator = simulators.Diffusion(1.0)
    assert_close(tf.reduce_mean(simulator(u)), tf.reduce_mean(u), rtol=1e-12)
    matrix = jacobians.jacobian(simulator, u)[0]
    assert_close(np.linalg.cond(matrix), simulator.condition_number(16), rtol=1e-9)


@pytest.mark.parametrize("cls", [simulators.LeapfrogOscillator, simulators.EulerOscillator])
@pytest.mark.parametrize("cubic", [0.0, 1.0])
def test_oscillators_converge_to_the_exact_motion(cls, cubic, x):
    def motion(t, state):
        q, p = state.reshape(2, -1)
        return np.concatenate([p, -q - cubic * q**3])

    end = scipy.integrate.solve_ivp(motion, (0, 2), x.T.ravel(), rtol=1e-11, atol=1e-12).y[:, -1].reshape(2, -1).T
    order = 2 if cls is simulators.LeapfrogOscillator else 1
    errors = [np.abs(cls(n_steps=n, dt=2 / n, cubic=cubic)(tf.constant(x)) - end).max() for n in (400, 800)]
    assert 0.8 * 2**order < errors[0] / errors[1] < 1.25 * 2**order


def test_leapfrog_keeps_area_and_energy_and_euler_does_not(x):
    leapfrog = simulators.LeapfrogOscillator(n_steps=200, dt=0.05)
    euler = simulators.EulerOscillator(n_steps=200, dt=0.05)
    points = tf.constant(x)
    assert_close(tf.linalg.det(jacobians.jacobian(leapfrog, points)), np.ones(5), rtol=1e-11)
    assert_close(leapfrog.energy(leapfrog(points)), leapfrog.energy(points), rtol=1e-2)
    # One explicit Euler step of the unit oscillator multiplies the energy by 1 + dt².
    assert_close(euler.energy(euler(points)), (1 + 0.05**2) ** 200 * euler.energy(points), rtol=1e-11)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: simulators.Swirl()(np.ones((2, 3))), ValueError, r"x must have shape \[batch, 2\], got \(2, 3\)"),
        (lambda: simulators.Swirl(kappa="1"), TypeError, "kappa must be a number, got str"),
        (lambda: simulators.Square()(np.ones((2, 2), int)), TypeError, "x must be float32 or float64"),
        (lambda: simulators.Square()(np.ones(2)), ValueError, r"x must have shape \[batch, n\]"),
        (
            lambda: simulators.Square().local_inverse(-np.ones((1, 1)), np.ones((1, 1))),
            ValueError,
            "y must be at least 0",
        ),
        (
            lambda: simulators.Square().local_inverse(np.ones((1, 2)), np.ones((1, 1))),
            ValueError,
            "x_guess must have the shape of y",
        ),
        (
            lambda: simulators.Exponential().local_inverse(np.zeros((1, 1)), np.ones((1, 1))),
            ValueError,
            "y must be above 0, got 0",
        ),
        (lambda: simulators.Diffusion(nu_t=-1.0), ValueError, "nu_t must be at least 0, got -1.0"),
        (
            lambda: simulators.Diffusion(nu_t=8.0).local_inverse(np.ones((1, 32)), np.ones((1, 32))),
            ValueError,
            "y cannot be inverted: nu_t = 8.0 damps the shortest wave by 2.0e\\+34",
        ),
        (
            lambda: simulators.Diffusion(2.0).local_inverse(np.ones((1, 32), "f4"), np.ones((1, 32), "f4")),
            ValueError,
            "damps the shortest wave by 3.7e\\+08, more than float32 resolves",
        ),
        (lambda: simulators.LeapfrogOscillator(n_steps=0, dt=0.1), ValueError, "n_steps must be at least 1, got 0"),
        (lambda: simulators.LeapfrogOscillator(n_steps=1, dt=0.0), ValueError, "dt must be positive, got 0.0"),
        (lambda: simulators.EulerOscillator(n_steps=2.0, dt=0.1), TypeError, "n_steps must be an integer, got float"),
        (
            lambda: simulators.EulerOscillator(n_steps=2, dt=0.1).energy(np.ones((2, 1))),
            ValueError,
            r"state must have shape \[batch, 2\]",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


@dataclasses.dataclass(frozen=True)
class Weighted(simulators.SavedByFields):
    """A field that is an array by mistake."""

    weights: object


def test_fields_that_keras_would_not_give_back_are_refused():
    assert Weighted((1.0, 2.0)).get_config() == {"weights": (1.0, 2.0)}
    for wrong in (np.ones(2), tf.ones([2])):
        with pytest.raises(TypeError, match="weights must be a number, a text or a list of them to be saved, got"):
            Weighted(wrong).get_config()
