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

    @property
    def n_out(self) -> int:
        """The number k of outputs per sample."""
        return self.delta.shape[1]

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

    def gram(self, dtype: tf.DType) -> tf.Tensor:
        """J Jᵀ of these columns, [b·k, b·k], without forming them all.

        Σ over pairs of positions p, q of (a_ip·a_jq + 1)(δ_ikp·δ_jmq), or, where there are so many positions that this
        is dearer, by the columns, a few units at a time.
        """
        a, delta = tf.cast(self.a, dtype), tf.cast(self.delta, dtype)
        n_out, n_positions, n_units = delta.shape[1:]
        n_in = a.shape[-1] if self.kernel is not None else 1
        if n_positions is None or not pairs_are_cheaper(n_positions, n_in, n_out, n_units):
            return gram_by_columns(self, a, delta)
        if n_positions == 1:
            gram = self.gram_of_single_position(a, delta)
        else:
            gram = tf.add_n([self.gram_of_position(a, delta, p) for p in range(n_positions)])
        return tf.reshape(gram, [tf.shape(a)[0] * n_out] * 2)

    def gram_of_single_position(self, a: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
        """The case of one position, in two matrix products, [b, k, b, k]."""
        a, flat = a[:, 0], tf.reshape(delta, [-1, delta.shape[-1]])
        sizes = tf.tile(tf.shape(delta)[:2], [2])
        product = tf.reshape(tf.matmul(flat, flat, transpose_b=True), sizes)  # δ_ik·δ_jm
        if self.kernel is None:
            return product
        shared = tf.matmul(a, a, transpose_b=True)  # a_i·a_j
        if self.bias is not None:
            shared += 1.0
        return product * shared[:, tf.newaxis, :, tf.newaxis]

    def gram_of_position(self, a: tf.Tensor, delta: tf.Tensor, p: int) -> tf.Tensor:
        """The part of position p of the first row with all positions of the second, [b, k, b, k]."""
        product = tf.einsum("bko,cmqo->bkcmq", delta[:, :, p], delta)  # δ_ikp·δ_jmq
        if self.kernel is None:
            return tf.reduce_sum(product, axis=-1)
        shared = tf.einsum("bi,cqi->bcq", a[:, p], a)  # a_ip·a_jq
        if self.bias is not None:
            shared += 1.0
        return tf.einsum("bkcmq,bcq->bkcm", product, shared)

    def samples(self, first: tf.Tensor, number: int | tf.Tensor) -> OuterProducts:
        """The rows of `number` samples, from sample `first` on."""
        return dataclasses.replace(self, a=some(self.a, first, number), delta=some(self.delta, first, number))

    def scaled_rows(self, factors: tf.Tensor) -> OuterProducts:
        """The part with row i multiplied by entry i of `factors` [b·k]."""
        factors = tf.reshape(factors, tf.shape(self.delta)[:2])
        return dataclasses.replace(self, delta=self.delta * factors[:, :, tf.newaxis, tf.newaxis])

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

    def products(self, v: dict[int, tf.Tensor]) -> tf.Tensor:
        """Jv, [b·k], with the parts of v by the place of their weight."""
        moved = []  # how z moves, [b, p, n_units]
        if self.kernel is not None:
            a = tf.cast(self.a, v[self.kernel].dtype)
            moved.append(tf.einsum("bpi,io->bpo", a, tf.reshape(v[self.kernel], [a.shape[-1], self.delta.shape[-1]])))
        if self.bias is not None:
            sizes = [tf.shape(self.a)[0], tf.shape(self.a)[1], self.delta.shape[-1]]
            moved.append(tf.broadcast_to(v[self.bias], sizes))
        delta = tf.cast(self.delta, moved[0].dtype)
        return tf.reshape(tf.einsum("bkpo,bpo->bk", delta, tf.add_n(moved)), [-1])

    def finite_rows(self) -> tf.Tensor:
        """Which rows are finite, [b·k]."""
        of_inputs = tf.reduce_all(tf.math.is_finite(self.a), axis=[1, 2])
        of_cotangents = tf.reduce_all(tf.math.is_finite(self.delta), axis=[2, 3])
        return tf.reshape(of_inputs[:, tf.newaxis] & of_cotangents, [-1])

    @property
    def n_samples(self) -> tf.Tensor:
        """The number b of samples."""
        return tf.shape(self.a)[0]

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
        n_out: k.
    """

    columns: dict[int, tf.Tensor]
    n_out: int

    def __tf_flatten__(self) -> tuple[tuple[Any, ...], tuple[tf.Tensor, ...]]:
        """What is known in Python, and the tensors."""
        return (tuple(self.columns), self.n_out), tuple(self.columns.values())

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[Any, ...], tensors: tuple[tf.Tensor, ...]) -> Blocks:
        """The part again."""
        places, n_out = metadata
        return cls(dict(zip(places, tensors, strict=True)), n_out)

    def blocks(self, dtype: tf.DType) -> dict[int, tf.Tensor]:
        """The columns of every weight, [b·k, size]."""
        return {place: tf.cast(block, dtype) for place, block in self.columns.items()}

    def gram(self, dtype: tf.DType) -> tf.Tensor:
        """J Jᵀ of these columns, [b·k, b·k]."""
        return gram_of_blocks(self.blocks(dtype))

    def samples(self, first: tf.Tensor, number: int | tf.Tensor) -> Blocks:
        """The rows of `number` samples, from sample `first` on."""
        rows = first * self.n_out, number * self.n_out
        return dataclasses.replace(self, columns={place: some(block, *rows) for place, block in self.columns.items()})

    def scaled_rows(self, factors: tf.Tensor) -> Blocks:
        """The part with row i multiplied by entry i of `factors` [b·k]."""
        scaled = {place: block * factors[:, tf.newaxis] for place, block in self.columns.items()}
        return dataclasses.replace(self, columns=scaled)

    def transpose_products(self, w: tf.Tensor) -> dict[int, tf.Tensor]:
        """Jᵀw for every weight, [size], with w [b·k]."""
        return {place: tf.linalg.matvec(block, w, transpose_a=True) for place, block in self.blocks(w.dtype).items()}

    def products(self, v: dict[int, tf.Tensor]) -> tf.Tensor:
        """Jv, [b·k], with the parts of v by the place of their weight."""
        return tf.add_n([tf.linalg.matvec(tf.cast(block, v[i].dtype), v[i]) for i, block in self.columns.items()])

    def finite_rows(self) -> tf.Tensor:
        """Which rows are finite, [b·k]."""
        finite = [tf.reduce_all(tf.math.is_finite(block), axis=1) for block in self.columns.values()]
        return tf.reduce_all(tf.stack(finite), axis=0)

    @property
    def n_samples(self) -> tf.Tensor:
        """The number b of samples."""
        return tf.shape(next(iter(self.columns.values())))[0] // self.n_out

    @property
    def n_rows(self) -> int | None:
        """b·k, or None while b is unknown."""
        return next(iter(self.columns.values())).shape[0]

    @property
    def tensors(self) -> list[tf.Tensor]:
        """What is stored."""
        return list(self.columns.values())


Part = OuterProducts | Blocks


def pairs_are_cheaper(n_positions: int, n_in: int, n_out: int, n_units: int) -> bool:
    """Whether the products of all pairs of positions take fewer operations per pair of rows than those of columns."""
    return n_positions**2 * (n_in / n_out**2 + n_units + 1) <= max(n_in * n_units, n_units + 2)


def gram_of_blocks(blocks: dict[int, tf.Tensor]) -> tf.Tensor:
    """J Jᵀ, [b·k, b·k], of columns that are there, [b·k, size]."""
    return tf.add_n([tf.matmul(block, block, transpose_b=True) for block in blocks.values()])


#: How many columns `gram_by_columns` forms at a time.
COLUMNS_AT_ONCE = 4096


def gram_by_columns(part: OuterProducts, a: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """J Jᵀ, [b·k, b·k], from the columns of a few units at a time; `a` and `delta` are those of the part, cast."""
    n_out, n_units = delta.shape[1], delta.shape[-1]
    n_rows = tf.shape(a)[0] * n_out
    at_once = min(max(1, COLUMNS_AT_ONCE // a.shape[-1]), n_units)

    def add(start: tf.Tensor, gram: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        first = tf.minimum(start, n_units - at_once)  # the last units come with some that were there before
        new = tf.cast(tf.range(at_once) + first >= start, a.dtype)
        units = tf.gather(delta, first + tf.range(at_once), axis=3) * new
        if part.kernel is not None:
            columns = tf.reshape(tf.einsum("bpi,bkpo->bkio", a, units), [n_rows, a.shape[-1] * at_once])
            gram += tf.matmul(columns, columns, transpose_b=True)
        if part.bias is not None:
            columns = tf.reshape(tf.reduce_sum(units, axis=2), [n_rows, at_once])
            gram += tf.matmul(columns, columns, transpose_b=True)
        return start + at_once, gram

    start = (tf.constant(0), tf.zeros([n_rows, n_rows], a.dtype))
    return tf.while_loop(lambda start, gram: start < n_units, add, start)[1]


def some(tensor: tf.Tensor, first: tf.Tensor, number: int | tf.Tensor) -> tf.Tensor:
    """`number` rows of a tensor, from row `first` on; their number is known wherever `number` is one."""
    inner = tensor.shape[1:]
    rows = tf.slice(tensor, [first, *[0] * inner.rank], [number, *[-1] * inner.rank])
    return tf.ensure_shape(rows, [None if tf.is_tensor(number) else number, *inner])


def disjoint(parts: Sequence[Part], dtype: tf.DType, n_out: int) -> list[Part]:
    """Add up the columns of weights that several parts share, such as tied kernels; other parts stay as they are."""
    places = [place for part in parts for place in part_places(part)]
    shared = {place for place in places if places.count(place) > 1}
    kept = [part for part in parts if not shared & set(part_places(part))]
    summed: dict[int, tf.Tensor] = {}
    for part in parts:
        if shared & set(part_places(part)):
            for place, block in part.blocks(dtype).items():
                summed[place] = summed[place] + block if place in summed else block
    return [*kept, Blocks(summed, n_out)] if summed else list(parts)


def part_places(part: Part) -> list[int]:
    """The places of a part's weights among all weights."""
    if isinstance(part, Blocks):
        return list(part.columns)
    return [place for place in (part.kernel, part.bias) if place is not None]
