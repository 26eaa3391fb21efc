"""How far to step, and with how many products: what the linear model predicts is read against what came out.

A step s says in which direction. The linear model y − tJs says how far: to the minimum of the loss along it. That
length is right whatever the unit of s, so that no learning rate need be searched; for Gauss-Newton and a sum of squares
it is one. How far the linear model can be trusted is told by the ratio of the decrease that came out to the decrease
that it predicted (Conn, Gould and Toint, Trust-Region Methods, SIAM 2000). Where it is bad, the next step takes fewer
products: the step grows with their number, as it does with the radius of a trust region. With one product left, or
where J is decomposed, a fraction of the step is taken.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

#: Below the first ratio the region shrinks, above the second it grows.
BAD, GOOD = 0.25, 0.75


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

    def learn(self, was: tf.Tensor, expected: tf.Tensor, now: tf.Tensor) -> list[tf.Tensor]:
        """Bring the state up to date after a step, from the loss before it, that of the linear model, and that after.

        Returns:
            The ratio of the two decreases, and the fraction and the number of products of this step.
        """
        ratio = (was - now) / (was - expected)
        fraction, n_products = tf.identity(self.fraction.value), tf.identity(self.n_products.value)
        next_fraction, next_products = next_region(ratio, fraction, n_products, self.most)
        self.fraction.assign(next_fraction)
        self.n_products.assign(next_products)
        return [tf.where(tf.math.is_finite(ratio), ratio, tf.zeros_like(ratio)), fraction, n_products]


def minimum_along(loss: Callable[[tf.Tensor], tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    """The t at the minimum of the parabola that `loss` is near t = 0; 1 where it falls without bending upwards.

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
    return tf.where((bend > 0.0) & (slope < 0.0), tf.math.divide_no_nan(-slope, bend), tf.ones_like(bend))


def next_region(ratio: tf.Tensor, fraction: tf.Tensor, n_products: tf.Tensor, most: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The fraction and the number of products for the next step.

    Args:
        ratio: of the decrease that came out to the predicted one; NaN counts as bad.
        fraction: the present one, in (0, 1].
        n_products: the present number, from 1 to `most`.
        most: the largest number of products.
    """
    good, bad, one = ratio > GOOD, ~(ratio >= BAD), n_products == 1
    smaller = tf.where(one, fraction / 4.0, fraction), tf.maximum(n_products // 2, 1)
    full = fraction >= 1.0
    larger = tf.minimum(2.0 * fraction, 1.0), tf.where(full, tf.minimum(2 * n_products, most), n_products)
    return (
        tf.where(bad, smaller[0], tf.where(good, larger[0], fraction)),
        tf.where(bad, smaller[1], tf.where(good, larger[1], n_products)),
    )
