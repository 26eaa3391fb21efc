"""Steps of several devices at once: what the replicas of a `tf.distribute` strategy tell each other.

Keras hands every replica its part of the batch, and its optimizers add up what the replicas hand over. So a gradient is
right if every replica hands over its share of it, and a step that is not a sum over samples is right if every replica
computes the whole of it and hands over an equal part. All of this does nothing on one device.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from physgrad_tf.training.structure import first, n_samples


def n_replicas() -> int:
    """How many replicas take part in a step."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def summed(tensor: tf.Tensor) -> tf.Tensor:
    """The sum of what all replicas have."""
    if n_replicas() == 1:
        return tensor
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensor)


def gathered(tensor: tf.Tensor) -> tf.Tensor:
    """What all replicas have, one behind the other along the first axis; their sizes there may differ."""
    if n_replicas() == 1:
        return tensor
    whole = tf.distribute.get_replica_context().all_gather(tensor, axis=0)
    return tf.ensure_shape(whole, [None, *tensor.shape[1:]])


def share_of_loss(loss: Any, target: tf.Tensor, sample_weight: tf.Tensor | None) -> tf.Tensor | None:
    """The factor c with Σ cL = the loss of the whole batch, the sum over the replicas and L what Keras computes in one.

    A mean of Keras is one over the samples of a replica, divided by the number of replicas. That is the mean over the
    whole batch only if all replicas have equally many.

    Args:
        loss: the compiled loss.
        target: y* in this replica.
        sample_weight: weights [batch, ...] in this replica, or None. Where each output has weights of its own, a mean
            over these weights takes their sum for all of them.

    Returns:
        A number, or None on one device, where it is 1.

    Raises:
        ValueError: if there are several replicas, and several losses of different reductions.
    """
    if n_replicas() == 1:
        return None
    reductions = {
        getattr(one, "reduction", "sum_over_batch_size") for one in keras.tree.flatten(loss) if one is not None
    }
    if len(reductions) > 1:
        raise ValueError(f"the losses must have one reduction on several devices, got {sorted(map(str, reductions))}.")
    (reduction,) = reductions
    target = first(target)
    dtype = target.dtype
    if reduction not in ("sum_over_batch_size", "mean", "mean_with_sample_weight"):
        return tf.ones([], dtype)
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        part = tf.add_n([tf.reduce_sum(tf.cast(weights, dtype)) for weights in keras.tree.flatten(sample_weight)])
    else:
        part = tf.cast(tf.shape(target)[0], dtype)
    return tf.math.divide_no_nan(part * tf.cast(n_replicas(), dtype), summed(part))


def whole_batch_size(target: tf.Tensor) -> tf.Tensor:
    """The number of samples in all replicas together, `target` being y* in this one."""
    return summed(n_samples(target))
