"""Stop training before a step that is not finite reaches the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def stop_unless_finite(
    what: str, tensors: Sequence[tf.Tensor], iteration: tf.Tensor, details: Sequence[Any] = ()
) -> list[tf.Tensor]:
    """Return `tensors`; NaN or Inf in one of them stop the run with a message that names the step, then `details`.

    The operation must stand outside an XLA-compiled function: XLA leaves assertions out.
    """
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors])
    message = f"{what} is not finite; the weights are those before this step, which is number"
    with tf.control_dependencies([tf.debugging.Assert(finite, [message, iteration, *details])]):
        return [tf.identity(tensor) for tensor in tensors]
