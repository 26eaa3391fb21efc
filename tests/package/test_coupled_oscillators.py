"""The coupled oscillators against scipy, their energy, their derivatives and inverse, and what they refuse."""

import dataclasses

import keras
import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf

from physgrad_tf import simulators, training
from tests.package.agreement import assert_close

LINEAR = simulators.CoupledOscillators(n_steps=24, dt=0.5, spring=0.2, cubic=0.0, control_weight=1.0)
CUBIC = simulators.CoupledOscillators(n_steps=12, dt=0.125)
CHAIN = simulators.CoupledOscillators(n_steps=8, dt=0.1, n_masses=4, spring=0.3, cubic=0.7, control_weight=-2.0)


def starts_of(system, rng, batch=3):
    return rng.normal(size=(batch, 2 * system.n_masses))


def controls_of(system, rng, batch=3):
    return rng.normal(size=(batch, system.n_steps))


def force(system, q, u):
    """Mass by mass, from the text: own spring, right neighbour, left neighbour, control on the last."""
    forces = np.zeros_like(q)
    for i in range(system.n_masses):
        forces[i] = -q[i]
        for neighbour in (i - 1, i + 1):
            if 0 <= neighbour < system.n_masses:
                d = q[neighbour] - q[i]
                forces[i] += system.spring * d + system.cubic * d**3
    forces[-1] += system.control_weight * u
    return forces


def by_scipy(system, start, controls):
    n = system.n_masses
    state = start
    for u in controls:
        state = scipy.integrate.solve_ivp(
            lambda t, s, u=u: np.concatenate([s[n:], force(system, s[:n], u)]),
            (0.0, system.dt),
            state,
            rtol=1e-11,
            atol=1e-12,
        ).y[:, -1]
    return state


@pytest.mark.parametrize("system", [LINEAR, CUBIC, CHAIN], ids=["linear", "cubic", "chain"])
def test_against_scipy_at_fourth_order(system, rng):
    """Halving the step while the controls are held divides the error by sixteen."""
    starts, controls = 0.5 * starts_of(system, rng, 1), 0.5 * controls_of(system, rng, 1)
    exact = by_scipy(system, starts[0], controls[0])
    errors = []
    for parts in (4, 8):
        finer = dataclasses.replace(system, n_steps=parts * system.n_steps, dt=system.dt / parts)
        y = tf.function(finer.simulate)(tf.constant(np.repeat(controls, parts, axis=1)), tf.constant(starts))
        errors.append(np.abs(y[0] - exact).max())
    assert errors[1] < 2e-5
    assert_close(errors[0] / errors[1], 16.0, rtol=0.25)


def test_simulating_is_stepping_again_and_again(rng):
    starts, controls = starts_of(CHAIN, rng), controls_of(CHAIN, rng)
    state = tf.constant(starts)
    for k in range(CHAIN.n_steps):
        state = CHAIN.step(state, tf.constant(controls[:, k : k + 1]))
    assert_close(CHAIN.simulate(tf.constant(controls), tf.constant(starts)), state, rtol=1e-12)


@pytest.mark.parametrize("system", [CUBIC, CHAIN], ids=["cubic", "chain"])
def test_energy_is_conserved_without_control_and_changed_by_it(system, rng):
    fine = dataclasses.replace(system, n_steps=200, dt=0.01)
    simulate = tf.function(fine.simulate)
    starts = tf.constant(0.5 * starts_of(fine, rng))
    at_rest = tf.zeros([3, 200], tf.float64)
    assert_close(fine.energy(simulate(at_rest, starts)), fine.energy(starts), rtol=1e-7)
    assert np.all(np.abs(fine.energy(simulate(at_rest + 1.0, starts)) - fine.energy(starts)) > 0.01)


def test_the_energy_is_that_of_the_forces(rng):
    """−∂E/∂q is the force without control; ∂E/∂p the momentum."""
    state = tf.constant(starts_of(CHAIN, rng))
    with tf.GradientTape() as tape:
        tape.watch(state)
        energy = CHAIN.energy(state)
    slope = tape.gradient(energy, state).numpy()
    assert_close(-slope[:, :4], [force(CHAIN, q, 0.0) for q in state.numpy()[:, :4]], rtol=1e-11)
    assert_close(slope[:, 4:], state[:, 4:])


def test_the_energy_of_a_state_by_hand():
    state = tf.constant([[1.0, 3.0, 2.0, 0.0]])  # α·d⁴ with α = 1/4 and d = 2
    assert_close(CUBIC.energy(state), [0.5 + 4.5 + 2.0 + 0.25 * 16.0])


def test_a_positive_control_pushes_the_last_mass_forward():
    y = CUBIC.step(tf.zeros([1, 4]), tf.ones([1, 1])).numpy()[0]
    assert_close(y[[1, 3]], [3.0 * 0.125**2 / 2.0, 3.0 * 0.125], rtol=1e-2)
    assert np.all(np.abs(y[[0, 2]]) < 1e-6)


def test_the_gradient_against_finite_differences(rng):
    starts, controls, w = starts_of(CUBIC, rng), controls_of(CUBIC, rng), rng.normal(size=(3, 4))

    def product(x):
        return tf.reduce_sum(w * CUBIC.simulate(x, tf.constant(starts)))

    x = tf.constant(controls)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = product(x)
    gradient = tape.gradient(value, x)
    direction = rng.normal(size=controls.shape)
    change = product(x + 1e-6 * direction) - product(x - 1e-6 * direction)
    assert_close(np.sum(gradient * direction), change / 2e-6, rtol=1e-7)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_eager_graph_and_xla_agree_with_their_gradients(dtype, rng):
    starts, controls = tf.constant(starts_of(CUBIC, rng), dtype), tf.constant(controls_of(CUBIC, rng), dtype)

    def value_and_gradient(x, inputs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = CUBIC.simulate(x, inputs)
            value = tf.reduce_sum(y**2)
        return y, tape.gradient(value, x)

    eager = value_and_gradient(controls, starts)
    assert all(tensor.dtype == dtype for tensor in eager)
    rtol = 1e-4 if dtype == tf.float32 else 1e-11
    for options in ({}, {"jit_compile": True}):
        compiled = tf.function(value_and_gradient, autograph=False, **options)(controls, starts)
        for ours, theirs in zip(compiled, eager, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


def test_a_batch_of_unknown_size_is_taken(rng):
    starts, controls = starts_of(CUBIC, rng), controls_of(CUBIC, rng)
    signature = [tf.TensorSpec([None, 12], tf.float64), tf.TensorSpec([None, 4], tf.float64)]
    compiled = tf.function(CUBIC.simulate, input_signature=signature)
    y = CUBIC.simulate(tf.constant(controls), tf.constant(starts))
    assert_close(compiled(tf.constant(controls), tf.constant(starts)), y, rtol=1e-12)


def test_further_columns_of_the_inputs_are_ignored(rng):
    starts, controls = starts_of(CUBIC, rng), tf.constant(controls_of(CUBIC, rng))
    wider = np.concatenate([starts, np.full((3, 2), 7.0)], axis=1)
    assert_close(CUBIC.simulate(controls, wider), CUBIC.simulate(controls, starts), rtol=1e-13)


def test_the_response_is_the_jacobian(rng):
    zero = tf.zeros([24, 4], tf.float64)
    by_pushes = LINEAR.simulate(tf.eye(24, dtype=tf.float64), zero)  # one push in one step, from rest
    np.testing.assert_allclose(LINEAR.response(), tf.transpose(by_pushes), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("n_masses", [1, 2, 3])
def test_the_inverse_reaches_the_state_by_the_closest_controls(n_masses, rng):
    system = simulators.CoupledOscillators(24, 0.5, n_masses=n_masses, spring=0.2, cubic=0.0, control_weight=1.0)
    starts, goals = tf.constant(starts_of(system, rng)), tf.constant(starts_of(system, rng))
    guess = tf.constant(controls_of(system, rng))
    found = system.local_inverse(goals, guess, starts)
    np.testing.assert_allclose(system.simulate(found, starts), goals, atol=1e-10)
    no_effect = np.eye(24) - np.linalg.pinv(system.response()) @ system.response()
    np.testing.assert_allclose((found - guess) @ no_effect, 0.0, atol=1e-10)  # no detour in directions without effect


def test_a_network_learns_by_the_inverse_and_is_saved(tmp_path):
    keras.utils.set_random_seed(0)
    starts = LINEAR.random_states(32, np.random.default_rng(0))
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(24)])
    model = training.ScaleInvariantPhysics(network, LINEAR)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=True)
    losses = model.fit(starts, starts, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < 0.3 * losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(starts), model(starts))


def test_states_repeat_with_the_seed():
    first = CHAIN.random_states(500, np.random.default_rng(3))
    np.testing.assert_array_equal(first, CHAIN.random_states(500, np.random.default_rng(3)))
    assert first.shape == (500, 8)
    assert first.dtype == np.float32
    assert 0.0 <= first.min() < 0.01
    assert 0.99 < first.max() < 1.0


def test_protocol_and_saved_form():
    assert isinstance(CHAIN, simulators.InvertibleSimulator)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(CHAIN)) == CHAIN


ONES = tf.ones([3, 12])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: simulators.CoupledOscillators(0, 0.1), ValueError, "n_steps must be at least 1, got 0"),
        (lambda: simulators.CoupledOscillators(4, -0.1), ValueError, "dt must be positive"),
        (lambda: simulators.CoupledOscillators(4, 0.1, n_masses=0), ValueError, "n_masses must be at least 1"),
        (lambda: simulators.CoupledOscillators(4, 0.1, spring=-1.0), ValueError, "spring must be at least 0, got -1.0"),
        (lambda: simulators.CoupledOscillators(4, 0.1, cubic=-1.0), ValueError, "cubic must be at least 0"),
        (lambda: simulators.CoupledOscillators(4, 0.1, control_weight="3"), TypeError, "control_weight must be a num"),
        (lambda: CUBIC.simulate(tf.ones([3, 11]), tf.ones([3, 4])), ValueError, r"x must have shape \[batch, 12\]"),
        (lambda: CUBIC.simulate(ONES, tf.ones([3, 3])), ValueError, "inputs must have at least 4 columns"),
        (lambda: CUBIC.simulate(ONES, tf.ones([2, 4])), ValueError, "inputs must have the batch of x, 3, got 2"),
        (lambda: CUBIC.simulate(ONES, np.ones((3, 4))), TypeError, "inputs must have the dtype of x, float32, got"),
        (lambda: CUBIC.simulate(np.ones((3, 12), int), np.ones((3, 4))), TypeError, "x must be float32 or float64"),
        (lambda: CUBIC.step(tf.ones([3, 4]), tf.ones([3, 2])), ValueError, r"control must have shape \[batch, 1\]"),
        (lambda: CUBIC.energy(tf.ones([3, 5])), ValueError, r"state must have shape \[batch, 4\]"),
        (lambda: CUBIC.response(), ValueError, "only a linear coupling has one response for all states, got cubic = 1"),
        (lambda: CUBIC.local_inverse(tf.ones([3, 4]), ONES, tf.ones([3, 4])), ValueError, "only a linear coupling"),
        (
            lambda: LINEAR.local_inverse(tf.ones([3, 3]), tf.ones([3, 24]), tf.ones([3, 4])),
            ValueError,
            "y must have the shape of the simulated final state",
        ),
        (
            lambda: simulators.CoupledOscillators(12, 0.5, cubic=0.0).local_inverse(
                tf.ones([3, 4]), ONES, tf.ones([3, 4])
            ),
            ValueError,
            "the controls cannot reach every final state",
        ),
        (lambda: CUBIC.random_states(0, np.random.default_rng(0)), ValueError, "n_states must be at least 1"),
        (lambda: CUBIC.random_states(1, 0), TypeError, "rng must be a numpy.random.Generator, got int"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
