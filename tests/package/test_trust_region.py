"""The length of a step and the number of products, chosen by what the last steps came to."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from physgrad_tf import training
from physgrad_tf.training.trust_region import minimum_along, next_region
from tests.package.agreement import assert_close
from tests.package.tracing import SIZE_UNASKED

KINDS = {
    "decomposed": {"jacobian": "kernel"},
    "products of J Jᵀ": {"jacobian": "kernel", "n_products": 16},
    "products": {"jacobian": "products", "n_products": 16},
    "decomposed, by auto": {},
}


def bent(x):
    """Physics that bends: a whole Gauss-Newton step misses."""
    return tf.while_loop(lambda i, x: i < 5, lambda i, x: (i + 1, x + 0.1 * tf.sin(x)), (0, x), maximum_iterations=5)[1]


def new_model(simulator=bent, exponent=-1.0, loss="mse", dtype="float32", **options):
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(12, "tanh", dtype=dtype)
    network = keras.Sequential([keras.Input((3,)), hidden, layers.Dense(2, dtype=dtype)])
    options = {"trust_region": True, "rcond": 1e-3} | SIZE_UNASKED | options
    jit_compile = options.pop("jit_compile", False)
    model = training.SpectralModel(network, simulator, exponent, **options)
    model.compile(loss=loss, jit_compile=jit_compile)
    return model


@pytest.fixture
def data(rng):
    return rng.normal(size=(24, 3)).astype("float32"), rng.normal(size=(24, 2)).astype("float32")


@pytest.mark.parametrize("c", [1e-6, 1.0, 1e6])
def test_the_minimum_of_a_parabola(c):
    loss = lambda t: c * (3.0 - 4.0 * t + 2.5 * t**2)  # noqa: E731
    assert_close(minimum_along(loss, tf.float64), 0.8, 1e-14)


@pytest.mark.parametrize("wanted", [1e-3, 0.3, 1.0, 700.0])
@pytest.mark.parametrize("shape", [tf.abs, lambda d: tf.math.log(tf.cosh(d)), lambda d: tf.sqrt(1.0 + d**2)])
def test_the_minimum_of_what_is_no_parabola_is_found_within_a_factor_of_two(shape, wanted):
    """A mean of absolute errors does not bend, and the others hardly, where they are far away."""
    found = minimum_along(lambda t: shape(20.0 * (t - wanted) / wanted), tf.float64)
    assert 0.5 <= found / wanted <= 2.0


def test_a_loss_that_is_not_finite_far_out_is_approached():
    found = minimum_along(
        lambda t: (t - 0.01) ** 2 + tf.where(t > 0.1, tf.constant(np.inf, tf.float64), 0.0), tf.float64
    )
    assert 0.0 < found <= 0.1


@pytest.mark.parametrize(
    ("ratio", "fraction", "n_used", "n_products", "wanted"),
    [
        (0.9, 1.0, 8, 8, (1.0, 16)),
        (0.9, 1.0, 12, 12, (1.0, 20)),
        (0.9, 0.5, 8, 8, (1.0, 8)),
        (0.9, 0.125, 1, 1, (0.25, 1)),
        (0.5, 0.5, 8, 8, (0.5, 8)),
        (0.2, 1.0, 9, 9, (1.0, 4)),
        (0.2, 1.0, 4, 16, (1.0, 2)),
        (-3.0, 0.5, 2, 2, (0.5, 1)),
        (0.2, 1.0, 1, 1, (0.25, 1)),
        (0.2, 1.0, 1, 16, (0.25, 1)),
        (np.nan, 1.0, 8, 8, (1.0, 4)),
        (-np.inf, 0.5, 1, 1, (0.125, 1)),
        (-1.0, 2.0**-20, 1, 1, (2.0**-20, 1)),
        (np.inf, 1.0, 20, 20, (1.0, 20)),
    ],
)
def test_the_next_region(ratio, fraction, n_used, n_products, wanted):
    found = next_region(*map(tf.constant, (ratio, fraction, n_used, n_products)), most=20)
    assert tuple(float(value) for value in found) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_minimum_the_region_stays(kind, rng):
    """Nothing can be read from two differences that are rounding; a network that has arrived can learn again."""
    inputs = rng.normal(size=(10, 3))
    model = new_model(lambda x: 2.0 * x, dtype="float64", loss=training.HalfSquaredError("sum"), **KINDS[kind])
    for target in (np.asarray(model(inputs)), inputs[:, :2]):
        model.fit(inputs, target, epochs=8, batch_size=10, verbose=0)
        assert float(model._region.fraction.numpy()) > 1e-3


@pytest.mark.parametrize("kind", ["decomposed", "products"])
@pytest.mark.parametrize(
    ("loss", "rate"), [(keras.losses.LogCosh(), 1.0), (keras.losses.MeanAbsoluteError(), 1.0), ("mse", 2.5)]
)
def test_no_rate_and_no_loss_freezes_it(kind, loss, rate, rng):
    """Targets far away, where these losses hardly bend; and a rate with which the linear model expects a rise."""
    inputs = rng.normal(size=(10, 3))
    model = new_model(lambda x: 2.0 * x, **KINDS[kind])
    model.compile(keras.optimizers.SGD(rate), loss)
    losses = model.fit(inputs, 300.0 * inputs[:, :2] + 50.0, epochs=12, batch_size=10, verbose=0).history["loss"]
    assert losses[-1] < 0.95 * losses[0]


def test_random_numbers_are_those_of_the_step(data):
    """With Dropout and hardly any step, the loss of the same mask hardly moves, as predicted."""
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(12, "tanh"), layers.Dropout(0.5), layers.Dense(2)])
    model = training.SpectralModel(inner, bent, -1.0, 1e-3, jacobian="products", n_products=4, trust_region=True)
    model.compile(keras.optimizers.SGD(1e-2), "mse")
    history = model.fit(*data, batch_size=24, epochs=4, verbose=0).history
    np.testing.assert_allclose(history["ratio"], 1.0, atol=0.1)


def test_the_losses_of_several_outputs_are_those_before_the_step(data):
    logs = []
    for trust in (False, True):
        model = new_model(lambda x: [x, x**2], loss=["mse", "mse"], trust_region=trust, jacobian="kernel")
        logs.append(model.fit(data[0], [data[1], data[1]], batch_size=24, epochs=1, verbose=0).history)
    for name, value in logs[0].items():
        if "loss" in name:
            assert_close(logs[1][name], value, 1e-5)


@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0, 1.0])
@pytest.mark.parametrize("kind", ["decomposed", "products of J Jᵀ", "products"])
def test_the_loss_never_grows_whatever_the_exponent(kind, exponent, data):
    """Where whole Gauss-Newton steps drive it up by a hundred."""
    losses = new_model(exponent=exponent, **KINDS[kind]).fit(*data, batch_size=24, epochs=20, verbose=0).history["loss"]
    assert np.all(np.diff(losses) <= 1e-6 * losses[0])
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("exponent", [-1.0, -0.5])
def test_the_factor_of_the_loss_does_not_matter(exponent, data):
    losses = []
    for factor in (1.0, 100.0):
        loss = lambda y, y_pred, c=factor: c * keras.losses.mean_squared_error(y, y_pred)  # noqa: E731
        model = new_model(exponent=exponent, loss=loss, **KINDS["products of J Jᵀ"])
        losses.append(np.array(model.fit(*data, batch_size=24, epochs=4, verbose=0).history["loss"]) / factor)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-2)


def test_without_it_a_whole_step_is_too_long(data):
    """What the region is for: the same model and data."""
    model = new_model(loss=training.HalfSquaredError("sum"), trust_region=False, jacobian="kernel")
    loss = model.fit(*data, batch_size=24, epochs=4, verbose=0).history["loss"]
    assert max(loss) > 10 * loss[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["mse", training.HalfSquaredError("sum")], ids=["mse", "sum"])
def test_on_a_linear_problem_the_linear_model_is_right(kind, loss, weighted, rng):
    """One Gauss-Newton step ends at the least squares, however loss and samples are weighted; the ratio is one."""
    inputs, target = rng.normal(size=(10, 3)), rng.normal(size=(10, 2))
    weights = rng.uniform(0.1, 3.0, 10) if weighted else np.ones(10)
    network = keras.Sequential([keras.Input((3,)), layers.Dense(2, dtype="float64")])
    model = training.SpectralModel(network, lambda x: 2.0 * x, -1.0, trust_region=True, **KINDS[kind] | SIZE_UNASKED)
    model.compile(loss=loss, run_eagerly=True)
    options = {"sample_weight": weights} if weighted else {}
    history = model.fit(inputs, target, epochs=1, batch_size=10, verbose=0, **options).history
    assert_close(history["ratio"][0], 1.0, 1e-6)
    root = np.sqrt(weights)[:, np.newaxis]
    design = np.column_stack([inputs, np.ones(10)])
    best = np.linalg.lstsq(2.0 * root * design, root * target, rcond=None)[0]
    assert_close(model.network.layers[0].kernel, best[:3], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_learning_rate_is_a_factor_and_that_of_this_step(kind, rng):
    """Half of the way to the minimum of a parabola is three quarters of the way down, as the linear model knows."""
    inputs, target = rng.normal(size=(10, 3)), rng.normal(size=(10, 2))
    model = new_model(lambda x: 2.0 * x, dtype="float64", **KINDS[kind])
    model.network.layers[0].trainable = False
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([0, 1], [0.5, 0.25, 0.0])
    model.compile(keras.optimizers.SGD(rate))
    logs = [model.train_on_batch(inputs, target, return_dict=True) for _ in range(2)]
    assert_close([log["ratio"] for log in logs], 1.0, 1e-6)
    model.compile(keras.optimizers.SGD(1.0))
    best = [model.train_on_batch(inputs, target, return_dict=True)["loss"] for _ in range(2)]
    assert_close((logs[0]["loss"] - best[0]) / (logs[0]["loss"] - best[1]), 1.0 - (0.5 * 0.75) ** 2, 1e-5)


@pytest.mark.parametrize("kind", ["decomposed", "products"])
def test_a_step_that_makes_it_worse_is_taken_back(kind, data):
    """Physics that overflows as soon as anything moves."""
    start = new_model().network

    def overflowing(x, inputs):
        distance = tf.abs(x - start(inputs))
        return tf.where(distance > 0.0, tf.exp(1e6 * distance), x)

    model = new_model(overflowing, **KINDS[kind])
    before = model.network.get_weights()
    history = model.fit(*data, batch_size=24, shuffle=False, epochs=1, verbose=0).history
    for one, other in zip(before, model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert history["ratio"][0] <= 0.0
    assert int(model._region.n_products.numpy()) == (8 if kind == "products" else 1)
    assert float(model._region.fraction.numpy()) == (1.0 if kind == "products" else 0.25)


def test_a_sample_of_weight_zero_has_no_part_in_it(data):
    ends = []
    for broken in (0.0, 50.0):
        inputs, target = (part.copy() for part in data)
        target[3] += broken
        model = new_model(**KINDS["products"])
        weight = np.where(np.arange(24) == 3, 0.0, 1.0)
        model.fit(inputs, target, batch_size=24, epochs=3, shuffle=False, sample_weight=weight, verbose=0)
        ends.append(np.concatenate([part.ravel() for part in model.network.get_weights()]))
    np.testing.assert_array_equal(ends[0], ends[1])


def test_eager_equals_graph_equals_xla(data):
    ends = []
    for options in ({}, {"jit_compile": True}, {"eager": True}):
        model = new_model(
            **KINDS["products"], dtype="float64", **{k: v for k, v in options.items() if k == "jit_compile"}
        )
        model.run_eagerly = "eager" in options
        model.fit(*data, batch_size=8, epochs=1, shuffle=False, verbose=0)
        ends.append(np.concatenate([part.ravel() for part in model.get_weights()]))
    for other in ends[1:]:
        assert_close(other, ends[0], 1e-7)


def test_save_load_same_next_step(data, tmp_path):
    model = new_model(**KINDS["products"])
    model.fit(*data, batch_size=24, epochs=3, verbose=0)
    assert int(model._region.n_products.numpy()) < 16
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={"bent": bent})
    for one in (model, loaded):
        one.fit(*data, batch_size=24, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_means_over_batches_move_once_a_step(data):
    network = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(momentum=0.5), layers.Dense(2)])
    model = training.SpectralModel(network, bent, -1.0, jacobian="products", n_products=4, trust_region=True)
    model.compile()
    model.train_on_batch(*data)
    assert_close(network.layers[0].moving_mean, 0.5 * data[0].mean(axis=0), 1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [
        "adam",
        keras.optimizers.SGD(1.0, momentum=0.5),
        keras.optimizers.SGD(1.0, clipnorm=1.0),
        keras.optimizers.SGD(1.0, weight_decay=0.1),
        keras.optimizers.SGD(1.0, use_ema=True),
        keras.optimizers.SGD(1.0, gradient_accumulation_steps=2),
    ],
)
def test_an_optimizer_that_changes_the_step_is_refused(optimizer):
    with pytest.raises(ValueError, match="optimizer must be a plain SGD for trust_region"):
        new_model().compile(optimizer)
