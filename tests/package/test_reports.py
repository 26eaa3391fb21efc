"""What the models report, and how they run their network: each against numbers written out."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from physgrad_tf import simulators, training
from physgrad_tf.training.guard import stop_unless_finite
from tests.package.agreement import assert_close


@keras.saving.register_keras_serializable("tests")
class Scaling:
    """y = x², with a distance that tells the three things it is given apart, and an inverse that does not move x."""

    def simulate(self, x, inputs=None):
        return x**2

    def local_inverse(self, y, x_guess, inputs=None):
        return x_guess + 0.5 * y

    def distance(self, x, y, inputs):
        return tf.reduce_mean(x + 10.0 * y + 100.0 * inputs, axis=1)

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls()


def network(*parts, dtype="float32"):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((2,), dtype=dtype), layers.Dense(2, dtype=dtype, bias_initializer="ones"), *parts]
    )


KINDS = {
    "gradient": training.DifferentiablePhysics,
    "scale-invariant": training.ScaleInvariantPhysics,
    "half-inverse": training.SpectralModel,
    "products": lambda *args: training.SpectralModel(*args, jacobian="products", n_products=2),
}


@pytest.fixture
def data(rng):
    return rng.uniform(0.5, 1.5, (7, 2)).astype("float32"), rng.uniform(0.5, 1.5, (7, 2)).astype("float32")


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_reported_is_the_mean_over_all_samples(kind, known, data):
    """Batches of 4 and 3, a step of size zero: loss, metric, weighted metric and distance as numpy gives them."""
    inputs, target = data
    solution = target + 0.5
    weight = np.linspace(0.0, 3.0, 7)
    model = KINDS[kind](network(), Scaling())
    model.compile(keras.optimizers.SGD(0.0), training.HalfSquaredError(), metrics=["mae"], weighted_metrics=["mse"])
    x = np.asarray(model.network(inputs))
    error = x**2 - target
    options = {"batch_size": 4, "verbose": 0, "sample_weight": weight}
    given = {"y": target, "x": solution} if known else target
    logs = {k: v[0] for k, v in model.fit(inputs, given, shuffle=False, **options).history.items()}
    tested = model.evaluate(inputs, given, return_dict=True, **options)
    for found in (logs, tested):
        assert_close(found["loss"], np.mean(weight * np.sum(error**2, axis=1)) / 2.0, 1e-5)
        assert_close(found["mae"], np.mean(np.abs(error)), 1e-5)
        assert_close(found["mse"], np.mean(np.sum(weight[:, np.newaxis] * error**2, axis=0) / weight.sum()), 1e-5)
        distance = np.abs(x - solution) if known else x + 10.0 * target + 100.0 * inputs
        assert_close(found["x_error"], np.mean(distance), 1e-5)


@pytest.mark.parametrize(("proxy", "length"), [("l2", lambda d: d**2 / 2.0), ("l1", np.abs)])
def test_the_proxy_is_the_mean_distance_to_what_the_inverse_wants(proxy, length, data):
    inputs, target = data
    model = training.ScaleInvariantPhysics(network(), Scaling(), proxy=proxy)
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(inputs, target, batch_size=4, shuffle=False, verbose=0).history
    assert_close(history["proxy"][0], np.mean(np.sum(length(0.5 * target), axis=1)), 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_loaded_model_is_compiled_as_it_was(kind, jit_compile, data, tmp_path):
    model = KINDS[kind](network(), Scaling())
    model.compile("sgd", "mse", jit_compile=jit_compile)
    model.fit(*data, verbose=0)
    model.save(tmp_path / "model.keras")
    config = keras.models.load_model(tmp_path / "model.keras").get_compile_config()
    assert config["jit_compile"] is jit_compile


@pytest.mark.parametrize("jit_compile", [True, False])
def test_xla_compiles_what_it_is_told_to(jit_compile):
    model = training.DifferentiablePhysics(network(), Scaling())
    model.compile("sgd", "mse", jit_compile=jit_compile)
    calls = model.through_xla(tf.sin)
    assert (getattr(calls, "_jit_compile", None) is True) == jit_compile


class InTraining(layers.Layer):
    """Adds one, in training only."""

    def call(self, x, training=False):
        return x + 1.0 if training else x


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_network_runs_as_in_training_there_and_only_there(kind, loop, data):
    """The loss of training is that of x + 1, the loss of a test that of x; of a closed loop as of a network."""
    inputs, target = data
    inner = network(InTraining())
    if loop:
        keras.utils.set_random_seed(1)
        controller = keras.Sequential([keras.Input((3,)), layers.Dense(2, bias_initializer="ones"), InTraining()])
        inner = training.ClosedLoop(controller, lambda state, u: state, n_steps=1, n_state=2)
    model = KINDS[kind](inner, Scaling())
    model.compile(keras.optimizers.SGD(0.0), training.HalfSquaredError())
    x = np.asarray(inner(inputs, training=False))
    of = lambda x: np.mean(np.sum((x**2 - target) ** 2, axis=1)) / 2.0  # noqa: E731
    history = model.fit(inputs, target, validation_data=data, verbose=0).history
    assert_close(history["loss"][0], of(x + 1.0), 1e-5)
    assert_close(history["val_loss"][0], of(x), 1e-5)
    if kind == "scale-invariant":  # the inverse sees the x of training
        assert_close(history["proxy"][0], np.mean(np.sum((0.5 * target) ** 2, axis=1)) / 2.0, 1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_entry_of_one_tensor_stops_the_run(bad):
    good, mixed = tf.ones([3]), tf.constant([1.0, bad])
    for tensors in ([good, mixed], [mixed, good]):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"the gradient is not finite.*number"):
            stop_unless_finite("the gradient", tensors, tf.constant(7))
    np.testing.assert_array_equal(stop_unless_finite("the gradient", [good], tf.constant(7))[0], good)


def test_several_losses_are_added_in_the_precision_of_the_network(data):
    """Keras adds them up in its floatx, which stays at float32."""
    inputs, target = (part.astype("float64") for part in data)
    model = training.DifferentiablePhysics(network(dtype="float64"), lambda x: [x**2, 1e-9 * x])
    model.compile("sgd", [training.HalfSquaredError(), training.HalfSquaredError()])
    x = model.network(inputs).numpy()
    expected = np.mean(np.sum((x**2 - target) ** 2, axis=1)) / 2.0 + np.mean(np.sum((1e-9 * x) ** 2, axis=1)) / 2.0
    loss = model.test_on_batch(inputs, [target, 0.0 * target], return_dict=True)["loss"]
    assert_close(loss, expected, 1e-14)


@pytest.mark.parametrize("kind", ["gradient", "scale-invariant"])
def test_the_loss_with_a_regulariser_is_that_before_the_update(kind, data):
    inputs, target = data
    model = KINDS[kind](network(layers.Dense(2, kernel_regularizer="l2")), Scaling())
    model.compile(keras.optimizers.SGD(0.1), "mse")
    y = model.network(inputs).numpy() ** 2
    expected = np.mean((y - target) ** 2) + float(sum(model.losses))
    for options in ({}, {"run_eagerly": True}):
        fresh = KINDS[kind](keras.models.clone_model(model.network), Scaling())
        fresh.network.set_weights(model.network.get_weights())
        fresh.compile(keras.optimizers.SGD(0.1), "mse", **options)
        assert_close(fresh.train_on_batch(inputs, target, return_dict=True)["loss"], expected, rtol=1e-5)
        assert_close(
            fresh.evaluate(inputs, target, verbose=0, return_dict=True)["loss"],
            np.mean((fresh.network(inputs).numpy() ** 2 - target) ** 2) + float(sum(fresh.losses)),
            rtol=1e-5,
        )


class Bounded:
    """y = x², with an inverse of numbers that are not negative; the error in x needs no inputs."""

    def simulate(self, x):
        return x**2

    def local_inverse(self, y, x_guess):
        return tf.sqrt(y)

    def distance(self, x, y):
        return tf.reduce_sum(tf.abs(x - y), axis=1)


def inverse_of_the_upper_half(y, x_guess):
    """NaN for the lower half of this batch, whatever y is wanted of it."""
    known = tf.range(tf.shape(y)[0]) < 3
    return tf.where(known[:, tf.newaxis], tf.sqrt(y), np.nan)


@pytest.mark.parametrize("updates", [1, 2])
def test_where_nothing_weighs_the_inverse_may_fail(updates, data):
    """Also at the outcome of the simulator itself."""
    inputs, target = data
    weights = []
    for inverse in (None, inverse_of_the_upper_half):
        model = training.ScaleInvariantPhysics(network(), Bounded(), updates_per_solve=updates, inverse=inverse)
        model.compile(keras.optimizers.SGD(0.1))
        model.train_on_batch(inputs, target, sample_weight=np.arange(7.0) < 3.0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("inverse", "goal"), [(None, -1.0), (training.GaussNewtonSolver(), np.nan)])
@pytest.mark.parametrize("updates", [1, 2])
def test_a_goal_out_of_reach_counts_not_if_it_weighs_nothing(inverse, goal, updates, data):
    inputs, target = data
    goals = target.copy()
    goals[3, 1] = goal
    weights = []
    for given in (target, goals):
        model = training.ScaleInvariantPhysics(network(), Bounded(), updates_per_solve=updates, inverse=inverse)
        model.compile(keras.optimizers.SGD(0.1))
        model.train_on_batch(inputs, given, sample_weight=np.arange(7.0) != 3.0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_goal_out_of_reach_is_named(data):
    inputs, goals = data
    goals[3, 1] = -1.0
    model = training.ScaleInvariantPhysics(network(), Bounded())
    model.compile(keras.optimizers.SGD(0.1))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"inverse simulator is not finite.*these samples .*\[3\]"):
        model.train_on_batch(inputs, goals)


def test_a_distance_may_leave_the_inputs_out(data):
    inputs, target = data
    model = training.DifferentiablePhysics(network(), Bounded())
    model.compile()
    found = model.evaluate(inputs, target, verbose=0, return_dict=True)["x_error"]
    assert_close(found, np.abs(model.network(inputs) - target).sum(axis=1).mean(), rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}], ids=str)
@pytest.mark.parametrize(
    ("make", "own"), [(training.ScaleInvariantPhysics, "proxy"), (training.SpectralModel, "rank")], ids=["SIP", "HIG"]
)
def test_every_epoch_reports_what_the_first_does(make, own, options, data):
    """Also after a validation, which reports less."""
    model = make(network(), simulators.Square())
    model.compile(keras.optimizers.SGD(0.01), training.HalfSquaredError(), **options)
    history = model.fit(*data, epochs=3, batch_size=4, verbose=0, validation_data=data).history
    assert {own, "loss", "val_loss"} <= set(history)
    assert {len(values) for values in history.values()} == {3}
