"""Many steps of one rule, in one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from physgrad_tf import validation


def trajectory(rule: Callable[[tf.Tensor], tf.Tensor], x_start: Any, n_steps: int) -> tf.Tensor:
    """Apply x ← x + rule(x) again and again, and keep every iterate.

    Args:
        rule: maps points [batch, n] to steps Δx [batch, n]; any update rule with its other arguments filled in. It is
            traced once: what it decides in Python, it decides once.
        x_start: first points [batch, n], finite.
        n_steps: number of steps, at least 0.

    Returns:
        All iterates, [n_steps + 1, batch, n]; the first one is `x_start`. A rule that diverges returns its large,
        infinite or NaN iterates: nothing is hidden.

    Raises:
        TypeError: if `rule` is not a function, or returns another dtype than its points.
        ValueError: if `x_start` is not a finite batch of points, `n_steps` is negative, or `rule` returns another
            shape.
        tf.errors.InvalidArgumentError: if a step is undefined on the way, as Newton's at a singular Hessian.
    """
    x_start = validation.finite("x_start", validation.batch_of_points("x_start", x_start))
    validation.function("rule", rule)
    n_steps = validation.count("n_steps", n_steps, minimum=0)

    def step(k: tf.Tensor, x: tf.Tensor, iterates: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        delta_x = validation.one_point_per_sample("rule", rule(x), x)
        if not delta_x.shape.is_compatible_with(x.shape):
            raise ValueError(f"rule must return the shape of its points, {x.shape}, got {delta_x.shape}.")
        x = x + delta_x
        return k + 1, x, iterates.write(k + 1, x)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def run(x: tf.Tensor) -> tf.Tensor:
        iterates = tf.TensorArray(x.dtype, size=n_steps + 1, element_shape=x.shape).write(0, x)
        loop = tf.while_loop(lambda k, *_: k < n_steps, step, (tf.constant(0), x, iterates))
        return loop[2].stack()

    # A concrete function, since every call brings a rule of its own: TensorFlow takes repeated tracing for a mistake.
    return run.get_concrete_function(tf.TensorSpec(x_start.shape, x_start.dtype))(x_start)
