"""The update rules of the book, as pure functions of a batch of points.

Every rule has the same order of arguments, `rule(function, x, step, …) → Δx`: what is minimised or simulated, where,
and how far. Two currencies of the step divide the rules. Those driven by a loss take a rate η. Those driven by a
simulator take Δy, the step that is wanted in the simulator's output.

======================== ============ =================================== ==========================================
rule                     function     step                                Δx
======================== ============ =================================== ==========================================
gradient_descent         loss L       η                                   −η ∂L/∂x
newton                   loss L       η                                   −η H⁻¹ ∂L/∂x
saddle_free_newton       loss L       η                                   −η abs(H)⁻¹ ∂L/∂x
inverse_gradient         simulator P  Δy                                  J⁻¹ Δy
physical_gradient        simulator P  Δy                                  P⁻¹(y + Δy; x) − x
gauss_newton             simulator P  Δy = −η ∂L/∂y                       J⁺ Δy
half_inverse_gradient    simulator P  Δy = −η ∂L/∂y                       J^(−1/2) Δy
======================== ============ =================================== ==========================================

The rules compose. Δy may be a function of y, and a loss-driven rule applied in y is such a function: with
`delta_y=lambda y: newton(loss, y, eta)` an inverse gradient takes the Newton step of the loss in y back to x.
"""

from physgrad_tf.updates.gradient_descent import gradient_descent
from physgrad_tf.updates.inverse import inverse_gradient, physical_gradient
from physgrad_tf.updates.newton import newton, saddle_free_newton
from physgrad_tf.updates.spectral_steps import gauss_newton, half_inverse_gradient
from physgrad_tf.updates.trajectory import trajectory

__all__ = [
    "gauss_newton",
    "gradient_descent",
    "half_inverse_gradient",
    "inverse_gradient",
    "newton",
    "physical_gradient",
    "saddle_free_newton",
    "trajectory",
]
