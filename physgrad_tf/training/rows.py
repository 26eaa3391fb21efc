"""The rows of a stacked Jacobian and the samples that they belong to: one row for every output of every sample."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from physgrad_tf.training.structure import columns


def one_per_output(sample_weight: Any, y: Any) -> tf.Tensor:
    """Weights of samples [batch] or of outputs [batch, ...] as one vector, an entry for every row of J."""
    leaves, weights = keras.tree.flatten(y), keras.tree.flatten(sample_weight)
    weights = weights * len(leaves) if len(weights) == 1 else weights
    whole = [broadcast_to(tf.cast(w, leaf.dtype), leaf) for w, leaf in zip(weights, leaves, strict=True)]
    return tf.reshape(columns(whole), [-1])


def unweighted(image: tf.Tensor, sample_weight: Any, y: Any) -> tf.Tensor:
    """Js from √w Js; outputs of weight zero stay where they are."""
    if sample_weight is None:
        return image
    return tf.math.divide_no_nan(image, tf.cast(tf.sqrt(one_per_output(sample_weight, y)), image.dtype))


def broadcast_to(weights: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Weights with fewer dimensions than `y`, of its shape."""
    missing = len(y.shape) - len(weights.shape)
    if missing < 0:
        raise ValueError(f"sample_weight must have at most the dimensions of y, {y.shape}, got {weights.shape}.")
    weights = tf.reshape(weights, tf.concat([tf.shape(weights), tf.ones([missing], tf.int32)], axis=0))
    return tf.ensure_shape(tf.broadcast_to(weights, tf.shape(y)), y.shape)


def samples_of(rows: tf.Tensor, n_out: int) -> tf.Tensor:
    """The samples that these rows of J belong to, each once."""
    return tf.unique(rows // n_out)[0]
