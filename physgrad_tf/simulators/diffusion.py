"""Diffusion on a ring: a smooth, linear process that forgets."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.protocol import FunctionOfX


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class Diffusion(FunctionOfX):
    """∂u/∂t = ν ∂²u/∂s² on a periodic line of n cells of width 1, solved exactly in Fourier space.

    A wave of wave number k is damped by exp(−k²νt); the largest wave number is π. Computation is in float64 inside.

    Attributes:
        nu_t: diffusivity times time, νt ≥ 0, in squared cell widths.
    """

    nu_t: float

    def __post_init__(self) -> None:
        """Refuse a νt that is negative or not finite."""
        if validation.real("nu_t", self.nu_t) < 0.0:
            raise ValueError(f"nu_t must be at least 0, got {self.nu_t}.")

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """The final state y [batch, n] from the initial state x [batch, n].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` is not [batch, n].
        """
        return self.damp(validation.batch_of_points("x", x), self.nu_t)

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """The initial state x [batch, n]: every wave is amplified by exp(+k²νt). `x_guess` fixes the shape only.

        Raises:
            TypeError: if `y` or `x_guess` is not floating.
            ValueError: if a shape is wrong, or the amplification exceeds 1/ε of the dtype of `y`, 8.4e6 for float32 and
                4.5e15 for float64: beyond that the answer is the rounding of y.
        """
        y = validation.batch_of_points("y", y)
        validation.like("x_guess", x_guess, y, "y")
        condition = self.condition_number(y.shape[1])
        if condition > 1.0 / np.finfo(y.dtype.as_numpy_dtype).eps:
            raise ValueError(
                f"y cannot be inverted: nu_t = {self.nu_t} damps the shortest wave by {condition:.1e}, "
                f"more than {y.dtype.name} resolves."
            )
        return self.damp(y, -self.nu_t)

    def condition_number(self, n: int) -> float:
        """Largest over smallest damping factor on n cells: the condition number of the linear map x → y."""
        return math.exp(min(float(np.max(wave_numbers(n))) ** 2 * self.nu_t, 700.0))

    def damp(self, state: tf.Tensor, nu_t: float) -> tf.Tensor:
        """Multiply the wave k of every state [batch, n] by exp(−k²νt)."""
        n = state.shape[1]
        spectrum = tf.signal.rfft(tf.cast(state, tf.float64))
        factor = tf.constant(np.exp(-(wave_numbers(n) ** 2) * nu_t), tf.complex128)
        return tf.cast(tf.signal.irfft(spectrum * factor, fft_length=[n]), state.dtype)


def wave_numbers(n: int) -> np.ndarray:
    """Wave numbers k of the real Fourier transform of n cells of width 1, from 0 to at most π."""
    return 2.0 * np.pi * np.fft.rfftfreq(n)
