"""Newton's method, and the variant that descends from saddle points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from physgrad_tf import jacobians, validation
from physgrad_tf.updates.linear_solve import solve


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
        ValueError: as `jacobians.hessian`, if `eta` is not positive and finite, or if a Hessian is singular. Inside a
            `tf.function` a singular Hessian stops the run with `tf.errors.InvalidArgumentError`.
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
    eigenvalues, q = tf.linalg.eigh(curvature)  # H = Q Λ Qᵀ
    size = tf.abs(eigenvalues)
    noise = slope.shape[1] * float(np.finfo(slope.dtype.as_numpy_dtype).eps)
    regular = tf.reduce_all(tf.reduce_min(size, axis=1) > noise * tf.reduce_max(size, axis=1))
    message = "the Hessian of loss is singular at a point: the step is undefined there."
    if tf.executing_eagerly() and not regular:
        raise ValueError(message)
    with tf.control_dependencies([tf.debugging.Assert(regular, [message])]):
        w = tf.linalg.matvec(q, slope, transpose_a=True)  # ∂L/∂x → Qᵀ ∂L/∂x
    return -eta * tf.linalg.matvec(q, w / size)  # Qᵀ ∂L/∂x → Q |Λ|⁻¹ Qᵀ ∂L/∂x
