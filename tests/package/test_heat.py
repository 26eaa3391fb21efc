"""Heat conduction against scipy, numpy and closed forms, its stabilised inverses, its data, and what it refuses."""

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from physgrad_tf import simulators, training
from tests.package.agreement import assert_close

INVERSES = ("raw", "cutoff", "probabilistic")


def field(rng, n=8, batch=2):
    return rng.normal(size=(batch, n, n, 1))


def one_wave(n, k1, k2):
    """cos(2π(k₁i + k₂j)/n) as a field, and its squared wave number."""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    wave = np.cos(2 * np.pi * (k1 * i + k2 * j) / n)[np.newaxis, ..., np.newaxis]
    return wave, (2 * np.pi / n) ** 2 * (k1**2 + k2**2)


@pytest.mark.parametrize("n", [5, 6])
def test_equals_the_matrix_exponential_along_both_axes(rng, n):
    x = field(rng, n)
    k2 = np.diag((2 * np.pi * np.fft.fftfreq(n)) ** 2)
    one_axis = scipy.linalg.expm(-0.3 * (np.fft.ifft(np.eye(n), axis=0) @ k2 @ np.fft.fft(np.eye(n), axis=0)).real)
    expected = np.einsum("ij,kl,bjlc->bikc", one_axis, one_axis, x)
    np.testing.assert_allclose(simulators.Heat(0.3)(tf.constant(x)), expected, rtol=1e-11, atol=1e-13)


def test_equals_numpy_s_full_transform(rng):
    n = 10
    x = field(rng, n)
    k = 2 * np.pi * np.fft.fftfreq(n)
    damping = np.exp(-1.7 * (k[:, np.newaxis] ** 2 + k**2))
    expected = np.fft.ifft2(np.fft.fft2(x[..., 0]) * damping).real[..., np.newaxis]
    np.testing.assert_allclose(simulators.Heat(1.7)(tf.constant(x)), expected, rtol=1e-11, atol=1e-13)


@given(n=st.integers(4, 9), k1=st.integers(0, 4), k2=st.integers(0, 4), nu_t=st.floats(0.0, 3.0))
def test_every_wave_is_damped_by_its_closed_form(n, k1, k2, nu_t):
    k1, k2 = k1 % (n // 2 + 1), k2 % (n // 2 + 1)
    wave, k_squared = one_wave(n, k1, k2)
    y = simulators.Heat(nu_t)(tf.constant(wave))
    np.testing.assert_allclose(y, np.exp(-k_squared * nu_t) * wave, rtol=0, atol=1e-13)


def test_parseval_the_energy_lost_is_that_of_the_damped_waves(rng):
    n, nu_t = 8, 0.4
    x = field(rng, n, batch=1)
    power = np.abs(np.fft.fft2(x[0, ..., 0])) ** 2 / n**2
    k = 2 * np.pi * np.fft.fftfreq(n)
    expected = np.sum(power * np.exp(-2 * nu_t * (k[:, np.newaxis] ** 2 + k**2)))
    y = simulators.Heat(nu_t)(tf.constant(x))
    assert_close(np.sum(y.numpy() ** 2), expected, rtol=1e-12)


@given(first=st.floats(0.0, 2.0), second=st.floats(0.0, 2.0))
def test_two_times_one_after_the_other_are_their_sum_and_the_mean_stays(first, second):
    x = tf.constant(field(np.random.default_rng(1)))
    y = simulators.Heat(second)(simulators.Heat(first)(x))
    np.testing.assert_allclose(y, simulators.Heat(first + second)(x), rtol=0, atol=1e-13)
    np.testing.assert_allclose(tf.reduce_mean(y, [1, 2]), tf.reduce_mean(x, [1, 2]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [5, 6])
def test_the_gradient_is_the_simulator_itself(rng, n):
    """P is symmetric: the transposed Jacobian times w is P(w), in even and odd grids."""
    x, w = tf.constant(field(rng, n)), tf.constant(field(rng, n))
    heat = simulators.Heat(0.5)
    with tf.GradientTape() as tape:
        tape.watch(x)
        product = tf.reduce_sum(w * heat(x))
    np.testing.assert_allclose(tape.gradient(product, x), heat(w), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("inverse", INVERSES)
def test_round_trip_where_nothing_is_lost(rng, inverse):
    x, guess = field(rng), field(rng)
    heat = simulators.Heat(0.1, inverse=inverse, noise=1e-9)
    np.testing.assert_allclose(heat.local_inverse(heat(tf.constant(x)), tf.constant(guess)), x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("inverse", INVERSES)
def test_a_guess_that_is_right_stays_at_any_conditioning(rng, inverse):
    x = tf.constant(field(rng))
    heat = simulators.Heat(20.0, inverse=inverse)
    np.testing.assert_array_equal(heat.local_inverse(heat(x), x), x)


@pytest.mark.parametrize(("k1", "k2"), [(0, 0), (1, 0), (2, 1), (3, 3), (4, 4)])
def test_gains_of_single_waves_have_their_closed_forms(k1, k2):
    nu_t, noise = 1.0, 1e-2
    wave, k_squared = one_wave(8, k1, k2)
    d = np.exp(-k_squared * nu_t)
    expected = {"raw": 1 / d, "cutoff": 1 / d if d > noise else 0.0, "probabilistic": d / (d**2 + noise**2)}
    for inverse, gain in expected.items():
        heat = simulators.Heat(nu_t, inverse=inverse, noise=noise)
        x = heat.local_inverse(tf.constant(wave), tf.zeros_like(wave))
        np.testing.assert_allclose(x, gain * wave, rtol=1e-9, atol=1e-14 * heat.gain(8).max())


def test_waves_below_the_noise_stay_as_the_guess_has_them():
    wave, k_squared = one_wave(8, 4, 4)
    assert np.exp(-4.0 * k_squared) < 1e-6
    guess = tf.constant(0.3 * wave)
    for inverse in ("cutoff", "probabilistic"):
        heat = simulators.Heat(4.0, inverse=inverse)
        np.testing.assert_allclose(heat.local_inverse(heat(tf.constant(wave)), guess), guess, rtol=0, atol=1e-12)


def test_the_probabilistic_inverse_is_the_posterior_mean():
    """Against Bayes' rule in matrix form: prior N(guess, s²·1), y = Px + N(0, (noise·s)²·1)."""
    rng = np.random.default_rng(3)
    n, noise = 4, 0.05
    heat = simulators.Heat(0.4, noise=noise)
    units = tf.constant(np.eye(n * n).reshape(n * n, n, n, 1))
    P = heat(units).numpy().reshape(n * n, n * n).T
    y, guess = rng.normal(size=(2, n * n))
    expected = guess + np.linalg.solve(P.T @ P + noise**2 * np.eye(n * n), P.T @ (y - P @ guess))
    x = heat.local_inverse(tf.constant(y.reshape(1, n, n, 1)), tf.constant(guess.reshape(1, n, n, 1)))
    np.testing.assert_allclose(x.numpy().ravel(), expected, rtol=1e-9, atol=1e-11)


def test_rounding_ruins_the_raw_inverse_and_not_the_stabilised_ones(rng):
    x = simulators.soft_rectangles(4, 16, rng)
    errors = {}
    for inverse in INVERSES:
        heat = simulators.Heat(4.0, inverse=inverse)
        rounded = tf.cast(heat(tf.constant(x)), tf.float32)
        errors[inverse] = np.abs(heat.local_inverse(rounded, tf.zeros_like(rounded)) - x).mean()
    assert errors["raw"] > 1e20
    assert errors["cutoff"] < np.abs(heat(tf.constant(x)) - x).mean()
    assert errors["probabilistic"] < np.abs(heat(tf.constant(x)) - x).mean()


@pytest.mark.parametrize("inverse", INVERSES)
def test_float32_comes_back_rounded_once(rng, inverse):
    """A difference of two similar fields, taken in float32, has lost what the gain then amplifies."""
    heat = simulators.Heat(1.0, inverse=inverse, noise=1e-4)
    guess = tf.constant(field(rng), tf.float32)
    y = tf.cast(heat(tf.cast(guess, tf.float64)) + 1e-5 * field(rng), tf.float32)
    exact = heat.local_inverse(tf.cast(y, tf.float64), tf.cast(guess, tf.float64)).numpy()
    found = heat.local_inverse(y, guess).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - exact).max() <= np.finfo(np.float32).eps * np.abs(exact).max()


@pytest.mark.parametrize("inverse", ["cutoff", "probabilistic"])
@pytest.mark.parametrize("nu_t", [0.0, 1.0, 40.0, 1e6])
@pytest.mark.parametrize("noise", [1e-300, 1e-6, 1.0, 1e300])
def test_no_gain_exceeds_what_the_noise_allows(inverse, nu_t, noise):
    gain = simulators.Heat(nu_t, inverse=inverse, noise=noise).gain(8)
    assert np.isfinite(gain).all()
    assert gain.min() >= 0.0
    assert gain.max() <= 1.0 / noise


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("inverse", INVERSES)
def test_eager_equals_graph_and_xla_and_keeps_the_dtype(rng, inverse, dtype):
    heat = simulators.Heat(0.2, inverse=inverse)
    y, guess = tf.constant(field(rng), dtype), tf.constant(field(rng), dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for jit_compile in (False, True):
        forward = tf.function(heat.simulate, autograph=False, jit_compile=jit_compile)(y)
        backward = tf.function(heat.local_inverse, autograph=False, jit_compile=jit_compile)(y, guess)
        assert forward.dtype == backward.dtype == dtype
        np.testing.assert_allclose(forward, heat(y), rtol=0, atol=tolerance)
        np.testing.assert_allclose(backward, heat.local_inverse(y, guess), rtol=0, atol=50 * tolerance)


def test_keras_saves_and_loads_it_alone_and_in_a_model(rng, tmp_path):
    heat = simulators.Heat(1.5, inverse="cutoff", noise=1e-4)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(heat)) == heat
    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3, padding="same")])
    model = training.ScaleInvariantPhysics(network, heat)
    model.compile(keras.optimizers.Adam(1e-2))
    y = field(rng).astype("float32")
    model.fit(y, y, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.simulator == heat
    assert_close(loaded.predict(y, verbose=0), model.predict(y, verbose=0), rtol=1e-6)


def test_it_offers_what_training_asks_for():
    assert isinstance(simulators.Heat(1.0), simulators.InvertibleSimulator)


def test_rectangles_come_from_their_seed_alone():
    first, again = (simulators.soft_rectangles(3, 16, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - simulators.soft_rectangles(3, 16, np.random.default_rng(6))).max() > 0.1


@given(n=st.integers(2, 64), seed=st.integers(0, 1000))
def test_rectangles_are_warm_and_bounded_and_fill_their_grid(n, seed):
    fields = simulators.soft_rectangles(2, n, np.random.default_rng(seed))
    assert fields.shape == (2, n, n, 1)
    assert fields.dtype == np.float64
    assert fields.min() >= 0.0
    assert fields.max() <= 10.0
    assert (fields.max(axis=(1, 2)) > 0.0).all()


def test_rectangles_have_the_published_size_on_average():
    """A field's mean is E[count]·E[strength]·E[half-size·2/n]² = 7 · ½ · (10/64)², edges of one cell apart."""
    mean = simulators.soft_rectangles(4000, 64, np.random.default_rng(0)).mean()
    assert_close(mean, 3.5 * (10 / 64) ** 2, rtol=0.05)


def test_edges_are_soft_and_rectangles_wrap_around():
    fields = simulators.soft_rectangles(2000, 16, np.random.default_rng(2))
    partly = (fields > 0.0) & (fields < 0.02)
    assert partly.any()
    # Centres are uniform on a ring: no place is warmer than another.
    by_place = fields.mean(axis=0)
    assert by_place.std() < 0.1 * by_place.mean()


HEAT = simulators.Heat(1.0)
FIELD = np.ones((2, 4, 4, 1))
HOLE = np.where(np.arange(32).reshape(2, 4, 4, 1) == 5, np.nan, 1.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: simulators.Heat(-1.0), ValueError, "nu_t must be at least 0, got -1.0"),
        (lambda: simulators.Heat("1"), TypeError, "nu_t must be a number, got str"),
        (lambda: simulators.Heat(float("nan")), ValueError, "nu_t must be finite"),
        (lambda: simulators.Heat(1.0, inverse="exact"), ValueError, "inverse must be one of raw, .*got 'exact'"),
        (lambda: simulators.Heat(1.0, noise=0.0), ValueError, "noise must be positive, got 0.0"),
        (lambda: HEAT(FIELD[..., 0]), ValueError, r"x must have shape \[batch, n, n, 1\].*got \(2, 4, 4\)"),
        (lambda: HEAT(FIELD[:, :3]), ValueError, r"x must have shape .*got \(2, 3, 4, 1\)"),
        (lambda: HEAT(np.ones((2, 4, 4, 3))), ValueError, r"got \(2, 4, 4, 3\)"),
        (lambda: HEAT(FIELD[:0]), ValueError, "batch ≥ 1"),
        (lambda: HEAT(FIELD.astype(int)), TypeError, "x must be float32 or float64"),
        (lambda: HEAT(HOLE), ValueError, "x must be finite, got 1 NaN or Inf among 32 values"),
        (lambda: HEAT.local_inverse(HOLE, FIELD), ValueError, "y must be finite, got 1"),
        (lambda: HEAT.local_inverse(FIELD, HOLE), ValueError, "x_guess must be finite, got 1"),
        (lambda: HEAT.local_inverse(FIELD, np.ones((2, 8, 8, 1))), ValueError, "x_guess must have the shape of y"),
        (lambda: HEAT.local_inverse(FIELD, FIELD.astype("float32")), TypeError, "x_guess must have the dtype of y"),
        (
            lambda: simulators.Heat(40.0, inverse="raw").local_inverse(FIELD, FIELD),
            ValueError,
            "nu_t = 40.0 damps the shortest wave of 4 cells by more than float64 can undo",
        ),
        (lambda: simulators.soft_rectangles(0, 8, np.random.default_rng()), ValueError, "n_fields must be at least 1"),
        (lambda: simulators.soft_rectangles(1, 1, np.random.default_rng()), ValueError, "n must be at least 2"),
        (lambda: simulators.soft_rectangles(1, 8, 0), TypeError, "rng must be a numpy.random.Generator, got int"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_compiled_run_stops_at_a_hole_in_a_field():
    with pytest.raises(tf.errors.InvalidArgumentError, match="x must be finite"):
        tf.function(HEAT.simulate, autograph=False)(tf.constant(HOLE))


def test_an_unknown_grid_is_refused():
    unknown = tf.TensorSpec([None, None, None, 1], tf.float64)
    with pytest.raises(ValueError, match=r"x must have shape \[batch, n, n, 1\]"):
        tf.function(HEAT.simulate, autograph=False).get_concrete_function(unknown)
