"""V f(Σ) Uᵀ g by whichever route fits what is given."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.jacobians import StackedJacobian
from physgrad_tf.spectral.bidiagonal import Bidiagonal, agreeing, filtered, golub_kahan, lanczos, through_transpose
from physgrad_tf.spectral.dense import decomposed_step, matrix_to_decompose
from physgrad_tf.spectral.filter import Mode, kept_spectrum, spectral_filter
from physgrad_tf.spectral.gram import SMALLEST_GRAM_RCOND, singular_values_from, through_rows, through_weights


@dataclasses.dataclass(frozen=True, eq=False)
class SpectralStep:
    """V f(Σ) Uᵀ g and what the filter saw.

    Attributes:
        step: the vector [n].
        rank: how many singular values lie above rcond·σ_max.
        largest: σ_max.
        smallest: the smallest of those above rcond·σ_max; 0 if there are none.
        image: J times the step, [m]: how far the linear model moves y.
        changed: how much of the step the last of k products has changed, |s_k − s_{k−1}|/|s_k|; 0 of a decomposition,
            which leaves nothing out.
    """

    step: tf.Tensor
    rank: tf.Tensor
    largest: tf.Tensor
    smallest: tf.Tensor
    image: tf.Tensor
    changed: tf.Tensor | float = 0.0

    def __tf_flatten__(self) -> tuple[tuple[()], tuple[tf.Tensor, ...]]:
        """What is known in Python, and the tensors: this is how TensorFlow carries it out of a compiled function."""
        return (), (self.step, self.rank, self.largest, self.smallest, self.image, self.changed)

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[()], tensors: tuple[tf.Tensor, ...]) -> SpectralStep:
        """The same again, from the `metadata` and `tensors` that `__tf_flatten__` gave."""
        return cls(*tensors)


def spectral_step(
    jacobian: StackedJacobian | Any,
    vector: Any,
    exponent: float,
    *,
    rcond: float,
    mode: Mode = "truncate",
    n_products: int | None = None,
) -> SpectralStep:
    """V f(Σ) Uᵀ g of one matrix in float64, with its rank and its largest and smallest kept singular value.

    The eigenvalues of a `StackedJacobian` come from LAPACK through NumPy, which neither XLA nor a gradient can enter.

    With `n_products` = k the step is that of the k directions which k products with J and Jᵀ find from g, see
    `golub_kahan`: for p = −1 the one of LSQR after k rounds. It is that of J itself once they hold all of J that g
    reaches. Singular values are those that the k directions know of, and so is σ_max.

    Args:
        jacobian: J, as a `StackedJacobian` (by the eigenvalues of J Jᵀ or JᵀJ) or as a matrix [m, n], such as
            `StackedJacobian.to_dense` gives (by `tf.linalg.svd`).
        vector: g, [m], such as ∂L/∂y.
        exponent: p in f(σ) = σᵖ.
        rcond: relative threshold τ/σ_max in [0, 1), with the same meaning on all routes. For a `StackedJacobian` at
            least `SMALLEST_GRAM_RCOND`, unless by products. Products in float32 resolve no more than about 1e-5.
        mode: "truncate" or "clamp", as in `spectral_power`.
        n_products: k, at least 1; None decomposes. The kind "products" needs it.

    Returns:
        The step and its spectrum, in float64.

    Raises:
        TypeError: if `jacobian` or `vector` is not floating or a number is not a number.
        ValueError: if a shape is wrong, `vector` or J holds NaN or Inf, `rcond` is out of range for the route, or
            `mode` is unknown; if the kind is "products" and `n_products` is None.
        tf.errors.InvalidArgumentError: by products, if Jv and Jᵀu do not belong to one matrix, see
            `StackedJacobian.products`.
        NotImplementedError: if a `StackedJacobian` is decomposed and the step differentiated.
    """
    vector = tf.cast(validation.finite("vector", validation.floating("vector", vector)), tf.float64)
    if n_products is not None:
        validation.count("n_products", n_products, minimum=1)
        spectral_filter(tf.ones([1]), exponent, rcond=rcond, mode=mode)  # refuses what is out of range
        if not isinstance(jacobian, StackedJacobian):
            jacobian = StackedJacobian.of_matrix(matrix_to_decompose(validation.batch_of_points("jacobian", jacobian)))
        return step_by_products(jacobian, one_per_row(vector, jacobian.n_rows), exponent, rcond, mode, n_products)
    if not isinstance(jacobian, StackedJacobian):
        matrix = tf.cast(matrix_to_decompose(validation.batch_of_points("jacobian", jacobian)), tf.float64)
        step, s = decomposed_step(matrix, one_per_row(vector, matrix.shape[0]), exponent, rcond, mode)
        return SpectralStep(step, *kept_spectrum(s, rcond), tf.linalg.matvec(matrix, step))
    if jacobian.kind == "products":
        raise ValueError('n_products must be given for a StackedJacobian of the kind "products", got None.')
    if validation.real("rcond", rcond) < SMALLEST_GRAM_RCOND:
        raise ValueError(
            f"rcond must be at least {SMALLEST_GRAM_RCOND:g} for a StackedJacobian, got {rcond:g}: the eigenvalues of "
            "J Jᵀ are squares, and their error grows like ε/rcond². Give jacobian.to_dense() for the SVD route."
        )
    vector = one_per_row(vector, jacobian.n_rows)
    rows, weights = (
        functools.partial(route, jacobian, vector, exponent, rcond, mode) for route in (through_rows, through_weights)
    )
    if jacobian.n_rows is None:
        return SpectralStep(*tf.cond(tf.size(vector) <= jacobian.n_weights, rows, weights))
    return SpectralStep(*(rows() if jacobian.n_rows <= jacobian.n_weights else weights()))


def step_by_products(
    jacobian: StackedJacobian,
    vector: tf.Tensor,
    exponent: float,
    rcond: float,
    mode: Mode,
    n_products: int,
    limit: tf.Tensor | None = None,
) -> SpectralStep:
    """The step of checked arguments by `n_products` products, at most `limit` of them, on one device.

    With J Jᵀ where `rcond` allows it. Below, what is stored has more weights than rows as a rule, and a product with
    it in float64 costs more than all eigenvalues of J Jᵀ together; in the basis of its eigenvectors J is diagonal.
    """

    def by_reduction() -> SpectralStep:
        found = reduced(jacobian, vector, rcond, n_products, limit=limit)
        b = validation.finite("what n_products made of jacobian", found.matrix())
        with tf.control_dependencies([b, *agreeing(found)]):
            found = tf.nest.map_structure(lambda part: None if part is None else tf.identity(part), found)
        return step_of_reduced(found, jacobian, exponent, rcond, mode)

    def by_eigenvectors() -> SpectralStep:
        gram = validation.finite("the product J Jᵀ of jacobian", jacobian.gram(tf.float64))
        s, u = singular_values_from(gram)
        w = tf.linalg.matvec(u, tf.cast(vector, tf.float64), transpose_a=True)  # g → Uᵀg
        diagonal = lambda x: s * x  # noqa: E731
        found = golub_kahan(diagonal, diagonal, w, tf.size(w), n_products, limit=limit)
        along = step_of_reduced(found, None, exponent, rcond, mode)
        step = jacobian.transpose_matvec(tf.linalg.matvec(u, tf.math.divide_no_nan(along.step, s)))  # V = Jᵀ U Σ⁻¹
        return dataclasses.replace(along, step=step, image=tf.linalg.matvec(u, along.image))

    if jacobian.kind == "products" or rcond >= SMALLEST_LANCZOS_RCOND or rcond < SMALLEST_GRAM_RCOND:
        return by_reduction()
    if jacobian.n_rows is None:
        return tf.cond(tf.size(vector) <= jacobian.n_weights, by_eigenvectors, by_reduction)
    return by_eigenvectors() if jacobian.n_rows <= jacobian.n_weights else by_reduction()


#: The smallest `rcond` of the reduction by J Jᵀ. What it overlooks, α below 5e-8 σ_max, changes a Gauss-Newton step by
#: at most 5e-8/rcond² of |g|/σ_max.
SMALLEST_LANCZOS_RCOND = 1e-3


def reduced(
    jacobian: StackedJacobian,
    vector: tf.Tensor,
    rcond: float,
    n_products: int,
    over_devices: Callable[[tf.Tensor], tf.Tensor] | None = None,
    limit: tf.Tensor | None = None,
) -> Bidiagonal:
    """J in the `n_products` directions that start at `vector`; `over_devices` and `limit` as in `golub_kahan`.

    By J Jᵀ where it comes from what is stored and `rcond` allows it: one product with it costs less than two with J.
    """
    if jacobian.kind != "products" and rcond >= SMALLEST_LANCZOS_RCOND:
        return lanczos(jacobian.gram(tf.float64), tf.cast(vector, tf.float64), n_products, limit)
    dtype = jacobian.dtype if jacobian.kind == "products" else tf.float64
    return golub_kahan(
        jacobian.matvec,
        jacobian.transpose_matvec,
        tf.cast(vector, dtype),
        jacobian.n_weights,
        n_products,
        over_devices,
        limit,
    )


def step_of_reduced(
    found: Bidiagonal, jacobian: StackedJacobian | None, exponent: float, rcond: float, mode: Mode
) -> SpectralStep:
    """The step V f(B) |g|e₁ of a J that is reduced to `found`. Where V is formed, J itself is not needed."""
    coefficients, spectrum, changed = filtered(found, exponent, rcond, mode)
    if found.columns is not None:
        step = tf.linalg.matvec(found.columns, tf.cast(coefficients, found.columns.dtype), transpose_a=True)
    elif jacobian is not None:
        step = jacobian.transpose_matvec(through_transpose(found, coefficients))
    else:
        raise ValueError("jacobian must be given where the columns of the reduced one are not formed, got None.")
    image = tf.linalg.matvec(found.matrix(), coefficients)  # JV = UB
    image = tf.linalg.matvec(found.rows, tf.cast(image, found.rows.dtype), transpose_a=True)
    return SpectralStep(tf.cast(step, tf.float64), *spectrum, tf.cast(image, tf.float64), changed)


def one_per_row(vector: tf.Tensor, n_rows: int | None) -> tf.Tensor:
    """Return a vector with one entry per row of J, or raise."""
    if vector.shape.rank != 1 or not vector.shape.is_compatible_with([n_rows]):
        raise ValueError(f"vector must have shape [{n_rows}], one entry per row of jacobian, got {vector.shape}.")
    return vector
