"""Inverse gradient and physical gradient: a step in y, taken back to x."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from physgrad_tf import jacobians, validation
from physgrad_tf.simulators.binding import function_of_x, inverse_map
from physgrad_tf.updates.linear_solve import solve
from physgrad_tf.updates.step_in_y import StepInY, step_in_y


def inverse_gradient(simulator: Any, x: Any, delta_y: StepInY) -> tf.Tensor:
    """Δx = (∂y/∂x)⁻¹ Δy: the linearised inverse of the simulator applied to a step in y.

    Args:
        simulator: maps points x [batch, n] to y [batch, n], as many outputs as inputs: a function, or an object with
            `simulate`.
        x: points [batch, n].
        delta_y: the wanted step Δy: a tensor [batch, n], a number, or a function of y that returns either.

    Returns:
        The steps Δx, [batch, n], in units of x.

    Raises:
        TypeError: as `jacobians.jacobian`, or if `delta_y` has another dtype than y.
        ValueError: as `jacobians.jacobian`; if the Jacobian is not square (`gauss_newton` takes its pseudo-inverse) or
            exactly singular, a pivot being zero; if `delta_y` does not have the shape of y.
    """
    x, simulate = validation.batch_of_points("x", x), function_of_x(simulator)
    matrix = jacobians.jacobian(simulate, x)
    if matrix.shape[1] != matrix.shape[2]:
        raise ValueError(
            f"simulator must have as many outputs as inputs, got a Jacobian of {matrix.shape[1]}×{matrix.shape[2]}; "
            "gauss_newton takes its pseudo-inverse."
        )
    return solve("the Jacobian of simulator", matrix, step_in_y(delta_y, simulate(x)))  # Δy → J⁻¹ Δy


def physical_gradient(
    simulator: Any,
    x: Any,
    delta_y: StepInY,
    *,
    local_inverse: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """Δx = P⁻¹(y + Δy; x) − x: the inverse simulator itself applied to a step in y.

    Args:
        simulator: maps points x [batch, n] to y [batch, m]: a function, or an object with `simulate`.
        x: points [batch, n].
        delta_y: the wanted step Δy: a tensor [batch, m], a number, or a function of y that returns either.
        local_inverse: maps (y, x_guess) to an x near x_guess with P(x) = y. None takes `simulator.local_inverse`.

    Returns:
        The steps Δx, [batch, n], in units of x. They are as accurate as the inverse is.

    Raises:
        TypeError: if there is no local inverse, or a shape or dtype is wrong.
        ValueError: if a shape is wrong, the inverse refuses y + Δy, or returns NaN or Inf.
    """
    x, simulate = validation.batch_of_points("x", x), function_of_x(simulator)
    inverse = getattr(simulator, "local_inverse", None) if local_inverse is None else local_inverse
    if inverse is None:
        raise TypeError("simulator has no local_inverse: pass one as local_inverse, or use inverse_gradient.")
    inverse = inverse_map("local_inverse", inverse)
    y = validation.one_point_per_sample("simulator", simulate(x), x)
    pre_image = validation.one_point_per_sample("local_inverse", inverse(y + step_in_y(delta_y, y), x, None), x)
    if not pre_image.shape.is_compatible_with(x.shape):
        raise ValueError(f"local_inverse must return the shape of x, {x.shape}, got {pre_image.shape}.")
    return validation.finite("local_inverse(y + Δy, x)", pre_image) - x
