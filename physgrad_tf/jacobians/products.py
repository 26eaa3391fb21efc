"""A stacked Jacobian of which nothing is stored: v ↦ Jv and u ↦ Jᵀu."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.jacobians.weights import flatten_weights, unflatten_weights


@dataclasses.dataclass(frozen=True)
class Products:
    """J = ∂y/∂θ as two maps, which run as long as the function that made them does.

    Attributes:
        sizes: how many entries each weight has.
        n_out: the number k of outputs per sample.
        y: the outputs, [b, k].
        forward: v ↦ Jv, [n_weights] → [b·k].
        reverse: u ↦ Jᵀu, [b·k] → [n_weights].
    """

    sizes: tuple[int, ...]
    n_out: int
    y: tf.Tensor
    forward: Callable[[tf.Tensor], tf.Tensor]
    reverse: Callable[[tf.Tensor], tf.Tensor]

    def blocks(self, dtype: tf.DType) -> dict[int, tf.Tensor]:
        """The columns of every weight, [b·k, size], from one reverse pass per row."""
        rows = tf.map_fn(self.reverse, tf.eye(tf.size(self.y), dtype=self.y.dtype))
        return dict(enumerate(tf.split(tf.cast(rows, dtype), self.sizes, axis=1)))

    def scaled_rows(self, factors: tf.Tensor) -> Products:
        """J with row i multiplied by entry i of `factors` [b·k]."""
        return dataclasses.replace(
            self,
            forward=lambda v: factors * self.forward(v),
            reverse=lambda u: self.reverse(factors * u),
        )

    def transpose_products(self, w: tf.Tensor) -> dict[int, tf.Tensor]:
        """Jᵀw for every weight, [size], with w [b·k]."""
        product = tf.cast(self.reverse(tf.cast(w, self.y.dtype)), w.dtype)
        return dict(enumerate(tf.split(product, self.sizes)))

    def products(self, v: dict[int, tf.Tensor]) -> tf.Tensor:
        """Jv, [b·k], with the parts of v by the place of their weight."""
        whole = tf.concat([v[place] for place in range(len(self.sizes))], axis=0)
        return tf.cast(self.forward(tf.cast(whole, self.y.dtype)), whole.dtype)

    def finite_rows(self) -> tf.Tensor:
        """Which rows are finite, [b·k]: what is not turns zero into NaN on its way."""
        return tf.math.is_finite(self.forward(tf.zeros([sum(self.sizes)], self.y.dtype)))

    @property
    def n_rows(self) -> int | None:
        """b·k, or None while b is unknown."""
        b = self.y.shape[0]
        return None if b is None else b * self.n_out

    @property
    def tensors(self) -> list[tf.Tensor]:
        """What is stored."""
        return [self.y]


def products_of(outputs: Callable[[], tf.Tensor], variables: Sequence[Any]) -> Products:
    """J of y = `outputs()` with respect to the variables; `outputs` runs once.

    Raises:
        TypeError: if y is not floating, or its dtype and those of the variables are not one.
        ValueError: if y is not [batch, n_out] with a static n_out, depends on none of the variables, or is computed by
            an operation of TensorFlow whose gradient cannot be differentiated.
    """
    flatten_weights(variables)  # refuses mixed dtypes and an empty list
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        for variable in variables:
            tape.watch(variable)
        y = validation.batch_of_points("outputs", outputs())
    dtype = tf.as_dtype(variables[0].dtype)
    if y.dtype != dtype:
        raise TypeError(f"outputs must have the dtype of the weights, {dtype.name}, got {y.dtype.name}.")

    def transposed(u: tf.Tensor) -> list[tf.Tensor | None]:
        parts = tape.gradient(y, variables, output_gradients=tf.reshape(u, tf.shape(y)))
        return [None if part is None else tf.convert_to_tensor(part) for part in parts]

    def reverse(u: tf.Tensor) -> tf.Tensor:  # u → Jᵀu
        return flatten_weights(
            [
                tf.zeros(variable.shape, y.dtype) if part is None else part
                for part, variable in zip(transposed(u), variables, strict=True)
            ]
        )

    def forward(v: tf.Tensor) -> tf.Tensor:  # v → Jv, the derivative of (Jᵀu)·v with respect to u, whatever u is
        u = tf.zeros([tf.size(y)], y.dtype)
        with tf.GradientTape() as outer:
            outer.watch(u)
            parts = transposed(u)
        pairs = zip(parts, unflatten_weights(v, variables), strict=True)
        there = [(part, direction) for part, direction in pairs if part is not None]
        try:
            product = outer.gradient([part for part, _ in there], u, output_gradients=[d for _, d in there])
        except LookupError as error:
            raise ValueError(
                f"outputs is computed by an operation whose gradient TensorFlow cannot differentiate: {error}"
            ) from error
        if product is None:
            raise ValueError(
                "outputs is computed by an operation whose gradient TensorFlow takes for a constant, such as bilinear "
                "resizing, so that Jv is not known."
            )
        return product

    if all(part is None for part in transposed(tf.zeros_like(y))):
        raise validation.NoGradient("outputs does not depend on any of the weights.")
    return Products(tuple(math.prod(variable.shape) for variable in variables), y.shape[1], y, forward, reverse)
