"""Gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from physgrad_tf import jacobians, validation


def gradient_descent(loss: Callable[[tf.Tensor], tf.Tensor], x: Any, eta: float) -> tf.Tensor:
    """Δx = −η ∂L/∂x.

    Args:
        loss: maps points [batch, n] to values [batch].
        x: points [batch, n].
        eta: learning rate η > 0, in units of x² per unit of L: one number for coordinates of different units.

    Returns:
        The steps Δx, [batch, n].

    Raises:
        TypeError: as `jacobians.gradient`, or if `eta` is not a number.
        ValueError: as `jacobians.gradient`, or if `eta` is not positive and finite.
    """
    return -validation.positive("eta", eta) * jacobians.gradient(loss, x)
