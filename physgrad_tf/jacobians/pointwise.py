"""Gradient, Jacobian and Hessian of a function of a batch of points.

The functions must treat the samples one by one: row i of the result may depend on row i of the points only. This is
what lets `GradientTape.batch_jacobian` get every sample's matrix at the price of one sample's. A function that mixes
rows gives a wrong answer here, and no shape reveals it.

Called eagerly, `jacobian` and `hessian` take one backward pass per output. The vectorised pass would be traced anew at
every eager call, which takes a fraction of a second. Inside a `tf.function` it is traced once, and used there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from physgrad_tf import validation

#: The most outputs for which one pass each is written into a graph.
MOST_PASSES = 64


def gradient(loss: Callable[[tf.Tensor], tf.Tensor], x: Any) -> tf.Tensor:
    """Gradient ∂L/∂x of one loss value per sample.

    Args:
        loss: maps points [batch, n] to values [batch].
        x: points [batch, n], float32 or float64.

    Returns:
        The gradients [batch, n], in units of L per unit of x.

    Raises:
        TypeError: if `x` is not floating, or `loss` is not a function or returns another dtype.
        ValueError: if a shape is wrong or `loss` does not depend on `x`.
    """
    x = validation.batch_of_points("x", x)
    validation.function("loss", loss)
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = validation.one_value_per_sample("loss", loss(x), x)
    return connected("loss", tape.gradient(values, x))  # 1 → ∂L/∂x, the samples being independent


def jacobian(function: Callable[[tf.Tensor], tf.Tensor], x: Any) -> tf.Tensor:
    """Jacobian ∂y/∂x of every sample.

    Args:
        function: maps points [batch, n] to points [batch, n_out].
        x: points [batch, n], float32 or float64.

    Returns:
        The Jacobians [batch, n_out, n], in units of y per unit of x; entry (i, k, j) is ∂y_k/∂x_j at sample i.

    Raises:
        TypeError: if `x` is not floating, or `function` is not a function or returns another dtype.
        ValueError: if a shape is wrong or `function` does not depend on `x`.
    """
    x = validation.batch_of_points("x", x)
    validation.function("function", function)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = validation.one_point_per_sample("function", function(x), x)
        columns = unit_columns(y)
    connected("function", tape.gradient(y, x))  # batch_jacobian would answer zeros where there is no path
    return matrix_per_sample(tape, y, columns, x)  # ∂L/∂y → ∂L/∂y J, for unit ∂L/∂y


def hessian(loss: Callable[[tf.Tensor], tf.Tensor], x: Any) -> tf.Tensor:
    """Hessian ∂²L/∂x² of one loss value per sample, by differentiating the gradient once more.

    Args:
        loss: maps points [batch, n] to values [batch]; twice differentiable.
        x: points [batch, n], float32 or float64.

    Returns:
        The Hessians [batch, n, n], in units of L per squared unit of x. A loss that is linear in x has the Hessian 0.

    Raises:
        TypeError: if `x` is not floating, or `loss` is not a function or returns another dtype.
        ValueError: if a shape is wrong or `loss` does not depend on `x`.
    """
    x = validation.batch_of_points("x", x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        slope = gradient(loss, x)  # x → ∂L/∂x
        columns = unit_columns(slope)
    # Where the gradient does not depend on x the tape finds no path, and zeros are the right answer.
    return matrix_per_sample(tape, slope, columns, x)


def unit_columns(y: tf.Tensor) -> list[tf.Tensor]:
    """The columns of y [batch, n_out], to be differentiated one by one, or none where all at once will do.

    A vectorised pass through a loop cannot be compiled by XLA; one pass per column can.
    """
    if tf.executing_eagerly() or y.shape[1] > MOST_PASSES or not holds_a_loop(y.graph):
        return []
    return tf.unstack(y, axis=1)


def matrix_per_sample(tape: tf.GradientTape, y: tf.Tensor, columns: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """∂y/∂x of every sample, [batch, n_out, n], from a tape that has recorded y and its `columns`."""
    if columns:
        return tf.stack([tape.gradient(c, x, unconnected_gradients="zero") for c in columns], axis=1)
    return tape.batch_jacobian(y, x, experimental_use_pfor=not tf.executing_eagerly())


def holds_a_loop(graph: tf.Graph) -> bool:
    """Whether there is a `tf.while_loop` in a graph or in the functions that it calls."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return any(node.op in ("While", "StatelessWhile") for node in nodes)


def connected(name: str, derivative: tf.Tensor | None) -> tf.Tensor:
    """Return `derivative`, or raise where the tape found no path from the points to the values."""
    if derivative is None:
        raise validation.NoGradient(
            f"{name} does not depend on x, or not through differentiable TensorFlow operations."
        )
    return derivative
