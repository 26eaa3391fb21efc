"""Spectral powers against numpy and scipy in float64, and by the properties that define them."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from hypothesis.extra.numpy import arrays

from physgrad_tf import spectral
from physgrad_tf.spectral.filter import kept_spectrum
from tests.package.agreement import assert_close

SHAPES = [(5, 3), (3, 5), (4, 4), (1, 1), (1, 6), (6, 1)]
EXPONENTS = [1.0, 0.0, -0.5, -1.0]
shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))
seeds = st.integers(0, 2**32 - 1)


def with_spectrum(singular_values, m, n, rng):
    """A matrix [m, n] with these singular values and random singular vectors."""
    k = len(singular_values)
    left = np.linalg.qr(rng.normal(size=(m, k)))[0]
    right = np.linalg.qr(rng.normal(size=(n, k)))[0]
    return left * np.asarray(singular_values) @ right.T


def reference(matrix, exponent, rcond):
    """The same map with numpy's SVD."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    f = np.array([sigma**exponent if sigma > rcond * s[0] and sigma > 0 else 0.0 for sigma in s])
    return vt.T * f @ u.T


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_numpy_svd(rng, shape, exponent):
    matrix = rng.normal(size=shape)
    np.testing.assert_allclose(
        spectral.spectral_power(tf.constant(matrix), exponent),
        reference(matrix, exponent, 1e-14),
        rtol=1e-11,
        atol=1e-12,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_exponent_minus_one_is_the_pseudo_inverse(rng, shape):
    rcond = 0.3
    matrix = rng.normal(size=shape)
    np.testing.assert_allclose(
        spectral.pseudo_inverse(tf.constant(matrix), rcond=rcond), np.linalg.pinv(matrix, rcond=rcond), atol=1e-12
    )


@pytest.mark.parametrize("shape", [(7, 4), (4, 7)])
def test_the_pseudo_inverse_step_is_lstsq(rng, shape):
    k = min(shape)
    matrix, b = with_spectrum(np.logspace(0, -3, k), *shape, rng), rng.normal(size=shape[0])
    rcond = 0.02  # cuts the last two of the singular values 1, 0.1, 0.01, 0.001
    expected = np.linalg.lstsq(matrix, b, rcond=rcond)[0]
    np.testing.assert_allclose(
        spectral.apply_spectral_power(tf.constant(matrix), tf.constant(b), -1.0, rcond=rcond), expected, atol=1e-12
    )


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_exponent_zero_is_the_transposed_polar_factor(rng, shape):
    matrix = rng.normal(size=shape)
    unitary = scipy.linalg.polar(matrix)[0]
    np.testing.assert_allclose(spectral.spectral_power(tf.constant(matrix), 0.0), unitary.T, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_exponent_one_is_the_transpose(rng, shape):
    matrix = rng.normal(size=shape)
    np.testing.assert_allclose(spectral.spectral_power(tf.constant(matrix), 1.0), matrix.T, atol=1e-13)


def test_half_inverse_of_an_spd_matrix_squares_to_its_inverse(rng):
    factor = rng.normal(size=(5, 5))
    matrix = factor @ factor.T + 0.1 * np.eye(5)
    half = spectral.half_inverse(tf.constant(matrix)).numpy()
    assert_close(half @ half, np.linalg.inv(matrix), rtol=1e-9)
    assert_close(half, scipy.linalg.fractional_matrix_power(matrix, -0.5), rtol=1e-9)


@pytest.mark.parametrize("mode", ["truncate", "clamp"])
@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_zero_matrix_gives_zero(shape, exponent, mode):
    result = spectral.spectral_power(tf.zeros(shape, tf.float64), exponent, mode=mode)
    np.testing.assert_array_equal(result, np.zeros(shape[::-1]))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("mode", ["truncate", "clamp"])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_rank_one(rng, exponent, mode, dtype):
    u, v = rng.normal(size=4), rng.normal(size=3)
    matrix = tf.constant(np.outer(u, v), dtype)
    sigma = np.linalg.norm(u) * np.linalg.norm(v)
    expected = sigma**exponent * np.outer(v / np.linalg.norm(v), u / np.linalg.norm(u))
    # Clamping amplifies the rounding noise of the missing directions up to τ^(p−1)·noise: give it a threshold above it.
    rcond = 0.1
    tolerance = {tf.float32: 1e-4, tf.float64: 1e-12}[dtype]
    np.testing.assert_allclose(
        spectral.spectral_power(matrix, exponent, rcond=rcond, mode=mode), expected, atol=tolerance * max(1, sigma)
    )


def test_one_by_one():
    assert_close(spectral.half_inverse(tf.constant([[-4.0]], tf.float64)), [[-0.5]], rtol=1e-15)


def test_truncation_is_relative_and_strict():
    f = spectral.spectral_filter(tf.constant([8.0, 4.0, 2.0, 0.0], tf.float64), -1.0, rcond=0.5)
    np.testing.assert_array_equal(f, [0.125, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("rcond", [0.0, 0.25, 0.4, 0.5])
def test_the_rank_counts_what_truncation_keeps(rcond):
    s = tf.constant([8.0, 4.0, 2.0, 0.0], tf.float64)
    kept = spectral.spectral_filter(s, -1.0, rcond=rcond).numpy() > 0.0
    rank, largest, smallest = kept_spectrum(s, rcond)
    assert rank == kept.sum() == {0.0: 3, 0.25: 2, 0.4: 2, 0.5: 1}[rcond]
    assert (largest, smallest) == (8.0, s.numpy()[kept].min())


def test_clamping_formula():
    s = np.array([8.0, 4.0, 2.0, 1e-30, 0.0])
    for exponent in EXPONENTS:
        f = spectral.spectral_filter(tf.constant(s), exponent, rcond=0.4, mode="clamp")
        assert_close(f, s * np.maximum(s, 3.2) ** (exponent - 1), rtol=1e-14)


@hypothesis.given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9), st.floats(1e-6, 0.9))
def test_levenbergs_filter_is_between_half_and_whole_of_the_clamped_one(sigma, rcond):
    sigma = np.array(sigma)
    damped = sigma / (sigma**2 + (rcond * sigma.max()) ** 2)
    clamped = spectral.spectral_filter(sigma, -1.0, rcond=rcond, mode="clamp").numpy()
    assert np.all(damped <= clamped * (1 + 1e-12))
    assert np.all(damped >= clamped / 2 * (1 - 1e-12))


def test_clamping_equals_truncation_above_the_threshold_and_is_continuous():
    s = tf.constant([1.0, 0.5, 0.1 + 1e-12, 0.1 - 1e-12], tf.float64)
    clamped = spectral.spectral_filter(s, -0.5, rcond=0.1, mode="clamp").numpy()
    truncated = spectral.spectral_filter(s, -0.5, rcond=0.1).numpy()
    assert_close(clamped[:3], truncated[:3], rtol=1e-12)
    assert abs(clamped[2] - clamped[3]) < 1e-9
    assert truncated[3] == 0.0


@pytest.mark.parametrize("shape", [(2, 60), (60, 2)])
def test_the_default_threshold_goes_with_the_longer_side(shape):
    """A singular value of 20ε counts as noise among 60 rows or columns, and not among two."""
    small = 20 * np.finfo(np.float64).eps
    matrix = np.zeros(shape)
    matrix[[0, 1], [0, 1]] = 1.0, small
    assert_close(spectral.pseudo_inverse(matrix)[1, 1], 0.0)
    assert_close(spectral.pseudo_inverse(matrix[:2, :2])[1, 1], 1.0 / small)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_the_default_threshold_leaves_out_the_rounding_errors_of_float32(rng, shape):
    m, n = shape
    matrix = (rng.normal(size=(m, 2)) @ rng.normal(size=(2, n))).astype(np.float32)  # of rank two, and rounded
    expected = np.linalg.pinv(matrix.astype(np.float64), rcond=max(shape) * np.finfo(np.float32).eps)
    assert_close(spectral.pseudo_inverse(matrix), expected, rtol=1e-5)


def test_subnormal_singular_values_count_as_zero():
    s = tf.constant([1.0, 1e-39], tf.float32)
    for mode in ("truncate", "clamp"):
        f = spectral.spectral_filter(s, -1.0, rcond=0.0, mode=mode).numpy()
        assert np.isfinite(f).all()
        assert f[1] == 0.0


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_batched_equals_one_by_one(rng, dtype):
    matrices = tf.constant(rng.normal(size=(2, 3, 4, 5)), dtype)
    whole = spectral.half_inverse(matrices).numpy()
    assert whole.shape == (2, 3, 5, 4)
    tolerance = {tf.float32: 2e-5, tf.float64: 1e-13}[dtype]
    for i in range(2):
        for j in range(3):
            np.testing.assert_allclose(whole[i, j], spectral.half_inverse(matrices[i, j]), atol=tolerance)


def test_every_matrix_of_a_batch_has_its_own_threshold(rng):
    small, large = rng.normal(size=(3, 3)), 1e6 * rng.normal(size=(3, 3))
    both = spectral.pseudo_inverse(tf.constant(np.stack([small, large])), rcond=1e-3).numpy()
    np.testing.assert_allclose(both[0], np.linalg.pinv(small, rcond=1e-3), atol=1e-11)


@pytest.mark.parametrize("mode", ["truncate", "clamp"])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_apply_equals_matrix_times_vector_eager_and_graph(rng, exponent, mode):
    matrix, g = tf.constant(rng.normal(size=(6, 4, 7))), tf.constant(rng.normal(size=(6, 4)))

    def apply(matrix, g):
        return spectral.apply_spectral_power(matrix, g, exponent, rcond=0.2, mode=mode)

    expected = tf.linalg.matvec(spectral.spectral_power(matrix, exponent, rcond=0.2, mode=mode), g)
    np.testing.assert_allclose(apply(matrix, g), expected, atol=1e-13)
    np.testing.assert_allclose(tf.function(apply, autograph=False)(matrix, g), expected, atol=1e-13)


@hypothesis.given(shape=shapes, seed=seeds, exponent=st.floats(-1, 1), c=st.floats(1e-3, 1e3))
def test_scaling_a_scales_the_power(shape, seed, exponent, c):
    matrix = np.random.default_rng(seed).normal(size=shape)
    once = spectral.spectral_power(tf.constant(matrix), exponent).numpy()
    scaled = spectral.spectral_power(tf.constant(c * matrix), exponent).numpy()
    np.testing.assert_allclose(scaled, c**exponent * once, rtol=1e-6, atol=1e-9 * c**exponent * np.abs(once).max())


@hypothesis.given(shape=shapes, seed=seeds, exponent=st.floats(-1, 1), mode=st.sampled_from(["truncate", "clamp"]))
def test_orthogonal_maps(shape, seed, exponent, mode):
    """A → QA with g → Qg leaves the step unchanged; A → AQ rotates it by Qᵀ."""
    rng = np.random.default_rng(seed)
    m, n = shape
    k = min(m, n)
    # Singular values apart from each other and from the cut at 0.2: the truncated map jumps where one crosses it.
    matrix = with_spectrum([0.9**i if i < k - 1 or k == 1 else 0.1 for i in range(k)], m, n, rng)
    g = rng.normal(size=m)
    q_left, q_right = np.linalg.qr(rng.normal(size=(m, m)))[0], np.linalg.qr(rng.normal(size=(n, n)))[0]

    def step(matrix, g):
        return spectral.apply_spectral_power(tf.constant(matrix), tf.constant(g), exponent, rcond=0.2, mode=mode)

    once = step(matrix, g).numpy()
    np.testing.assert_allclose(step(q_left @ matrix, q_left @ g), once, atol=1e-10)
    np.testing.assert_allclose(step(matrix @ q_right, g), q_right.T @ once, atol=1e-10)


@hypothesis.given(matrix=arrays(np.float64, shapes, elements=st.floats(-10, 10, width=16)), exponent=st.floats(-1, 1))
def test_any_matrix_gives_a_finite_result_of_the_transposed_shape(matrix, exponent):
    result = spectral.spectral_power(tf.constant(matrix), exponent).numpy()
    assert result.shape == matrix.shape[::-1]
    assert np.isfinite(result).all()


def test_the_two_half_steps_make_a_whole_one(rng):
    """Powers add where the vectors meet: A^(−1/2) A A^(−1/2) is the transposed polar factor."""
    matrix = rng.normal(size=(4, 4))
    half = spectral.half_inverse(tf.constant(matrix)).numpy()
    np.testing.assert_allclose(half @ matrix @ half, scipy.linalg.polar(matrix)[0].T, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.ones((2, 2), int), -1.0), {}, TypeError, "matrix must be float32 or float64, got int64"),
        ((np.ones(2), -1.0), {}, ValueError, r"matrix must have shape \[..., m, n\], got \(2,\)"),
        ((np.ones((0, 2)), -1.0), {}, ValueError, "matrix must not be empty"),
        ((np.array([[np.nan]]), -1.0), {}, ValueError, "matrix must be finite, got 1 NaN or Inf among 1"),
        ((np.ones((2, 2)), "-1"), {}, TypeError, "exponent must be a number, got str"),
        ((np.ones((2, 2)), np.inf), {}, ValueError, "exponent must be finite"),
        ((np.ones((2, 2)), -1.0), {"rcond": -0.1}, ValueError, "rcond must be at least 0 and below 1, got -0.1"),
        ((np.ones((2, 2)), -1.0), {"rcond": 1.0}, ValueError, "rcond must be at least 0 and below 1, got 1.0"),
        ((np.ones((2, 2)), -1.0), {"mode": "drop"}, ValueError, 'mode must be "truncate" or "clamp", got \'drop\''),
    ],
)
def test_refusals(arguments, options, error, message):
    with pytest.raises(error, match=message):
        spectral.spectral_power(*arguments, **options)


@pytest.mark.parametrize(
    ("vector", "error", "message"),
    [
        (np.ones(3), ValueError, r"vector must have shape \(2,\) for a matrix \(2, 3\), got \(3,\)"),
        (np.ones((2, 1)), ValueError, "vector must have shape"),
        (np.ones(2, np.float32), TypeError, "vector must have the dtype of matrix, float64, got float32"),
        (np.array([1.0, np.inf]), ValueError, "vector must be finite"),
    ],
)
def test_apply_refuses(vector, error, message):
    with pytest.raises(error, match=message):
        spectral.apply_spectral_power(np.ones((2, 3)), vector, -1.0)


def test_nan_inside_a_compiled_function_stops_the_run():
    compiled = tf.function(lambda matrix: spectral.half_inverse(matrix), autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="matrix must be finite"):
        compiled(tf.constant([[np.nan]], tf.float64))


@pytest.mark.parametrize(("wrong", "message"), [(np.nan, "finite, got 1 NaN"), (-1.0, "at least 0, got -1")])
def test_singular_values_are_not_negative(wrong, message):
    with pytest.raises(ValueError, match=f"singular_values must be {message}"):
        spectral.spectral_filter([3.0, wrong], -1.0, rcond=1e-3)
