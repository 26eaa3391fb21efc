"""The physical systems of the book, one module each.

A simulator maps x, which is what an optimizer or a network changes, to y: `simulator(x)`, batch first. Where there is
an inverse near a known point, `local_inverse(y, x_guess)` returns the pre-image of y closest to `x_guess`. Simulators
are frozen dataclasses that Keras can save and load. A plain function serves as a simulator too.
"""

from physgrad_tf.simulators.coupled_oscillators import CoupledOscillators
from physgrad_tf.simulators.diffusion import Diffusion
from physgrad_tf.simulators.exponential import Exponential
from physgrad_tf.simulators.heat import Heat, soft_rectangles
from physgrad_tf.simulators.laplacian import Laplacian
from physgrad_tf.simulators.oscillator import EulerOscillator, LeapfrogOscillator
from physgrad_tf.simulators.poisson import Poisson
from physgrad_tf.simulators.protocol import InvertibleSimulator, SavedByFields, Simulator
from physgrad_tf.simulators.pushed_pendulum import PushedPendulum
from physgrad_tf.simulators.quadratic_composite import QuadraticComposite
from physgrad_tf.simulators.quantum_dipole import QuantumDipole, overlap_loss
from physgrad_tf.simulators.sine import Sine
from physgrad_tf.simulators.square import Square
from physgrad_tf.simulators.swirl import Swirl

__all__ = [
    "CoupledOscillators",
    "Diffusion",
    "EulerOscillator",
    "Exponential",
    "Heat",
    "InvertibleSimulator",
    "Laplacian",
    "LeapfrogOscillator",
    "Poisson",
    "PushedPendulum",
    "QuadraticComposite",
    "QuantumDipole",
    "SavedByFields",
    "Simulator",
    "Sine",
    "Square",
    "Swirl",
    "overlap_loss",
    "soft_rectangles",
]
