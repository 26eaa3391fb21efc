"""Comparisons are fair: the same starts, batches and measure for all, each at its own best rate, and nothing lost."""

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf

import physgrad_tf as pg
from physgrad_tf.comparison.compare import next_rate, stacked

INPUTS = np.linspace(-1.0, 1.0, 16, dtype=np.float32)[:, np.newaxis]
DATA = (INPUTS, 3.0 * INPUTS)
HELD_OUT = (INPUTS[:8] / 2, 1.5 * INPUTS[:8])
ONCE = {"seeds": [0], "tuning_seeds": [100], "n_records": 1}
SLOPE = 2.0 * float(np.mean(INPUTS**2))  # of the gradient of the mean of (w x − 3x)² in w


def line():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])


def sgd(network, **options):
    network.compile(keras.optimizers.SGD(**options), "mse")
    return network


def adam(network):
    network.compile(keras.optimizers.Adam(), "mse")
    return network


def whole_batch(rates, n_steps=10, build=sgd):
    return pg.comparison.Method(build, rates, n_steps, batch_size=16)


def start(seed):
    keras.utils.set_random_seed(seed)
    return float(line().get_weights()[0][0, 0])


def along_the_way(seed, rate, steps):
    """Gradient descent on a parabola, in closed form: the held-out ½|y − y*|² after so many steps."""
    miss = (start(seed) - 3.0) * (1.0 - rate * SLOPE) ** np.asarray(steps)
    return np.mean(HELD_OUT[0] ** 2) * miss**2 / 2.0


# --- what is trained and measured -----------------------------------------------------------------------------------


def test_goals_may_come_with_their_solution_and_data_only_in_pairs():
    method = {"GD": whole_batch((0.1,))}
    plain = pg.comparison.compare(method, line, DATA, HELD_OUT, **ONCE)
    with_solution = (HELD_OUT[0], {"y": HELD_OUT[1], "x": HELD_OUT[1]})
    found = pg.comparison.compare(method, line, DATA, with_solution, **ONCE)
    np.testing.assert_array_equal(found["GD"].measured, plain["GD"].measured)
    dataset = tf.data.Dataset.from_tensor_slices(DATA)
    for data in ((dataset, HELD_OUT), (DATA, dataset)):
        with pytest.raises(TypeError, match="must be a pair of arrays, inputs and goals, got _TensorSliceDataset"):
            pg.comparison.compare(method, line, *data, **ONCE)


def test_inputs_may_be_a_list():
    def sum_of_two():
        a, b = keras.Input((1,)), keras.Input((1,))
        layer = keras.layers.Dense(1, use_bias=False)
        return keras.Model([a, b], layer(keras.layers.Add()([a, b])))

    method = {"GD": whole_batch((0.1,))}
    halves = lambda inputs, goals: ([inputs / 2, inputs / 2], goals)  # noqa: E731
    found = pg.comparison.compare(method, sum_of_two, halves(*DATA), halves(*HELD_OUT), **ONCE)
    plain = pg.comparison.compare(method, line, DATA, HELD_OUT, **ONCE)
    np.testing.assert_allclose(found["GD"].measured, plain["GD"].measured, rtol=1e-5)


def test_gradient_descent_on_a_parabola_has_its_closed_form():
    found = pg.comparison.compare({"GD": whole_batch((0.1, 0.3))}, line, DATA, HELD_OUT, seeds=[0, 1, 2], n_records=2)
    runs = found["GD"]
    expected = np.array([along_the_way(seed, runs.rate, [5, 10]) for seed in (0, 1, 2)])
    np.testing.assert_allclose(runs.measured, expected, rtol=1e-4, atol=1e-9)
    np.testing.assert_array_equal(runs.steps, [5, 10])
    for rate, tried in runs.tuning.items():
        expected = np.array([along_the_way(seed, rate, [5, 10]) for seed in (100, 101, 102)])
        np.testing.assert_allclose(tried, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("rates", [(0.01, 0.03), (8.0, 24.0), (0.3, 0.9)])
def test_a_grid_is_extended_until_its_best_rate_lies_inside(rates):
    found = pg.comparison.compare({"GD": whole_batch(rates)}, line, DATA, HELD_OUT, max_extensions=6, **ONCE)
    runs = found["GD"]
    assert not runs.at_edge
    factors = {rate: abs(1.0 - rate * SLOPE) for rate in runs.tuning}
    assert runs.rate == min(factors, key=factors.get)
    assert list(runs.tuning) == sorted(runs.tuning)
    np.testing.assert_allclose(np.diff(np.log(list(runs.tuning))), np.log(3.0), rtol=1e-4)


def test_an_edge_that_remains_is_told():
    found = pg.comparison.compare({"GD": whole_batch((0.001, 0.002))}, line, DATA, HELD_OUT, max_extensions=1, **ONCE)
    assert found["GD"].at_edge
    assert list(found["GD"].tuning) == [0.001, 0.002, 0.004]
    assert "(at the edge)" in found.table()


def test_an_edge_below_is_told_too():
    found = pg.comparison.compare({"GD": whole_batch((4.0, 8.0))}, line, DATA, HELD_OUT, max_extensions=0, **ONCE)
    assert found["GD"].rate == 4.0
    assert found["GD"].at_edge


def test_a_rate_is_chosen_by_its_median_at_the_end():
    at_the_end = {0.1: (1.0, 9.0, 9.0), 0.2: (4.0, 4.0, 9.0), 0.4: (5.0, 5.0, 5.0)}

    def scripted(model):
        rate = round(float(model.optimizer.learning_rate), 6)
        seen[rate] = seen.get(rate, 0) + 1
        training, at_end = divmod(seen[rate] - 1, 2)
        return at_the_end[rate][training % 3] if at_end else rate  # of the first records, 0.1 has the lowest

    seen = {}
    options = {"seeds": [0], "n_records": 2, "measure": scripted, "max_extensions": 1}
    runs = pg.comparison.compare({"GD": whole_batch((0.1, 0.2, 0.4))}, line, DATA, HELD_OUT, **options)["GD"]
    assert runs.rate == 0.2
    np.testing.assert_array_equal([found[:, -1] for found in runs.tuning.values()], list(at_the_end.values()))


@pytest.mark.parametrize(
    ("medians", "expected"),
    [
        ({1.0: 3.0, 2.0: 1.0, 4.0: 2.0}, None),
        ({1.0: 1.0, 2.0: 1.0, 4.0: 2.0}, 0.5),
        ({1.0: 3.0, 2.0: 2.0, 4.0: 1.0}, 8.0),
        ({1.0: np.inf, 2.0: np.inf}, 0.5),
    ],
)
def test_the_next_rate_lies_beyond_the_best_end(medians, expected):
    assert next_rate(medians) == expected


def test_a_single_rate_is_taken_as_it_is():
    found = pg.comparison.compare({"GD": whole_batch((0.1,))}, line, DATA, HELD_OUT, **ONCE)
    assert found["GD"].rate == 0.1
    assert found["GD"].tuning == {}
    assert "not tuned" in found.table()


def test_methods_start_alike_and_see_the_same_batches_whatever_their_order():
    def method(build):
        return pg.comparison.Method(build, (0.05, 0.1, 0.2), n_steps=12, batch_size=4)

    options = {"data": DATA, "held_out": HELD_OUT, "seeds": [3, 1], "n_records": 3}
    first = pg.comparison.compare({"a": method(sgd), "Adam": method(adam), "b": method(sgd)}, line, **options)
    second = pg.comparison.compare({"Adam": method(adam), "a": method(sgd)}, line, **options)
    np.testing.assert_array_equal(first["a"].measured, first["b"].measured)
    for name in ("a", "Adam"):  # the state of Adam, too, starts anew with every training
        np.testing.assert_array_equal(first[name].measured, second[name].measured)
    assert not np.array_equal(first["a"].measured, first["Adam"].measured)
    alone = pg.comparison.compare({"Adam": method(adam)}, line, **(options | {"seeds": [1]}))
    np.testing.assert_array_equal(alone["Adam"].measured[0], first["Adam"].measured[1])


def test_a_training_is_that_of_keras():
    method = pg.comparison.Method(adam, (0.1,), n_steps=12, batch_size=4)
    runs = pg.comparison.compare({"Adam": method}, line, DATA, HELD_OUT, seeds=[7], n_records=2)["Adam"]
    keras.utils.set_random_seed(7)
    model = adam(line())
    model.optimizer.learning_rate = 0.1
    batches = tf.data.Dataset.from_tensor_slices(DATA).shuffle(16, seed=7).repeat().batch(4)
    history = model.fit(batches, epochs=2, steps_per_epoch=6, verbose=0, shuffle=False).history
    np.testing.assert_allclose(runs.history["loss"][0], history["loss"], rtol=1e-5, atol=1e-7)
    y = model.predict(HELD_OUT[0], verbose=0)
    np.testing.assert_allclose(runs.ends, np.mean((y - HELD_OUT[1]) ** 2) / 2, rtol=1e-5, atol=1e-9)


def test_the_models_of_the_package_race_with_a_measure_of_ones_own():
    oscillators = pg.simulators.CoupledOscillators(8, 0.5)
    starts = oscillators.random_states(16, np.random.default_rng(0))

    def network():
        return keras.Sequential([keras.layers.Dense(5, "tanh"), keras.layers.Dense(8)])  # built by its first input

    def half_inverse(network):
        model = pg.training.SpectralModel(network, oscillators)
        model.compile(loss=pg.training.HalfSquaredError())
        return model

    def differentiable(network):
        model = pg.training.DifferentiablePhysics(network, oscillators)
        model.compile(keras.optimizers.Adam(), pg.training.HalfSquaredError())
        return model

    def mean_push(model):
        return float(tf.reduce_mean(tf.abs(model.network(starts))))

    methods = {
        "HIG": pg.comparison.Method(half_inverse, (0.5,), n_steps=2, batch_size=8),
        "Adam": pg.comparison.Method(differentiable, (0.01,), n_steps=2, batch_size=8),
    }
    options = {"seeds": [0, 1], "n_records": 2, "measure": mean_push, "quantity": "mean push"}
    found = pg.comparison.compare(methods, network, (starts, starts), (starts, starts), **options)
    assert list(found) == ["HIG", "Adam"]
    assert len(found) == 2
    assert {"loss", "rank", "step_norm"} <= set(found["HIG"].history)
    for runs in found.runs.values():
        for row, seed in enumerate((0, 1)):
            assert mean_push(runs.trained(seed)) == runs.ends[row]
    with pytest.raises(ValueError, match="seed must be one of"):
        found["HIG"].trained(5)


# --- what dies ------------------------------------------------------------------------------------------------------


def test_a_training_that_diverges_is_a_result():
    method = pg.comparison.Method(sgd, (1e8,), n_steps=16, batch_size=16)
    runs = pg.comparison.compare({"GD": method}, line, DATA, HELD_OUT, seeds=[0, 1], n_records=8)["GD"]
    assert np.isfinite(runs.measured[:, 0]).all()
    assert np.isinf(runs.ends).all()
    assert runs.median == np.inf
    assert runs.n_stopped == 2
    assert all(step < 16 for step in runs.stopped_at)
    assert runs.stopped_by == ["what is measured"] * 2


def test_a_rate_at_which_all_die_is_not_chosen():
    method = pg.comparison.Method(sgd, (1e-2, 1e2, 1e20), n_steps=40, batch_size=16)
    runs = pg.comparison.compare({"GD": method}, line, DATA, HELD_OUT, max_extensions=0, **ONCE)["GD"]
    assert runs.rate == 1e-2
    assert np.isinf(runs.tuning[1e20]).all()


def test_a_step_that_is_not_finite_ends_one_training_only():
    def overflows(network):
        model = pg.training.SpectralModel(network, lambda x: tf.exp(30.0 * x), exponent=-1.0)
        model.compile(loss=pg.training.HalfSquaredError())
        return model

    method = pg.comparison.Method(overflows, (1.0, 1e6), n_steps=6, batch_size=2)
    goals = np.ones_like(INPUTS)
    found = pg.comparison.compare({"GN": method}, line, (INPUTS, goals), (INPUTS, goals), max_extensions=0, **ONCE)
    assert np.isinf(found["GN"].tuning[1e6]).any()
    assert "died" in found.table()


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.filterwarnings("ignore:the simulator answers nothing finite")
def test_a_training_may_die_in_its_first_step(run_eagerly):
    def overflows(network):
        model = pg.training.SpectralModel(network, lambda x: x * tf.exp(1e4 * (x + 2.0) ** 2))
        model.compile(loss=pg.training.HalfSquaredError(), run_eagerly=run_eagerly)
        return model

    method = pg.comparison.Method(overflows, (1.0,), n_steps=2, batch_size=2)
    runs = pg.comparison.compare({"HIG": method}, line, (INPUTS, INPUTS), (INPUTS, INPUTS), **ONCE)["HIG"]
    assert runs.stopped_at == [0]
    assert runs.stopped_by == ["the Jacobian or the gradient of the loss in y"]
    assert runs.n_stopped == 1
    assert np.isinf(runs.measured).all()
    assert runs.history == {}


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_a_training_dies_as_well_where_a_check_speaks_before_the_step(run_eagerly):
    """The weights overflow in a step, and the simulator refuses what comes of them in the next one."""

    def build(network):
        model = pg.training.DifferentiablePhysics(network, pg.simulators.Heat(0.5))
        model.compile(keras.optimizers.SGD(), "mse", run_eagerly=run_eagerly)
        return model

    def of_fields():
        return keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 3, padding="same")])

    fields = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype("float32")
    method = pg.comparison.Method(build, (1e-2, 1e30), n_steps=8, batch_size=2)
    found = pg.comparison.compare({"DP": method}, of_fields, (fields, fields), (fields, fields), **ONCE)["DP"]
    assert found.rate == 1e-2
    assert np.isinf(found.tuning[1e30]).all()
    assert np.isfinite(found.ends).all()


def test_seeds_may_come_from_numpy():
    method = {"GD": whole_batch((0.1,))}
    found = pg.comparison.compare(method, line, DATA, HELD_OUT, n_records=1, seeds=np.arange(1), tuning_seeds=[100])
    plain = pg.comparison.compare(method, line, DATA, HELD_OUT, **ONCE)
    np.testing.assert_array_equal(found["GD"].measured, plain["GD"].measured)


def test_one_that_logged_nothing_does_not_take_the_others_histories():
    logged = stacked([{"loss": np.array([2.0, 1.0])}, {}], n_records=2)
    np.testing.assert_array_equal(logged["loss"], [[2.0, 1.0], [np.inf, np.inf]])


def test_any_other_error_is_not_swallowed():
    def fails(network):
        network.compile(keras.optimizers.SGD(), loss=lambda y, y_goal: tf.debugging.assert_less(1.0, 0.0) or y)
        return network

    with pytest.raises(tf.errors.InvalidArgumentError):
        pg.comparison.compare({"GD": whole_batch((0.1,), build=fails)}, line, DATA, HELD_OUT)


# --- table and figure -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def comparison():
    methods = {"GD": whole_batch((0.1, 1.0, 10.0)), "Adam": whole_batch((0.1, 1.0, 10.0), build=adam)}
    return pg.comparison.compare(
        methods, line, DATA, HELD_OUT, seeds=[0, 1], tuning_seeds=[100], n_records=2, baselines={"nothing": 50.0}
    )


def test_the_table_has_a_line_for_each_method_and_baseline(comparison):
    lines = comparison.table(seconds=False).splitlines()
    assert lines[0] == comparison.quantity
    assert [line.split()[0] for line in lines[2:]] == ["GD", "Adam", "nothing"]
    assert f"{comparison['GD'].median:.2e}" in lines[2]
    assert f"{comparison['GD'].ends.max():.2e}" in lines[2]
    assert " ".join(f"{rate:g}" for rate in comparison["GD"].tuning) in lines[2]
    assert "ms a step" not in lines[1]
    assert str(comparison) == comparison.table()
    assert "ms a step" in str(comparison)


@pytest.mark.parametrize("over", ["steps", "seconds"])
def test_the_figure_draws_medians_and_ranges(comparison, over):
    axes = comparison.draw(over=over)
    for drawn, runs in zip(axes.lines, comparison.runs.values(), strict=False):
        factor = 1.0 if over == "steps" else runs.seconds_per_step
        np.testing.assert_allclose(drawn.get_xdata(), runs.steps * factor)
        np.testing.assert_allclose(drawn.get_ydata(), np.median(runs.measured, axis=0))
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == comparison["GD"].measured.min(axis=0).min()
    assert band.max() == comparison["GD"].measured.max(axis=0).max()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["GD", "Adam", "nothing"]
    bottom, top = axes.get_ylim()
    assert bottom < 50.0 < top  # the baseline is in sight
    plt.close("all")


def test_where_a_training_has_died_the_band_is_open_above():
    methods = {"GD": pg.comparison.Method(sgd, (1e18,), 4, 16), "Adam": whole_batch((0.1,), 4, adam)}
    found = pg.comparison.compare(methods, line, DATA, HELD_OUT, seeds=[0, 1], n_records=4)
    figure, axes = plt.subplots()
    assert found.draw(axes) is axes
    figure.canvas.draw()  # without a warning
    with pytest.raises(ValueError, match='over must be "steps" or "seconds", got "time"'.replace('"', "['\"]")):
        found.draw(over="time")
    plt.close("all")


def test_many_methods_and_baselines_are_all_drawn_apart_from_the_named_ones():
    names = ["Adam", *(f"variant {n}" for n in range(7))]
    methods = {name: whole_batch((0.1,), 2) for name in names}
    baselines = {f"level {n}": 10.0**-n for n in range(6)}
    found = pg.comparison.compare(methods, line, DATA, HELD_OUT, baselines=baselines, **ONCE)
    axes = found.draw()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [*names, *baselines]
    colors = [drawn.get_color() for drawn in axes.lines[: len(names)]]
    assert colors[0] not in colors[1:]
    plt.close("all")


def test_where_all_trainings_have_died_there_is_an_empty_figure():
    method = pg.comparison.Method(sgd, (1e18,), n_steps=40, batch_size=16)
    found = pg.comparison.compare({"GD": method}, line, DATA, HELD_OUT, seeds=[0], n_records=1)
    found.draw().figure.canvas.draw()  # without a warning
    plt.close("all")


def test_progress_is_shown_where_someone_waits_and_wiped_out(monkeypatch, capsys):
    race = {"GD": whole_batch((0.1,))}
    pg.comparison.compare(race, line, DATA, HELD_OUT, seeds=[0])
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("JPY_SESSION_NAME", "chapter.ipynb")
    pg.comparison.compare(race, line, DATA, HELD_OUT, seeds=[0, 1])
    shown = capsys.readouterr()
    assert "training 2 of 2: GD, rate 0.1, seed 1" in shown.err
    assert shown.err.endswith("\r\033[K")
    assert shown.out == ""


# --- errors at the door ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"build": 3}, TypeError, "build must be a function, got int"),
        ({"rates": ()}, ValueError, "rates must be increasing"),
        ({"rates": (0.1, 0.1)}, ValueError, "rates must be increasing"),
        ({"rates": (-1.0, 0.1)}, ValueError, "rates must be positive"),
        ({"rates": ("0.1",)}, TypeError, "rates must be a number"),
        ({"n_steps": 0}, ValueError, "n_steps must be at least 1"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an integer"),
    ],
)
def test_a_method_refuses(change, error, message):
    with pytest.raises(error, match=message):
        pg.comparison.Method(**({"build": sgd, "rates": (0.1,), "n_steps": 10, "batch_size": 4} | change))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"methods": {}}, ValueError, "at least one method"),
        ({"methods": {"GD": sgd}}, TypeError, "objects of Method, got function for 'GD'"),
        ({"methods": {"GD": whole_batch((0.1,), 7)}}, ValueError, "multiple of n_records 5, got 7"),
        ({"data": (INPUTS[:8], 3.0 * INPUTS[:8])}, ValueError, "batch_size of 'GD' must be at most 8, got 16"),
        ({"data": (INPUTS, INPUTS[:8])}, ValueError, "as many inputs as goals"),
        ({"held_out": (INPUTS, INPUTS[:8])}, ValueError, "held_out must hold as many inputs as goals"),
        ({"held_out": (INPUTS, INPUTS[:, 0])}, ValueError, r"shapes \[\(16, 1\)\] that the model predicts, got"),
        ({"new_network": 1}, TypeError, "new_network must be a function"),
        ({"new_network": dict}, TypeError, "new_network must return a keras.Model, got dict"),
        ({"seeds": []}, ValueError, "seeds must be different seeds, at least one"),
        ({"seeds": [1, 1]}, ValueError, "seeds must be different seeds"),
        ({"seeds": [0.5]}, TypeError, "seeds must be an integer"),
        ({"seeds": [1], "tuning_seeds": [1]}, ValueError, r"must not count as well, got \[1\]"),
        ({"n_records": 0}, ValueError, "n_records must be at least 1"),
        ({"max_extensions": -1}, ValueError, "max_extensions must be at least 0"),
        ({"measure": "loss"}, TypeError, "measure must be a function"),
        ({"baselines": {"GD": 1.0}}, ValueError, r"baselines must not have the name of a method, got \['GD'\]"),
        ({"baselines": {"old": np.nan}}, ValueError, "baselines must be finite"),
        ({"methods": {"GD": whole_batch((0.1,), build=lambda network: None)}}, TypeError, "build must return a keras"),
        ({"methods": {"GD": whole_batch((0.1,), build=lambda network: network)}}, ValueError, "a compiled model"),
    ],
)
def test_a_comparison_refuses(change, error, message):
    arguments = {
        "methods": {"GD": whole_batch((0.1,))},
        "new_network": line,
        "data": DATA,
        "held_out": HELD_OUT,
    }
    with pytest.raises(error, match=message):
        pg.comparison.compare(**(arguments | change))


def test_a_schedule_is_refused():
    def scheduled(network):
        return sgd(network, learning_rate=keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))

    with pytest.raises(ValueError, match="leave the learning rate free"):
        pg.comparison.compare({"GD": whole_batch((0.1,), build=scheduled)}, line, DATA, HELD_OUT)
