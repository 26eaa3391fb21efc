"""One linear system per sample."""

from __future__ import annotations

import numpy as np
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
        singular = [i for i, one in enumerate(matrix.numpy()) if is_singular(one)]
        raise ValueError(message(name, singular, matrix.shape[0])) from error


def message(name: str, singular: list[int], n_samples: int) -> str:
    """What an error says of matrices that are singular in some of `n_samples` samples."""
    where = f" (samples {', '.join(map(str, singular))} of {n_samples})" if n_samples > 1 else ""
    return f"{name} is singular at a point{where}: the step is undefined there."


def is_singular(matrix: np.ndarray) -> bool:
    """Whether elimination meets a pivot that is zero."""
    try:
        np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return True
    return False
