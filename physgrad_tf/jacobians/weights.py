"""A network's weights as one vector θ, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from physgrad_tf import validation


def flatten_weights(weights: Sequence[Any]) -> tf.Tensor:
    """Lay all weights behind each other in one vector θ, each in row-major order.

    Args:
        weights: tensors or variables of one floating dtype and any shapes, at least one.

    Returns:
        The vector [n_weights].

    Raises:
        TypeError: if a weight is not floating or the dtypes differ.
        ValueError: if there are no weights.
    """
    tensors = [validation.floating(f"weights[{i}]", weight) for i, weight in enumerate(weights)]
    if not tensors:
        raise ValueError("weights must hold at least one tensor, got none.")
    dtypes = sorted({tensor.dtype.name for tensor in tensors})
    if len(dtypes) > 1:
        raise TypeError(f"weights must share one dtype, got {', '.join(dtypes)}.")
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def unflatten_weights(vector: Any, weights: Sequence[Any]) -> list[tf.Tensor]:
    """Cut a vector of all weights back into tensors of the shapes of `weights`: the inverse of `flatten_weights`.

    Args:
        vector: θ or a step Δθ, [n_weights].
        weights: tensors or variables whose shapes and order are to be taken.

    Returns:
        One tensor per weight, in the dtype of `vector`.

    Raises:
        TypeError: if `vector` is not floating.
        ValueError: if `vector` has another length than all weights together.
    """
    vector = validation.floating("vector", vector)
    shapes = [tuple(weight.shape) for weight in weights]
    sizes = [math.prod(shape) for shape in shapes]
    if vector.shape.rank != 1 or not vector.shape.is_compatible_with([sum(sizes)]):
        raise ValueError(f"vector must have shape [{sum(sizes)}], the number of all weights, got {vector.shape}.")
    return [tf.reshape(part, shape) for part, shape in zip(tf.split(vector, sizes), shapes, strict=True)]
