"""A controller in a closed loop: against a rollout by hand, within Keras, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import simulators, training
from tests.package.agreement import assert_close

PENDULUM = simulators.PushedPendulum(dt=0.4)


@keras.saving.register_keras_serializable("tests")
def drift(state, control):
    """A reader's own step: a plain function with two controls."""
    return state + 0.1 * control


def controller(n_in=4, n_control=1):
    keras.utils.set_random_seed(2)
    layers = [keras.layers.Dense(6, "tanh"), keras.layers.Dense(n_control)]
    # keras.Input would take float32 whatever the policy, and round what comes in.
    return keras.Sequential([keras.Input((n_in,), dtype=keras.config.dtype_policy().name), *layers])


def loop(n_steps=3):
    return training.ClosedLoop(controller(), PENDULUM, n_steps, n_state=2)


@pytest.fixture
def in_float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def inputs(rng):
    """Start states and the angle at which the pendulum is to rest."""
    return rng.uniform(-1.0, 1.0, (24, 3)).astype("float32")


@pytest.fixture
def targets(inputs):
    return np.stack([inputs[:, 2], np.zeros(24, "float32")], axis=1)


def test_against_a_rollout_by_hand(inputs):
    closed = loop()
    kernel, bias, kernel_out, bias_out = (weight.numpy() for weight in closed.controller.weights)
    q, p, goal = inputs.T.astype("float64")
    expected = []
    for left in (1.0, 2 / 3, 1 / 3):
        seen = np.stack([q, p, goal, np.full(24, left)], axis=1)
        u = (np.tanh(seen @ kernel + bias) @ kernel_out + bias_out)[:, 0]
        expected.append(u)
        p = p + 0.2 * (u - np.sin(q))
        q = q + 0.4 * p
        p = p + 0.2 * (u - np.sin(q))
    np.testing.assert_allclose(closed(inputs), np.stack(expected, axis=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(PENDULUM.simulate(closed(inputs), tf.constant(inputs)), np.stack([q, p], 1), atol=1e-5)


def test_several_controls_and_nothing_but_the_state():
    closed = training.ClosedLoop(controller(n_in=3, n_control=2), drift, n_steps=2, n_state=2)
    start = np.array([[0.5, -0.5]], "float32")
    first = closed.controller(np.array([[0.5, -0.5, 1.0]], "float32"))
    second = closed.controller(tf.concat([start + 0.1 * first, [[0.5]]], axis=1))
    assert_close(closed(start), tf.concat([first, second], axis=1), rtol=1e-5)


def test_float64_is_kept(in_float64):
    closed = loop()
    inputs = np.array([[0.1, 0.2, 0.3]]) + 1e-12
    u = closed(inputs)
    assert u.dtype == tf.float64
    assert np.any(u != closed(inputs.astype("float32").astype("float64")))


def test_the_gradient_runs_through_the_steps(in_float64, inputs):
    """The derivative of the last control with respect to the first layer, against differences in float64."""
    closed, inputs = loop(), inputs.astype("float64")
    kernel = closed.controller.layers[0].kernel

    def last_control():
        return tf.reduce_sum(closed(inputs)[:, -1])

    with tf.GradientTape() as tape:
        value = last_control()
    slope = tape.gradient(value, kernel.value)
    start, direction = kernel.numpy(), np.cos(np.arange(24.0)).reshape(4, 6)
    values = []
    for sign in (1.0, -1.0):
        kernel.assign(start + sign * 1e-6 * direction)
        values.append(float(last_control()))
    assert_close((values[0] - values[1]) / 2e-6, np.sum(slope * direction), rtol=1e-6)


def scale_invariant():
    return training.ScaleInvariantPhysics(loop(n_steps=2), PENDULUM, inverse=training.GaussNewtonSolver())


def differentiable():
    return training.DifferentiablePhysics(loop(n_steps=2), PENDULUM)


def test_eager_equals_graph(inputs, targets):
    ends = []
    for options in ({"run_eagerly": True}, {}):
        model = scale_invariant()
        model.compile(keras.optimizers.SGD(0.05), **options)
        model.train_on_batch(inputs, targets)
        ends.append(model.get_weights())
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [scale_invariant, differentiable])
def test_training_lowers_the_error_and_save_load_gives_the_same_next_step(build, inputs, targets, tmp_path):
    model = build()
    model.compile(keras.optimizers.Adam(0.02))
    history = model.fit(inputs, targets, batch_size=12, epochs=15, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.network.n_steps, loaded.network.n_state, loaded.network.step) == (2, 2, PENDULUM)
    for one in (model, loaded):
        one.fit(inputs, targets, batch_size=12, epochs=1, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_scale_invariant_step_is_a_sum_over_the_time_steps(in_float64, inputs, targets):
    """SGD on Σ_t ½|u_t − ũ_t|², with ũ from one Gauss-Newton step written with numpy's pseudo-inverse."""
    model = training.ScaleInvariantPhysics(loop(), PENDULUM, inverse=training.GaussNewtonSolver())
    inputs, targets = inputs.astype("float64"), targets.astype("float64")
    variables = model.trainable_variables
    u = model.network(inputs).numpy()
    columns = []
    for k in range(3):
        push = np.eye(3)[k] * 1e-6
        plus, minus = (PENDULUM.simulate(tf.constant(u + s * push), tf.constant(inputs)) for s in (1, -1))
        columns.append((plus - minus) / 2e-6)
    jacobian = np.stack(columns, axis=2)
    misfit = targets - PENDULUM.simulate(tf.constant(u), tf.constant(inputs))
    wanted = u + np.einsum("bij,bj->bi", np.linalg.pinv(jacobian), misfit)
    with tf.GradientTape() as tape:
        terms = [tf.reduce_mean((model.network(inputs)[:, t] - wanted[:, t]) ** 2) / 2.0 for t in range(3)]
        total = tf.add_n(terms)
    gradients = tape.gradient(total, [variable.value for variable in variables])
    expected = [variable - 0.1 * gradient for variable, gradient in zip(variables, gradients, strict=True)]
    model.compile(keras.optimizers.SGD(0.1))
    logs = model.train_on_batch(inputs, targets, return_dict=True)
    assert_close(logs["proxy"], total, rtol=1e-5)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: training.ClosedLoop(drift, drift, 2, 2), TypeError, "controller must be a Keras model or layer"),
        (lambda: training.ClosedLoop(controller(), 3, 2, 2), TypeError, "step must be a function, got int"),
        (lambda: training.ClosedLoop(controller(), drift, 0, 2), ValueError, "n_steps must be at least 1"),
        (lambda: training.ClosedLoop(controller(), drift, 2, 0), ValueError, "n_state must be at least 1"),
        (lambda: training.ClosedLoop(controller(), drift, 2.0, 2), TypeError, "n_steps must be an integer"),
        (lambda: loop()(np.ones((4, 1), "float32")), ValueError, "inputs must have at least 2 columns"),
        (lambda: loop()(np.ones((4, 3, 2), "float32")), ValueError, r"inputs must have shape \[batch, n\]"),
        (
            lambda: training.ClosedLoop(controller(), lambda state, control: control, 2, 2)(np.ones((4, 3), "float32")),
            ValueError,
            r"step\(state, control\) must have the shape of state, \(4, 2\), got \(4, 1\)",
        ),
        (
            lambda: training.ClosedLoop(keras.layers.Reshape((2, 2)), drift, 2, 2)(np.ones((4, 3), "float32")),
            ValueError,
            "controller must return one point per sample",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_layer_as_the_step_does_not_learn(inputs):
    """It is refused with weights that would; frozen, it drops nothing, and the controller alone is trained."""

    class Emulator(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.drop, self.dense = keras.layers.Dropout(0.5), keras.layers.Dense(2)

        def call(self, state, control, training=False):
            return self.dense(self.drop(tf.concat([state, control], axis=1), training=training))

    emulator = Emulator()
    made = training.ClosedLoop(controller(), emulator, 2, n_state=2)
    with pytest.raises(ValueError, match=r"step must not learn, got the layer .* with trainable weights"):
        made(inputs)
    with pytest.raises(ValueError, match="step must not learn"):
        training.ClosedLoop(controller(), emulator, 2, n_state=2)
    emulator.trainable = False
    made = training.ClosedLoop(controller(), emulator, 2, n_state=2)
    np.testing.assert_array_equal(made(inputs, training=True), made(inputs, training=True))
    assert len(made.trainable_variables) == 4
