"""Keras models that train a network through a simulator.

Each model joins a network f and a simulator P: `model.network(inputs)` is x, `model(inputs)` is y = P(x). They
differ in what travels back from y to the weights, and in nothing else: a script changes one word to compare them.

* `DifferentiablePhysics`: the gradient of the loss, through simulator and network.
* `ScaleInvariantPhysics`: the step of an inverse simulator, handed to the network by a proxy loss.
* `SpectralModel`: the gradient of the loss in y, through a spectral power of the Jacobian of network and simulator
  together: half-inverse gradients, Gauss-Newton, and what lies between.

As the network of any of them, `ClosedLoop` asks a controller at every time step of a simulation.

For scans over many small networks, `stack_networks` makes one model of them and `train_stack` trains them at once.
"""

from physgrad_tf.training.closed_loop import ClosedLoop
from physgrad_tf.training.differentiable_physics import DifferentiablePhysics
from physgrad_tf.training.half_squared_error import HalfSquaredError
from physgrad_tf.training.jacobian_size import JacobianSize
from physgrad_tf.training.network_stack import stack_networks, take_from_stack, train_stack
from physgrad_tf.training.physics_model import PhysicsModel
from physgrad_tf.training.scale_invariant_physics import ScaleInvariantPhysics
from physgrad_tf.training.solvers import GaussNewtonSolver, SaddleFreeNewtonSolver
from physgrad_tf.training.spectral_model import SpectralModel

__all__ = [
    "ClosedLoop",
    "DifferentiablePhysics",
    "GaussNewtonSolver",
    "HalfSquaredError",
    "JacobianSize",
    "PhysicsModel",
    "SaddleFreeNewtonSolver",
    "ScaleInvariantPhysics",
    "SpectralModel",
    "stack_networks",
    "take_from_stack",
    "train_stack",
]
