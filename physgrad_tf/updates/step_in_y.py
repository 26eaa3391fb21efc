"""The step Δy that the simulator-driven rules take back to x."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from physgrad_tf import validation

StepInY = Any | Callable[[tf.Tensor], Any]  # a tensor of the shape of y, a number, or a function of y that gives either


def step_in_y(delta_y: StepInY, y: tf.Tensor) -> tf.Tensor:
    """Return Δy with the shape and dtype of `y`; a function is called with `y` first."""
    return validation.like("delta_y", delta_y(y) if callable(delta_y) else delta_y, y, "y")
