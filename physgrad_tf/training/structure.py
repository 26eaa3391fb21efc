"""What a network or a simulator returns may be one tensor, or a list or dictionary of tensors, batch first."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf


def first(structure: Any) -> tf.Tensor:
    """One of the tensors, which tells the dtype and the number of samples of all."""
    return keras.tree.flatten(structure)[0]


def n_samples(structure: Any) -> tf.Tensor:
    """The size of the batch."""
    return tf.shape(first(structure))[0]


def columns(structure: Any) -> tf.Tensor:
    """All entries of a sample in one row, [batch, n], tensor after tensor."""
    flat = [tf.reshape(leaf, [tf.shape(leaf)[0], math.prod(leaf.shape[1:])]) for leaf in keras.tree.flatten(structure)]
    return flat[0] if len(flat) == 1 else tf.concat(flat, axis=1)


def like_columns(flat: tf.Tensor, structure: Any) -> Any:
    """The inverse of `columns`: [batch, n] cut into tensors of the shapes of `structure`."""
    leaves = keras.tree.flatten(structure)
    parts = tf.split(flat, [math.prod(leaf.shape[1:]) for leaf in leaves], axis=1)
    shaped = [tf.reshape(part, [-1, *leaf.shape[1:]]) for part, leaf in zip(parts, leaves, strict=True)]
    return keras.tree.pack_sequence_as(structure, shaped)


def like(name: str, structure: Any, reference: Any, reference_name: str) -> Any:
    """Return `structure` with the dtypes of `reference` if its tensors have the same names and shapes.

    Raises:
        ValueError: naming the first that differs; nothing is broadcast.
    """
    if isinstance(structure, tuple) and isinstance(reference, list):  # Keras makes tuples of lists
        structure = list(structure)
    try:
        keras.tree.assert_same_structure(structure, reference)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} must have the structure of {reference_name}, {_names(reference)}, got {_names(structure)}."
        ) from error

    def one(leaf: Any, wanted: tf.Tensor) -> tf.Tensor:
        if not wanted.shape.is_compatible_with(leaf.shape):
            raise ValueError(f"{name} must have the shape of {reference_name}, {wanted.shape}, got {leaf.shape}.")
        # What is not known now is checked when it runs.
        leaf = tf.ensure_shape(tf.cast(leaf, wanted.dtype), wanted.shape)
        if not wanted.shape[1:].is_fully_defined():
            same = tf.debugging.assert_equal(tf.shape(leaf), tf.shape(wanted), f"{name} and {reference_name} differ")
            with tf.control_dependencies([same]):
                leaf = tf.identity(leaf)
        return leaf

    return keras.tree.map_structure(one, structure, reference)


def _names(structure: Any) -> str:
    if isinstance(structure, dict):
        return f"a dictionary of {', '.join(map(repr, sorted(structure)))}"
    if isinstance(structure, (list, tuple)):
        return f"a list of {len(structure)}"
    return "one tensor"
