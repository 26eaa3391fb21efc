"""Inverting gradients for physics, in TensorFlow.

The rooms, in the order in which they depend on each other:

* `jacobians`: derivatives of functions of a batch of points, and of a mini-batch with respect to all weights;
* `spectral`: the matrix maps A ↦ V f(Σ) Uᵀ, with the pseudo-inverse and the half-inverse as named members;
* `updates`: the book's update rules, each a pure function that returns a step Δx;
* `simulators`: the physical systems of the book;
* `training`: Keras models that train a network through a simulator;
* `comparison`: methods on one problem, each at its own best learning rate, with several seeds, on held-out data;
* `claims` and `plotting`: what the chapters use to check a statement and to draw a figure.
"""

import importlib
import os
import sys
from types import ModuleType

if "keras" not in sys.modules and "KERAS_BACKEND" in os.environ:
    backend = os.environ["KERAS_BACKEND"]  # importing Keras may fail where its backend is not installed
else:
    import keras

    backend = keras.backend.backend()
if backend != "tensorflow":
    raise ImportError(
        f"physgrad_tf needs Keras on TensorFlow, got {backend}: set KERAS_BACKEND=tensorflow, or leave it unset, "
        "before Keras is imported."
    )

from physgrad_tf import claims, comparison, jacobians, simulators, spectral, training, updates

__all__ = ["claims", "comparison", "jacobians", "plotting", "simulators", "spectral", "training", "updates"]
__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """The room `plotting`, imported where it is used: matplotlib is an extra."""
    if name != "plotting":
        raise AttributeError(f"module physgrad_tf has no attribute {name!r}")
    try:
        return importlib.import_module("physgrad_tf.plotting")
    except ImportError as error:
        raise ImportError('physgrad_tf.plotting needs matplotlib: pip install "physgrad-tf[plotting]"') from error
