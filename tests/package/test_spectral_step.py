"""The two routes to V f(Σ) Uᵀ g against numpy's SVD in float64, over spectra from flat to 1e-12."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import spectral
from physgrad_tf.jacobians import StackedJacobian
from tests.package.agreement import assert_close

EXPONENTS = [1.0, 0.0, -0.5, -1.0]
SHAPES = [(5, 9), (9, 5), (6, 6)]
seeds = st.integers(0, 2**32 - 1)


def with_spectrum(singular_values, shape, rng):
    """A matrix with these singular values and random singular vectors."""
    k = len(singular_values)
    left, right = (np.linalg.qr(rng.normal(size=(n, k)))[0] for n in shape)
    return left * np.asarray(singular_values) @ right.T


def reference(matrix, g, exponent, rcond, mode):
    """The step, rank, largest and smallest kept singular value, by numpy's SVD."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    kept, tau = s > rcond * s[0], rcond * s[0]
    f = np.where(kept, s**exponent, 0.0) if mode == "truncate" else s * np.maximum(s, tau) ** (exponent - 1.0)
    return vt.T @ (f * (u.T @ g)), kept.sum(), s[0], s[kept].min()


def off_the_cut(spread, k, rcond):
    """k singular values from 1 down to `spread`, those within a factor of 3 of `rcond` moved to three times that."""
    s = np.geomspace(1.0, spread, k)
    return np.where((s > rcond / 3) & (s < 3 * rcond), 3 * rcond, s)


def steps(matrix, g, exponent, rcond, mode):
    """The step by every route that takes this rcond."""
    routes = {"svd": tf.constant(matrix)}
    if rcond >= spectral.SMALLEST_GRAM_RCOND:
        routes["gram"] = StackedJacobian.of_matrix(matrix)
    return {name: spectral.spectral_step(j, g, exponent, rcond=rcond, mode=mode) for name, j in routes.items()}


@pytest.mark.parametrize("mode", ["truncate", "clamp"])
@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4, 1e-8, 1e-12])
def test_both_routes_equal_numpy(rng, shape, spread, exponent, mode):
    g = rng.normal(size=shape[0])
    for rcond in (1e-1, 1e-3, 1e-6, 0.0):
        if rcond == 0.0 and spread < 1e-4:
            continue  # with all of them kept, the smallest directions are as exact as float64 has them, not more
        matrix = 7.0 * with_spectrum(off_the_cut(spread, min(shape), rcond), shape, rng)
        step, rank, largest, smallest = reference(matrix, g, exponent, rcond, mode)
        for name, found in steps(matrix, g, exponent, rcond, mode).items():
            error = np.linalg.norm(found.step - step) / np.linalg.norm(step)
            growth = 5 / rcond**2 if name == "gram" else 100 / (rcond or spread)
            allowed = max(1e-12, growth * np.finfo(np.float64).eps)
            assert error < allowed, (name, rcond, error)
            assert int(found.rank) == rank, (name, rcond)
            assert_close([found.largest, found.smallest], [largest, smallest], rtol=max(allowed, 1e-10))


def test_the_error_of_the_gram_route_grows_like_the_inverse_square_of_rcond(rng):
    """This is why there is a smallest rcond: halving the digits of σ halves those of nothing else."""
    worst = {}
    for smallest in (1e-2, 1e-4, 1e-6):
        errors = []
        for _ in range(10):
            matrix, g = with_spectrum(np.geomspace(1.0, smallest, 6), (6, 20), rng), rng.normal(size=6)
            step = reference(matrix, g, -0.5, 0.0, "truncate")[0]
            found = spectral.spectral_step(StackedJacobian.of_matrix(matrix), g, -0.5, rcond=smallest / 10)
            errors.append(np.linalg.norm(found.step - step) / np.linalg.norm(step))
        worst[smallest] = max(errors)
    assert worst[1e-2] < 1e-11
    assert worst[1e-4] < 1e-7
    assert worst[1e-6] < 1e-3
    assert worst[1e-2] < worst[1e-4] < worst[1e-6]


@pytest.mark.parametrize("mode", ["truncate", "clamp"])
@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_zero_jacobian_gives_a_zero_step(shape, exponent, mode):
    for found in steps(np.zeros(shape), np.ones(shape[0]), exponent, 1e-6, mode).values():
        np.testing.assert_array_equal(found.step, np.zeros(shape[1]))
        assert int(found.rank) == 0
        assert float(found.largest) == float(found.smallest) == 0.0


@hypothesis.given(
    shape=st.sampled_from(SHAPES), seed=seeds, exponent=st.floats(-1, 1), mode=st.sampled_from(["truncate", "clamp"])
)
def test_orthogonal_maps_and_scales(shape, seed, exponent, mode):
    """(QJ, Qg) gives the same step; J·R gives it turned by Rᵀ; c·J gives cᵖ times it; c·g gives c times it."""
    rng = np.random.default_rng(seed)
    matrix, g = with_spectrum([1.0, 0.8, 0.5, 0.05, 0.01], shape, rng), rng.normal(size=shape[0])
    q, r = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in shape)
    c = 10.0 ** rng.uniform(-3, 3)

    def step(matrix, g):
        return {name: found.step.numpy() for name, found in steps(matrix, g, exponent, 0.2, mode).items()}

    plain, left, right = step(matrix, g), step(q @ matrix, q @ g), step(matrix @ r, g)
    scaled, louder = step(c * matrix, g), step(matrix, c * g)
    for name, once in plain.items():
        size = np.linalg.norm(once)
        np.testing.assert_allclose(left[name], once, atol=1e-10 * size)
        np.testing.assert_allclose(right[name], r.T @ once, atol=1e-10 * size)
        np.testing.assert_allclose(scaled[name], c**exponent * once, atol=1e-10 * size * c**exponent)
        np.testing.assert_allclose(louder[name], c * once, atol=1e-10 * size * c)


@hypothesis.given(shape=st.sampled_from(SHAPES), seed=seeds, exponent=st.floats(-1, 1))
def test_the_order_of_rows_does_not_matter(shape, seed, exponent):
    rng = np.random.default_rng(seed)
    matrix, g = with_spectrum([1.0, 0.8, 0.5, 0.05, 0.01], shape, rng), rng.normal(size=shape[0])
    order = rng.permutation(shape[0])
    for name, found in steps(matrix, g, exponent, 0.2, "truncate").items():
        mixed = steps(matrix[order], g[order], exponent, 0.2, "truncate")[name]
        np.testing.assert_allclose(mixed.step, found.step, atol=1e-10 * np.linalg.norm(found.step))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_of_unknown_size_takes_the_smaller_side(rng, shape):
    matrix, g = with_spectrum([1.0, 0.8, 0.5, 0.05, 0.01], shape, rng), rng.normal(size=shape[0])

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec([None, shape[1]], tf.float64), tf.TensorSpec([None], tf.float64)],
    )
    def compiled(matrix, g):
        return spectral.spectral_step(StackedJacobian.of_matrix(matrix), g, -0.5, rcond=1e-3)

    found, expected = compiled(matrix, g), reference(matrix, g, -0.5, 1e-3, "truncate")
    assert_close(found.step, expected[0], rtol=1e-9)
    assert int(found.rank) == expected[1] == 5


def test_a_float32_jacobian_is_decomposed_in_float64(rng):
    matrix = with_spectrum(np.geomspace(1.0, 1e-5, 5), (5, 9), rng).astype(np.float32)
    g = rng.normal(size=5).astype(np.float32)
    expected = reference(matrix.astype(np.float64), g, -0.5, 1e-6, "truncate")[0]
    for found in steps(matrix, g, -0.5, 1e-6, "truncate").values():
        assert found.step.dtype == tf.float64
        np.testing.assert_allclose(found.step, expected, atol=1e-5 * np.linalg.norm(expected))


@pytest.mark.parametrize("shape", [(2, 3), (3, 2)])
def test_no_gradient_leaves_the_decomposition_out(shape, rng):
    matrix, g = tf.constant(rng.normal(size=shape)), tf.constant(rng.normal(size=shape[0]))
    with tf.GradientTape() as tape:
        tape.watch(matrix)
        step = spectral.spectral_step(StackedJacobian.of_matrix(matrix), g, -0.5, rcond=1e-6).step
    with pytest.raises(NotImplementedError, match="cannot be differentiated"):
        tape.gradient(step, matrix)


@pytest.mark.parametrize(
    ("jacobian", "g", "options", "error", "message"),
    [
        (
            StackedJacobian.of_matrix(np.eye(2)),
            np.ones(2),
            {"rcond": 1e-8},
            ValueError,
            r"rcond must be at least 1e-07.*SVD",
        ),
        (StackedJacobian.of_matrix(np.eye(2)), np.ones(2), {"rcond": 0.0}, ValueError, r"jacobian.to_dense\(\)"),
        (StackedJacobian.of_matrix(np.eye(2)), np.ones(3), {"rcond": 0.1}, ValueError, r"vector must have shape \[2\]"),
        (np.eye(2), np.ones(3), {"rcond": 0.1}, ValueError, r"vector must have shape \[2\]"),
        (np.eye(2), np.ones(2), {"rcond": -0.1}, ValueError, "rcond must be at least 0"),
        (np.eye(2), np.ones(2), {"rcond": 0.1, "mode": "drop"}, ValueError, "mode must be"),
        (np.ones((1, 2, 2)), np.ones(2), {"rcond": 0.1}, ValueError, r"jacobian must have shape \[batch, n\]"),
        (np.eye(2, dtype=int), np.ones(2), {"rcond": 0.1}, TypeError, "jacobian must be float32 or float64"),
        (np.eye(2), np.array([1.0, np.nan]), {"rcond": 0.1}, ValueError, "vector must be finite"),
        (np.full((2, 2), np.nan), np.ones(2), {"rcond": 0.1}, ValueError, "matrix must be finite"),
        (
            StackedJacobian.of_matrix(np.full((2, 2), np.nan)),
            np.ones(2),
            {"rcond": 0.1},
            ValueError,
            "J Jᵀ of jacobian must be finite",
        ),
    ],
)
def test_refusals(jacobian, g, options, error, message):
    with pytest.raises(error, match=message):
        spectral.spectral_step(jacobian, g, -0.5, **options)
