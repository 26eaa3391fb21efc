"""How far to step, and with how many products: what the linear model predicts is read against what came out.

A step s says in which direction. The linear model y − tJs says how far: to the minimum of the loss along it. That
length is right whatever the unit of s, so that no learning rate need be searched; for Gauss-Newton without clamping and
a sum of squares it is one. How far the linear model can be trusted is told by the ratio of the decrease that came out
to the decrease that it predicted (Conn, Gould and Toint, Trust-Region Methods, SIAM 2000). Where it is bad, the next
step takes fewer products: for p < 1 the step grows with their number, as it does with the radius of a trust region.
With one product left, or where J is decomposed, a fraction of the step is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf.training.structure import columns, like_columns

#: Below the first ratio the region shrinks, above the second it grows.
BAD, GOOD = 0.25, 0.75
#: The fraction of a step is not made smaller than this, so that it can grow again.
SMALLEST = 2.0**-20
#: How often the length along a step is doubled or halved at most.
MOST_FACTORS = 60


class TrustRegion:
    """The state of the rule, in variables that are saved with a model.

    Args:
        model: what the variables belong to.
        most: the largest number of products; 1 where it is not to be chosen.

    Attributes:
        n_products: how many products the next step takes.
        fraction: the part of the length that the next step takes, in (0, 1].
    """

    def __init__(self, model: keras.Model, most: int) -> None:
        self.most = most
        start = keras.initializers.Constant(most)
        self.n_products = model.add_weight((), start, "int32", trainable=False, name="n_products")
        self.fraction = model.add_weight((), "ones", "float32", trainable=False, name="fraction")

    def length(self, loss: Callable[[tf.Tensor], tf.Tensor], dtype: tf.DType) -> tf.Tensor:
        """How far to go, in units of the step; `loss` is that of the linear model at a length of this `dtype`."""
        return minimum_along(loss, dtype) * tf.cast(self.fraction.value, dtype)

    def learn(
        self, was: tf.Tensor, expected: tf.Tensor, now: tf.Tensor, relative: tf.Tensor, n_used: tf.Tensor | None
    ) -> list[tf.Tensor]:
        """Bring the state up to date after a step.

        Args:
            was: the loss before it.
            expected: the loss that the linear model expected.
            now: the loss after it.
            relative: the length of the step over that of all weights.
            n_used: how many directions the step was made of; None where their number is not to be chosen.

        Returns:
            The ratio of the two decreases, and the fraction and the number of products of this step.
        """
        fraction, n_products = tf.identity(self.fraction.value), tf.identity(self.n_products.value)
        ratio = (was - now) / (was - expected)
        ratio = tf.where((was > expected) & (now <= was), ratio, -tf.ones_like(ratio))
        rounding = 100.0 * float(np.finfo(was.dtype.as_numpy_dtype).eps)  # from which nothing can be read
        still = (tf.abs(was - expected) <= rounding * tf.abs(was)) & (tf.abs(was - now) <= rounding * tf.abs(was))
        still |= tf.cast(relative, was.dtype) <= rounding
        one = tf.ones_like(n_products)
        used = one if n_used is None else tf.clip_by_value(n_used, one, n_products)
        found = next_region(ratio, fraction, used, n_products, self.most if n_used is not None else 1)
        self.fraction.assign(tf.where(still, fraction, found[0]))
        self.n_products.assign(tf.where(still, n_products, found[1] if n_used is not None else n_products))
        return [tf.where(still, tf.ones_like(ratio), ratio), fraction, used]


def minimum_along(loss: Callable[[tf.Tensor], tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    """A length t that a factor of two does not improve, from that of the parabola which `loss` is near t = 0.

    For a squared loss it is the minimum. Where the loss does not bend upwards at 0, the search begins at 1.

    Args:
        loss: maps a number t to the loss.
        dtype: of t.
    """
    t = tf.zeros([], dtype)
    with tf.GradientTape() as outer:
        outer.watch(t)
        with tf.GradientTape() as inner:
            inner.watch(t)
            value = loss(t)
        slope = inner.gradient(value, t, unconnected_gradients="zero")
    bend = outer.gradient(slope, t, unconnected_gradients="zero")
    t = tf.where((bend > 0.0) & (slope < 0.0), tf.math.divide_no_nan(-slope, bend), tf.ones_like(bend))
    for factor in (2.0, 0.5):
        # Not better: also where it is not finite.
        better = lambda t, f=factor: (loss(f * t) < loss(t)) | ((f < 1.0) & ~tf.math.is_finite(loss(t)))  # noqa: E731
        (t,) = tf.while_loop(better, lambda t, f=factor: (f * t,), (t,), maximum_iterations=MOST_FACTORS)
    return t


def next_region(
    ratio: tf.Tensor, fraction: tf.Tensor, n_used: tf.Tensor, n_products: tf.Tensor, most: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The fraction and the number of products for the next step.

    Args:
        ratio: of the decrease that came out to the predicted one; NaN counts as bad.
        fraction: the present one, in (0, 1].
        n_used: how many directions the step was made of, from 1 to `n_products`.
        n_products: how many it might have been made of, at most `most`.
        most: the largest number of products.
    """
    good, bad, one = ratio > GOOD, ~(ratio >= BAD), n_used == 1
    smaller = tf.where(one, tf.maximum(fraction / 4.0, SMALLEST), fraction), tf.maximum(n_used // 2, 1)
    full = fraction >= 1.0
    larger = tf.minimum(2.0 * fraction, 1.0), tf.where(full, tf.minimum(2 * n_products, most), n_products)
    return (
        tf.where(bad, smaller[0], tf.where(good, larger[0], fraction)),
        tf.where(bad, smaller[1], tf.where(good, larger[1], n_products)),
    )


def loss_along(loss: Callable[[Any], tf.Tensor], y: Any, image: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """The loss of the linear model at y − `length`·Js, with Js = `image` [batch·n_out]."""
    flat = columns(y)
    return loss(like_columns(flat - length * tf.cast(tf.reshape(image, tf.shape(flat)), flat.dtype), y))


def refuse_unless_plain(optimizer: Any) -> None:
    """Raise unless the optimizer takes every step as it is, times its learning rate: what came out is read from it."""
    plain = type(optimizer) is keras.optimizers.SGD and not optimizer.momentum and not optimizer.weight_decay
    clipped = any((optimizer.clipnorm, optimizer.clipvalue, optimizer.global_clipnorm))
    if not plain or clipped or optimizer.gradient_accumulation_steps or optimizer.use_ema:
        raise ValueError(
            "optimizer must be a plain SGD for trust_region, without momentum, decay, clipping, averages or "
            f"accumulation, got {type(optimizer).__name__} with {optimizer.get_config()}."
        )
