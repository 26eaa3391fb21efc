"""Which kind of stacked Jacobian fits a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import keras
import tensorflow as tf

from physgrad_tf.jacobians.samples import why_dependent, why_outputs_dependent
from physgrad_tf.jacobians.tapping import (
    everything_below,
    is_linear,
    is_random,
    layers_below,
    mixes_samples,
    own_weights,
)

Kind = Literal["reverse", "layerwise", "kernel", "products"]


def fitting_kind(network: keras.Layer, inputs: Any, outputs: Callable[[Any], tf.Tensor] | None = None) -> Kind:
    """The kind that fits the layers of a network best, in training.

    "reverse" if there are layers that draw random numbers or mix samples, which would treat copies of a sample
    differently, or a trial shows that there are, or that the physics does so; "kernel" if most weights belong to Dense
    layers and plain convolutions, of which no columns need be formed; else "layerwise".

    Args:
        network: a built network.
        inputs: a batch as it takes it, of which only the structure, shapes and dtypes are looked at; or None, for no
            trial.
        outputs: maps inputs to y and calls the network on the way; None is not asked.
    """
    if any(is_random(layer) or mixes_samples(layer) for layer in everything_below(network)):
        return "reverse"
    if inputs is not None and why_dependent(network, inputs, training=True) is not None:
        return "reverse"
    if inputs is not None and outputs is not None and why_outputs_dependent(network, outputs, inputs, True) is not None:
        return "reverse"
    layers = layers_below(network)
    linear = sum(math.prod(weight.shape) for layer in layers if is_linear(layer) for weight in own_weights(layer))
    total = sum(math.prod(weight.shape) for weight in network.trainable_variables)
    return "kernel" if 2 * linear > total else "layerwise"
