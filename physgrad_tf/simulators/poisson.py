"""The Poisson equation on a square: a potential from its sources, all scales at once."""

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
class Poisson(FunctionOfX):
    """y = ∇⁻²x on n×n interior points at distance 1, with y = 0 on the boundary around them.

    ∇² is the five-point stencil. Its eigenvectors are products of sine waves sin(πji/(n+1)), so the solution takes two
    sine transforms: x → x̂ → x̂/λ → y. Computation is in float64 inside.

    Attributes:
        n: interior points along each side, at least 1.
    """

    n: int

    def __post_init__(self) -> None:
        """Refuse a grid without points."""
        validation.count("n", self.n, minimum=1)

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """The potential y with ∇²y = x, [batch, n, n, 1], from its sources x [batch, n, n, 1].

        Raises:
            TypeError: if `x` is not floating.
            ValueError: if `x` is not [batch, n, n, 1] or holds NaN or Inf.
        """
        x = self.fields("x", x)
        waves = self.sine_transform(tf.cast(x, tf.float64))  # x → x̂
        return tf.cast(self.sine_transform(waves / self.eigenvalues()[..., np.newaxis]), x.dtype)  # x̂/λ → y

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """The sources x = ∇²y [batch, n, n, 1], by the stencil. `x_guess` fixes the shape and nothing else.

        Raises:
            TypeError: if `y` or `x_guess` is not floating.
            ValueError: if a shape is wrong or `y` holds NaN or Inf.
        """
        y = self.fields("y", y)
        validation.like("x_guess", x_guess, y, "y")
        framed = tf.pad(tf.cast(y, tf.float64), [[0, 0], [1, 1], [1, 1], [0, 0]])  # y = 0 on the boundary
        centre = framed[:, 1:-1, 1:-1]
        beside = framed[:, :-2, 1:-1] + framed[:, 2:, 1:-1] + framed[:, 1:-1, :-2] + framed[:, 1:-1, 2:]
        return tf.cast(beside - 4.0 * centre, y.dtype)

    def condition_number(self) -> float:
        """Largest over smallest |λ|: the condition number of the linear map x → y."""
        return float(np.max(-self.eigenvalues()) / np.min(-self.eigenvalues()))

    def eigenvalues(self) -> np.ndarray:
        """λ < 0 of ∇², [n, n], for the wave numbers 1…n along both sides."""
        one_side = -4.0 * np.sin(np.pi * np.arange(1, self.n + 1) / (2 * (self.n + 1))) ** 2
        return one_side[:, np.newaxis] + one_side

    def smooth_sources(self, n_fields: int, rng: np.random.Generator, length: float = 2.0) -> np.ndarray:
        """Random sources x [n_fields, n, n, 1] in float32: Gaussian noise, blurred over a few points.

        The sine wave of eigenvalue λ is damped by exp(λ·length²/2). At every point the mean over all fields is 0; the
        mean square over points and fields is 1.

        Args:
            n_fields: how many fields, at least 1.
            rng: a seeded `numpy.random.Generator`; the same one gives the same fields.
            length: how far the noise is blurred, ≥ 0, in points.

        Raises:
            TypeError: if `rng` is not a Generator, or a number is not a number.
            ValueError: if `n_fields` is below 1 or `length` is negative.
        """
        validation.count("n_fields", n_fields, minimum=1)
        validation.generator("rng", rng)
        if validation.real("length", length) < 0.0:
            raise ValueError(f"length must be at least 0, got {length}.")
        # Damping relative to the longest wave: the common factor drops out, and cannot make all of them vanish.
        damping = np.exp((self.eigenvalues() - np.max(self.eigenvalues())) * length**2 / 2.0)
        amplitudes = damping * self.n / np.sqrt(np.sum(damping**2))
        waves = amplitudes * rng.standard_normal([n_fields, self.n, self.n])
        fields = self.sine_transform(tf.constant(waves[..., np.newaxis]))
        return fields.numpy().astype(np.float32)

    def sine_transform(self, field: tf.Tensor) -> tf.Tensor:
        """The orthonormal sine transform (DST-I) along both sides of `field` [batch, n, n, 1]; its own inverse."""
        waves = np.arange(1, self.n + 1)
        matrix = math.sqrt(2.0 / (self.n + 1)) * np.sin(np.pi * np.outer(waves, waves) / (self.n + 1))
        sines = tf.constant(matrix, field.dtype)
        return tf.einsum("ki,bijc,jl->bklc", sines, field, sines)

    def fields(self, name: str, value: Any) -> tf.Tensor:
        """Return the argument `name`, `value`, as a finite floating tensor [batch, n, n, 1].

        Raises:
            TypeError: if it is not floating.
            ValueError: if its shape is another, or it holds NaN or Inf.
        """
        tensor = validation.floating(name, value)
        if tensor.shape.rank != 4 or not tensor.shape[1:].is_compatible_with([self.n, self.n, 1]):
            raise ValueError(f"{name} must have shape [batch, {self.n}, {self.n}, 1], got {tensor.shape}.")
        if tensor.shape[0] == 0:
            raise ValueError(f"{name} must hold at least one field, got shape {tensor.shape}.")
        return validation.finite(name, tensor)
