"""Losses, metrics and data in the precision of the network, and what an optimizer may ask of a step."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from physgrad_tf import simulators, training
from physgrad_tf.training import precision
from tests.package.agreement import assert_close
from tests.package.tracing import SIZE_UNASKED

SQUARE = simulators.Square()
MODELS = {
    "gradient": lambda inner, simulator=SQUARE: training.DifferentiablePhysics(inner, simulator),
    "scale-invariant": lambda inner, simulator=SQUARE: training.ScaleInvariantPhysics(inner, simulator),
    "half-inverse": lambda inner, simulator=SQUARE: training.SpectralModel(inner, simulator, rcond=1e-3),
}


@pytest.fixture(params=MODELS)
def make(request):
    return MODELS[request.param]


def network(dtype="float32"):
    keras.utils.set_random_seed(1)
    hidden = layers.Dense(8, "tanh", dtype=dtype)
    return keras.Sequential(
        [keras.Input((2,), dtype=dtype), hidden, layers.Dense(2, bias_initializer="ones", dtype=dtype)]
    )


@pytest.fixture
def data(rng):
    return rng.uniform(0.5, 2.0, (6, 2))


@keras.saving.register_keras_serializable("tests")
def quarter(y_true, y_pred):
    """A reader's own loss."""
    return tf.reduce_sum((y_pred - y_true) ** 2, axis=-1) / 4.0


@keras.saving.register_keras_serializable("tests")
class Quarter(keras.losses.Loss):
    """The same as a class, without an argument for its precision."""

    def __init__(self, name="quarter", reduction="sum_over_batch_size"):
        super().__init__(name=name, reduction=reduction)

    def call(self, y_true, y_pred):
        return quarter(y_true, y_pred)


LOSSES = {
    "name": lambda: "mse",
    "function": lambda: quarter,
    "class": Quarter,
    "Keras's class": keras.losses.MeanSquaredError,
    "ours": training.HalfSquaredError,
    "ours, summed": lambda: training.HalfSquaredError("sum"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_float64_network_trains_to_the_end_of_float64(loss, data):
    """Two samples, linear physics, Gauss-Newton: every residual reaches rounding, 1e-16, and its square 1e-32."""
    assert keras.config.floatx() == "float32"
    model = training.SpectralModel(network("float64"), lambda x: 2.0 * x, exponent=-1.0, rcond=1e-6)
    model.compile(loss=LOSSES[loss](), metrics=["mae"])
    scale = {"name": 2.0, "function": 4.0, "class": 4.0, "Keras's class": 2.0, "ours": 2.0, "ours, summed": 1.0}[loss]
    model.optimizer.learning_rate = scale  # ∂L/∂y = (y − y*)/scale, two samples and two outputs
    history = model.fit(data[:2], data[:2] / 3.0, epochs=8, verbose=0).history
    assert history["loss"][-1] < 1e-28
    assert history["mae"][-1] < 1e-14
    assert model.evaluate(data[:2], data[:2] / 3.0, verbose=0, return_dict=True)["loss"] < 1e-28
    assert keras.config.floatx() == "float32"
    assert model(data[:2]).dtype == tf.float64
    assert model.predict(data[:2], verbose=0).dtype == np.float64


@pytest.mark.filterwarnings("ignore:network and simulator cannot be traced")
def test_targets_and_inputs_are_not_rounded(make, data):
    seen = {}

    def record(y_true, y_pred):
        seen["target"] = y_true.numpy()
        return tf.reduce_sum((y_pred - y_true) ** 2, axis=-1)

    class Recording(simulators.Square):
        def simulate(self, x, inputs=None):
            seen["inputs"] = np.unique(inputs.numpy(), axis=0)  # the half-inverse step runs on copies
            return super().simulate(x, inputs)

    model = make(network("float64"), Recording())
    model.compile(keras.optimizers.SGD(0.01), record, run_eagerly=True)
    model.fit(data, data, batch_size=6, shuffle=False, verbose=0)
    np.testing.assert_array_equal(seen["inputs"], np.unique(data, axis=0))
    np.testing.assert_array_equal(seen["target"], data)
    model.train_on_batch(data + 1e-12, data)
    np.testing.assert_array_equal(seen["inputs"], np.unique(data + 1e-12, axis=0))


def test_floatx_comes_back_after_an_error(make, data):
    model = make(network("float64"))
    model.compile(keras.optimizers.SGD(0.01))
    with pytest.raises(ValueError, match="targets must have the shape"):
        model.fit(data, data[:, :1], verbose=0)
    assert keras.config.floatx() == "float32"


def test_a_loss_in_another_precision_is_saved_with_the_model(data, tmp_path):
    model = training.SpectralModel(network("float64"), SQUARE, rcond=1e-3)
    model.compile(loss=Quarter())
    model.fit(data, data, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.loss, precision.LossInPrecision)
    assert loaded.loss.dtype == "float64"
    model.reset_metrics()  # train_on_batch of older Keras goes on where `fit` ended
    step = [each.train_on_batch(data, data) for each in (model, loaded)]
    assert_close(*step, rtol=1e-15)


def test_what_cannot_be_made_precise_is_named(data):
    class Stubborn(keras.losses.Loss):
        def __call__(self, y_true, y_pred, sample_weight=None):
            return tf.reduce_sum(tf.cast(y_pred - y_true, tf.float32))

    model = training.DifferentiablePhysics(network("float64"), SQUARE)
    with pytest.raises(TypeError, match="computes in float32, the network in float64"):
        model.compile(loss=Stubborn())
    with pytest.warns(UserWarning, match="metric mean_absolute_error computes in float32"):
        model.compile(metrics=[keras.metrics.MeanAbsoluteError()])
    single = training.DifferentiablePhysics(network(), SQUARE)
    single.compile(loss=Stubborn(), metrics=[keras.metrics.MeanAbsoluteError()])  # as in Keras


def test_half_precision_inside_a_network_is_refused():
    inner = keras.Sequential([keras.Input((2,)), layers.Dense(2, dtype="mixed_float16"), layers.Dense(2)])
    with pytest.raises(TypeError, match="network must compute in float32 or float64, got float16"):
        training.DifferentiablePhysics(inner, SQUARE)


def steps_of(make, optimizer, data, n=1):
    """What `n` steps on the same batch did to the weights."""
    model = make(network("float64"))
    model.compile(optimizer, training.HalfSquaredError())
    before = model.get_weights()
    for _ in range(n):
        model.train_on_batch(data, data**2 + 0.1)
    return np.concatenate([(new - old).ravel() for old, new in zip(before, model.get_weights(), strict=True)])


@pytest.mark.parametrize(
    "scaled",
    [
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
        lambda: keras.optimizers.SGD(0.1, loss_scale_factor=64.0),
    ],
)
def test_a_scaled_loss_changes_nothing(make, scaled, data):
    expected = steps_of(make, keras.optimizers.SGD(0.1), data, 3)
    assert_close(steps_of(make, scaled(), data, 3), expected, rtol=1e-12)
    assert np.abs(expected).max() > 1e-3


def test_accumulation_gathers_steps(make, data):
    """Two accumulated steps make one, their mean; the weights do not move before."""
    accumulating = lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)  # noqa: E731
    assert not steps_of(make, accumulating(), data, 1).any()
    one = steps_of(make, keras.optimizers.SGD(0.1), data, 1)
    assert_close(steps_of(make, accumulating(), data, 2), one, rtol=1e-12)  # twice the same batch at the same weights
    model = make(network("float64"))
    model.compile(accumulating(), training.HalfSquaredError())
    before = model.get_weights()
    for part in (data[:2], data[2:]):
        model.train_on_batch(part, part**2 + 0.1)
    moved = np.concatenate([(new - old).ravel() for old, new in zip(before, model.get_weights(), strict=True)])
    halves = [steps_of(make, keras.optimizers.SGD(0.1), part) for part in (data[:2], data[2:])]
    assert_close(moved, np.mean(halves, axis=0), rtol=1e-12)


class InFloat64:
    """A simulator that computes in float64, whatever it is given."""

    def simulate(self, x):
        x = tf.cast(x, tf.float64)
        return tf.concat([x**2, tf.sin(x)], axis=1)

    def local_inverse(self, y, x_guess):
        return tf.sqrt(y[:, :2])


UNASKED = {"rcond": 1e-3} | SIZE_UNASKED
WITH_ANOTHER_DTYPE = {
    "gradient": lambda *parts: training.DifferentiablePhysics(*parts),
    "scale-invariant": lambda *parts: training.ScaleInvariantPhysics(*parts),
    "Gauss-Newton solver": lambda *parts: training.ScaleInvariantPhysics(*parts, inverse=training.GaussNewtonSolver(2)),
    "Newton solver": lambda *parts: training.ScaleInvariantPhysics(*parts, inverse=training.SaddleFreeNewtonSolver()),
} | {
    kind: functools.partial(training.SpectralModel, jacobian=kind, n_products=n, trust_region=region, **UNASKED)
    for kind, n, region in (
        ("kernel", None, False),
        ("layerwise", 3, False),
        ("reverse", None, True),
        ("products", 4, True),
    )
}


CASES = [(name, True, {}) for name in WITH_ANOTHER_DTYPE]
CASES += [(name, False, {"run_eagerly": True}) for name in ("Gauss-Newton solver", "reverse")]
CASES += [(name, False, {"jit_compile": True}) for name in ("Newton solver", "kernel", "products")]


@pytest.mark.parametrize(("name", "weighted", "options"), CASES)
def test_a_simulator_in_float64_behind_a_network_in_float32(name, weighted, options, rng):
    """The step is that of the same physics in float32, to the precision of the weights."""
    inputs = rng.uniform(0.5, 1.0, (7, 2)).astype("float32")
    x = inputs + 0.5
    y = np.concatenate([x**2, np.sin(x)], axis=1)
    weight = np.linspace(0.0, 2.0, 7).astype("float32") if weighted else None

    class InFloat32(InFloat64):
        def simulate(self, x):
            return tf.concat([x**2, tf.sin(x)], axis=1)

    weights = []
    for simulator, how in ((InFloat32(), {"run_eagerly": True}), (InFloat64(), options)):
        keras.utils.set_random_seed(1)
        hidden = keras.layers.Dense(4, "tanh")
        network = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(2, bias_initializer="ones")])
        model = WITH_ANOTHER_DTYPE[name](network, simulator)
        model.compile(keras.optimizers.SGD(0.1), training.HalfSquaredError(), **how)
        model.train_on_batch(inputs, y, sample_weight=weight)
        weights.append(np.concatenate([part.ravel() for part in model.get_weights()]))
    np.testing.assert_allclose(weights[1], weights[0], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("loss", ["mse", quarter], ids=["name", "function"])
def test_a_step_by_hand_has_the_same_precision(loss, make, data):
    """What Keras makes at the first call would stay in float32."""
    model = make(network("float64"))
    model.compile(keras.optimizers.SGD(0.0), loss, metrics=["mae"])
    y = tf.constant(data)
    assert float(model.compute_loss(None, y, y + 1e-12)) > 0.0
    assert 0.0 < float(model.compute_metrics(None, y, y + 1e-12)["mae"]) < 1e-11
