"""Checks at the door: every public function refuses bad input here, by the name of the argument.

What is known in Python (type, rank, size, and the values of eager tensors) raises `TypeError` or `ValueError`. The
values of a tensor inside a `tf.function` are unknown in Python; there `finite` adds an operation that stops the run.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import tensorflow as tf


class NoGradient(ValueError):
    """A result does not depend on what it is to be differentiated by, or on a way that passes no gradient."""


class SamplesDependent(ValueError):
    """What is to be treated sample by sample depends on the other samples of the batch, or on chance."""


def floating(name: str, value: Any) -> tf.Tensor:
    """Return `value` as a float32 or float64 tensor, or raise `TypeError`."""
    if value is None:
        raise TypeError(f"{name} must be float32 or float64, got None.")
    tensor = tf.convert_to_tensor(value)
    if tensor.dtype not in (tf.float32, tf.float64):
        raise TypeError(f"{name} must be float32 or float64, got {tensor.dtype.name}.")
    return tensor


def finite(name: str, tensor: tf.Tensor) -> tf.Tensor:
    """Return `tensor`; NaN or Inf raise `ValueError` (eager) or stop the graph that computes them.

    XLA leaves this check out.
    """
    if not tf.executing_eagerly():
        return tf.debugging.check_numerics(tensor, f"{name} must be finite.")
    n_bad = int(tf.math.count_nonzero(~tf.math.is_finite(tensor)))
    if n_bad:
        raise ValueError(f"{name} must be finite, got {n_bad} NaN or Inf among {tf.size(tensor)} values.")
    return tensor


def batch_of_points(name: str, value: Any) -> tf.Tensor:
    """Return `value` as a floating tensor [batch, n] with at least one row and one column."""
    tensor = floating(name, value)
    if tensor.shape.rank != 2:
        raise ValueError(f"{name} must have shape [batch, n], got {tensor.shape}.")
    if 0 in tensor.shape.as_list():
        raise ValueError(f"{name} must have shape [batch, n] with batch ≥ 1 and n ≥ 1, got {tensor.shape}.")
    return tensor


def one_value_per_sample(name: str, values: Any, points: tf.Tensor) -> tf.Tensor:
    """Return what the function `name` gave for `points` [batch, n] if it has shape [batch] and their dtype."""
    tensor = tensor_from(name, values, points)
    if tensor.shape.rank != 1 or not tensor.shape.is_compatible_with(points.shape[:1]):
        raise ValueError(f"{name} must return one value per sample, shape {points.shape[:1]}, got {tensor.shape}.")
    if tensor.shape.is_fully_defined() and points.shape[:1].is_fully_defined():
        return tensor
    return of_shape(tensor, tf.shape(points)[:1], f"{name} must return one value per sample")


def one_point_per_sample(name: str, values: Any, points: tf.Tensor) -> tf.Tensor:
    """Return what the function `name` gave for `points` [batch, n] if it has shape [batch, m] and their dtype."""
    tensor = tensor_from(name, values, points)
    if tensor.shape.rank != 2 or not tensor.shape[:1].is_compatible_with(points.shape[:1]):
        raise ValueError(f"{name} must return one point per sample, shape [{points.shape[0]}, m], got {tensor.shape}.")
    return tensor


def tensor_from(name: str, values: Any, points: tf.Tensor) -> tf.Tensor:
    """Return what the function `name` gave for `points` as a tensor of the same dtype, or raise `TypeError`."""
    if not tf.is_tensor(values):
        raise TypeError(f"{name} must return a tensor, got {type(values).__name__}.")
    if values.dtype != points.dtype:
        raise TypeError(f"{name} must return the dtype of its points, {points.dtype.name}, got {values.dtype.name}.")
    return values


def like(name: str, value: Any, reference: tf.Tensor, reference_name: str) -> tf.Tensor:
    """Return `value` as a tensor of the shape and dtype of `reference`; a number is broadcast, a list converted."""
    if isinstance(value, (list, tuple)):
        value = tf.convert_to_tensor(value, reference.dtype)
    if isinstance(value, numbers.Real):
        return tf.fill(tf.shape(reference), tf.constant(real(name, value), reference.dtype))
    tensor = floating(name, value)
    if tensor.dtype != reference.dtype:
        raise TypeError(
            f"{name} must have the dtype of {reference_name}, {reference.dtype.name}, got {tensor.dtype.name}."
        )
    if tensor.shape.rank != reference.shape.rank or not tensor.shape.is_compatible_with(reference.shape):
        raise ValueError(f"{name} must have the shape of {reference_name}, {reference.shape}, got {tensor.shape}.")
    if reference.shape.is_fully_defined() and tensor.shape.is_fully_defined():
        return tensor
    return of_shape(tensor, tf.shape(reference), f"{name} must have the shape of {reference_name}")


def of_shape(tensor: tf.Tensor, shape: tf.Tensor, message: str) -> tf.Tensor:
    """Return `tensor`, or stop the run where only it knows that the shape is another one: nothing is broadcast."""
    with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(tensor), shape, message)]):
        return tf.identity(tensor)


def real(name: str, value: Any) -> float:
    """Return `value`, of Python or NumPy, as a finite Python float; tensors, booleans, NaN and Inf are refused."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    return float(value)


def positive(name: str, value: Any) -> float:
    """Return `value` as a Python float greater than zero."""
    number = real(name, value)
    if number <= 0.0:
        raise ValueError(f"{name} must be positive, got {value}.")
    return number


def count(name: str, value: Any, minimum: int) -> int:
    """Return `value`, of Python or NumPy, as a Python int that is at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}.")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}.")
    return int(value)


def generator(name: str, value: Any) -> None:
    """Raise `TypeError` if `value` is not a NumPy random generator."""
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"{name} must be a numpy.random.Generator, got {type(value).__name__}.")


def function(name: str, value: Any) -> None:
    """Raise `TypeError` if `value` cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {type(value).__name__}.")


def above(name: str, tensor: tf.Tensor, bound: float, *, inclusive: bool) -> tf.Tensor:
    """Return `tensor` if all its values are above `bound`; checked eagerly, where the values are known."""
    if tf.executing_eagerly():
        lowest = float(tf.reduce_min(tensor))
        if lowest < bound or (lowest == bound and not inclusive):
            raise ValueError(f"{name} must be {'at least' if inclusive else 'above'} {bound:g}, got {lowest:g}.")
    return tensor


def columns(name: str, value: Any, n: int) -> tf.Tensor:
    """Return `value` as a floating tensor [batch, n] with exactly `n` columns."""
    tensor = batch_of_points(name, value)
    if not tensor.shape[1:].is_compatible_with([n]):
        raise ValueError(f"{name} must have shape [batch, {n}], got {tensor.shape}.")
    return tensor


def finite_columns(name: str, value: Any, n: int) -> tf.Tensor:
    """Return `value` as a finite floating tensor [batch, n] with exactly `n` columns."""
    return finite(name, columns(name, value, n))


def leading_columns(name: str, value: Any, n: int) -> tf.Tensor:
    """Return the first `n` columns of `value`, a floating tensor [batch, n or more]."""
    tensor = batch_of_points(name, value)
    if tensor.shape[1] < n:
        raise ValueError(f"{name} must have at least {n} columns, got shape {tensor.shape}.")
    return tensor[:, :n]
