"""The derivative of A ↦ V f(Σ) Uᵀ g with respect to A, also where singular values are equal.

TensorFlow's gradient of an SVD divides by σᵢ² − σⱼ², and leaves out the pairs for which that is zero. The map itself is
smooth there. With M = Uᵀ dA V, its differential in the bases U and V is (Noferini, A formula for the Fréchet derivative
of a generalized matrix function, SIAM J. Matrix Anal. Appl. 38, 2017)

    (f(σᵢ) − f(σⱼ))/(σᵢ − σⱼ) · (Mᵢⱼ + Mⱼᵢ)/2 + (f(σᵢ) + f(σⱼ))/(σᵢ + σⱼ) · (Mᵢⱼ − Mⱼᵢ)/2,

and f(σⱼ)/σⱼ · Mᵢⱼ where row or column leave the span of U or V. Both quotients have limits, which are taken here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def pull_back(
    svd: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    left: tf.Tensor,
    right: tf.Tensor,
    differences: tf.Tensor,
    sums: tf.Tensor,
    quotients: tf.Tensor,
    through_filter: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """The gradient with respect to A [..., m, n], from that with respect to U f(Σ) Vᵀ, which is `left` `right`ᵀ.

    Args:
        svd: Σ [..., k], U [..., m, k] and V [..., n, k] of A.
        left: [..., m, r].
        right: [..., n, r].
        differences: (f(σᵢ) − f(σⱼ))/(σᵢ − σⱼ), [..., k, k]; its diagonal is not used.
        sums: (f(σᵢ) + f(σⱼ))/(σᵢ + σⱼ), [..., k, k].
        quotients: f(σ)/σ, [..., k].
        through_filter: maps ∂/∂f(σ) to ∂/∂σ, [..., k].
    """
    _, u, v = svd
    in_u = tf.matmul(u, left, transpose_a=True)  # Uᵀ·left
    in_v = tf.matmul(v, right, transpose_a=True)  # Vᵀ·right
    b = tf.matmul(in_u, in_v, transpose_b=True)
    bt = tf.linalg.matrix_transpose(b)
    inner = differences * (b + bt) / 2.0 + sums * (b - bt) / 2.0
    inner = tf.linalg.set_diag(inner, through_filter(tf.linalg.diag_part(b)))
    in_both = tf.matmul(tf.matmul(u, inner), v, transpose_b=True)  # U … Vᵀ
    outside_u, outside_v = left - tf.matmul(u, in_u), right - tf.matmul(v, in_v)  # (1 − UUᵀ)·left, (1 − VVᵀ)·right
    weights = quotients[..., tf.newaxis]
    return (
        in_both
        + tf.matmul(outside_u, tf.matmul(v, weights * in_v), transpose_b=True)
        + tf.matmul(tf.matmul(u, weights * in_u), outside_v, transpose_b=True)
    )


def divided_differences(
    s: tf.Tensor, f: tf.Tensor, exponent: float, as_power: tf.Tensor, slope: tf.Tensor
) -> tf.Tensor:
    """(f(σᵢ) − f(σⱼ))/(σᵢ − σⱼ) with its limit f'(σ) at equal values, [..., k, k], and without cancellation near them.

    Args:
        s: σ, [..., k].
        f: f(σ), [..., k].
        exponent: p; f(σ) = σᵖ where `as_power` holds.
        as_power: where f is that power, [..., k]. Elsewhere f(σ) = `slope`·σ.
        slope: [..., 1].
    """
    si, sj = s[..., :, tf.newaxis], s[..., tf.newaxis, :]
    fi, fj = f[..., :, tf.newaxis], f[..., tf.newaxis, :]
    both = as_power[..., :, tf.newaxis] & as_power[..., tf.newaxis, :]
    neither = ~as_power[..., :, tf.newaxis] & ~as_power[..., tf.newaxis, :]
    larger, smaller = tf.maximum(si, sj), tf.minimum(si, sj)
    safe = tf.where(both, smaller, tf.ones_like(smaller))
    # σᵢ = σⱼ·e^ℓ: the quotient is σⱼ^(p−1) (e^(pℓ) − 1)/(e^ℓ − 1)
    log = tf.math.log1p(tf.where(both, larger - smaller, tf.zeros_like(safe)) / safe)
    tiny = log < np.finfo(s.dtype.as_numpy_dtype).eps
    log = tf.where(tiny, tf.ones_like(log), log)
    # e^(−ℓ) times numerator and denominator: neither can overflow for |p| ≤ 1
    ratio = tf.math.expm1(exponent * log) * tf.exp(-log) / -tf.math.expm1(-log)
    power = safe ** (exponent - 1.0) * tf.where(tiny, tf.cast(exponent, s.dtype), ratio)
    plain = tf.math.divide_no_nan(fi - fj, si - sj)  # on the two sides of the threshold, which are never equal
    return tf.where(both, power, tf.where(neither, slope[..., tf.newaxis] * tf.ones_like(plain), plain))


def divided_sums(s: tf.Tensor, f: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """(f(σᵢ) + f(σⱼ))/(σᵢ + σⱼ), [..., k, k], and `slope` [..., 1], that of f at zero, where both values are zero."""
    total = s[..., :, tf.newaxis] + s[..., tf.newaxis, :]
    return tf.where(
        total > 0.0,
        tf.math.divide_no_nan(f[..., :, tf.newaxis] + f[..., tf.newaxis, :], total),
        slope[..., tf.newaxis] * tf.ones_like(total),
    )
