"""The Jacobian of a whole mini-batch with respect to all weights of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.jacobians.weights import flatten_weights


class StackedJacobian:
    """∂y/∂θ of a mini-batch: the Jacobians of all samples below each other, [batch·n_out, n_weights].

    Row i·n_out + k holds ∂y_k/∂θ at sample i. Half-inverse gradients and Gauss-Newton act on this matrix
    (Schnell, Holl and Thuerey, Half-Inverse Gradients for Physical Deep Learning, ICLR 2022, section 2).

    Attributes:
        n_rows: batch·n_out.
        n_weights: length of θ.
    """

    def __init__(self, matrix: tf.Tensor) -> None:
        """Keep `matrix` [batch·n_out, n_weights]; use `StackedJacobian.reverse` to compute it."""
        self._matrix = validation.batch_of_points("matrix", matrix)
        self.n_rows: int = self._matrix.shape[0]
        self.n_weights: int = self._matrix.shape[1]

    @classmethod
    def reverse(cls, outputs: Callable[[], tf.Tensor], weights: Sequence[Any]) -> StackedJacobian:
        """Compute the Jacobian by one reverse pass per row (`GradientTape.jacobian`): the textbook way.

        Args:
            outputs: takes nothing and returns y [batch, n_out], computed from `weights`.
            weights: the variables θ consists of. Keras variables are taken at their TensorFlow value.

        Returns:
            The stacked Jacobian. A weight that y does not depend on has a column of zeros.

        Raises:
            TypeError: if `outputs` is not a function or y is not floating.
            ValueError: if y is not [batch, n_out] with a static shape, or depends on none of the weights.
        """
        validation.function("outputs", outputs)
        variables = [weight.value if isinstance(weight, keras.Variable) else weight for weight in weights]
        flatten_weights(variables)  # refuses mixed dtypes and an empty list
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            for variable in variables:
                tape.watch(variable)
            y = validation.batch_of_points("outputs", outputs())
        # per weight [batch, n_out, *weight.shape]; vectorised where that is traced once, as in `pointwise`
        blocks = tape.jacobian(y, variables, experimental_use_pfor=not tf.executing_eagerly())
        if all(block is None for block in blocks):
            raise ValueError("outputs does not depend on any of the weights.")
        n_rows = y.shape[0] * y.shape[1]
        columns = [
            tf.zeros([n_rows, tf.size(variable)], y.dtype) if block is None else tf.reshape(block, [n_rows, -1])
            for block, variable in zip(blocks, variables, strict=True)
        ]
        return cls(tf.concat(columns, axis=1))

    def gram(self) -> tf.Tensor:
        """J Jᵀ, [batch·n_out, batch·n_out]: how much two output rows share in the weights."""
        return tf.matmul(self._matrix, self._matrix, transpose_b=True)

    def transpose_matvec(self, w: Any) -> tf.Tensor:
        """Jᵀw, [n_weights], for a vector w [batch·n_out]. With w = ∂L/∂y this is the gradient ∂L/∂θ.

        Raises:
            TypeError: if `w` is not floating.
            ValueError: if `w` does not have one entry per row.
        """
        w = validation.floating("w", w)
        if w.shape.rank != 1 or not w.shape.is_compatible_with([self.n_rows]):
            raise ValueError(f"w must have shape [{self.n_rows}], one entry per row, got {w.shape}.")
        return tf.linalg.matvec(self._matrix, w, transpose_a=True)  # w → Jᵀw

    def to_dense(self) -> tf.Tensor:
        """The matrix J itself, [batch·n_out, n_weights]."""
        return self._matrix
