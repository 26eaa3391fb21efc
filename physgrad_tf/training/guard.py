"""Stop training before a step that is not finite reaches the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def stop_unless_finite(
    what: str, tensors: Sequence[tf.Tensor], iteration: tf.Tensor, details: Sequence[Any] | Callable[[], list[Any]] = ()
) -> list[tf.Tensor]:
    """Return `tensors`; NaN or Inf in one of them stop the run with a message that names the step, then `details`.

    A function that returns them is computed then only.

    The operation must stand outside an XLA-compiled function: XLA leaves assertions out.
    """
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors])
    message = f"{what} is not finite; the weights are those before this step, which is number"
    if callable(details):

        def stop() -> tf.Tensor:
            with tf.control_dependencies([tf.debugging.Assert(finite, [message, iteration, *details()])]):
                return tf.identity(finite)

        checked = tf.cond(finite, lambda: finite, stop)
    else:
        checked = tf.debugging.Assert(finite, [message, iteration, *details])
    with tf.control_dependencies([checked]):
        return [tf.identity(tensor) for tensor in tensors]
