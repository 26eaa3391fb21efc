"""V f(Σ) Uᵀ of a matrix that is there, by `tf.linalg.svd`: the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.spectral.derivative import divided_differences, divided_sums, pull_back
from physgrad_tf.spectral.filter import Mode, divided_filter, spectral_filter


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


def pseudo_inverse(matrix: Any, *, rcond: float | None = None, mode: Mode = "truncate") -> tf.Tensor:
    """V Σ⁻¹ Uᵀ, the Moore-Penrose pseudo-inverse: `spectral_power` with exponent −1."""
    return spectral_power(matrix, -1.0, rcond=rcond, mode=mode)


def half_inverse(matrix: Any, *, rcond: float | None = None, mode: Mode = "truncate") -> tf.Tensor:
    """V Σ^(−1/2) Uᵀ, the half-inverse (Schnell, Holl and Thuerey, ICLR 2022): `spectral_power` with exponent −1/2."""
    return spectral_power(matrix, -0.5, rcond=rcond, mode=mode)


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
            lambda upstream: tf.where(
                s > tiny,
                tape.gradient(f, s, upstream, unconnected_gradients="zero"),
                slope * upstream,  # the filter leaves an exact zero out, where f has the slope of all that is clamped
            ),
        )

        def refuse(*upstream: tf.Tensor) -> tf.Tensor:  # it would be that of the SVD, wrong at equal singular values
            raise NotImplementedError("a spectral power has no second derivative here: take finite differences.")

        return result, refuse

    return call(*svd, left, right)
