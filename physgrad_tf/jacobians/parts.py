"""What is stored of a stacked Jacobian, part by part.

Row i·n_out + k belongs to output k of sample i. Below, b is the number of samples, k that of outputs per sample, p that
of positions at which one weight meets one sample (several calls of a layer, time steps, the pixels of a convolution).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class OuterProducts:
    """∂y/∂W and ∂y/∂β of z = aᵀW + β: the outer products a ⊗ δ and 1 ⊗ δ, added over the positions.

    Attributes:
        kernel: the place of W [n_in, n_units] among the weights, or None if it is frozen.
        bias: the place of β [n_units] among the weights, or None.
        a: what W is applied to, [b, p, n_in].
        delta: δ = ∂y/∂z, [b, k, p, n_units].
    """

    kernel: int | None
    bias: int | None
    a: tf.Tensor
    delta: tf.Tensor

    def __tf_flatten__(self) -> tuple[tuple[Any, ...], tuple[tf.Tensor, ...]]:
        """What is known in Python, and the tensors: this is how TensorFlow carries it out of a compiled function."""
        return (self.kernel, self.bias), (self.a, self.delta)

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[Any, ...], tensors: tuple[tf.Tensor, ...]) -> OuterProducts:
        """The part again."""
        return cls(*metadata, *tensors)

    def blocks(self, dtype: tf.DType) -> dict[int, tf.Tensor]:
        """The columns of every weight, [b·k, size]."""
        a, delta = tf.cast(self.a, dtype), tf.cast(self.delta, dtype)
        n_in, n_units = a.shape[-1], delta.shape[-1]
        columns = {}
        if self.kernel is not None:
            products = tf.einsum("bpi,bkpo->bkio", a, delta)  # a, δ → a ⊗ δ
            columns[self.kernel] = tf.reshape(products, [-1, n_in * n_units])
        if self.bias is not None:
            columns[self.bias] = tf.reshape(tf.reduce_sum(delta, axis=2), [-1, n_units])
        return columns

    def transpose_products(self, w: tf.Tensor) -> dict[int, tf.Tensor]:
        """Jᵀw for every weight, [size], with w [b·k]."""
        a, delta = tf.cast(self.a, w.dtype), tf.cast(self.delta, w.dtype)
        w = tf.reshape(w, tf.shape(delta)[:2])
        weighted = tf.einsum("bk,bkpo->bpo", w, delta)
        result = {}
        if self.kernel is not None:
            result[self.kernel] = tf.reshape(tf.einsum("bpi,bpo->io", a, weighted), [-1])
        if self.bias is not None:
            result[self.bias] = tf.reduce_sum(weighted, axis=[0, 1])
        return result

    def finite_rows(self) -> tf.Tensor:
        """Which rows are finite, [b·k]."""
        of_inputs = tf.reduce_all(tf.math.is_finite(self.a), axis=[1, 2])
        of_cotangents = tf.reduce_all(tf.math.is_finite(self.delta), axis=[2, 3])
        return tf.reshape(of_inputs[:, tf.newaxis] & of_cotangents, [-1])

    @property
    def n_rows(self) -> int | None:
        """b·k, or None while b is unknown."""
        b, k = self.delta.shape[:2]
        return None if b is None else b * k

    @property
    def tensors(self) -> list[tf.Tensor]:
        """What is stored."""
        return [self.a, self.delta]


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The columns of some weights as they are.

    Attributes:
        columns: by the weight's place among all weights, [b·k, size].
    """

    columns: dict[int, tf.Tensor]

    def __tf_flatten__(self) -> tuple[tuple[Any, ...], tuple[tf.Tensor, ...]]:
        """What is known in Python, and the tensors."""
        return tuple(self.columns), tuple(self.columns.values())

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[Any, ...], tensors: tuple[tf.Tensor, ...]) -> Blocks:
        """The part again."""
        return cls(dict(zip(metadata, tensors, strict=True)))

    def blocks(self, dtype: tf.DType) -> dict[int, tf.Tensor]:
        """The columns of every weight, [b·k, size]."""
        return {place: tf.cast(block, dtype) for place, block in self.columns.items()}

    def transpose_products(self, w: tf.Tensor) -> dict[int, tf.Tensor]:
        """Jᵀw for every weight, [size], with w [b·k]."""
        return {place: tf.linalg.matvec(block, w, transpose_a=True) for place, block in self.blocks(w.dtype).items()}

    def finite_rows(self) -> tf.Tensor:
        """Which rows are finite, [b·k]."""
        finite = [tf.reduce_all(tf.math.is_finite(block), axis=1) for block in self.columns.values()]
        return tf.reduce_all(tf.stack(finite), axis=0)

    @property
    def n_rows(self) -> int | None:
        """b·k, or None while b is unknown."""
        return next(iter(self.columns.values())).shape[0]

    @property
    def tensors(self) -> list[tf.Tensor]:
        """What is stored."""
        return list(self.columns.values())


Part = OuterProducts | Blocks


def disjoint(parts: Sequence[Part], dtype: tf.DType) -> list[Part]:
    """Add up the columns of weights that several parts share, such as tied kernels; other parts stay as they are."""
    places = [place for part in parts for place in part_places(part)]
    shared = {place for place in places if places.count(place) > 1}
    kept = [part for part in parts if not shared & set(part_places(part))]
    summed: dict[int, tf.Tensor] = {}
    for part in parts:
        if shared & set(part_places(part)):
            for place, block in part.blocks(dtype).items():
                summed[place] = summed[place] + block if place in summed else block
    return [*kept, Blocks(summed)] if summed else list(parts)


def part_places(part: Part) -> list[int]:
    """The places of a part's weights among all weights."""
    if isinstance(part, Blocks):
        return list(part.columns)
    return [place for place in (part.kernel, part.bias) if place is not None]
