"""V f(Σ) Uᵀ g without the matrix: by the eigenvalues σ² of J Jᵀ, or of JᵀJ if that is smaller."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import threadpoolctl

from physgrad_tf import validation
from physgrad_tf.jacobians import StackedJacobian
from physgrad_tf.spectral.filter import Mode, divided_filter, kept_spectrum

#: The smallest `rcond` of the route through J Jᵀ; below it, the eigenvalues σ² drown in the rounding of the largest.
SMALLEST_GRAM_RCOND = 1e-7


def through_rows(
    jacobian: StackedJacobian, vector: tf.Tensor, exponent: float, rcond: float, mode: Mode
) -> tuple[tf.Tensor, ...]:
    """The step s = Jᵀ (J Jᵀ)^((p−1)/2) g in float64, with rank, largest and smallest kept singular value, and Js."""
    s, u = singular_values_from(validation.finite("the product J Jᵀ of jacobian", jacobian.gram(tf.float64)))
    w = tf.linalg.matvec(u, divided_filter(s, exponent, rcond, mode) * tf.linalg.matvec(u, vector, transpose_a=True))
    image = tf.linalg.matvec(u, s**2 * tf.linalg.matvec(u, w, transpose_a=True))  # w → J Jᵀw
    return jacobian.transpose_matvec(w), *kept_spectrum(s, rcond), image


def through_weights(
    jacobian: StackedJacobian, vector: tf.Tensor, exponent: float, rcond: float, mode: Mode
) -> tuple[tf.Tensor, ...]:
    """(JᵀJ)^((p−1)/2) Jᵀg, the same."""
    s, v = singular_values_from(validation.finite("the product JᵀJ of jacobian", jacobian.weight_gram(tf.float64)))
    gradient = jacobian.transpose_matvec(vector)
    w = divided_filter(s, exponent, rcond, mode) * tf.linalg.matvec(v, gradient, transpose_a=True)
    step = tf.linalg.matvec(v, w)
    return step, *kept_spectrum(s, rcond), jacobian.matvec(step)


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
