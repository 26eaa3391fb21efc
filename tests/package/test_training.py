"""The Keras contract of the physics models, and their steps against steps written out by hand."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import simulators, training, updates
from physgrad_tf.training import physics_model
from tests.package.agreement import assert_close

SQUARE = simulators.Square()


@keras.saving.register_keras_serializable("tests")
def doubled(x):
    """A reader's own simulator: a plain function."""
    return 2.0 * x


@keras.saving.register_keras_serializable("tests")
def pushed(x, inputs):
    """A simulator that uses what the network was given."""
    return x + 3.0 * inputs


def network(n_in=2, n_out=2, **options):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((n_in,)),
            keras.layers.Dense(8, "tanh", **options),
            keras.layers.Dense(n_out, bias_initializer="ones"),
        ]
    )


@pytest.fixture
def data(rng):
    return rng.uniform(0.5, 2.0, (40, 2)).astype("float32")


def models():
    return {
        "differentiable": lambda: training.DifferentiablePhysics(network(), SQUARE),
        "scale-invariant": lambda: training.ScaleInvariantPhysics(network(), SQUARE),
        "scale-invariant, solver": lambda: training.ScaleInvariantPhysics(
            network(), SQUARE, eta=0.5, proxy="l1", updates_per_solve=2, inverse=training.SaddleFreeNewtonSolver()
        ),
    }


@pytest.fixture(params=models())
def model(request):
    return models()[request.param]()


EMULATED = {
    "differentiable": training.DifferentiablePhysics,
    "scale-invariant": lambda *parts: training.ScaleInvariantPhysics(*parts, inverse=training.GaussNewtonSolver()),
    "spectral": training.SpectralModel,
}


@pytest.mark.parametrize("make", EMULATED.values(), ids=EMULATED)
def test_a_learned_emulator_is_physics(make, data, tmp_path):
    """A Keras model as the simulator: it does not learn, is saved and loaded, and the next step is the same."""
    keras.utils.set_random_seed(3)
    emulator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(2)])
    model = make(network(), emulator)
    model.compile(keras.optimizers.SGD(0.1), loss=training.HalfSquaredError())
    before, learned = weights_of(emulator), weights_of(model.network)
    assert len(model.trainable_variables) == 4
    model.fit(data, data, batch_size=20, epochs=1, verbose=0)
    for one, other in zip(before, emulator.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(np.any(one != other) for one, other in zip(learned, model.network.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, loaded):
        one.train_on_batch(data[:20], data[:20])
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_parameters_with_defaults_are_the_simulators_own_affair():
    """Once `drag(x, inputs)`: x² in place of 2x."""

    def drag(x, k=2.0):
        return k * x

    unit = keras.layers.Identity()
    unit.build((None, 1))
    x = np.array([[1.0], [2.0], [3.0]], "float32")
    for simulator in (drag, tf.function(drag), lambda x, k=2.0: k * x):
        np.testing.assert_array_equal(training.DifferentiablePhysics(unit, simulator)(x), 2.0 * x)


def rounded(x):
    return tf.round(3.0 * x)


LEARNING_THROUGH = {
    "differentiable": training.DifferentiablePhysics,
    "spectral, kernel": lambda *parts: training.SpectralModel(*parts, jacobian="kernel"),
    "spectral, layerwise": lambda *parts: training.SpectralModel(*parts, jacobian="layerwise", samples_at_once=3),
    "spectral, reverse": lambda *parts: training.SpectralModel(*parts, jacobian="reverse"),
    "scale-invariant": EMULATED["scale-invariant"],
}


@pytest.mark.parametrize("options", [{"run_eagerly": True}, {}, {"jit_compile": True}], ids=str)
@pytest.mark.parametrize("make", LEARNING_THROUGH.values(), ids=LEARNING_THROUGH)
def test_a_simulator_without_a_gradient_is_named(make, options, data):
    """The step of a regulariser is no step of the physics."""
    regularised = {"kernel_regularizer": keras.regularizers.L2(0.1)} if make is training.DifferentiablePhysics else {}
    model = make(network(**regularised), rounded)
    before = weights_of(model)
    model.compile(keras.optimizers.SGD(0.1), loss=training.HalfSquaredError(), **options)
    with pytest.raises(ValueError, match="no gradient arrives at the network: the simulator rounded"):
        model.fit(data, data, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def weights_of(model):
    return [weight.copy() for weight in model.get_weights()]


def test_model_is_physics_after_network(model, data):
    assert_close(model(data), SQUARE(model.network(data)), rtol=1e-6)
    model.compile()
    assert_close(model.predict(data, verbose=0), model(data), rtol=1e-5)


def test_the_network_runs_once_in_a_step(data):
    """The statistics of BatchNormalization move once."""
    net = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(momentum=0.5)])
    model = training.ScaleInvariantPhysics(net, SQUARE)
    model.compile(keras.optimizers.SGD(0.0))
    model.train_on_batch(data, data)
    assert_close(net.layers[0].moving_mean, data.mean(axis=0) / 2.0, rtol=1e-5)


def test_scale_invariant_step_is_the_algorithm_written_out(data):
    """x = f(y*), y = P(x), x̃ = P⁻¹(y + η(y* − y); x), then SGD on ½|x − x̃|²."""
    model = training.ScaleInvariantPhysics(network(), SQUARE, eta=0.7)
    model.compile(keras.optimizers.SGD(0.1))
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        x = model.network(data)
        wanted = tf.sqrt(x**2 + 0.7 * (data - x**2)) * tf.sign(x)
        loss = tf.reduce_mean(tf.reduce_sum((x - tf.stop_gradient(wanted)) ** 2 / 2, axis=1))
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    expected = [variable - 0.1 * gradient for variable, gradient in zip(variables, gradients, strict=True)]
    model.train_on_batch(data, data)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-5, atol=1e-7)


def test_differentiable_step_is_that_of_plain_keras(data):
    ours = training.DifferentiablePhysics(network(), SQUARE)
    inner = network()
    theirs = keras.Model(inner.inputs[0], keras.layers.Lambda(lambda x: x**2)(inner.outputs[0]))
    for one in (ours, theirs):
        one.compile(keras.optimizers.Adam(0.01), loss="mse", jit_compile=False)
        one.fit(data, data, batch_size=16, epochs=3, shuffle=False, verbose=0)
    for our, their in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-5, atol=1e-6)


def test_gradient_descent_as_the_inverse_makes_both_models_equal(data):
    """With x̃ = x − ∂L/∂x the proxy's gradient is that of the loss itself."""

    def descend(y, x_guess):
        with tf.GradientTape() as tape:
            tape.watch(x_guess)
            loss = tf.reduce_sum((SQUARE(x_guess) - y) ** 2) / 2
        return x_guess - tape.gradient(loss, x_guess)

    proxy = training.ScaleInvariantPhysics(network(), SQUARE, inverse=descend)
    direct = training.DifferentiablePhysics(network(), SQUARE)
    half_sum = lambda y, y_pred: tf.reduce_sum((y - y_pred) ** 2, axis=-1) / 2  # noqa: E731
    for one in (proxy, direct):
        one.compile(keras.optimizers.SGD(0.01), loss=half_sum)
        one.train_on_batch(data, data)
    for one, other in zip(proxy.get_weights(), direct.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_history_holds_both_errors_and_they_fall(model, data):
    # Every x starts at 1, on the branch of the solutions: an inverse simulator stays on the branch that it is on.
    model.network.layers[-1].kernel.assign(tf.zeros([8, 2]))
    model.compile(keras.optimizers.Adam(0.02))
    history = model.fit(
        data, {"y": data, "x": np.sqrt(data)}, epochs=40, batch_size=10, validation_split=0.25, verbose=0
    ).history
    expected = {"loss", "x_error", "val_loss", "val_x_error"}
    expected |= {"proxy"} if isinstance(model, training.ScaleInvariantPhysics) else set()
    assert set(history) == expected
    # The gradient of the loss in y may well lead to the other root of y; the inverse simulator stays on its branch.
    falling = {"loss", "val_loss"} if isinstance(model, training.DifferentiablePhysics) else expected
    for name in falling:
        assert history[name][-1] < 0.9 * history[name][0], name


def test_evaluate_reports_the_errors_of_all_samples(model, data):
    model.compile()
    results = model.evaluate(data, {"y": data, "x": np.sqrt(data)}, batch_size=16, verbose=0, return_dict=True)
    x = model.network(data).numpy()
    assert set(results) == {"loss", "x_error"}
    assert_close(results["loss"], np.mean((x**2 - data) ** 2), rtol=1e-5)
    assert_close(results["x_error"], np.mean(np.abs(x - np.sqrt(data))), rtol=1e-5)


def test_the_distance_of_the_simulator_is_the_x_error(data):
    sine = simulators.Sine(xi=4.0, phi=0.3)
    targets = data / 4.0
    model = training.DifferentiablePhysics(network(), sine)
    model.compile()
    result = model.evaluate(targets, targets, verbose=0, return_dict=True)
    assert_close(result["x_error"], np.mean(sine.distance(model.network(targets), targets)), rtol=1e-5)


def test_compiled_metrics_and_callbacks(model, data):
    model.compile(keras.optimizers.Adam(0.01), metrics=["mae"])
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(sorted(logs)))
    stop = keras.callbacks.EarlyStopping(monitor="loss", min_delta=1000.0, patience=2)
    history = model.fit(data, data, epochs=10, verbose=0, callbacks=[watch, stop]).history
    assert len(history["loss"]) == len(seen) == 3
    assert {"loss", "mae"} <= set(seen[0])


def test_a_step_is_traced_once(model, data, monkeypatch):
    """Though Keras makes the optimizer's variables, and metrics that are named or functions, at the first step."""
    traced, update = [], type(model).update
    monkeypatch.setattr(type(model), "update", lambda *args: traced.append("once") or update(*args))
    model.compile(keras.optimizers.Adam(0.01), metrics=["mae"], weighted_metrics=[keras.losses.mean_squared_error])
    history = model.fit(data, data, batch_size=20, epochs=2, verbose=0).history
    assert traced == ["once"]
    assert {"mae", "mean_squared_error"} <= set(history)


def test_a_strategy_of_one_device_changes_nothing(data):
    """Keras makes what reports before the first step there."""
    found = []
    for scope in (contextlib.nullcontext, tf.distribute.MirroredStrategy(["CPU:0"]).scope):
        with scope():
            model = models()["scale-invariant"]()
            model.compile(keras.optimizers.SGD(0.1), metrics=["mae"])
        history = model.fit(data, data, batch_size=20, epochs=2, shuffle=False, verbose=0).history
        found.append([history[name][-1] for name in ("loss", "mae", "proxy")])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_inputs_may_be_sparse():
    dense = np.eye(4, dtype="float32") + 1.0
    wanted = []
    for sparse in (False, True):
        keras.utils.set_random_seed(1)
        net = keras.Sequential([keras.Input((4,), sparse=sparse), keras.layers.Dense(2, bias_initializer="ones")])
        model = training.DifferentiablePhysics(net, SQUARE)
        model.compile(keras.optimizers.SGD(0.01), metrics=["mae"])
        inputs = tf.sparse.from_dense(dense) if sparse else dense
        history = model.fit(inputs, dense[:, :2], epochs=2, batch_size=4, shuffle=False, verbose=0).history
        wanted.append([history["loss"][-1], history["mae"][-1]])
    np.testing.assert_allclose(wanted[1], wanted[0], rtol=1e-5)


class Adding(keras.layers.Layer):
    """A layer with a loss of its own."""

    def call(self, x):
        self.add_loss(tf.reduce_mean(x**2))
        return x


@pytest.mark.parametrize("make", [training.DifferentiablePhysics, training.ScaleInvariantPhysics])
def test_losses_of_layers_count_and_are_not_compiled(make, data):
    for options in ({}, {"jit_compile": True}):
        net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, bias_initializer="ones"), Adding()])
        model = make(net, SQUARE)
        model.compile(keras.optimizers.SGD(0.0), training.HalfSquaredError(), **options)
        if options:
            with pytest.raises(ValueError, match="add_loss and activity regularisers are not compiled by XLA"):
                model.train_on_batch(data, data)
        else:
            x = net(data)
            loss = np.mean(np.sum((x**2 - data) ** 2, axis=1)) / 2.0 + np.mean(x**2)
            assert_close(model.train_on_batch(data, data, return_dict=True)["loss"], loss, rtol=1e-5)


def test_what_was_not_compiled_comes_back_uncompiled(tmp_path, data):
    model = training.SpectralModel(network(), SQUARE)
    model(data)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="compile"):
        loaded.fit(data, data, verbose=0)


def test_a_goal_whose_width_is_not_known_must_have_that_of_y(data):
    """Nothing is broadcast, also where only the run knows the sizes, those of the goal or those of y."""
    signature = (tf.TensorSpec((None, 2)), tf.TensorSpec((None, None)))
    of_unknown_width = lambda x: tf.boolean_mask(x**2, [True, True], axis=1)  # noqa: E731
    for goal, fits in ((data, True), (data[:, :1], False)):
        batches = tf.data.Dataset.from_generator(lambda goal=goal: [(data, goal)], output_signature=signature)
        batches = batches.apply(tf.data.experimental.assert_cardinality(1))
        for simulator, said in ((SQUARE, "shape"), (of_unknown_width, "targets and the simulator.*output differ")):
            model = training.DifferentiablePhysics(network(), simulator)
            model.compile(keras.optimizers.SGD(0.01))
            with contextlib.nullcontext() if fits else pytest.raises(tf.errors.InvalidArgumentError, match=said):
                model.fit(batches, shuffle=False, verbose=0)


def test_learning_rate_schedule(data):
    model = models()["scale-invariant"]()
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.0])))
    model.train_on_batch(data, data)
    model.train_on_batch(data, data)
    before = weights_of(model)
    model.train_on_batch(data, data)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_last_partial_batch_and_steps_per_execution(model, data):
    model.compile(keras.optimizers.SGD(0.01), steps_per_execution=2)
    model.fit(data, data, batch_size=16, epochs=1, verbose=0)
    per_batch = model.updates_per_solve if isinstance(model, training.ScaleInvariantPhysics) else 1
    assert int(model.optimizer.iterations) == 3 * per_batch


def test_sample_weight_is_honoured(model, data):
    """A batch whose second half weighs nothing steps like its first half with half the weight."""
    model.compile(keras.optimizers.SGD(0.05))
    start = weights_of(model)
    weights = np.repeat([1.0, 0.0], 20).astype("float32")
    model.train_on_batch(data, data, sample_weight=weights)
    ended = weights_of(model)
    model.set_weights(start)
    model.train_on_batch(data[:20], data[:20], sample_weight=np.full(20, 0.5, "float32"))
    moved = 0.0
    for one, other, first in zip(ended, model.get_weights(), start, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        moved += np.abs(one - first).sum()
    assert moved > 1e-3


def test_save_load_same_next_step(model, data, tmp_path):
    model.compile(keras.optimizers.Adam(0.01), loss="mae", metrics=["mse"])
    model.fit(data, data, batch_size=20, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.simulator == model.simulator
    for one in (model, loaded):
        one.fit(data, data, batch_size=20, epochs=1, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_eager_equals_graph_equals_xla(data):
    for build in models().values():
        ends = []
        for options in ({"run_eagerly": True}, {}, {"jit_compile": True}):
            model = build()
            model.compile(keras.optimizers.SGD(0.05), **options)
            model.fit(data, data, batch_size=20, epochs=1, shuffle=False, verbose=0)
            ends.append(model.get_weights())
        for other in ends[1:]:
            for one, two in zip(ends[0], other, strict=True):
                np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_a_permuted_batch_takes_the_same_step(model, data, rng):
    model.compile(keras.optimizers.SGD(0.05))
    start, order = weights_of(model), rng.permutation(len(data))
    model.train_on_batch(data, data)
    ended = weights_of(model)
    model.set_weights(start)
    model.train_on_batch(data[order], data[order])
    for one, other in zip(ended, model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_frozen_weights_stay_and_regularisers_count(data):
    plain, regularised = (
        training.ScaleInvariantPhysics(network(kernel_regularizer=regulariser), SQUARE)
        for regulariser in (None, keras.regularizers.L2(1.0))
    )
    frozen = plain.network.layers[-1]
    frozen.trainable = regularised.network.layers[-1].trainable = False
    before = [weight.numpy() for weight in frozen.weights]
    for one in (plain, regularised):
        one.compile(keras.optimizers.SGD(0.05))
        one.train_on_batch(data, data)
    for weight, old in zip(frozen.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert np.linalg.norm(regularised.network.layers[0].kernel) < np.linalg.norm(plain.network.layers[0].kernel)


@pytest.mark.parametrize("simulator", [doubled, pushed])
def test_a_readers_own_function_as_simulator(simulator, data, tmp_path):
    model = training.ScaleInvariantPhysics(network(), simulator, inverse=training.GaussNewtonSolver())
    model.compile(keras.optimizers.Adam(0.02))
    history = model.fit(data, data, epochs=30, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(data), model(data))


def test_a_network_that_ignores_training_and_is_not_built(data):
    class Scale(keras.layers.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, inputs):
            return inputs * self.factor

    model = training.DifferentiablePhysics(Scale(), SQUARE)
    model.compile(keras.optimizers.SGD(0.01))
    model.fit(data, data, epochs=1, verbose=0)
    assert model.built
    assert model.network.factor.shape == (2,)


@pytest.mark.parametrize("kind", [training.DifferentiablePhysics, training.SpectralModel])
def test_inputs_reach_the_simulator_in_the_dtype_of_x(kind, data):
    """Keras casts what `fit` is given to float32; a network in float64 makes x float64."""
    seen = set()

    def watched(x, inputs):
        seen.update((x.dtype, inputs["state"].dtype, inputs["which"].dtype))
        return x * inputs["state"] + tf.cast(inputs["which"], x.dtype)

    class OfState(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2, dtype="float64")

        def build(self, input_shape):
            self.dense.build(input_shape["state"])

        def call(self, inputs):
            return self.dense(inputs["state"])

    model = kind(OfState(), watched)
    model.compile(keras.optimizers.SGD(0.01))
    model.fit({"state": data, "which": np.ones((40, 2), "int32")}, data, verbose=0)
    assert seen == {tf.float64, tf.int32}


def test_several_updates_per_solve_equal_several_steps_to_the_same_target(data):
    model = training.ScaleInvariantPhysics(network(), SQUARE, updates_per_solve=3)
    model.compile(keras.optimizers.SGD(0.05))
    plain = network()
    wanted = np.sqrt(data) * np.sign(plain(data))
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.reduce_sum((plain(data) - wanted) ** 2 / 2, axis=1))
        for variable, gradient in zip(
            plain.trainable_variables, tape.gradient(loss, plain.trainable_variables), strict=True
        ):
            variable.assign_sub(0.05 * gradient)
    model.train_on_batch(data, data)
    for one, other in zip(model.network.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_saddle_free_newton_solver_against_numpy(rng):
    sine = simulators.Sine(xi=3.0, phi=0.4)
    x, y = rng.uniform(-1, 1, (20, 2)), rng.uniform(-1, 1, (20, 2))
    step = training.SaddleFreeNewtonSolver(limit=0.2)(sine, tf.constant(y), tf.constant(x)).numpy() - x

    def loss(points):
        return tf.reduce_sum((sine(points) - y) ** 2, axis=1) / 2

    h, expected = 1e-4, []
    for i in range(20):

        def value(d0, d1, i=i):
            points = np.tile(x[i], (20, 1)) + np.array([d0, d1])
            return float(loss(tf.constant(np.where(np.arange(20)[:, None] == i, points, x)))[i])

        g = np.array([value(h, 0) - value(-h, 0), value(0, h) - value(0, -h)]) / (2 * h)
        hxx = (value(h, 0) - 2 * value(0, 0) + value(-h, 0)) / h**2
        hyy = (value(0, h) - 2 * value(0, 0) + value(0, -h)) / h**2
        hxy = (value(h, h) - value(h, -h) - value(-h, h) + value(-h, -h)) / (4 * h**2)
        s, q = np.linalg.eigh(np.array([[hxx, hxy], [hxy, hyy]]))
        slopes, mean = q.T @ g, np.sqrt(np.abs(s[0] * s[1]))
        lengths = [
            abs(a / b) if abs(b) > mean else min(abs(a / b), 0.2 / abs(a)) for a, b in zip(slopes, s, strict=True)
        ]
        expected.append(q @ (-np.sign(slopes) * lengths))
    np.testing.assert_allclose(step, expected, rtol=1e-3, atol=1e-5)


def test_gauss_newton_solver_reaches_the_target_by_the_shortest_way():
    def total(x):
        return tf.reduce_sum(x, axis=1, keepdims=True)

    x = training.GaussNewtonSolver()(
        total, tf.constant([[6.0]], tf.float64), tf.constant([[0.0, 1.0, 2.0]], tf.float64)
    )
    assert_close(x, [[1.0, 2.0, 3.0]], rtol=1e-12)


def test_every_inverse_has_one_signature(data):
    """A function, one that asks for the inputs, a solver and an object with `of` move the weights alike."""
    solver = training.GaussNewtonSolver(2)

    class Own:
        def of(self, simulate):
            return lambda y, x_guess: solver(simulate, y, x_guess)

    def steered(x, inputs):
        return SQUARE(x) + inputs

    def local_inverse(y, x_guess, inputs):
        return solver(lambda x: steered(x, inputs), y, x_guess)

    weights = []
    for inverse in (local_inverse, lambda y, x_guess, *, inputs: local_inverse(y, x_guess, inputs), solver, Own()):
        model = training.ScaleInvariantPhysics(network(), steered, inverse=inverse)
        model.compile(keras.optimizers.SGD(0.1), loss="mse")
        model.train_on_batch(data, data + 0.1)
        weights.append(np.concatenate([weight.ravel() for weight in model.get_weights()]))
    for other in weights[1:]:
        np.testing.assert_allclose(other, weights[0], rtol=0, atol=1e-6)
    x = tf.constant(data + 0.5)
    step = updates.physical_gradient(SQUARE, x, 0.1, local_inverse=solver.of(SQUARE))
    assert_close(step, solver(SQUARE, SQUARE(x) + 0.1, x) - x, rtol=1e-6)


@pytest.mark.parametrize("solver", [training.SaddleFreeNewtonSolver(0.1, 3), training.GaussNewtonSolver(2, 1e-3)])
def test_solvers_are_saved_by_keras(solver):
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(solver)) == solver


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: training.DifferentiablePhysics(doubled, SQUARE), TypeError, "network must be a Keras model or layer"),
        (lambda: training.DifferentiablePhysics(network(), 3), TypeError, "simulator must be a function, got int"),
        (
            lambda: training.DifferentiablePhysics(keras.layers.Dense(2, dtype="mixed_float16"), SQUARE),
            TypeError,
            "network must compute in float32 or float64, got float16",
        ),
        (lambda: training.ScaleInvariantPhysics(network(), doubled), TypeError, "simulator has no local_inverse"),
        (lambda: training.ScaleInvariantPhysics(network(), SQUARE, eta=0.0), ValueError, "eta must be positive"),
        (lambda: training.ScaleInvariantPhysics(network(), SQUARE, eta=1.5), ValueError, r"eta must be in \(0, 1\]"),
        (
            lambda: training.ScaleInvariantPhysics(network(), SQUARE, proxy="l3"),
            ValueError,
            'proxy must be "l2" or "l1"',
        ),
        (
            lambda: training.ScaleInvariantPhysics(network(), SQUARE, updates_per_solve=0),
            ValueError,
            "updates_per_solve must be at least 1",
        ),
        (lambda: training.SaddleFreeNewtonSolver(limit=0.0), ValueError, "limit must be positive"),
        (lambda: training.GaussNewtonSolver(rcond=-1.0), ValueError, "rcond must be at least 0 and below 1"),
        (lambda: training.GaussNewtonSolver(rcond=1.0), ValueError, "rcond must be at least 0 and below 1"),
        (
            lambda: training.ScaleInvariantPhysics(network(), doubled, inverse=training.GaussNewtonSolver),
            TypeError,
            "inverse must be a function or an object, got the class GaussNewtonSolver: make an object",
        ),
        (lambda: training.SpectralModel(network(), simulators.Sine), TypeError, "got the class Sine: make an object"),
        (lambda: training.GaussNewtonSolver(n_steps=0), ValueError, "n_steps must be at least 1"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (lambda data: data[:, :1], ValueError, "targets must have the shape of the simulator's output"),
        (lambda data: data.astype("int32"), TypeError, "targets must be float32 or float64, got int32"),
        (
            lambda data: {"z": data},
            ValueError,
            "targets must have the structure .* one tensor, got a dictionary of 'z'",
        ),
        (lambda data: [data, data], ValueError, "targets must have the structure .* one tensor, got a list of 2"),
        (lambda data: {"y": data, "x": data[:, :1]}, ValueError, r'targets\["x"\] must have the shape of x'),
    ],
)
def test_targets_are_refused(model, data, targets, error, message):
    model.compile()
    with pytest.raises(error, match=message):
        model.fit(data, targets(data), verbose=0)


def test_several_weights_without_names_are_refused(model, data):
    """Keras hands over one for each target, by name; in a tuple nobody knows which is which."""
    weights = np.ones(len(data), "float32")
    model.compile()
    batches = tf.data.Dataset.from_tensors((data, {"y": data, "x": data}, (weights, weights)))
    with pytest.raises(TypeError, match=r"sample_weight must be one tensor or a dictionary .*, got a tuple"):
        model.fit(batches, shuffle=False, verbose=0)


@pytest.mark.parametrize("options", [{}, {"jit_compile": True}, {"run_eagerly": True}])
def test_targets_that_are_not_finite_stop_training_and_leave_the_weights(model, data, options):
    model.compile(keras.optimizers.Adam(0.01), **options)
    model.train_on_batch(data, data)
    before, taken = weights_of(model), int(model.optimizer.iterations)
    broken = data.copy()
    broken[3, 1] = np.nan
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match="finite"):
        model.train_on_batch(data, broken)
    assert int(model.optimizer.iterations) == taken
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_unreachable_target_stops_training(data):
    model = training.ScaleInvariantPhysics(network(), SQUARE)
    model.compile()
    with pytest.raises(tf.errors.InvalidArgumentError, match="the answer of the inverse simulator is not finite"):
        model.train_on_batch(data, -data)


def test_weights_and_metrics_with_a_known_solution(model, data):
    """Keras hands the weights over once for y* and once for x*."""
    model.compile(keras.optimizers.SGD(0.01), training.HalfSquaredError(), metrics=["mae"], weighted_metrics=["mse"])
    weight = np.linspace(0.0, 1.0, len(data)).astype("float32")
    reports = []
    for targets in (data, {"y": data, "x": data}):
        reports.append(model.evaluate(data, targets, sample_weight=weight, verbose=0, return_dict=True))
    found = {key: value for key, value in reports[1].items() if key in reports[0]}
    assert found == pytest.approx(reports[0], rel=1e-6)
    assert "x_error" in reports[1]
    model.fit(data, {"y": data, "x": data}, sample_weight=weight, verbose=0)


def through_a_loop(x):
    """Physics with a loop, and two outputs that depend on both entries of x."""
    body = lambda i, y: (i + 1, y + 0.1 * tf.roll(y, 1, axis=1) * tf.sin(y))  # noqa: E731
    return tf.while_loop(lambda i, y: i < 4, body, (0, x), maximum_iterations=4)[1]


@pytest.mark.parametrize("solver", [training.GaussNewtonSolver(n_steps=2), training.SaddleFreeNewtonSolver()])
def test_solvers_compile_with_a_loop_in_the_physics(solver, data):
    weights = []
    for xla in (False, True):
        model = training.ScaleInvariantPhysics(network(), through_a_loop, inverse=solver)
        model.compile(keras.optimizers.SGD(0.1), jit_compile=xla)
        model.train_on_batch(data, through_a_loop(tf.constant(data)))
        weights.append(model.get_weights())
    for plain, compiled in zip(*weights, strict=True):
        assert_close(compiled, plain, rtol=1e-5)


def test_long_tracing_is_explained_once(model, data, monkeypatch):
    monkeypatch.setattr(physics_model, "LONG_TRACING", 0.0)
    model.compile(keras.optimizers.SGD(0.01))
    with pytest.warns(UserWarning, match="to trace a step.*tf.while_loop keeps one round"):
        model.train_on_batch(data, data)
    model.train_on_batch(data[:3], data[:3])  # another shape, another trace: no other warning, which were an error


@pytest.mark.parametrize("solver", [training.GaussNewtonSolver(), training.SaddleFreeNewtonSolver()])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 1), (3, 3)])
def test_solvers_broadcast_no_target(solver, shape):
    x = tf.ones([4, 3])
    with pytest.raises(ValueError, match=r"y must have the shape of simulate\(x\), \(4, 3\), got"):
        solver(SQUARE, tf.ones(shape), x)
    with pytest.raises(TypeError, match=r"y must have the dtype of simulate\(x\), float32, got float64"):
        solver(SQUARE, tf.ones([4, 3], tf.float64), x)


@pytest.mark.parametrize(
    ("simulate", "error", "message"),
    [
        (lambda x: tf.reduce_sum(x**2), ValueError, "simulator must return the batch first and a known number of axes"),
        (
            lambda x: tf.numpy_function(lambda x: x, [x], tf.float32),
            ValueError,
            "simulator must return .* tf.ensure_shape tells what TensorFlow cannot see",
        ),
        (lambda x: np.ones((4, 2), "float32"), TypeError, "simulator must return tensors, got ndarray"),
        (lambda x: tf.complex(x, x), TypeError, "simulator must return float32 or float64, got complex64"),
        (lambda x: tf.cast(3.0 * x, tf.int32), TypeError, "simulator must return float32 or float64, got int32"),
    ],
)
def test_what_no_simulator_returns(simulate, error, message, data):
    for model in (
        training.DifferentiablePhysics(network(), simulate),
        training.ScaleInvariantPhysics(network(), simulate, inverse=lambda y, x_guess: x_guess),
        training.SpectralModel(network(), simulate, jacobian="products"),
    ):
        model.compile(loss="mse")
        with pytest.raises(error, match=message):
            model.train_on_batch(data, data)


def test_negative_weights_have_no_root(data):
    for options in ({"jacobian": "kernel"}, {"jacobian": "products", "n_products": 2}):
        model = training.SpectralModel(network(), SQUARE, **options)
        model.compile(loss="mse")
        with pytest.raises(tf.errors.InvalidArgumentError, match="sample_weight must not be negative"):
            model.train_on_batch(data, data, sample_weight=np.linspace(-1.0, 1.0, len(data)))
