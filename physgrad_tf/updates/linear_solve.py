"""One linear system per sample."""

from __future__ import annotations

import tensorflow as tf

from physgrad_tf import validation


def solve(name: str, matrix: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """A⁻¹ b for matrices [batch, n, n] and vectors [batch, n]; `name` says in errors what the matrix is.

    Only an exactly singular matrix is refused. One that is nearly singular gives the large and inaccurate step that it
    gives: judging that is left to the caller, who knows the scale of the problem.
    """
    matrix = validation.finite(name, matrix)
    try:
        return tf.linalg.solve(matrix, vector[..., tf.newaxis])[..., 0]  # b → A⁻¹ b
    except tf.errors.InvalidArgumentError as error:  # raised here only eagerly; inside a tf.function it stops the run
        raise ValueError(f"{name} is singular at a point: the step is undefined there.") from error
