"""Derivatives of functions of a batch of points, and of a mini-batch with respect to all weights.

======================= ============================ ==========================================
symbol                  shape                        what it is
======================= ============================ ==========================================
x                       [batch, n]                   points, one a row
y = P(x)                [batch, n_out]               what the function makes of them
∂L/∂x                   [batch, n]                   gradient of one value per sample
J = ∂y/∂x               [batch, n_out, n]            Jacobian, one matrix per sample
H = ∂²L/∂x²             [batch, n, n]                Hessian, one matrix per sample
θ                       [n_weights]                  all weights of a network, one after the other
J = ∂y/∂θ               [batch·n_out, n_weights]     stacked Jacobian: all samples below each other
======================= ============================ ==========================================
"""

from physgrad_tf.jacobians.pointwise import gradient, hessian, jacobian
from physgrad_tf.jacobians.stacked import StackedJacobian
from physgrad_tf.jacobians.weights import flatten_weights, unflatten_weights

__all__ = ["StackedJacobian", "flatten_weights", "gradient", "hessian", "jacobian", "unflatten_weights"]
