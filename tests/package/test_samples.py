"""Networks that do not treat samples one by one, which have no J to be computed layer by layer."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from physgrad_tf import training, validation
from physgrad_tf.jacobians import StackedJacobian, samples, tapping


class Noise(layers.Layer):
    """A reader's own layer with a generator of its own, and no argument that tells training."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x):
        return x + 0.1 * keras.random.normal(tf.shape(x), seed=self.seeds)


class SameNoise(layers.Layer):
    """Noise from a fixed seed: the same in every run, and another in every row."""

    def call(self, x):
        return x + 0.1 * keras.random.normal(tf.shape(x), seed=3)


class Centred(layers.Layer):
    """Less the mean over the batch."""

    def call(self, x):
        return x - tf.reduce_mean(x, axis=0, keepdims=True)


class Positions(layers.Layer):
    """Adds a vector for every position; the layer that holds them never sees the batch."""

    def __init__(self):
        super().__init__()
        self.positions = layers.Embedding(4, 3)

    def build(self, input_shape):
        self.positions.build(None)

    def call(self, x):
        return x + self.positions(tf.range(4))


class Counted(layers.Layer):
    """Every row times its number."""

    def call(self, x):
        return x * tf.cast(tf.range(tf.shape(x)[0])[:, tf.newaxis] + 1, x.dtype)


def attention(**options):
    x = keras.Input((4, 3))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.MultiHeadAttention(2, 3, **options)(x, x))))


def sequence(*parts, shape=(4, 3), dtype=None):
    return lambda: keras.Sequential([keras.Input(shape, dtype=dtype), *(make() for make in parts), layers.Dense(2)])


DEPENDENT = {
    "dropout in a recurrent layer": sequence(lambda: layers.LSTM(3, dropout=0.5)),
    "dropout of a recurrent state": sequence(lambda: layers.GRU(3, recurrent_dropout=0.5)),
    "dropout in one of two cells": sequence(lambda: layers.RNN([layers.LSTMCell(3, dropout=0.2), layers.LSTMCell(2)])),
    "dropout both ways": sequence(lambda: layers.Bidirectional(layers.SimpleRNN(3, dropout=0.5))),
    "dropout in a wrapper": sequence(lambda: layers.TimeDistributed(layers.Dropout(0.5)), layers.Flatten),
    "dropout in attention": lambda: attention(dropout=0.5),
    "noise": sequence(lambda: layers.GaussianNoise(0.01), shape=(3,)),
    "brightness": sequence(lambda: layers.RandomBrightness(0.5), layers.Flatten, shape=(6, 6, 3)),
    "translation": sequence(lambda: layers.RandomTranslation(0.4, 0.4), layers.Flatten, shape=(6, 6, 3)),
    "a reader's noise": sequence(Noise, shape=(3,)),
    "a reader's noise from a fixed seed": sequence(SameNoise, shape=(3,)),
    "normalisation over the batch": sequence(layers.BatchNormalization, shape=(3,)),
    "the same in a wrapper": sequence(lambda: layers.TimeDistributed(layers.BatchNormalization()), layers.Flatten),
    "a reader's mean over the batch": sequence(Centred, shape=(3,)),
    "no batch axis": sequence(Positions, layers.Flatten),
    "rows by number": sequence(Counted, shape=(3,)),
    "state that advances": sequence(lambda: layers.SpectralNormalization(layers.Dense(3)), shape=(3,)),
}
INDEPENDENT = {
    "recurrent": sequence(lambda: layers.LSTM(3)),
    "both ways": sequence(lambda: layers.Bidirectional(layers.GRU(2))),
    "wrapper": sequence(lambda: layers.TimeDistributed(layers.Dense(3, "tanh")), layers.Flatten),
    "attention": attention,
    "dropout of nothing": sequence(lambda: layers.Dropout(0.0), shape=(3,)),
    "tokens": sequence(lambda: layers.Embedding(5, 3), layers.Flatten, shape=(4,), dtype="int32"),
    "normalisation of a sample": sequence(lambda: layers.GroupNormalization(3), layers.Flatten, shape=(4, 3)),
}


def batch_for(network, rng, size=3):
    shape = (size, *network.input_shape[1:])
    if network.inputs[0].dtype == "int32":
        return tf.constant(rng.integers(0, 5, shape))
    return tf.constant(rng.normal(size=shape), network.compute_dtype)


@pytest.fixture
def _in_float64():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", DEPENDENT)
def test_they_take_the_textbook_kind_or_are_refused_and_stay_as_they_were(name, rng):
    network = DEPENDENT[name]()
    inputs = batch_for(network, rng)
    outputs = lambda inputs: network(inputs, training=True)  # noqa: E731
    before = [variable.numpy() for variable in network.variables]
    by_trial = samples.why_dependent(network, inputs, training=True)
    if not any(tapping.is_random(layer) or tapping.mixes_samples(layer) for layer in tapping.everything_below(network)):
        assert by_trial is not None  # else the layers tell, and whether a mask drops anything is a matter of chance
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert StackedJacobian.auto(network, outputs, inputs).kind == "reverse"
    with pytest.raises(validation.SamplesDependent, match=r"StackedJacobian\.reverse"):
        StackedJacobian.layerwise(network, outputs, inputs)
    with pytest.raises(validation.SamplesDependent, match='jacobian="reverse"'):
        StackedJacobian.kernel(network, outputs, inputs, samples_at_once=2)
    outputs(batch_for(network, rng, size=5))  # nothing is left behind


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.usefixtures("_in_float64")
def test_others_are_computed_layer_by_layer(name, rng):
    network = INDEPENDENT[name]()
    inputs = batch_for(network, rng)

    @tf.function(autograph=False)
    def compute():
        outputs = lambda inputs: network(inputs, training=True)  # noqa: E731
        reverse = StackedJacobian.reverse(lambda: outputs(inputs), network.trainable_variables)
        return StackedJacobian.auto(network, outputs, inputs), reverse

    found, expected = compute()
    assert found.kind in ("layerwise", "kernel")
    size = np.abs(expected.to_dense()).max()
    np.testing.assert_allclose(found.to_dense(), expected.to_dense(), rtol=0.0, atol=1e-12 * size)


@pytest.mark.parametrize("name", ["noise", "dropout both ways", "normalisation over the batch", "dropout in attention"])
def test_outside_of_training_there_is_nothing_to_refuse(name, rng):
    network = DEPENDENT[name]()
    inputs = batch_for(network, rng)
    found = StackedJacobian.layerwise(network, lambda inputs: network(inputs, training=False), inputs)
    assert found.kind == "layerwise"


@pytest.mark.parametrize("name", ["normalisation over the batch", "the same in a wrapper"])
@pytest.mark.usefixtures("_in_float64")
def test_the_textbook_kind_holds_what_samples_do_to_each_other(name, rng):
    """Against finite differences of the whole batch."""
    network = DEPENDENT[name]()
    inputs = batch_for(network, rng)
    found = StackedJacobian.auto(network, lambda inputs: network(inputs, training=True), inputs).to_dense().numpy()
    column = 0
    for weight in network.trainable_variables:
        value = weight.numpy()
        for place in np.ndindex(value.shape):
            answers = []
            for sign in (1.0, -1.0):
                moved = value.copy()
                moved[place] += sign * 1e-6
                weight.assign(moved)
                answers.append(network(inputs, training=True).numpy().ravel())
            weight.assign(value)
            difference = (answers[0] - answers[1]) / 2e-6
            np.testing.assert_allclose(found[:, column], difference, rtol=0.0, atol=1e-8 * np.abs(found).max())
            column += 1
    assert column == found.shape[1]


def test_the_verdict_follows_what_is_frozen(rng):
    network = DEPENDENT["normalisation over the batch"]()
    inputs = batch_for(network, rng)
    assert samples.why_dependent(network, inputs, training=True) is not None
    network.layers[0].trainable = False
    assert samples.why_dependent(network, inputs, training=True) is None


class Picky(layers.Layer):
    """A layer that takes positive numbers only."""

    def call(self, x):
        tf.debugging.assert_positive(x)
        return tf.math.log(x)


def test_a_network_that_cannot_be_asked_warns_and_counts_as_independent():
    network = keras.Sequential([keras.Input((2,)), Picky(), layers.Dense(2)])
    inputs = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    with pytest.warns(UserWarning, match="could not be asked about random inputs"):
        found = StackedJacobian.auto(network, network, inputs)
    assert found.kind == "kernel"
    with warnings.catch_warnings():  # once
        warnings.simplefilter("error")
        StackedJacobian.auto(network, network, inputs)


def test_training_with_normalisation_over_the_batch_takes_the_textbook_kind(rng):
    network = DEPENDENT["normalisation over the batch"]()
    model = training.SpectralModel(network, lambda x: 2.0 * x, rcond=1e-3)
    model.compile(loss=training.HalfSquaredError("sum"))
    data = rng.normal(size=(8, 3)).astype("float32")
    assert model.jacobian_size(data).kind == "reverse"
    moving = network.layers[0].moving_mean.numpy()
    model.train_on_batch(data, data[:, :2])
    np.testing.assert_allclose(  # once a step, as in Keras
        network.layers[0].moving_mean, 0.99 * moving + 0.01 * data.mean(axis=0), rtol=0.0, atol=1e-6
    )


class CentredInTraining(layers.Layer):
    """Less the mean over the batch, in training alone."""

    def call(self, x, training=False):
        return x - tf.reduce_mean(x, axis=0, keepdims=True) if training else x


def test_the_trial_of_a_closed_loop_runs_as_in_training(rng):
    """A closed loop is a layer and no model, and is told about training all the same."""
    controller = keras.Sequential([keras.Input((3,)), CentredInTraining(), layers.Dense(1)])
    loop = training.ClosedLoop(controller, lambda state, u: state + u, n_steps=2, n_state=2)
    inputs = tf.constant(rng.normal(size=(4, 2)), tf.float32)
    assert samples.why_dependent(loop, inputs, training=False) is None
    assert "mixes samples" in samples.why_dependent(loop, inputs, training=True)


def dense_network():
    return keras.Sequential([keras.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(3)])


MIXING = {
    "mean over the batch": lambda x: x * tf.reduce_mean(x**2),
    "scaled by the batch": lambda x: x / tf.reduce_max(tf.abs(x)),
    "noise": lambda x: x + tf.random.normal(tf.shape(x)),
    "noise of a fixed seed": lambda x: x * (1.0 + 0.5 * tf.random.stateless_normal(tf.shape(x), [1, 2], dtype=x.dtype)),
    "counted": lambda x: x * tf.cast(tf.range(tf.shape(x)[0])[:, tf.newaxis] + 1, x.dtype),
}


@pytest.mark.parametrize("name", MIXING)
def test_a_simulator_that_mixes_samples_takes_the_textbook_kind_or_is_refused(name, rng):
    inputs = rng.normal(size=(5, 3)).astype("float32")
    network, simulate = dense_network(), MIXING[name]
    model = training.SpectralModel(network, simulate)
    assert model.kind(inputs) == "reverse"
    assert StackedJacobian.auto(network, lambda x: simulate(network(x)), inputs).kind == "reverse"
    for kind in ("kernel", "layerwise"):
        forced = training.SpectralModel(network, simulate, jacobian=kind)
        forced.compile(loss="mse")
        with pytest.raises(validation.SamplesDependent, match=r"the simulator answers .* jacobian=.reverse"):
            forced.train_on_batch(inputs, inputs)
        with pytest.raises(validation.SamplesDependent, match="the simulator answers"):
            getattr(StackedJacobian, kind)(network, lambda x: simulate(network(x)), inputs)


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}])
@pytest.mark.usefixtures("_in_float64")
def test_the_step_through_a_simulator_that_mixes_samples_is_that_of_the_whole_batch(options, rng):
    """Against the SVD of the Jacobian of all outputs by all weights."""
    inputs, network = rng.normal(size=(5, 3)), dense_network()
    model = training.SpectralModel(network, MIXING["mean over the batch"], -1.0, rcond=1e-9)
    model.compile(loss=training.HalfSquaredError("sum"), **options)
    before = np.concatenate([weight.ravel() for weight in model.get_weights()])
    with tf.GradientTape() as tape:
        y = tf.reshape(model.simulate(network(inputs), inputs), [-1])
    blocks = tape.jacobian(y, [weight.value for weight in network.trainable_variables])
    J = np.concatenate([tf.reshape(block, [15, -1]) for block in blocks], axis=1)
    expected = before - np.linalg.pinv(J, 1e-9) @ (y.numpy() - inputs.ravel())
    model.train_on_batch(inputs, inputs)
    found = np.concatenate([weight.ravel() for weight in model.get_weights()])
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-9 * np.max(np.abs(expected)))


def test_a_simulator_that_cannot_be_asked_warns(rng):
    def simulate(x):
        tf.debugging.assert_equal(tf.shape(x)[0], 5)
        return x**2

    model = training.SpectralModel(dense_network(), simulate)
    with pytest.warns(UserWarning, match="the simulator could not be asked"):
        assert model.kind(rng.normal(size=(5, 3)).astype("float32")) == "kernel"


def test_a_simulator_that_answers_nothing_finite_warns(rng):
    """A logarithm of what may be negative, with a mean over the batch: all NaN, as if samples did not matter."""

    def simulate(x):
        return tf.math.log(x) - tf.reduce_mean(tf.math.log(x), axis=0)

    model = training.SpectralModel(dense_network(), simulate)
    with pytest.warns(UserWarning, match="the simulator answers nothing finite"):
        model.kind(rng.normal(size=(5, 3)).astype("float32"))


def test_a_simulator_that_bursts_is_asked_about_smaller_inputs(rng):
    """Beyond one it overflows, and there all samples are alike; below, the mean of the batch is seen."""

    def simulate(x):
        return (x - tf.reduce_mean(x, axis=0)) * tf.exp(1e4 * tf.nn.relu(tf.reduce_max(tf.abs(x)) - 0.5))

    network = keras.Sequential([keras.Input((3,)), layers.Dense(3, kernel_initializer="identity")])
    model = training.SpectralModel(network, simulate)
    assert model.kind(rng.normal(size=(5, 3)).astype("float32")) == "reverse"


def test_one_sample_may_be_the_largest_wherever_it_is(rng):
    """The first random input is nearest to itself: with it in the batch the factor is one, without it is not."""
    first = np.random.default_rng(0).normal(size=(5, 3))[0]

    def simulate(x):
        return x * tf.exp(-tf.reduce_min(tf.reduce_sum(tf.abs(x - first.astype("float32")), axis=1)))

    network = keras.Sequential([keras.Input((3,)), layers.Dense(3, kernel_initializer="identity")])
    model = training.SpectralModel(network, simulate)
    assert model.kind(rng.normal(size=(5, 3)).astype("float32")) == "reverse"


def test_the_simulator_is_asked_once_the_network_no_longer_mixes_samples(rng):
    """With the normalisation frozen nothing but the simulator mixes them."""
    network = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(), layers.Dense(3)])
    inputs = rng.normal(size=(5, 3)).astype("float32")
    model = training.SpectralModel(network, MIXING["mean over the batch"], jacobian="kernel")
    model.compile(loss="mse")
    with pytest.raises(validation.SamplesDependent, match="mixes the samples of a batch"):
        model.train_on_batch(inputs, inputs)
    network.layers[0].trainable = False
    model.compile(loss="mse")
    with pytest.raises(validation.SamplesDependent, match="the simulator answers"):
        model.train_on_batch(inputs, inputs)
