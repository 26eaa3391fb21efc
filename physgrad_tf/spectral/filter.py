"""The filter f(σ) = σᵖ on the singular values that are kept."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow as tf

from physgrad_tf import validation

Mode = Literal["truncate", "clamp"]


def spectral_filter(singular_values: Any, exponent: float, *, rcond: float, mode: Mode = "truncate") -> tf.Tensor:
    """f(σ), the power of the singular values that are kept.

    Args:
        singular_values: σ ≥ 0, [..., k], float32 or float64.
        exponent: the power p.
        rcond: relative threshold in [0, 1); τ = rcond·max σ along the last axis.
        mode: "truncate": σᵖ above τ, else 0. "clamp": σ·max(σ, τ)^(p−1).

    Returns:
        f(σ), [..., k]. Values below the smallest normal number of the dtype count as zero, so f is finite for |p| ≤ 1.

    Raises:
        TypeError: if `singular_values` is not floating, or a number is not a number.
        ValueError: if `rcond` is not in [0, 1) or `mode` is unknown; eagerly, if a singular value is negative or NaN.
    """
    s = validation.floating("singular_values", singular_values)
    if tf.executing_eagerly():
        validation.above("singular_values", validation.finite("singular_values", s), 0.0, inclusive=True)
    p = validation.real("exponent", exponent)
    rcond = validation.real("rcond", rcond)
    if not 0.0 <= rcond < 1.0:
        raise ValueError(f"rcond must be at least 0 and below 1, got {rcond}.")
    if mode not in ("truncate", "clamp"):
        raise ValueError(f'mode must be "truncate" or "clamp", got {mode!r}.')
    tiny = tf.constant(np.finfo(s.dtype.as_numpy_dtype).tiny, s.dtype)
    threshold = rcond * tf.reduce_max(s, axis=-1, keepdims=True)
    kept = s > tf.maximum(threshold, tiny) if mode == "truncate" else s > tiny
    safe = tf.where(kept, s, tf.ones_like(s))  # no power of zero is ever taken: not in the value, not in its gradient
    clamped = tf.maximum(safe, threshold)
    power = safe**p if mode == "truncate" else clamped**p * (safe / clamped)  # σ·max(σ, τ)^(p−1), without its overflow
    return tf.where(kept, power, tf.zeros_like(s))


def divided_filter(s: tf.Tensor, exponent: float, rcond: float, mode: Mode) -> tf.Tensor:
    """f(σ)/σ: σ^(p−1) above τ; below it, 0 if truncated and τ^(p−1) if clamped, also where rounding has made σ zero."""
    f = spectral_filter(s, exponent, rcond=rcond, mode=mode)
    if mode == "truncate":
        return tf.math.divide_no_nan(f, s)
    clamped = tf.maximum(s, rcond * tf.reduce_max(s, axis=-1, keepdims=True))
    return tf.where(clamped > 0.0, clamped ** (exponent - 1.0), tf.zeros_like(s))


def kept_spectrum(s: tf.Tensor, rcond: float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The number of singular values above rcond·σ_max, the largest of all, and the smallest of those above."""
    largest = tf.reduce_max(s)
    kept = s > tf.maximum(rcond * largest, tf.constant(np.finfo(np.float64).tiny, s.dtype))
    smallest = tf.reduce_min(tf.where(kept, s, largest))
    return tf.math.count_nonzero(kept, dtype=tf.int32), largest, smallest
