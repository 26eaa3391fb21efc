"""Gauss-Newton and half-inverse gradient: a spectral power of the Jacobian applied to a step in y."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from physgrad_tf import jacobians, spectral, validation
from physgrad_tf.simulators.binding import function_of_x
from physgrad_tf.updates.step_in_y import StepInY, step_in_y


def gauss_newton(
    simulator: Any,
    x: Any,
    delta_y: StepInY,
    *,
    rcond: float | None = None,
    mode: spectral.Mode = "truncate",
) -> tf.Tensor:
    """Δx = J⁺ Δy with the pseudo-inverse of J = ∂y/∂x. For an L² loss, Δy = −η ∂L/∂y gives the Gauss-Newton step.

    Where J is square and regular this is the inverse gradient; where it is wide, the shortest of all steps that reach
    Δy to first order; where it is tall, the one that comes closest.

    Args:
        simulator: maps points x [batch, n] to y [batch, m]: a function, or an object with `simulate`.
        x: points [batch, n].
        delta_y: the wanted step Δy: a tensor [batch, m], a number, or a function of y that returns either.
        rcond: relative threshold of the singular values, see `spectral.spectral_power`.
        mode: "truncate" or "clamp", see `spectral.spectral_power`.

    Returns:
        The steps Δx, [batch, n], in units of x if all outputs share one unit.

    Raises:
        TypeError: as `jacobians.jacobian` and `spectral.apply_spectral_power`.
        ValueError: as `jacobians.jacobian` and `spectral.apply_spectral_power`.
    """
    return spectral_step(simulator, x, delta_y, -1.0, rcond, mode)


def half_inverse_gradient(
    simulator: Any,
    x: Any,
    delta_y: StepInY,
    *,
    rcond: float | None = None,
    mode: spectral.Mode = "truncate",
) -> tf.Tensor:
    """Δx = J^(−1/2) Δy with the half-inverse of J = ∂y/∂x (Schnell, Holl and Thuerey, ICLR 2022, equation 5).

    Args:
        simulator: maps points x [batch, n] to y [batch, m]: a function, or an object with `simulate`.
        x: points [batch, n].
        delta_y: the step −η ∂L/∂y: a tensor [batch, m], a number, or a function of y that returns either.
        rcond: relative threshold of the singular values, see `spectral.spectral_power`.
        mode: "truncate" or "clamp", see `spectral.spectral_power`.

    Returns:
        The steps Δx, [batch, n]. Their unit is mixed, the root of that of x times that of y.

    Raises:
        TypeError: as `jacobians.jacobian` and `spectral.apply_spectral_power`.
        ValueError: as `jacobians.jacobian` and `spectral.apply_spectral_power`.
    """
    return spectral_step(simulator, x, delta_y, -0.5, rcond, mode)


def spectral_step(
    simulator: Any,
    x: Any,
    delta_y: StepInY,
    exponent: float,
    rcond: float | None,
    mode: spectral.Mode,
) -> tf.Tensor:
    """V f(Σ) Uᵀ Δy for the Jacobian J = U Σ Vᵀ of every sample."""
    x, simulate = validation.batch_of_points("x", x), function_of_x(simulator)
    matrix = jacobians.jacobian(simulate, x)
    delta_y = step_in_y(delta_y, simulate(x))
    return spectral.apply_spectral_power(matrix, delta_y, exponent, rcond=rcond, mode=mode)
