"""Spectral powers of a matrix: A ↦ V f(Σ) Uᵀ for A = U Σ Vᵀ.

One exponent p names the whole family. With f(σ) = σᵖ on the singular values that are kept,

========= ===================== =============================================
p         V Σᵖ Uᵀ               step it gives when A is a Jacobian
========= ===================== =============================================
+1        Aᵀ                    gradient descent
0         transposed polar      orthogonalised: all directions equally long
          factor
−1/2      half-inverse          half-inverse gradient
−1        pseudo-inverse        Gauss-Newton
========= ===================== =============================================

Which singular values are kept is decided by `rcond`, relative to the largest one of the same matrix, so that A ↦ cA
keeps the same ones. Two modes treat the others: "truncate" sets f to zero there, "clamp" takes σ·max(σ, τ)^(p−1) with
τ = rcond·σ_max, which equals σᵖ above τ and falls to zero with σ below it. In both modes f(0) = 0 for every p.

Two routes lead to V f(Σ) Uᵀ g. The SVD of a matrix is the reference. For a `StackedJacobian` it is
Jᵀ (J Jᵀ)^((p−1)/2) g by the eigenvalues σ² of J Jᵀ in float64, or of JᵀJ if that is smaller. Squaring costs precision:
the step's error grows like ε/rcond², so this route takes no `rcond` below `SMALLEST_GRAM_RCOND`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import threadpoolctl

from physgrad_tf import validation
from physgrad_tf.jacobians import StackedJacobian
from physgrad_tf.spectral_derivative import divided_differences, divided_sums, pull_back

__all__ = [
    "SMALLEST_GRAM_RCOND",
    "SpectralStep",
    "apply_spectral_power",
    "half_inverse",
    "pseudo_inverse",
    "spectral_filter",
    "spectral_power",
    "spectral_step",
]

Mode = Literal["truncate", "clamp"]

#: The smallest `rcond` of the route through J Jᵀ; below it, the eigenvalues σ² drown in the rounding of the largest.
SMALLEST_GRAM_RCOND = 1e-7


@dataclasses.dataclass(frozen=True, eq=False)
class SpectralStep:
    """V f(Σ) Uᵀ g and what the filter saw.

    Attributes:
        step: the vector [n].
        rank: how many singular values lie above rcond·σ_max.
        largest: σ_max.
        smallest: the smallest of those above rcond·σ_max; 0 if there are none.
    """

    step: tf.Tensor
    rank: tf.Tensor
    largest: tf.Tensor
    smallest: tf.Tensor

    def __tf_flatten__(self) -> tuple[tuple[()], tuple[tf.Tensor, ...]]:
        """What is known in Python, and the tensors: this is how TensorFlow carries it out of a compiled function."""
        return (), (self.step, self.rank, self.largest, self.smallest)

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[()], tensors: tuple[tf.Tensor, ...]) -> SpectralStep:
        """The same again, from the `metadata` and `tensors` that `__tf_flatten__` gave."""
        return cls(*tensors)


def spectral_power(matrix: Any, exponent: float, *, rcond: float | None = None, mode: Mode = "truncate") -> tf.Tensor:
    """V f(Σ) Uᵀ of one matrix or a batch of them, by `tf.linalg.svd`.

    Args:
        matrix: A, [..., m, n], float32 or float64, finite.
        exponent: p in f(σ) = σᵖ.
        rcond: singular values at or below rcond·σ_max are noise. None takes max(m, n)·ε of the dtype. In float32 the
            singular vectors of values below about 1e-6·σ_max carry no information, whatever `rcond` keeps.
        mode: "truncate" or "clamp", see the module's head.

    Returns:
        The matrix [..., n, m], in units of A to the power p.

    Raises:
        TypeError: if `matrix` is not floating or a number is not a number.
        ValueError: if `matrix` has fewer than two dimensions or an empty one, or holds NaN or Inf; if `rcond` is
            negative or not below 1, or `mode` is unknown.
    """
    matrix = matrix_to_decompose(matrix)
    rcond = resolution(matrix) if rcond is None else rcond

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def power(matrix: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        s, u, v = svd = decompose(matrix)
        f = spectral_filter(s, exponent, rcond=rcond, mode=mode)

        def backward(upstream: tf.Tensor) -> tf.Tensor:
            identity = tf.eye(tf.shape(upstream)[-1], dtype=upstream.dtype)
            return derivative(svd, identity, upstream, exponent, rcond, mode)

        return tf.matmul(v * f[..., tf.newaxis, :], u, transpose_b=True), backward  # (V f(Σ)) Uᵀ

    return power(matrix)


def apply_spectral_power(
    matrix: Any, vector: Any, exponent: float, *, rcond: float | None = None, mode: Mode = "truncate"
) -> tf.Tensor:
    """V f(Σ) Uᵀ g without forming the matrix V f(Σ) Uᵀ.

    Args:
        matrix: A, [..., m, n].
        vector: g, [..., m], of the same dtype.
        exponent: p in f(σ) = σᵖ.
        rcond: as in `spectral_power`.
        mode: as in `spectral_power`.

    Returns:
        The vector [..., n].

    Raises:
        TypeError: as `spectral_power`, or if the dtypes differ.
        ValueError: as `spectral_power`, or if `vector` does not fit the rows of `matrix`.
    """
    matrix = matrix_to_decompose(matrix)
    vector = validation.floating("vector", vector)
    if vector.dtype != matrix.dtype:
        raise TypeError(f"vector must have the dtype of matrix, {matrix.dtype.name}, got {vector.dtype.name}.")
    if vector.shape.rank != matrix.shape.rank - 1 or not vector.shape.is_compatible_with(matrix.shape[:-1]):
        raise ValueError(f"vector must have shape {matrix.shape[:-1]} for a matrix {matrix.shape}, got {vector.shape}.")
    rcond = resolution(matrix) if rcond is None else rcond
    return decomposed_step(matrix, validation.finite("vector", vector), exponent, rcond, mode)[0]


def spectral_step(
    jacobian: StackedJacobian | Any, vector: Any, exponent: float, *, rcond: float, mode: Mode = "truncate"
) -> SpectralStep:
    """V f(Σ) Uᵀ g of one matrix in float64, with its rank and its largest and smallest kept singular value.

    The eigenvalues of a `StackedJacobian` come from LAPACK through NumPy, which neither XLA nor a gradient can enter.

    Args:
        jacobian: J, as a `StackedJacobian` (by the eigenvalues of J Jᵀ or JᵀJ) or as a matrix [m, n], such as
            `StackedJacobian.to_dense` gives (by `tf.linalg.svd`).
        vector: g, [m], such as ∂L/∂y.
        exponent: p in f(σ) = σᵖ.
        rcond: relative threshold τ/σ_max in [0, 1), with the same meaning on both routes. For a `StackedJacobian` at
            least `SMALLEST_GRAM_RCOND`.
        mode: "truncate" or "clamp", as in `spectral_power`.

    Returns:
        The step and its spectrum, in float64.

    Raises:
        TypeError: if `jacobian` or `vector` is not floating or a number is not a number.
        ValueError: if a shape is wrong, `vector` or J holds NaN or Inf, `rcond` is out of range for the route, or
            `mode` is unknown.
        NotImplementedError: if the step of a `StackedJacobian` is differentiated.
    """
    vector = tf.cast(validation.finite("vector", validation.floating("vector", vector)), tf.float64)
    if not isinstance(jacobian, StackedJacobian):
        matrix = tf.cast(matrix_to_decompose(validation.batch_of_points("jacobian", jacobian)), tf.float64)
        step, s = decomposed_step(matrix, one_per_row(vector, matrix.shape[0]), exponent, rcond, mode)
        return SpectralStep(step, *kept_spectrum(s, rcond))
    if validation.real("rcond", rcond) < SMALLEST_GRAM_RCOND:
        raise ValueError(
            f"rcond must be at least {SMALLEST_GRAM_RCOND:g} for a StackedJacobian, got {rcond:g}: the eigenvalues of "
            "J Jᵀ are squares, and their error grows like ε/rcond². Give jacobian.to_dense() for the SVD route."
        )
    vector = one_per_row(vector, jacobian.n_rows)

    def through_rows() -> tuple[tf.Tensor, ...]:
        s, u = singular_values_from(validation.finite("the product J Jᵀ of jacobian", jacobian.gram(tf.float64)))
        w = tf.linalg.matvec(
            u, divided_filter(s, exponent, rcond, mode) * tf.linalg.matvec(u, vector, transpose_a=True)
        )
        return jacobian.transpose_matvec(w), *kept_spectrum(s, rcond)  # Jᵀ (J Jᵀ)^((p−1)/2) g

    def through_weights() -> tuple[tf.Tensor, ...]:
        s, v = singular_values_from(validation.finite("the product JᵀJ of jacobian", jacobian.weight_gram(tf.float64)))
        gradient = jacobian.transpose_matvec(vector)
        w = divided_filter(s, exponent, rcond, mode) * tf.linalg.matvec(v, gradient, transpose_a=True)
        return tf.linalg.matvec(v, w), *kept_spectrum(s, rcond)  # (JᵀJ)^((p−1)/2) Jᵀg

    if jacobian.n_rows is None:
        return SpectralStep(*tf.cond(tf.size(vector) <= jacobian.n_weights, through_rows, through_weights))
    return SpectralStep(*(through_rows() if jacobian.n_rows <= jacobian.n_weights else through_weights()))


def pseudo_inverse(matrix: Any, *, rcond: float | None = None, mode: Mode = "truncate") -> tf.Tensor:
    """V Σ⁻¹ Uᵀ, the Moore-Penrose pseudo-inverse: `spectral_power` with exponent −1."""
    return spectral_power(matrix, -1.0, rcond=rcond, mode=mode)


def half_inverse(matrix: Any, *, rcond: float | None = None, mode: Mode = "truncate") -> tf.Tensor:
    """V Σ^(−1/2) Uᵀ, the half-inverse (Schnell, Holl and Thuerey, ICLR 2022): `spectral_power` with exponent −1/2."""
    return spectral_power(matrix, -0.5, rcond=rcond, mode=mode)


def spectral_filter(singular_values: Any, exponent: float, *, rcond: float, mode: Mode = "truncate") -> tf.Tensor:
    """f(σ), the power of the singular values that are kept.

    Args:
        singular_values: σ ≥ 0, [..., k], float32 or float64.
        exponent: the power p.
        rcond: relative threshold in [0, 1); τ = rcond·max σ along the last axis.
        mode: "truncate": σᵖ above τ, else 0. "clamp": σ·max(σ, τ)^(p−1).

    Returns:
        f(σ), [..., k]. Values below the smallest normal number of the dtype count as zero, so f is finite for |p| ≤ 1.

    Raises:
        TypeError: if `singular_values` is not floating, or a number is not a number.
        ValueError: if `rcond` is not in [0, 1) or `mode` is unknown.
    """
    s = validation.floating("singular_values", singular_values)
    p = validation.real("exponent", exponent)
    rcond = validation.real("rcond", rcond)
    if not 0.0 <= rcond < 1.0:
        raise ValueError(f"rcond must be at least 0 and below 1, got {rcond}.")
    if mode not in ("truncate", "clamp"):
        raise ValueError(f'mode must be "truncate" or "clamp", got {mode!r}.')
    tiny = tf.constant(np.finfo(s.dtype.as_numpy_dtype).tiny, s.dtype)
    threshold = rcond * tf.reduce_max(s, axis=-1, keepdims=True)
    kept = s > tf.maximum(threshold, tiny) if mode == "truncate" else s > tiny
    safe = tf.where(kept, s, tf.ones_like(s))  # no power of zero is ever taken: not in the value, not in its gradient
    clamped = tf.maximum(safe, threshold)
    power = safe**p if mode == "truncate" else clamped**p * (safe / clamped)  # σ·max(σ, τ)^(p−1), without its overflow
    return tf.where(kept, power, tf.zeros_like(s))


def matrix_to_decompose(matrix: Any) -> tf.Tensor:
    """Return `matrix` [..., m, n] as a finite floating tensor that is not empty, or raise."""
    matrix = validation.floating("matrix", matrix)
    if matrix.shape.rank is None or matrix.shape.rank < 2:
        raise ValueError(f"matrix must have shape [..., m, n], got {matrix.shape}.")
    if 0 in matrix.shape.as_list():
        raise ValueError(f"matrix must not be empty, got shape {matrix.shape}.")
    return validation.finite("matrix", matrix)


def decompose(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Σ, U and V of a matrix: A = U Σ Vᵀ with s [..., k], u [..., m, k], v [..., n, k], k = min(m, n)."""
    return tf.linalg.svd(matrix, full_matrices=False)


def resolution(matrix: tf.Tensor) -> float:
    """max(m, n)·ε: singular values below this part of the largest are rounding errors of the decomposition."""
    m, n = matrix.shape[-2:]
    if m is None or n is None:
        raise ValueError("rcond must be given when the shape of matrix is unknown inside a tf.function.")
    return max(m, n) * float(np.finfo(matrix.dtype.as_numpy_dtype).eps)


def decomposed_step(
    matrix: tf.Tensor, vector: tf.Tensor, exponent: float, rcond: float, mode: Mode
) -> tuple[tf.Tensor, tf.Tensor]:
    """V f(Σ) Uᵀ g of a checked matrix and a vector, and Σ, which can be differentiated once each."""
    spectral_filter(tf.ones([1], matrix.dtype), exponent, rcond=rcond, mode=mode)  # refuses what is out of range

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def step(matrix: tf.Tensor, vector: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., Any]]:
        s, u, v = svd = decompose(matrix)
        f = spectral_filter(s, exponent, rcond=rcond, mode=mode)
        w = tf.linalg.matvec(u, vector, transpose_a=True)  # g → Uᵀg

        def backward(of_step: tf.Tensor, of_s: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            left, right = vector[..., tf.newaxis], of_step[..., tf.newaxis]
            of_matrix = derivative(svd, left, right, exponent, rcond, mode)
            of_matrix += tf.matmul(u * of_s[..., tf.newaxis, :], v, transpose_b=True)
            back = tf.linalg.matvec(u, f * tf.linalg.matvec(v, of_step, transpose_a=True))
            return of_matrix, back

        return (tf.linalg.matvec(v, f * w), s), backward  # Uᵀg → V f(Σ) Uᵀg

    return step(matrix, vector)


def derivative(
    svd: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    left: tf.Tensor,
    right: tf.Tensor,
    exponent: float,
    rcond: float,
    mode: Mode,
) -> tf.Tensor:
    """The gradient with respect to A of a value whose gradient with respect to U f(Σ) Vᵀ is `left` `right`ᵀ.

    Raises:
        NotImplementedError: if it is differentiated in its turn.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def call(*arguments: tf.Tensor) -> tuple[tf.Tensor, Callable[..., tf.Tensor]]:
        s, u, v, left, right = arguments
        with tf.GradientTape() as tape:  # σ_max enters f by the threshold
            tape.watch(s)
            f = spectral_filter(s, exponent, rcond=rcond, mode=mode)
        threshold = rcond * tf.reduce_max(s, axis=-1, keepdims=True)
        tiny = tf.constant(np.finfo(s.dtype.as_numpy_dtype).tiny, s.dtype)
        slope = tf.zeros_like(threshold)
        if mode == "clamp":  # f(σ) = τ^(p−1) σ below τ
            slope = tf.where(threshold > tiny, tf.maximum(threshold, tiny) ** (exponent - 1.0), slope)
        result = pull_back(
            (s, u, v),
            left,
            right,
            divided_differences(s, f, exponent, s > tf.maximum(threshold, tiny), slope),
            divided_sums(s, f, slope),
            divided_filter(s, exponent, rcond, mode),
            lambda upstream: tape.gradient(f, s, upstream, unconnected_gradients="zero"),
        )

        def refuse(*upstream: tf.Tensor) -> tf.Tensor:  # it would be that of the SVD, wrong at equal singular values
            raise NotImplementedError("a spectral power has no second derivative here: take finite differences.")

        return result, refuse

    return call(*svd, left, right)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def singular_values_from(gram: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tf.Tensor]]:
    """The singular values and vectors of J from one of its Gram matrices; rounding below zero counts as zero.

    LAPACK's divide and conquer, through NumPy, takes half the time of `tf.linalg.eigh` for 512 rows. It runs on one
    thread: its own wait for each other, up to forty times as long when another process is busy.

    Raises:
        NotImplementedError: if a gradient is asked for; TensorFlow would leave this path out and say nothing.
    """
    squares, vectors = tf.numpy_function(eigh_on_one_thread, [gram], (gram.dtype, gram.dtype), stateful=False)
    squares.set_shape(gram.shape[:-1])
    vectors.set_shape(gram.shape)

    def refuse(*upstream: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError("spectral_step of a StackedJacobian cannot be differentiated; its matrix can.")

    return (tf.sqrt(tf.maximum(squares, 0.0)), vectors), refuse


@functools.cache
def thread_pools() -> threadpoolctl.ThreadpoolController:
    """The numerical libraries of this process, looked for once."""
    return threadpoolctl.ThreadpoolController()


def eigh_on_one_thread(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors of a symmetric matrix."""
    with thread_pools().limit(limits=1, user_api="blas"):
        return np.linalg.eigh(matrix)


def divided_filter(s: tf.Tensor, exponent: float, rcond: float, mode: Mode) -> tf.Tensor:
    """f(σ)/σ: σ^(p−1) above τ; below it, 0 if truncated and τ^(p−1) if clamped, also where rounding has made σ zero."""
    f = spectral_filter(s, exponent, rcond=rcond, mode=mode)
    if mode == "truncate":
        return tf.math.divide_no_nan(f, s)
    clamped = tf.maximum(s, rcond * tf.reduce_max(s, axis=-1, keepdims=True))
    return tf.where(clamped > 0.0, clamped ** (exponent - 1.0), tf.zeros_like(s))


def kept_spectrum(s: tf.Tensor, rcond: float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The number of singular values above rcond·σ_max, the largest of all, and the smallest of those above."""
    largest = tf.reduce_max(s)
    kept = s > tf.maximum(rcond * largest, tf.constant(np.finfo(np.float64).tiny, s.dtype))
    smallest = tf.reduce_min(tf.where(kept, s, largest))
    return tf.math.count_nonzero(kept, dtype=tf.int32), largest, smallest


def one_per_row(vector: tf.Tensor, n_rows: int | None) -> tf.Tensor:
    """Return a vector with one entry per row of J, or raise."""
    if vector.shape.rank != 1 or not vector.shape.is_compatible_with([n_rows]):
        raise ValueError(f"vector must have shape [{n_rows}], one entry per row of jacobian, got {vector.shape}.")
    return vector
