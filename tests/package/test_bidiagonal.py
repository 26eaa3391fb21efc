"""Steps from a few products against numpy's SVD in float64, and against scipy's LSQR."""

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse.linalg
import tensorflow as tf
from hypothesis import given
from hypothesis.extra import numpy as arrays

from physgrad_tf import spectral
from physgrad_tf.jacobians import StackedJacobian
from physgrad_tf.spectral.step import reduced, step_of_reduced
from tests.package.agreement import assert_close
from tests.package.test_spectral_step import reference, with_spectrum

EXPONENTS = (-1.0, -0.75, -0.5, 0.0, 1.0)
#: The threshold decides between J Jᵀ, the basis of its eigenvectors, and products with J itself.
ROUTES = {"by J Jᵀ": 1e-3, "by eigenvectors": 1e-6, "by J": 1e-8}


def step(matrix, g, exponent, k, rcond=1e-8, mode="truncate"):
    stacked = StackedJacobian.of_matrix(matrix)
    return spectral.spectral_step(stacked, g, exponent, rcond=rcond, mode=mode, n_products=k)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("shape", [(7, 12), (12, 7), (9, 9)])
@pytest.mark.parametrize("lost", [0, 3])
def test_it_is_the_step_of_the_svd_once_k_reaches_the_rank(route, exponent, shape, lost, rng):
    """Of full rank and not, at the rank and beyond it; errors go with ε/σ² by J Jᵀ, at most 2e-11 here."""
    rank = min(shape) - lost
    values = np.append(np.geomspace(3.0, 3e-2, rank), np.zeros(lost))
    matrix, g = with_spectrum(values, shape, rng), rng.normal(size=shape[0])
    for k in (rank, rank + 2):
        found = step(matrix, g, exponent, k, ROUTES[route])
        assert_close(found.step, reference(matrix, g, exponent, 1e-6, "truncate")[0], 1e-8)
        assert int(found.rank) == rank
        assert_close([found.largest, found.smallest], [3.0, 3e-2], 1e-8)
    assert found.changed < 1e-8


@pytest.mark.parametrize("mode", ["truncate", "clamp"])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_threshold_and_mode_mean_what_they_mean_elsewhere(mode, exponent, rng):
    """Half of the singular values below rcond."""
    matrix, g = with_spectrum(np.geomspace(1.0, 1e-2, 8), (8, 13), rng), rng.normal(size=8)
    found = step(matrix, g, exponent, 8, rcond=0.1, mode=mode)
    assert_close(found.step, reference(matrix, g, exponent, 0.1, mode)[0], 1e-9)
    assert int(found.rank) == 4


@pytest.mark.parametrize("route", ROUTES)
def test_gauss_newton_is_lsqr_after_every_number_of_products(route, rng):
    """For as long as LSQR, which does not orthogonalise again, keeps its vectors orthogonal."""
    matrix, g = with_spectrum(np.geomspace(1.0, 0.1, 25), (25, 40), rng), rng.normal(size=25)
    for k in range(1, 9):
        lsqr = scipy.sparse.linalg.lsqr(matrix, g, atol=0, btol=0, conlim=0, iter_lim=k)[0]
        assert_close(step(matrix, g, -1.0, k, ROUTES[route]).step, lsqr, 1e-9)


@pytest.mark.parametrize("route", ROUTES)
def test_the_residual_of_gauss_newton_falls_with_every_product(route, rng):
    """And lies at or below that of LSQR and LSMR, which lose the directions that they had."""
    matrix, g = with_spectrum(np.geomspace(1.0, 1e-2, 25), (25, 40), rng), rng.normal(size=25)
    before = np.linalg.norm(g)
    for k in range(1, 26):
        residual = np.linalg.norm(matrix @ step(matrix, g, -1.0, k, ROUTES[route]).step.numpy() - g)
        assert residual < before * (1 + 1e-9)
        options = {"atol": 0, "btol": 0, "conlim": 0}
        lsqr = scipy.sparse.linalg.lsqr(matrix, g, iter_lim=k, **options)[0]
        lsmr = scipy.sparse.linalg.lsmr(matrix, g, maxiter=k, **options)[0]
        for other in (lsqr, lsmr):
            assert residual <= np.linalg.norm(matrix @ other - g) + 1e-9
        before = residual
    assert residual < 1e-6 * np.linalg.norm(g)


@pytest.mark.parametrize("route", ["golub_kahan", "lanczos"])
def test_the_bases_are_orthonormal_and_j_in_them_is_b(route, rng):
    matrix, g = with_spectrum(np.geomspace(1.0, 1e-4, 20), (20, 30), rng), rng.normal(size=20)
    if route == "golub_kahan":
        to, back = (lambda x, m=m: tf.linalg.matvec(m, x) for m in (matrix, matrix.T))
        found = spectral.golub_kahan(to, back, tf.constant(g), 30, 12)
        v = found.columns.numpy()
    else:
        found = spectral.lanczos(tf.constant(matrix @ matrix.T), tf.constant(g), 12)
        v = np.linalg.solve(found.matrix().numpy()[:12], found.rows.numpy()[:12] @ matrix)
    b, u = found.matrix().numpy(), found.rows.numpy()
    assert_close(u @ u.T, np.eye(13), 1e-13)
    assert_close(v @ v.T, np.eye(12), 1e-8 if route == "lanczos" else 1e-13)
    assert_close(matrix @ v.T, u.T @ b, 1e-8 if route == "lanczos" else 1e-13)
    assert np.all(np.tril(np.triu(b, -1)) == b)
    assert_close(found.below[0] * u[0], g, 1e-14)


def test_products_that_belong_to_two_matrices_are_told(rng):
    matrix, g = rng.normal(size=(6, 9)), tf.constant(rng.normal(size=6))
    back = lambda u: tf.linalg.matvec(matrix.T, u)  # noqa: E731
    for factor, largest in ((1.0, 1e-14), (1.1, 0.2)):
        found = spectral.golub_kahan(lambda v, f=factor: f * tf.linalg.matvec(matrix, v), back, g, 9, 4)
        assert largest / 10 < found.disagreement + 1e-14 < largest + 1e-14


@pytest.mark.parametrize("rcond", ROUTES.values())
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_nothing_from_nothing(exponent, rcond):
    """A zero Jacobian, a zero gradient, and a gradient that no weight reaches."""
    g = np.array([1.0, 2.0, 0.0])
    for matrix, vector in (
        (np.zeros((3, 4)), g),
        (np.ones((3, 4)), np.zeros(3)),
        (np.outer([0.0, 0.0, 1.0], np.ones(4)), g),
    ):
        found = step(matrix, vector, exponent, 2, rcond)
        np.testing.assert_array_equal(found.step, np.zeros(4))
        assert int(found.rank) == 0


def test_no_product_is_asked_for_once_nothing_new_comes(rng):
    """Of rank 3, and with a part of g out of reach: one round more, in which nothing comes, of the nine allowed."""
    matrix, g = with_spectrum([3.0, 1.0, 0.3, *[0.0] * 6], (9, 12), rng), tf.constant(rng.normal(size=9))
    asked = []

    def product(matrix):
        def times(vector):
            asked.append(vector)
            return tf.linalg.matvec(matrix, vector)

        return times

    found = spectral.golub_kahan(product(matrix), product(matrix.T), g, 12, 9)
    assert len(asked) == 2 * (3 + 1)
    assert np.count_nonzero(found.diagonal) == 3


SMALL = arrays.arrays(np.float64, (5, 7), elements=st.floats(-1.0, 1.0, width=16))


@given(SMALL, st.integers(0, 2**32 - 1), st.sampled_from(EXPONENTS), st.floats(1e-3, 1e3), st.sampled_from([1, 3, 5]))
def test_scaling(matrix, seed, exponent, c, k):
    """J → cJ steps c^p as far, g → cg c times as far, at any number of products."""
    rng = np.random.default_rng(seed)
    matrix, g = matrix + np.eye(5, 7), rng.normal(size=5)
    one = step(matrix, g, exponent, k).step
    assert_close(step(c * matrix, g, exponent, k).step, c**exponent * one.numpy(), 1e-6)
    assert_close(step(matrix, c * g, exponent, k).step, c * one.numpy(), 1e-6)


@given(SMALL, st.integers(0, 2**32 - 1), st.sampled_from(EXPONENTS), st.sampled_from([1, 2, 3]))
def test_rotations_and_the_order_of_rows(matrix, seed, exponent, k):
    """QJR steps Rᵀ times the step of J for Qg, and copies of the rows in another order take the same step."""
    rng = np.random.default_rng(seed)
    matrix, g = matrix + np.eye(5, 7), rng.normal(size=5)
    q, r = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (5, 7))
    one = step(matrix, g, exponent, k).step.numpy()
    assert_close(step(q @ matrix @ r, q @ g, exponent, k).step, r.T @ one, 1e-6)
    order = rng.permutation(5)
    assert_close(step(matrix[order], g[order], exponent, k).step, one, 1e-6)


def test_in_float32_the_bases_stay_orthogonal(rng):
    """Sixty products of a matrix with a condition number of a million."""
    matrix = with_spectrum(np.geomspace(1.0, 1e-6, 60), (80, 100), rng).astype("float32")
    g = tf.constant(rng.normal(size=80), tf.float32)
    to, back = (lambda x, m=m: tf.linalg.matvec(m, x) for m in (matrix, matrix.T))
    found = spectral.golub_kahan(to, back, g, 100, 60)
    for basis in (found.rows, found.columns):
        there = np.linalg.norm(basis, axis=1) > 0.5
        assert_close((basis @ tf.transpose(basis)).numpy(), np.diag(there.astype(float)), 1e-5)
    assert found.disagreement < 1e-5


@pytest.mark.parametrize("rcond", ROUTES.values())
def test_what_is_not_finite_stays_not_finite(rcond, rng):
    """No product of NaN passes for a breakdown."""
    matrix, g = rng.normal(size=(4, 6)), rng.normal(size=4)
    matrix[1, 2] = np.nan
    reduced = spectral.step.reduced(StackedJacobian.of_matrix(matrix), tf.constant(g), rcond, 3)
    assert not np.all(np.isfinite(reduced.matrix()))


@pytest.mark.parametrize("rcond", ROUTES.values())
def test_eager_equals_graph_and_an_unknown_number_of_rows(rcond, rng):
    matrix, g = rng.normal(size=(6, 9)), rng.normal(size=6)
    specs = [tf.TensorSpec([None, 9], tf.float64), tf.TensorSpec([None], tf.float64)]
    found = tf.function(lambda m, g: step(m, g, -0.5, 4, rcond), input_signature=specs)(matrix, g)
    assert_close(found.step, step(matrix, g, -0.5, 4, rcond).step, 1e-12)


def test_refusals(rng):
    matrix, g = rng.normal(size=(4, 6)), rng.normal(size=4)
    with pytest.raises(ValueError, match="n_products must be at least 1"):
        step(matrix, g, -1.0, 0)
    with pytest.raises(TypeError, match="n_products must be an integer"):
        step(matrix, g, -1.0, 2.5)
    with pytest.raises(ValueError, match="rcond must be at least 0 and below 1"):
        step(matrix, g, -1.0, 2, rcond=1.0)
    with pytest.raises(ValueError, match="mode must be"):
        step(matrix, g, -1.0, 2, mode="drop")
    weight = tf.Variable(1.0)
    products = StackedJacobian.products(lambda: weight * tf.ones([2, 2]), [weight])
    with pytest.raises(ValueError, match='n_products must be given for a StackedJacobian of the kind "products"'):
        spectral.spectral_step(products, np.ones(4), -1.0, rcond=1e-6)


@pytest.mark.parametrize("rcond", ROUTES.values())
def test_changed_is_what_the_last_product_changed(rcond, rng):
    matrix, g = with_spectrum(np.geomspace(1.0, 1e-2, 10), (10, 15), rng), rng.normal(size=10)
    for exponent in EXPONENTS:
        steps = {k: step(matrix, g, exponent, k, rcond) for k in (1, 4, 5, 10, 11)}
        s = {k: found.step.numpy() for k, found in steps.items()}
        assert_close(steps[1].changed, 1.0, 1e-12)
        # Absolute: for p = 1 the first product has it all, and the fifth changes nothing.
        assert abs(steps[5].changed - np.linalg.norm(s[5] - s[4]) / np.linalg.norm(s[5])) < 1e-9
        for k in (10, 11):  # nothing is left
            assert steps[k].changed == 0.0


@pytest.mark.parametrize("rcond", ROUTES.values())
@pytest.mark.parametrize("limit", [1, 3, 7])
def test_a_limit_that_only_the_run_knows_is_a_smaller_number_of_products(rcond, limit, rng):
    matrix, g = with_spectrum(np.geomspace(1.0, 1e-2, 10), (10, 15), rng), tf.constant(rng.normal(size=10))
    stacked = StackedJacobian.of_matrix(matrix)

    @tf.function(autograph=False)
    def limited(limit):
        found = reduced(stacked, g, rcond, 9, limit=limit)
        return step_of_reduced(found, stacked, -0.5, rcond, "truncate")

    found, expected = limited(tf.constant(limit)), step(matrix, g, -0.5, limit, rcond)
    for name in ("step", "largest", "smallest", "image", "changed"):
        assert_close(getattr(found, name), getattr(expected, name), 1e-10)
    assert int(found.rank) == limit


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
def test_the_image_of_a_step_is_j_times_the_step(shape, rng):
    matrix, g = rng.normal(size=shape), rng.normal(size=shape[0])
    for k in (None, 3, 5):
        for rcond in ROUTES.values():
            jacobian = tf.constant(matrix) if k is None and rcond < 1e-7 else StackedJacobian.of_matrix(matrix)
            found = spectral.spectral_step(jacobian, g, -0.5, rcond=rcond, n_products=k)
            assert_close(found.image, matrix @ found.step.numpy(), 1e-11)


@pytest.mark.parametrize("n_weights", [2, 5])
@pytest.mark.parametrize(("sigma", "share"), [(1e-6, 0.02), (1e-5, 2e-3), (1e-4, 2e-4), (1e-2, 1e-2)])
def test_a_residual_out_of_reach_does_not_hide_a_small_direction(sigma, share, n_weights):
    """α is σ times the share of that direction here: 2e-8, which J Jᵀ cannot see. Fewer weights than rows, and more."""
    matrix, g = np.zeros((3, n_weights)), np.array([1.0, share, 1.0])
    matrix[0, 0], matrix[1, 1] = 1.0, sigma
    found = step(matrix, g, -1.0, 3, rcond=1e-7 if sigma < 1e-3 else 1e-3)
    # By J itself where there are fewer weights; by eigenvalues, whose error goes with ε/σ², where there are more.
    assert_close(found.step, [1.0, share / sigma, *[0.0] * (n_weights - 2)], 1e-6 if n_weights == 2 else 1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20])
def test_in_float32_small_units_do_not_vanish(scale, rng):
    matrix, g = rng.normal(size=(6, 5)), rng.normal(size=6)
    matrix = matrix.astype("float32")
    to, back = (lambda x, m=m: tf.linalg.matvec(m, x) for m in (matrix, matrix.T))
    one = spectral.golub_kahan(to, back, tf.constant(g, tf.float32), 5, 4)
    small = spectral.golub_kahan(to, back, tf.constant(scale * g, tf.float32), 5, 4)
    assert_close(small.below[0], scale * np.linalg.norm(g), 1e-6)
    assert_close(small.diagonal, one.diagonal, 1e-4)


@pytest.mark.parametrize("exponent", [-1.0, -0.5])
def test_rounding_at_a_stationary_point_is_no_step(exponent):
    """∂L/∂y orthogonal to all that the weights can do, to rounding, and one product."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        matrix, g = rng.normal(size=(20, 5)), rng.normal(size=20)
        g -= matrix @ np.linalg.lstsq(matrix, g, rcond=None)[0]
        assert np.linalg.norm(step(matrix, g, exponent, 1, rcond=1e-3).step) < 1e-6


def test_what_is_no_matrix_or_not_finite_is_refused(rng):
    matrix, g = rng.normal(size=(4, 6)), rng.normal(size=4)
    matrix[1, 2] = np.nan
    for rcond in ROUTES.values():
        with pytest.raises(ValueError, match="of jacobian must be finite"):
            step_of_matrix = StackedJacobian.of_matrix(matrix)
            spectral.spectral_step(step_of_matrix, g, -1.0, rcond=rcond, n_products=2)
    to, back = (lambda x, m=m: tf.linalg.matvec(m, x) for m in (np.eye(3), np.eye(3)))
    for n_products in (0, 1.5):
        with pytest.raises((ValueError, TypeError), match="n_products must be"):
            spectral.golub_kahan(to, back, tf.ones([3], tf.float64), 3, n_products)
        with pytest.raises((ValueError, TypeError), match="n_products must be"):
            spectral.lanczos(tf.eye(3, dtype=tf.float64), tf.ones([3], tf.float64), n_products)
