"""The networks that chapters stored for their figures."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def perceptron(weights: Sequence[Any]) -> keras.Model:
    """Of its weights [kernel, bias, kernel, bias, …], with tanh in all layers but the last, in float64."""
    arrays = [np.asarray(weight) for weight in weights]
    sizes = [len(bias) for bias in arrays[1::2]]
    layers = [keras.layers.Dense(size, "tanh", dtype="float64") for size in sizes[:-1]]
    first = keras.Input((len(arrays[0]),), dtype="float64")
    made = keras.Sequential([first, *layers, keras.layers.Dense(sizes[-1], dtype="float64")])
    made.set_weights(arrays)
    return made
