"""V f(Σ) Uᵀ g from products alone: J is reduced to a small bidiagonal matrix B that starts at g.

Golub and Kahan: with u₁ = g/|g|, k products with J and k with Jᵀ give orthonormal v₁ … v_k and u₁ … u_{k+1} with

    J V = U B,    B [k + 1, k] lower bidiagonal, α on the diagonal and β₂ … β_{k+1} below it.

V f(B) |g|e₁ is then the step that these directions know of; it is exact once they hold all that g reaches. For p = −1
it is what LSQR finds after k rounds (Paige and Saunders, ACM Trans. Math. Softw. 8, 1982). Large singular values come
first, so that k damps as well.

Where J Jᵀ is there, the same B comes from it: with J Jᵀ U = U T, T is B Bᵀ, whose Cholesky factor holds α and β. Since
this squares, an α below 5e-8 σ_max cannot be told from rounding. It ends the reduction there, and may have led to a
singular value that is much larger.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.spectral.filter import Mode, kept_spectrum, spectral_filter

#: A vector shorter than this many units of rounding of the longest one ends the reduction: nothing new is left in it.
BREAKDOWN = 10.0
#: How far uᵢ·(Jvᵢ) and (Jᵀuᵢ)·vᵢ may lie apart, in units of the largest entry of B; beyond it, J is two matrices. In
#: float32, U-Nets on Poisson fields and the oscillators came to 3e-7 at most, bilinear resizing to 0.12 at least.
DISAGREEMENT = 1e-4

Product = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Bidiagonal:
    """J V = U B for the directions that k products know of. Where the reduction ended early, zeros follow.

    Attributes:
        rows: u₁ … u_{k+1}, [k + 1, n_rows], orthonormal.
        columns: v₁ … v_k, [k, n_weights], orthonormal; None where they are not formed.
        diagonal: α, [k].
        below: β₁ = |g| and what stands below the diagonal, [k + 1].
        exhausted: whether nothing is left that g reaches, so that more products would change nothing.
        disagreement: the largest |uᵢ·(Jvᵢ) − (Jᵀuᵢ)·vᵢ|, in units of the largest entry of B. If the products belong to
            one matrix, it is rounding.
    """

    rows: tf.Tensor
    columns: tf.Tensor | None
    diagonal: tf.Tensor
    below: tf.Tensor
    exhausted: tf.Tensor
    disagreement: tf.Tensor

    def __tf_flatten__(self) -> tuple[tuple[()], tuple[tf.Tensor | None, ...]]:
        """What is known in Python, and the tensors: this is how TensorFlow carries it out of a compiled function."""
        return (), (self.rows, self.columns, self.diagonal, self.below, self.exhausted, self.disagreement)

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[()], tensors: tuple[tf.Tensor | None, ...]) -> Bidiagonal:
        """The same again."""
        return cls(*tensors)

    def matrix(self) -> tf.Tensor:
        """B in float64, [k + 1, k]."""
        diagonal, below = (tf.linalg.diag(tf.cast(part, tf.float64)) for part in (self.diagonal, self.below[1:]))
        return tf.pad(diagonal, [[0, 1], [0, 0]]) + tf.pad(below, [[1, 0], [0, 0]])


def golub_kahan(
    matvec: Product,
    transpose_matvec: Product,
    vector: tf.Tensor,
    n_weights: int | tf.Tensor,
    n_products: int,
    over_devices: Product | None = None,
    limit: tf.Tensor | None = None,
) -> Bidiagonal:
    """Reduce J by `n_products` products with it and as many with its transpose.

    Every new vector is made orthogonal to all earlier ones, twice.

    Args:
        matvec: v ↦ Jv, [n_weights] → [n_rows].
        transpose_matvec: u ↦ Jᵀu, for the rows of this device.
        vector: g, [n_rows].
        n_weights: the number of columns of J.
        n_products: k, at least 1.
        over_devices: sums over the devices that share out the rows of J; None on one device. Several take as many
            rounds as there are products, one after the other in the graph: their exchange cannot stand in a loop.
        limit: a number of products below `n_products` that only the run knows; None is `n_products`.

    Returns:
        The bases and B, in the dtype of `vector`.
    """
    validation.count("n_products", n_products, minimum=1)
    total = over_devices or tf.identity
    limit = tf.constant(n_products) if limit is None else tf.clip_by_value(limit, 1, n_products)
    zero = tf.zeros([], vector.dtype)
    nothing_new = BREAKDOWN * float(np.finfo(vector.dtype.as_numpy_dtype).eps)

    def unit(x: tf.Tensor, largest: tf.Tensor, total: Product) -> tuple[tf.Tensor, tf.Tensor]:
        """A vector of length one and the length, or zeros where that is rounding; NaN stays."""
        # In float64: squares of float32 vanish below 1e-19, where physics in small units may be.
        length = tf.cast(tf.sqrt(total(tf.reduce_sum(tf.cast(x, tf.float64) ** 2))), x.dtype)
        length = tf.where(length <= nothing_new * largest, zero, length)
        return x * tf.math.divide_no_nan(tf.ones_like(length), length), length

    def one_round(*state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        i, rows, columns, diagonal, below, largest, apart = state
        u, v, beta = rows[i], columns[tf.maximum(i - 1, 0)], below[i]
        u = tf.where(i < limit, u, tf.zeros_like(u))
        t = without(columns, total(transpose_matvec(u)) - beta * v, tf.identity)  # u → Jᵀu − βv
        v, alpha = unit(t, largest, tf.identity)
        largest = tf.maximum(largest, alpha)
        s = matvec(v) - alpha * u  # v → Jv − αu
        apart = tf.maximum(apart, tf.abs(total(tf.reduce_sum(u * s))))
        u, beta = unit(without(rows, s, total), largest, total)
        return (
            i + 1,
            put(rows, i + 1, u),
            put(columns, i, v),
            put(diagonal, i, alpha),
            put(below, i + 1, beta),
            tf.maximum(largest, beta),
            apart,
        )

    first, length = unit(vector, zero, total)
    state: tuple[tf.Tensor, ...] = (
        tf.constant(0),
        tf.concat([first[tf.newaxis], tf.zeros([n_products, tf.size(vector)], vector.dtype)], axis=0),
        tf.zeros([n_products, n_weights], vector.dtype),
        tf.zeros([n_products], vector.dtype),
        tf.concat([length[tf.newaxis], tf.zeros([n_products], vector.dtype)], axis=0),
        zero,
        zero,
    )
    if over_devices is None:
        more = lambda i, rows, columns, diagonal, below, *others: (i < limit) & (below[i] > 0.0)  # noqa: E731
        state = tf.while_loop(more, one_round, state, maximum_iterations=n_products)
    else:
        for _ in range(n_products):
            state = one_round(*state)
    _, rows, columns, diagonal, below, largest, apart = state
    return Bidiagonal(rows, columns, diagonal, below, below[limit] == 0.0, tf.math.divide_no_nan(apart, largest))


def lanczos(gram: tf.Tensor, vector: tf.Tensor, n_products: int, limit: tf.Tensor | None = None) -> Bidiagonal:
    """The same B and U from J Jᵀ by `n_products` products with it; V is not formed.

    Args:
        gram: J Jᵀ, [n_rows, n_rows].
        vector: g, [n_rows], of the same dtype.
        n_products: k, at least 1.
        limit: as in `golub_kahan`.
    """
    validation.count("n_products", n_products, minimum=1)
    limit = tf.constant(n_products) if limit is None else tf.clip_by_value(limit, 1, n_products)
    zero = tf.zeros([], vector.dtype)
    nothing_new = BREAKDOWN * float(np.finfo(vector.dtype.as_numpy_dtype).eps)

    def one_round(*state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        i, rows, diagonal, below, largest = state
        u, beta = rows[i], tf.where(i > 0, below[i], zero)
        s = tf.linalg.matvec(gram, u)  # u → J Jᵀu
        square = tf.tensordot(u, s, 1) - beta**2
        largest = tf.maximum(largest, square)
        alpha = tf.sqrt(tf.where(square <= nothing_new * largest, zero, square))
        s = without(rows, s, tf.identity)
        length = tf.norm(s)
        length = tf.where((alpha == 0.0) | (length <= nothing_new * largest), zero, length)
        u = s * tf.math.divide_no_nan(tf.ones_like(length), length)
        beta = tf.math.divide_no_nan(length, alpha)
        return i + 1, put(rows, i + 1, u), put(diagonal, i, alpha), put(below, i + 1, beta), largest

    length = tf.norm(vector)
    first = vector * tf.math.divide_no_nan(tf.ones_like(length), length)
    state = (
        tf.constant(0),
        tf.concat([first[tf.newaxis], tf.zeros([n_products, tf.size(vector)], vector.dtype)], axis=0),
        tf.zeros([n_products], vector.dtype),
        tf.concat([length[tf.newaxis], tf.zeros([n_products], vector.dtype)], axis=0),
        tf.reduce_max(tf.linalg.diag_part(gram)),  # at most σ²_max: what is rounding of it is nothing new
    )
    more = lambda i, rows, diagonal, below, largest: (i < limit) & (below[i] > 0.0)  # noqa: E731
    _, rows, diagonal, below, _ = tf.while_loop(more, one_round, state, maximum_iterations=n_products)
    return Bidiagonal(rows, None, diagonal, below, below[limit] == 0.0, zero)


def agreeing(found: Bidiagonal) -> list[tf.Operation]:
    """The check that v ↦ Jv and u ↦ Jᵀu belong to one matrix, to be run outside of XLA, which leaves checks out."""
    message = (
        f"Jv and Jᵀu belong to different matrices, by more than {DISAGREEMENT:g} of its size: an "
        "operation in the network or the physics has a gradient that TensorFlow takes for a constant, such as bilinear "
        'resizing. Replace it, or take the kind "kernel". They differ by'
    )
    apart = found.disagreement  # NaN is told elsewhere
    return [tf.debugging.Assert(~(apart > DISAGREEMENT), [message, apart])]


def without(basis: tf.Tensor, x: tf.Tensor, total: Product) -> tf.Tensor:
    """What is left of `x` without its parts along the orthonormal rows of `basis`; twice is enough."""
    for _ in range(2):
        x -= tf.linalg.matvec(basis, total(tf.linalg.matvec(basis, x)), transpose_a=True)
    return x


def put(tensor: tf.Tensor, place: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """The tensor with `value` at the first index `place`."""
    return tf.tensor_scatter_nd_update(tensor, [[place]], value[tf.newaxis])


def filtered(
    reduced: Bidiagonal, exponent: float, rcond: float, mode: Mode
) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """f(B) |g|e₁, which are the coefficients of the step along V.

    Returns:
        The coefficients [k] in float64; rank, largest and smallest kept singular value of B; and the part of the
        coefficients that the last product changed.
    """
    b = reduced.matrix()

    def by(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        s, u, v = tf.linalg.svd(matrix, full_matrices=False)
        f = spectral_filter(s, exponent, rcond=rcond, mode=mode)
        return tf.linalg.matvec(v, f * u[0]) * tf.cast(reduced.below[0], tf.float64), s

    coefficients, s = by(b)
    n_used = tf.math.count_nonzero(reduced.diagonal, dtype=tf.int32)
    before, _ = by(b * tf.cast(tf.range(b.shape[1]) < n_used - 1, b.dtype))
    changed = tf.math.divide_no_nan(tf.norm(coefficients - before), tf.norm(coefficients))
    changed = tf.where(reduced.exhausted, tf.zeros_like(changed), changed)
    return coefficients, kept_spectrum(s, rcond), changed


def through_transpose(reduced: Bidiagonal, coefficients: tf.Tensor) -> tf.Tensor:
    """The vector w with Jᵀw = V `coefficients`, [n_rows], where V is not formed: V = JᵀU B'⁻ᵀ, B' the first k rows."""
    square = reduced.matrix()[:-1]
    ended = tf.cast(tf.linalg.diag_part(square) == 0.0, square.dtype)  # there, the coefficients are zero
    square = square + tf.linalg.diag(ended)
    along = tf.linalg.triangular_solve(square, coefficients[:, tf.newaxis], lower=True, adjoint=True)[:, 0]
    return tf.linalg.matvec(reduced.rows[:-1], tf.cast(along, reduced.rows.dtype), transpose_a=True)
