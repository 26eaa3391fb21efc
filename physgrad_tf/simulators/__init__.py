"""The physical systems of the book, one module each.

A simulator maps x, which is what an optimizer or a network changes, to y: `simulator(x)`, batch first. Where there is
an inverse near a known point, `local_inverse(y, x_guess)` returns the pre-image of y closest to `x_guess`. Simulators
are frozen dataclasses that Keras can save and load. A plain function serves as a simulator too.
"""

from physgrad_tf.simulators.diffusion import Diffusion
from physgrad_tf.simulators.exponential import Exponential
from physgrad_tf.simulators.heat import Heat, soft_rectangles
from physgrad_tf.simulators.oscillator import EulerOscillator, LeapfrogOscillator
from physgrad_tf.simulators.poisson import Poisson
from physgrad_tf.simulators.protocol import InvertibleSimulator, Simulator
from physgrad_tf.simulators.pushed_pendulum import PushedPendulum
from physgrad_tf.simulators.quadratic_composite import QuadraticComposite
from physgrad_tf.simulators.sine import Sine
from physgrad_tf.simulators.square import Square
from physgrad_tf.simulators.swirl import Swirl

__all__ = [
    "Diffusion",
    "EulerOscillator",
    "Exponential",
    "Heat",
    "InvertibleSimulator",
    "LeapfrogOscillator",
    "Poisson",
    "PushedPendulum",
    "QuadraticComposite",
    "Simulator",
    "Sine",
    "Square",
    "Swirl",
    "soft_rectangles",
]
