"""Heat conduction in the plane: the initial temperature is blurred, and what is blurred enough is lost."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.simulators.diffusion import wave_numbers
from physgrad_tf.simulators.protocol import FunctionOfX

Inverse = Literal["raw", "cutoff", "probabilistic"]

SMALLEST_DAMPING = 1.0 / np.finfo(np.float64).max


@keras.saving.register_keras_serializable("physgrad_tf")
@dataclasses.dataclass(frozen=True)
class Heat(FunctionOfX):
    """∂u/∂t = ν ∇²u on a periodic square of n × n cells of width 1, solved exactly in Fourier space.

    A wave of wave number k = (k₁, k₂) is damped by d = exp(−|k|²νt), where |k|² is at most 2π². Computation is in
    float64 inside. Fields are [batch, n, n, 1] and in any unit of temperature.

    The inverse amplifies the waves of the difference y − P(x_guess) and adds them to x_guess. Errors of y, if only its
    rounding, are amplified too. The gain g, by which a wave is multiplied, therefore comes in three forms:

    * "raw": g = 1/d. Right if y is exact.
    * "cutoff": g = 1/d where d > noise, else 0. Waves in which the noise is louder are left as x_guess has them.
    * "probabilistic": g = d/(d² + noise²), the mean of what x can be, given y, if in every wave both the change of x
      and the error of y are normally distributed, with standard deviations in the ratio 1 to `noise` (a Wiener filter).

    Attributes:
        nu_t: diffusivity times time, νt ≥ 0, in squared cell widths.
        inverse: how the inverse treats waves that are lost.
        noise: standard deviation of the error of y over that of the change in x, dimensionless and positive. About
            1e-6 stands for the rounding of float32. The raw inverse knows no noise and does not use it.
    """

    nu_t: float
    inverse: Inverse = "probabilistic"
    noise: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if validation.real("nu_t", self.nu_t) < 0.0:
            raise ValueError(f"nu_t must be at least 0, got {self.nu_t}.")
        if self.inverse not in get_args(Inverse):
            raise ValueError(f"inverse must be one of {', '.join(get_args(Inverse))}, got {self.inverse!r}.")
        validation.positive("noise", self.noise)

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """The final temperature y [batch, n, n, 1] from the initial temperature x [batch, n, n, 1].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` is not [batch, n, n, 1], or not finite.
        """
        x = square_fields("x", x)
        return self.scale_waves(x, self.damping(x.shape[1]))

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """The initial temperature x [batch, n, n, 1]: x_guess, changed by as much of y − P(x_guess) as can be inverted.

        Raises:
            TypeError: if `y` or `x_guess` is not floating.
            ValueError: if a shape is wrong, a value is not finite, or the raw inverse exceeds the range of float64.
        """
        y = square_fields("y", y)
        x_guess = validation.finite("x_guess", validation.like("x_guess", x_guess, y, "y"))
        guess = tf.cast(x_guess, tf.float64)  # the difference of two similar fields: not to be rounded in between
        missing = tf.cast(y, tf.float64) - self.simulate(guess)
        return tf.cast(guess + self.scale_waves(missing, self.gain(y.shape[1])), y.dtype)

    def damping(self, n: int) -> np.ndarray:
        """The factor d = exp(−|k|²νt) of every wave of the real Fourier transform of n × n cells, [n, n // 2 + 1]."""
        return np.exp(-squared_wave_numbers(n) * self.nu_t)

    def gain(self, n: int) -> np.ndarray:
        """The factor g by which the inverse multiplies every wave, [n, n // 2 + 1].

        Raises:
            ValueError: if the raw inverse exceeds the range of float64.
        """
        damping = self.damping(n)
        if self.inverse == "raw":
            if damping.min() < SMALLEST_DAMPING:
                raise ValueError(
                    f"nu_t = {self.nu_t} damps the shortest wave of {n} cells by more than float64 can undo: the raw "
                    'inverse does not exist. Use inverse="cutoff" or "probabilistic".'
                )
            return 1.0 / damping
        if self.inverse == "cutoff":
            return np.divide(1.0, damping, out=np.zeros_like(damping), where=damping > self.noise)
        with np.errstate(divide="ignore", over="ignore"):  # a wave damped to 0 has the gain 1/∞ = 0
            return 1.0 / (damping + self.noise * (self.noise / damping))

    def scale_waves(self, fields: tf.Tensor, factor: np.ndarray) -> tf.Tensor:
        """Multiply the waves of fields [batch, n, n, 1] by `factor` [n, n // 2 + 1]."""
        n = fields.shape[1]
        waves = tf.signal.rfft2d(tf.cast(fields[..., 0], tf.float64))
        scaled = tf.signal.irfft2d(waves * tf.constant(factor, tf.complex128), fft_length=[n, n])
        return tf.cast(scaled, fields.dtype)[..., tf.newaxis]


def squared_wave_numbers(n: int) -> np.ndarray:
    """|k|² of every wave of the real Fourier transform of n × n cells of width 1, [n, n // 2 + 1]."""
    along_rows = 2.0 * np.pi * np.fft.fftfreq(n)
    return along_rows[:, np.newaxis] ** 2 + wave_numbers(n)[np.newaxis, :] ** 2


def square_fields(name: str, value: Any) -> tf.Tensor:
    """Return `value` as a finite floating tensor [batch, n, n, 1] whose n is known and at least 2."""
    tensor = validation.floating(name, value)
    shape = tensor.shape
    if shape.rank != 4 or shape[1] is None or shape[1] != shape[2] or shape[3] != 1 or shape[1] < 2 or shape[0] == 0:
        raise ValueError(f"{name} must have shape [batch, n, n, 1] with batch ≥ 1 and n ≥ 2, got {shape}.")
    return validation.finite(name, tensor)


def soft_rectangles(n_fields: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw initial temperatures: 4 to 10 rectangles with soft edges on a cold periodic square of n × n cells.

    Centres are uniform over the square, half-sizes uniform up to 10 cells of 64, strengths uniform in [0, 1]; where
    rectangles overlap they add. An edge rises from 0 to 1 over the width of one cell.

    Args:
        n_fields: number of fields, at least 1.
        n: cells along each side, at least 2.
        rng: the source of randomness, from `numpy.random.default_rng(seed)`.

    Returns:
        Fields [n_fields, n, n, 1] in float64.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if `n_fields` or `n` is too small.
    """
    validation.count("n_fields", n_fields, minimum=1)
    validation.count("n", n, minimum=2)
    validation.generator("rng", rng)
    most = 10
    present = np.arange(most) < rng.integers(4, most + 1, size=(n_fields, 1))
    strength = np.where(present, rng.uniform(0.0, 1.0, (n_fields, most)), 0.0)
    centre = rng.uniform(0.0, n, (n_fields, most, 2, 1))
    half_size = rng.uniform(0.0, n * 10 / 64, (n_fields, most, 2, 1))
    offset = np.abs((np.arange(n) - centre + n / 2) % n - n / 2)  # on the ring, at most n/2
    rows, columns = np.moveaxis(np.clip(half_size + 0.5 - offset, 0.0, 1.0), 2, 0)
    return np.einsum("br,bri,brj->bij", strength, rows, columns)[..., np.newaxis]
