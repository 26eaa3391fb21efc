"""The spectral model: its step against one written out with numpy's SVD, and the whole Keras contract."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from physgrad_tf import simulators, training
from physgrad_tf.jacobians import StackedJacobian, flatten_weights
from physgrad_tf.training import spectral_model
from tests.package.agreement import assert_close
from tests.package.tracing import SIZE_UNASKED

SQUARE = simulators.Square()
N_WEIGHTS = 2 * 8 + 8 + 8 * 2 + 2
OURS = {"rank", "sigma_max", "sigma_min", "step_norm"}


@keras.saving.register_keras_serializable("tests")
def pushed(x, inputs):
    """A reader's own simulator, which uses what the network was given."""
    return x + 3.0 * inputs


def network(dtype="float32", **options):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(8, "tanh", dtype=dtype, **options),
            layers.Dense(2, bias_initializer="ones", dtype=dtype),
        ]
    )


def new_model(inner=None, simulator=SQUARE, **options):
    return training.SpectralModel(inner or network(), simulator, **({"rcond": 1e-3} | options))


@pytest.fixture
def data(rng):
    return rng.uniform(0.5, 2.0, (40, 2)).astype("float32")


def weights_of(model):
    return [weight.copy() for weight in model.get_weights()]


def moved(model, before):
    return np.concatenate([(b - a).ravel() for a, b in zip(before, model.get_weights(), strict=True)])


def by_hand(model, inputs, gradient):
    """−V f(Σ) Uᵀ g with f written out: truncated at rcond, or σ·max(σ, τ)^(p−1)."""
    y = lambda: model(tf.constant(inputs))  # noqa: E731
    matrix = StackedJacobian.reverse(y, model.trainable_variables).to_dense().numpy().astype(np.float64)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    kept, tau = s > model.rcond * s[0], model.rcond * s[0]
    f = s * np.maximum(s, tau) ** (model.exponent - 1.0)
    if model.mode == "truncate":
        f = np.where(kept, np.where(kept, s, 1.0) ** model.exponent, 0.0)
    return -vt.T @ (f * (u.T @ gradient(y().numpy()).ravel())), s, kept


FAMILY = [(-0.5, "truncate"), (-1.0, "truncate"), (0.0, "truncate"), (1.0, "truncate"), (-0.5, "clamp")]
SETTINGS = [("kernel", n, rcond, *member) for n, rcond in ((6, 1e-2), (30, 1e-2), (6, 1e-9)) for member in FAMILY]
SETTINGS += [(kind, 6, 1e-2, -0.5, "truncate") for kind in ("layerwise", "reverse")]
SETTINGS = [(*setting, None) for setting in SETTINGS]
SETTINGS += [("products", 6, 1e-2, *member, 12) for member in FAMILY]
SETTINGS += [("kernel", 6, rcond, -0.5, "truncate", 12) for rcond in (1e-2, 1e-9)]


@pytest.mark.parametrize(("jacobian", "n", "rcond", "exponent", "mode", "n_products"), SETTINGS)
def test_the_step_is_the_equation_written_out(data, n, rcond, exponent, mode, jacobian, n_products):
    """Fewer rows than weights, more rows, the SVD, and as many products as rows; by the sum loss ∂L/∂y = y − y*."""
    data = data[:n].astype("float64")
    options = {"exponent": exponent, "rcond": rcond, "mode": mode, "jacobian": jacobian, "n_products": n_products}
    model = new_model(network("float64"), **options, **SIZE_UNASKED)
    model.compile(loss=training.HalfSquaredError("sum", dtype="float64"), run_eagerly=True)
    expected, s, kept = by_hand(model, data, lambda y: y - data)
    before = weights_of(model)
    logs = model.train_on_batch(data, data, return_dict=True)
    # Of the length of the step; the largest over 30 other networks and data is 8e-13.
    np.testing.assert_allclose(moved(model, before), expected, rtol=0.0, atol=1e-11 * np.linalg.norm(expected))
    assert ("changed" in logs) == (n_products is not None)
    assert logs["rank"] == kept.sum()
    found = [logs["sigma_max"], logs["sigma_min"], logs["step_norm"]]
    assert_close(found, [s[0], s[kept].min(), np.linalg.norm(expected)], rtol=1e-5)


def test_any_loss_and_its_normalisation_enter_through_its_gradient(data):
    """A mean over b samples steps 1/b of the way of the sum, and Keras's mse with 2 outputs as far as ½|y − y*|²."""
    steps, data = {}, data[:8]
    for name, loss in {
        "sum": training.HalfSquaredError("sum"),
        "mean": training.HalfSquaredError(),
        "mse": "mse",
        "log cosh": keras.losses.LogCosh(),
    }.items():
        model = new_model(**SIZE_UNASKED)
        model.compile(loss=loss, run_eagerly=True)
        before = weights_of(model)
        expected = by_hand(model, data, lambda y: np.tanh(y - data) / y.size)[0]
        model.train_on_batch(data, data)
        steps[name] = moved(model, before)
    size = np.linalg.norm(steps["mean"])
    np.testing.assert_allclose(steps["sum"] / len(data), steps["mean"], atol=1e-3 * size)
    np.testing.assert_allclose(steps["mse"], steps["mean"], atol=1e-3 * size)
    np.testing.assert_allclose(steps["log cosh"], expected, atol=1e-3 * np.linalg.norm(expected))


@pytest.mark.parametrize("exponent", [0.0, -0.5, -1.0])
def test_copies_of_a_sample_change_the_step_as_documented(data, exponent):
    norms = {}
    for copies in (1, 4):
        for reduction in ("sum", "sum_over_batch_size"):
            model = new_model(network("float64"), exponent=exponent, **SIZE_UNASKED)
            model.compile(loss=training.HalfSquaredError(reduction), run_eagerly=True)
            one = np.repeat(data[:1].astype("float64"), copies, axis=0)
            norms[copies, reduction] = model.train_on_batch(one, one, return_dict=True)["step_norm"]
    ratio = {r: norms[4, r] / norms[1, r] for r in ("sum", "sum_over_batch_size")}
    assert_close(ratio["sum"], 4.0 ** ((exponent + 1) / 2), rtol=1e-5)
    assert_close(ratio["sum_over_batch_size"], 4.0 ** ((exponent - 1) / 2), rtol=1e-5)


def step_with(data, weight=None, loss=None, **options):
    """One step towards y* = data from weights that are always the same."""
    model = new_model(network("float64"), **options, **SIZE_UNASKED)
    model.compile(loss=loss or training.HalfSquaredError("sum"), run_eagerly=True)
    before = weights_of(model)
    model.train_on_batch(data, data, sample_weight=weight)
    return moved(model, before)


@pytest.mark.parametrize("jacobian", ["kernel", "layerwise", "reverse", "products"])
@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0])
def test_a_weight_counts_copies_and_zero_leaves_out(data, exponent, jacobian):
    data = data[:6].astype("float64")
    options = {"exponent": exponent, "jacobian": jacobian}
    counts = np.array([0, 1, 2, 0, 3, 1])
    weighted = step_with(data, counts.astype("float64"), **options)
    assert_close(weighted, step_with(np.repeat(data, counts, axis=0), **options), rtol=1e-9)
    assert np.linalg.norm(weighted - step_with(data, **options)) > 0.01 * np.linalg.norm(weighted)


def test_a_weighted_step_is_that_of_weighted_rows(data):
    """√w J and ∂L/∂y / √w, written out; with p = 1 it is the weighted gradient, whatever the weights."""
    data, weight = data[:8].astype("float64"), np.linspace(0.0, 2.0, 8)
    model = new_model(network("float64"))
    matrix = StackedJacobian.reverse(lambda: model(tf.constant(data)), model.trainable_variables).to_dense().numpy()
    residual = (model(tf.constant(data)).numpy() - data).ravel()
    root = np.sqrt(np.repeat(weight, 2))
    u, s, vt = np.linalg.svd(root[:, np.newaxis] * matrix, full_matrices=False)
    kept = s > model.rcond * s[0]
    f = np.where(kept, np.where(kept, s, 1.0) ** -0.5, 0.0)
    assert_close(step_with(data, weight), -vt.T @ (f * (u.T @ (root * residual))), rtol=1e-9)
    assert_close(
        step_with(data, weight, exponent=1.0, rcond=0.0), -matrix.T @ (np.repeat(weight, 2) * residual), rtol=1e-9
    )


def test_weights_of_single_outputs(data):
    """[batch, n] weights, with a loss whose values have that shape: an output of weight zero has no row."""

    class EveryOutput(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return (y_pred - y_true) ** 2 / 2.0

    data = data[:6].astype("float64")
    first_only = np.stack([np.ones(6), np.zeros(6)], axis=1)
    found = step_with(data, first_only, EveryOutput(reduction="sum"))

    class First(simulators.Square):
        def simulate(self, x, inputs=None):
            return super().simulate(x)[:, :1]

    model = new_model(network("float64"), First(), **SIZE_UNASKED)
    model.compile(loss=training.HalfSquaredError("sum"), run_eagerly=True)
    before = weights_of(model)
    model.train_on_batch(data, data[:, :1])
    assert_close(found, moved(model, before), rtol=1e-9)


def test_a_mask_of_keras_is_refused(data):
    inner = keras.Sequential([keras.Input((3, 2)), layers.Masking(), layers.Dense(1)])
    model = new_model(inner, simulator=lambda x: x)
    model.compile()
    with pytest.raises(ValueError, match="y carries a mask of Keras"):
        model.train_on_batch(np.ones((4, 3, 2), "float32"), np.ones((4, 3, 1), "float32"))


def test_history_holds_the_spectrum_and_the_errors_fall(data):
    model = new_model()
    model.compile(loss=training.HalfSquaredError(), metrics=["mae"])
    history = model.fit(
        data, {"y": data, "x": np.sqrt(data)}, epochs=8, batch_size=16, validation_split=0.25, verbose=0
    ).history
    reported = {"loss", "x_error", "mae"}
    assert set(history) == reported | OURS | {f"val_{name}" for name in reported}
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert all(0 < rank <= N_WEIGHTS for rank in history["rank"])
    assert set(model.evaluate(data, data, verbose=0, return_dict=True)) == {"loss", "mae"}


def test_eager_equals_graph_equals_xla_and_the_kinds_agree(data):
    ends = {}
    for name, kind, options in (
        ("eager", "layerwise", {"run_eagerly": True}),
        ("graph", "layerwise", {}),
        ("xla", "layerwise", {"jit_compile": True}),
        ("kernel", "kernel", {"jit_compile": True}),
        ("chunks", "kernel", {"jit_compile": True}),
        ("reverse", "reverse", {"jit_compile": True}),
        ("products", "products", {"jit_compile": True}),
        ("products of J Jᵀ", "kernel", {"jit_compile": True}),
    ):
        options |= {"metrics": []}
        model = new_model(
            rcond=1e-2,
            jacobian=kind,
            samples_at_once=3 if name == "chunks" else None,
            n_products=16 if "products" in name else None,
        )
        model.compile(**options)
        model.fit(data[:20], data[:20], batch_size=8, epochs=1, shuffle=False, verbose=0)
        ends[name] = flatten_weights(model.get_weights())
    for name in ends:
        np.testing.assert_allclose(ends[name], ends["eager"], rtol=1e-3, atol=1e-4, err_msg=name)


def test_last_partial_batch_steps_per_execution_callbacks_and_schedule(data):
    model = new_model()
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([5], [0.5, 0.0])
    model.compile(keras.optimizers.SGD(rate), steps_per_execution=2)
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(weights_of(model)))
    stop = keras.callbacks.EarlyStopping(monitor="loss", min_delta=1000.0, patience=2)
    model.fit(data, data, batch_size=16, epochs=10, verbose=0, callbacks=[watch, stop])
    assert int(model.optimizer.iterations) == 3 * len(seen) == 9
    for one, other in zip(seen[1], seen[2], strict=True):  # after six updates the rate is 0
        np.testing.assert_array_equal(one, other)
    assert any(np.any(one != other) for one, other in zip(seen[0], seen[1], strict=True))


@pytest.mark.parametrize("simulator", [SQUARE, pushed])
def test_save_load_same_next_step(simulator, data, tmp_path):
    model = new_model(
        simulator=simulator, exponent=-1.0, rcond=0.05, mode="clamp", max_jacobian_bytes=10**6, samples_at_once=9
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss=training.HalfSquaredError("sum"))
    model.fit(data, data, batch_size=20, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    settings = lambda m: (m.exponent, m.rcond, m.mode, m.jacobian, m.max_jacobian_bytes, m.samples_at_once)  # noqa: E731
    assert settings(loaded) == settings(model) == (-1.0, 0.05, "clamp", "auto", 10**6, 9)
    for one in (model, loaded):
        one.fit(data, data, batch_size=20, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_default_optimizer_takes_the_step_as_it_is(data):
    model = new_model()
    model.compile()
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert float(model.optimizer.learning_rate) == 1.0
    assert not model.supports_jit


def test_a_permuted_batch_takes_the_same_step(data, rng):
    ends, start = [], network("float64").get_weights()
    for order in (np.arange(40), rng.permutation(40)):
        model = new_model(network("float64"), rcond=1e-2)
        model.network.set_weights(start)
        model.compile(run_eagerly=True)
        model.train_on_batch(data[order].astype("float64"), data[order].astype("float64"))
        ends.append(flatten_weights(model.get_weights()))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-7, atol=1e-9)


def test_an_output_of_higher_rank_and_frozen_weights(data):
    model = new_model(simulator=lambda x: tf.reshape(x**2, [tf.shape(x)[0], 2, 1]))
    model.network.layers[0].trainable = False
    frozen = model.network.layers[0].kernel.numpy()
    model.compile(loss=training.HalfSquaredError())
    history = model.fit(data, data[..., np.newaxis], epochs=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    np.testing.assert_array_equal(model.network.layers[0].kernel, frozen)
    size = model.jacobian_size(data)
    assert (size.n_rows, size.n_weights, size.n_bytes, size.kind, size.route) == (80, 18, 80 * 18 * 8, "kernel", "JᵀJ")


def test_the_size_of_a_step_is_told(data):
    for kind, rcond, route in (("kernel", 1e-6, "J Jᵀ"), ("layerwise", 1e-6, "J Jᵀ"), ("reverse", 1e-9, "J")):
        model = new_model(jacobian=kind, rcond=rcond)
        few, many = model.jacobian_size(data[:4]), model.jacobian_size(data[:16])
        assert (many.n_rows, many.n_weights, many.n_bytes) == (32, N_WEIGHTS, 32 * N_WEIGHTS * 8)
        assert (many.kind, many.route) == (kind, route)
        decomposed = 8 * (32 * N_WEIGHTS if route == "J" else 32**2)
        assert 2 * decomposed < many.peak_bytes < 40 * decomposed
        assert 4 * few.peak_bytes < 1.2 * many.peak_bytes < 16 * 1.2 * few.peak_bytes
        assert many.n_operations > (4 * N_WEIGHTS**2 * 32 if route == "J" else 9 * 32**3)
    assert new_model(jacobian="kernel").jacobian_size(data).route == "JᵀJ"  # 80 rows, 42 weights
    for rcond, n, route in ((1e-3, 4, "B of 5"), (1e-6, 4, "J Jᵀ"), (1e-6, 40, "B of 5"), (1e-9, 4, "B of 5")):
        model = new_model(jacobian="kernel", rcond=rcond, n_products=5)
        assert model.jacobian_size(data[:n]).route.startswith(route)


@pytest.mark.parametrize("kind", ["kernel", "layerwise", "reverse"])
def test_a_step_that_takes_more_than_the_limit_is_refused_with_the_way_out(kind, data):
    """At tracing if the batch is known, when it runs if not; and the number of samples that it names fits."""
    limit = new_model(jacobian=kind).jacobian_size(data[:16]).peak_bytes
    way_out = "rcond ≥ 1e-7" if kind == "reverse" else "Take a smaller batch_size, of at most"
    model = new_model(jacobian=kind, max_jacobian_bytes=limit)
    model.compile()
    model.fit(data[:12], data[:12], batch_size=12, verbose=0)
    before = weights_of(model)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"(?s)max_jacobian_bytes = {limit}.*{way_out}.*40"):
        model.fit(data, data, batch_size=40, verbose=0)
    model.compile()
    known = tf.data.Dataset.from_tensors((data[:20], data[:20]))
    with pytest.raises(ValueError, match=rf"(?s){way_out}.*It takes about .*Its samples: 20") as refused:
        model.fit(known, shuffle=False, verbose=0)
    assert not moved(model, before).any()
    most = int(re.search(r"of at most (\d+)", str(refused.value)).group(1))
    assert 13 <= most <= 16
    model.fit(data[:most], data[:most], batch_size=most, verbose=0)
    assert moved(model, before).all()


def test_no_limit_asks_nothing(data, monkeypatch):
    monkeypatch.setattr(spectral_model, "StepCost", None)
    model = new_model(max_jacobian_bytes=None)
    model.compile()
    model.fit(data, data, verbose=0)


def test_a_simulator_that_only_runs_eagerly_is_trained_with_a_warning(data):
    def simulate(x):
        print("largest x:", np.max(x.numpy()))
        return x**2

    model = new_model(simulator=simulate)
    model.compile(run_eagerly=True)
    with pytest.warns(UserWarning, match="cannot be traced .AttributeError.*max_jacobian_bytes=None asks nothing"):
        model.train_on_batch(data, data)
    with pytest.raises(AttributeError, match="numpy"):
        model.jacobian_size(data)


def test_where_the_gram_matrix_does_not_resolve_j_is_multiplied_out_in_float64(data):
    """Products of float32 numbers are exact there; rounded, they would move the smallest singular values that count."""
    model = new_model(network(), exponent=-1.0, rcond=1e-9)
    inputs = tf.constant(data)
    stacked = StackedJacobian.layerwise(model.network, lambda x: SQUARE(model.network(x)), inputs)
    g = np.random.default_rng(0).normal(size=stacked.n_rows)
    found = model.spectral_step(stacked, tf.constant(g))
    u, s, vt = np.linalg.svd(stacked.to_dense(tf.float64).numpy(), full_matrices=False)
    kept = s > 1e-9 * s[0]
    assert found.rank == kept.sum()
    assert_close(found.step, vt[kept].T @ ((u.T @ g)[kept] / s[kept]), rtol=1e-6)


@pytest.mark.parametrize("known", [True, False])
def test_samples_at_once_auto_keeps_below_the_limit_and_takes_the_same_step(known, data):
    """A simulator that holds a lot of every sample: a small part of the batch at a time, or all of it."""

    def simulate(x):
        wide = tf.tanh(x[:, :, tf.newaxis] * tf.linspace(0.5, 1.0, 3000))
        return tf.reduce_mean(tf.sin(wide), axis=2)

    whole = new_model(simulator=simulate, max_jacobian_bytes=None)
    cost = whole.jacobian_size(data).peak_bytes
    moves = []
    for limit in (None, cost // 3, 10 * cost):
        options = {} if limit is None else {"samples_at_once": "auto", "max_jacobian_bytes": limit}
        model = new_model(simulator=simulate, **options)
        model.compile(loss="mse")
        rows = tf.data.Dataset.from_tensors((data, data)) if known else tf.data.Dataset.from_tensor_slices((data, data))
        before = weights_of(model)
        model.fit(rows if known else rows.batch(40), shuffle=False, verbose=0)
        moves.append(np.concatenate([(a - b).ravel() for a, b in zip(weights_of(model), before, strict=True)]))
        if limit is not None:
            assert model.jacobian_size(data).peak_bytes <= limit
    for other in moves[1:]:
        assert_close(other, moves[0], rtol=1e-3)
    with pytest.raises(tf.errors.InvalidArgumentError if not known else ValueError, match=r"samples_at_once=.*auto"):
        model = new_model(simulator=simulate, max_jacobian_bytes=cost // 3)
        model.compile()
        model.fit(rows if known else rows.batch(40), shuffle=False, verbose=0)


def test_the_matrix_of_all_weights_is_no_constant_of_the_graph():
    """With a batch of unknown size JᵀJ is in the graph, though not computed: as a constant it would take 77 GB here."""
    layers = [keras.layers.Dense(49_000, "tanh"), keras.layers.Dense(1)]
    model = training.SpectralModel(keras.Sequential([keras.Input((1,)), *layers]), lambda x: x)
    model.compile(jit_compile=False)
    x = np.array([[0.5], [1.0], [1.5]], np.float32)
    assert np.isfinite(model.fit(x, x, batch_size=2, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("jacobian", ["auto", "products"])
@pytest.mark.parametrize("options", [{}, {"jit_compile": True}, {"run_eagerly": True}])
def test_what_is_not_finite_stops_training_and_is_named(data, options, jacobian):
    model = new_model(jacobian=jacobian)
    model.compile(**options)
    model.train_on_batch(data, data)
    before = weights_of(model)
    for place, message in (
        ("targets", "the gradient of the loss in y is not finite"),
        ("inputs", "samples of the batch"),
    ):
        broken = data.copy()
        broken[3, 1] = np.nan
        inputs, targets = (data, broken) if place == "targets" else (broken, data)
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            model.train_on_batch(inputs, targets)
        text = caught.value.message
        assert message in text
        assert "which is number" in text
        assert "[3]" in text or "\n3" in text
        assert not moved(model, before).any()


def test_a_step_that_overflows_stops_training_and_tells_the_spectrum(data):
    model = new_model(exponent=-1.0, rcond=0.0, simulator=lambda x: 1e-30 * x)
    model.compile(loss=lambda y, y_pred: 1e25 * keras.losses.mean_squared_error(y, y_pred))
    before = weights_of(model)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)the spectral step is not finite.*rank:.*kept:"):
        model.train_on_batch(data, data)
    assert not moved(model, before).any()


class Penalised(layers.Layer):
    def call(self, x):
        self.add_loss(tf.reduce_sum(x))
        return x


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: new_model(network(kernel_regularizer="l2")),
            ValueError,
            "regularisers and add_loss do not depend on y",
        ),
        (
            lambda: new_model(keras.Sequential([keras.Input((2,)), layers.Dense(2), Penalised()])),
            ValueError,
            "regularisers and add_loss",
        ),
        (
            lambda: new_model(
                keras.Sequential([keras.Input((2,)), layers.Dense(2), layers.BatchNormalization()]),
                jacobian="layerwise",
            ),
            ValueError,
            "mixes the samples of a batch",
        ),
        (
            lambda: new_model(
                keras.Sequential([keras.Input((2,)), layers.Dense(2), layers.Dropout(0.5)]), jacobian="kernel"
            ),
            ValueError,
            "draws new random numbers",
        ),
    ],
)
def test_networks_that_are_refused_in_training(build, error, message, data):
    model = build()
    model.compile()
    with pytest.raises(error, match=message):
        model.fit(data, data, verbose=0)


def test_a_whole_batch_is_what_products_see(data):
    """BatchNormalization in training, and the step of all its rows, as row by row gives it."""
    ends = []
    for options in ({"jacobian": "reverse"}, {"jacobian": "products", "n_products": 40}):
        keras.utils.set_random_seed(1)
        inner = keras.Sequential(
            [keras.Input((2,)), layers.Dense(6, "tanh"), layers.BatchNormalization(), layers.Dense(2)]
        )
        inner = keras.models.clone_model(inner)  # of equal weights, by the seed
        model = new_model(inner, rcond=1e-2, exponent=-1.0, **options)
        model.compile(keras.optimizers.SGD(0.5), loss=training.HalfSquaredError("sum"))
        model.fit(data[:20], data[:20], batch_size=10, epochs=2, shuffle=False, verbose=0)
        ends.append(flatten_weights(model.get_weights()))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-3, atol=1e-3)


def test_many_outputs_take_products_unless_told_otherwise(rng):
    inner = keras.Sequential([keras.Input((2,)), layers.Dense(300)])
    inputs, targets = rng.normal(size=(8, 2)), rng.normal(size=(8, 300))
    model = new_model(inner, simulator=lambda x: 2.0 * x, exponent=-1.0)
    size = model.jacobian_size(inputs)
    assert (size.kind, size.route, size.n_rows) == ("products", "B of 32 products", 2400)
    model.compile(loss=training.HalfSquaredError("sum"))
    history = model.fit(inputs, targets, epochs=3, verbose=0).history
    assert history["loss"][1] < history["loss"][0]  # all is linear: one step finds the least squares
    assert_close(history["loss"][2], history["loss"][1], 1e-4)
    assert new_model(inner, simulator=lambda x: 2.0 * x[:, :256]).kind(inputs) == "kernel"
    assert new_model(inner, simulator=lambda x: 2.0 * x, samples_at_once=2).kind(inputs) == "kernel"
    assert new_model(inner, simulator=lambda x: 2.0 * x, jacobian="layerwise").kind(inputs) == "layerwise"


def test_the_memory_of_products_goes_with_their_number_and_with_the_samples(data):
    size = lambda n, k: new_model(jacobian="products", n_products=k).jacobian_size(data[:n])  # noqa: E731
    few, more, many = size(8, 4), size(8, 8), size(40, 4)
    assert (many.n_rows, many.route) == (80, "B of 4 products")
    vectors = lambda n, k: 4 * (k * N_WEIGHTS + (k + 1) * 2 * n)  # noqa: E731
    for found, n, k in ((few, 8, 4), (more, 8, 8), (many, 40, 4)):
        assert vectors(n, k) < found.peak_bytes < 8 * vectors(n, k)
    assert 1.5 < more.n_operations / few.n_operations < 4.0
    limit = few.peak_bytes
    model = new_model(jacobian="products", n_products=4, max_jacobian_bytes=limit)
    model.compile()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)of at most 8, or raise max_jacobian_bytes.*16"):
        model.fit(data, data, batch_size=16, verbose=0)
    model.fit(data[:8], data[:8], batch_size=8, verbose=0)


@pytest.mark.parametrize("xla", [False, True])
def test_an_operation_whose_second_derivative_is_missing_is_told(xla, rng):
    """TensorFlow takes the gradient of bilinear resizing for a constant: Jv would be wrong, and say nothing."""
    fine = keras.Input((4, 4, 1))
    coarse = layers.Conv2D(1, 3, 2, "same")(fine)
    again = layers.UpSampling2D(2, interpolation="bilinear")(coarse)
    inner = keras.Model(fine, layers.Conv2D(1, 3, padding="same")(layers.Concatenate()([fine, again])))
    fields = [rng.normal(size=(2, 4, 4, 1)).astype("float32") for _ in range(2)]
    model = new_model(inner, simulator=lambda x: x, jacobian="products", n_products=4, **SIZE_UNASKED)
    model.compile(jit_compile=xla)
    before = weights_of(model)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Jv and Jᵀu belong to different matrices"):
        model.fit(*fields, verbose=0)
    assert not moved(model, before).any()


def test_dropout_trains_with_the_textbook_kind(data):
    inner = keras.Sequential([keras.Input((2,)), layers.Dense(16, "tanh"), layers.Dropout(0.2), layers.Dense(2)])
    model = new_model(inner, simulator=lambda x: 2.0 * x, rcond=1e-2)
    assert model.jacobian_size(data).kind == "reverse"
    model.compile(keras.optimizers.SGD(0.2), loss=training.HalfSquaredError())
    history = model.fit(data, data, epochs=6, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rcond": -1e-3}, ValueError, "rcond must be at least 0 and below 1"),
        ({"rcond": None}, TypeError, "rcond must be a number"),
        ({"exponent": "half"}, TypeError, "exponent must be a number"),
        ({"mode": "drop"}, ValueError, "mode must be"),
        ({"jacobian": "dense"}, ValueError, "jacobian must be one of auto, .* got 'dense'"),
        ({"n_products": 0}, ValueError, "n_products must be at least 1"),
        ({"n_products": 2.5}, TypeError, "n_products must be an integer"),
        ({"samples_at_once": 0}, ValueError, "samples_at_once must be at least 1"),
        ({"max_jacobian_bytes": 0}, ValueError, "max_jacobian_bytes must be positive"),
        ({"simulator": 3}, TypeError, "simulator must be a function"),
        ({"inner": layers.Dense(2, dtype="mixed_float16")}, TypeError, "network must compute in float32 or float64"),
    ],
)
def test_refusals(options, error, message):
    with pytest.raises(error, match=message):
        new_model(**options)


def test_recurrent_layers_under_xla(rng):
    """Unrolled they compile to the step of the loop; in a loop they are refused, before XLA fails."""
    x = rng.normal(size=(4, 3, 2)).astype("float32")

    def trained(unroll, xla, jacobian="auto"):
        keras.utils.set_random_seed(1)
        inner = keras.Sequential([keras.Input((3, 2)), layers.GRU(2, unroll=unroll), layers.Dense(2)])
        model = new_model(inner, lambda x: 2.0 * x, jacobian=jacobian, **SIZE_UNASKED)
        model.compile(jit_compile=xla)
        model.train_on_batch(x, x[:, 0])
        return np.concatenate([weight.ravel() for weight in model.get_weights()])

    expected = trained(False, False)
    assert_close(trained(True, True), expected, rtol=1e-4)
    assert_close(trained(False, True, "reverse"), expected, rtol=1e-4)
    with pytest.raises(ValueError, match=r"layer gru.* build it with unroll=True"):
        trained(False, True)
