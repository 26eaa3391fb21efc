"""Inverting gradients for physics, in TensorFlow.

The rooms, in the order in which they depend on each other:

* `jacobians`: derivatives of functions of a batch of points, and of a mini-batch with respect to all weights;
* `spectral`: the matrix maps A ↦ V f(Σ) Uᵀ, with the pseudo-inverse and the half-inverse as named members;
* `updates`: the book's update rules, each a pure function that returns a step Δx;
* `simulators`: the physical systems of the book;
* `training`: Keras models that train a network through a simulator;
* `claims` and `plotting`: what the chapters use to check a statement and to draw a figure.
"""

from physgrad_tf import claims, jacobians, plotting, simulators, spectral, training, updates

__all__ = ["claims", "jacobians", "plotting", "simulators", "spectral", "training", "updates"]
__version__ = "0.1.0"
