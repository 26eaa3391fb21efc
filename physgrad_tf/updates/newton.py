"""Newton's method, and the variant that descends from saddle points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from physgrad_tf import jacobians, validation
from physgrad_tf.updates.linear_solve import message, solve


def newton(loss: Callable[[tf.Tensor], tf.Tensor], x: Any, eta: float) -> tf.Tensor:
    """Δx = −η H⁻¹ ∂L/∂x with the exact Hessian H = ∂²L/∂x².

    The step goes to where the second-order model of L is stationary: a minimum, a maximum or a saddle point alike.

    Args:
        loss: maps points [batch, n] to values [batch]; twice differentiable.
        x: points [batch, n].
        eta: step size η > 0, dimensionless; 1 is the full step.

    Returns:
        The steps Δx, [batch, n], in units of x.

    Raises:
        TypeError: as `jacobians.hessian`, or if `eta` is not a number.
        ValueError: as `jacobians.hessian`, if `eta` is not positive and finite, or if a Hessian is exactly singular,
            a pivot being zero; one that is nearly so gives a very long step. Inside a `tf.function` a singular Hessian
            stops the run with `tf.errors.InvalidArgumentError`, unless XLA compiles it, which leaves checks out.
    """
    eta = validation.positive("eta", eta)
    slope = jacobians.gradient(loss, x)
    return -eta * solve("the Hessian of loss", jacobians.hessian(loss, x), slope)  # ∂L/∂x → H⁻¹ ∂L/∂x


def saddle_free_newton(loss: Callable[[tf.Tensor], tf.Tensor], x: Any, eta: float) -> tf.Tensor:
    """Δx = −η |H|⁻¹ ∂L/∂x, where |H| has the absolute values of the eigenvalues of H.

    Where H is positive definite this is Newton's step; along directions of negative curvature it descends instead of
    climbing (Dauphin et al., Identifying and attacking the saddle point problem, NeurIPS 2014).

    Args:
        loss: maps points [batch, n] to values [batch]; twice differentiable.
        x: points [batch, n].
        eta: step size η > 0, dimensionless.

    Returns:
        The steps Δx, [batch, n], in units of x.

    Raises:
        TypeError: as `newton`.
        ValueError: as `newton`; a Hessian is singular here when its smallest |λ| is below n·ε times its largest.
    """
    eta = validation.positive("eta", eta)
    slope = jacobians.gradient(loss, x)
    curvature = validation.finite("the Hessian of loss", jacobians.hessian(loss, x))
    size = tf.abs(tf.linalg.eigvalsh(curvature))
    noise = slope.shape[1] * float(np.finfo(slope.dtype.as_numpy_dtype).eps)
    regular = tf.reduce_min(size, axis=1) > noise * tf.reduce_max(size, axis=1)
    singular = tf.where(~regular)[:, 0]
    if tf.executing_eagerly() and len(singular):
        raise ValueError(message("the Hessian of loss", singular.numpy().tolist(), len(size)))
    text = "the Hessian of loss is singular at a point: the step is undefined there. Samples:"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(regular), [text, singular])]):
        return -eta * inverse_of_absolute_value(curvature, slope)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def inverse_of_absolute_value(
    matrix: tf.Tensor, vector: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """|H|⁻¹ g of symmetric matrices H = Q Λ Qᵀ, with the exact derivative at equal eigenvalues too.

    The differential is Q (D ∘ Qᵀ dH Q) Qᵀ g with Dᵢⱼ = (1/|λᵢ| − 1/|λⱼ|)/(λᵢ − λⱼ), which is −sign(λᵢ)/(λᵢλⱼ) for equal
    signs. TensorFlow's derivative of eigenvectors leaves equal eigenvalues out.
    """
    eigenvalues, q = tf.linalg.eigh(matrix)
    size = tf.abs(eigenvalues)
    w = tf.linalg.matvec(q, vector, transpose_a=True)  # g → Qᵀg

    def backward(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        a, b = eigenvalues[:, :, tf.newaxis], eigenvalues[:, tf.newaxis, :]
        same = tf.sign(a) == tf.sign(b)
        apart = tf.math.divide_no_nan(1.0 / tf.abs(a) - 1.0 / tf.abs(b), a - b)
        differences = tf.where(same, -tf.sign(a) / (a * b), apart)
        back = tf.linalg.matvec(q, upstream, transpose_a=True)
        inner = differences * (back[:, :, tf.newaxis] * w[:, tf.newaxis, :])
        of_matrix = tf.matmul(tf.matmul(q, (inner + tf.linalg.matrix_transpose(inner)) / 2.0), q, transpose_b=True)
        return of_matrix, tf.linalg.matvec(q, back / size)

    return tf.linalg.matvec(q, w / size), backward  # Qᵀg → Q |Λ|⁻¹ Qᵀg
