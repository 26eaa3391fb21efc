"""The Jacobian of a whole mini-batch with respect to all weights of a network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.jacobians.kind import Kind, fitting_kind
from physgrad_tf.jacobians.layerwise import layer_parts, layer_parts_in_chunks
from physgrad_tf.jacobians.parts import Blocks, Part, gram_of_blocks
from physgrad_tf.jacobians.products import products_of
from physgrad_tf.jacobians.samples import OneByOne
from physgrad_tf.jacobians.weights import flatten_weights

#: How many entries of J `StackedJacobian.weight_gram` forms at a time, unless one sample has more.
ENTRIES_AT_ONCE = 2**22


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StackedJacobian:
    """∂y/∂θ of a mini-batch: the Jacobians of all samples below each other, [batch·n_out, n_weights].

    Row i·n_out + k holds ∂y_k/∂θ at sample i. Half-inverse gradients and Gauss-Newton act on this matrix
    (Schnell, Holl and Thuerey, Half-Inverse Gradients for Physical Deep Learning, ICLR 2022, section 2).

    It has several kinds, which differ in what they compute and store and not in the matrix they stand for:

    * "reverse" stores the matrix, from one reverse pass per row: the textbook way;
    * "layerwise" stores the inputs of all layers and the cotangents of what leaves them, and forms the columns of one
      layer at a time;
    * "kernel" stores the same, and forms no columns of Dense layers: J Jᵀ and Jᵀw follow from inputs and cotangents;
    * "products" stores nothing of it: Jv and Jᵀw are derivatives of the run itself.

    Attributes:
        parts: what is stored, part by part of the weights.
        sizes: how many entries each weight has, in the order of θ.
        kind: "reverse", "layerwise", "kernel" or "products".
    """

    parts: tuple[Any, ...]  # of Part; its classes are no part of the interface
    sizes: tuple[int, ...]
    kind: Kind

    @classmethod
    def of_matrix(cls, matrix: Any) -> StackedJacobian:
        """Take a matrix [batch·n_out, n_weights] as it is.

        Raises:
            TypeError: if `matrix` is not floating.
            ValueError: if it does not have two dimensions or is empty.
        """
        matrix = validation.batch_of_points("matrix", matrix)
        return cls((Blocks({0: matrix}, 1),), (matrix.shape[1],), "reverse")

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
            ValueError: if y is not [batch, n_out] with a static n_out, or depends on none of the weights.
        """
        validation.function("outputs", outputs)
        variables = values_of(weights)
        flatten_weights(variables)  # refuses mixed dtypes and an empty list
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            for variable in variables:
                tape.watch(variable)
            y = validation.batch_of_points("outputs", outputs())
        # per weight [batch, n_out, *weight.shape]; vectorised where that is traced once, as in `pointwise`
        blocks = tape.jacobian(y, variables, experimental_use_pfor=not tf.executing_eagerly())
        if all(block is None for block in blocks):
            raise validation.NoGradient("outputs does not depend on any of the weights.")
        sizes = tuple(math.prod(variable.shape) for variable in variables)
        n_rows = tf.shape(y)[0] * y.shape[1]
        columns = {
            place: tf.zeros([n_rows, size], y.dtype) if block is None else tf.reshape(block, [n_rows, size])
            for place, (block, size) in enumerate(zip(blocks, sizes, strict=True))
        }
        return cls((Blocks(columns, y.shape[1]),), sizes, "reverse")

    @classmethod
    def products(cls, outputs: Callable[[], tf.Tensor], weights: Sequence[Any]) -> StackedJacobian:
        """Keep the run of `outputs` for products with its Jacobian, and compute nothing of the matrix.

        A product Jᵀw is one reverse pass. Jv is the gradient of (Jᵀu)·v with respect to u, a reverse pass through that
        pass. Both lead through `tf.while_loop` and can be compiled by XLA. The network runs on the batch as it is, so
        that layers which mix samples or draw random numbers are fine: J is that of the whole batch as it was run.

        Args:
            outputs: as in `reverse`.
            weights: as in `reverse`.

        Returns:
            The stacked Jacobian. It lives as long as the function that it was made in, and cannot leave a
            `tf.function`. `to_dense`, `gram` and `weight_gram` form the matrix by one reverse pass per row.

        Raises:
            TypeError: as `reverse`.
            ValueError: as `reverse`, and from `matvec` if a gradient on the way cannot be differentiated once more.
                One that TensorFlow takes for a constant on one way of several, such as that of bilinear resizing beside
                a shortcut, is not noticed here; `spectral.spectral_step` notices.
        """
        validation.function("outputs", outputs)
        part = products_of(outputs, values_of(weights))
        return cls((part,), part.sizes, "products")

    @classmethod
    def layerwise(
        cls, network: keras.Layer, outputs: Callable[[Any], tf.Tensor], inputs: Any, samples_at_once: int | None = None
    ) -> StackedJacobian:
        """Compute the inputs of all layers and the cotangents of what leaves them: one reverse pass per output.

        Of Dense layers and plain convolutions only these are stored; their columns are outer products, formed on
        demand and added where one weight meets a sample several times. Of all other layers with weights the columns are
        computed and stored, from the layer alone. Frozen weights are left out.

        The samples are repeated n_out times, and `outputs` runs on the copies as well as on `inputs`. All of it can be
        compiled by XLA if `outputs` can, loops in the physics included.

        Args:
            network: a built Keras model or layer; θ is its `trainable_variables`.
            outputs: maps inputs to y [batch, n_out] and calls `network` on the way, once or several times. It treats
                the samples one by one.
            inputs: a tensor or a structure of tensors, batch first.
            samples_at_once: the copies of how many samples are in memory at a time; None takes all at once. The result
                is the same.

        Returns:
            The stacked Jacobian. A weight that y does not depend on has a column of zeros.

        Raises:
            TypeError: if `network` is not a Keras layer, `outputs` is not a function, or y is not floating.
            ValueError: if y is not [batch, n_out] with a static n_out; if a layer or `outputs` mixes samples
                (BatchNormalization in training), draws random numbers, has no batch axis or runs inside a compiled
                loop; if y depends on none of the weights.

        Warns:
            UserWarning: if network or `outputs` cannot be asked about random inputs, and only the layers tell the
                second.
        """
        if samples_at_once is None:
            parts = layer_parts(network, outputs, inputs)
        else:
            parts = layer_parts_in_chunks(network, outputs, inputs, samples_at_once)
        sizes = tuple(math.prod(weight.shape) for weight in network.trainable_variables)
        return cls(tuple(parts), sizes, "layerwise")

    @classmethod
    def kernel(
        cls, network: keras.Layer, outputs: Callable[[Any], tf.Tensor], inputs: Any, samples_at_once: int | None = None
    ) -> StackedJacobian:
        """Compute and store the same as `layerwise`, and never form J for `gram` and `transpose_matvec`.

        With the input a of a Dense layer and the cotangents δ of its pre-activation, sample i and output k:
        (J Jᵀ)[(i, k), (j, m)] = Σ over layers of (a_i·a_j + 1)(δ_ik·δ_jm), the 1 for the bias, and Jᵀw is one weighted
        product per layer. Where a weight meets a sample several times the sum runs over all pairs of calls or
        positions, or over columns, a few at a time, where that is cheaper. Kernel forms of natural gradients (minSR,
        Woodbury) use the same identity. Other layers keep their columns, as in `layerwise`.

        Args:
            network: as in `layerwise`.
            outputs: as in `layerwise`.
            inputs: as in `layerwise`.
            samples_at_once: as in `layerwise`.

        Returns:
            The stacked Jacobian.

        Raises:
            TypeError: as `layerwise`.
            ValueError: as `layerwise`.
        """
        return dataclasses.replace(cls.layerwise(network, outputs, inputs, samples_at_once), kind="kernel")

    @classmethod
    def auto(
        cls, network: keras.Layer, outputs: Callable[[Any], tf.Tensor], inputs: Any, samples_at_once: int | None = None
    ) -> StackedJacobian:
        """Compute the kind that fits the network; its `kind` tells which.

        That is "reverse" if network or physics draw random numbers or mix samples in training; "kernel" if most weights
        belong to Dense layers and plain convolutions and there are more weights than rows; "layerwise" otherwise.

        Args:
            network: as in `layerwise`.
            outputs: as in `layerwise`.
            inputs: as in `layerwise`.
            samples_at_once: as in `layerwise`.

        Returns:
            The stacked Jacobian.

        Raises:
            TypeError: as `layerwise`.
            ValueError: as `layerwise`.
        """
        if not isinstance(network, keras.Layer):
            raise TypeError(f"network must be a Keras model or layer, got {type(network).__name__}.")
        validation.function("outputs", outputs)
        kind = fitting_kind(network, inputs, outputs)
        if kind == "reverse":
            return cls.reverse(lambda: outputs(inputs), network.trainable_variables)
        found = cls.layerwise(network, OneByOne(outputs), inputs, samples_at_once)
        wide = found.n_rows is None or found.n_rows < found.n_weights
        return dataclasses.replace(found, kind=kind if wide else "layerwise")

    @property
    def n_weights(self) -> int:
        """Length of θ."""
        return sum(self.sizes)

    @property
    def n_rows(self) -> int | None:
        """batch·n_out; None while the batch is unknown inside a `tf.function`."""
        return self.parts[0].n_rows

    @property
    def shape(self) -> tuple[int | None, int]:
        """The shape of J, [batch·n_out, n_weights]."""
        return self.n_rows, self.n_weights

    @property
    def n_bytes(self) -> int | None:
        """How much is stored, in bytes, which is y for "products"; None while the batch is unknown when traced."""
        tensors = [tensor for part in self.parts for tensor in part.tensors]
        if any(None in tensor.shape.as_list() for tensor in tensors):
            return None
        return sum(math.prod(tensor.shape) * tensor.dtype.size for tensor in tensors)

    @property
    def dtype(self) -> tf.DType:
        """The dtype it was computed in."""
        return self.parts[0].tensors[-1].dtype

    def __repr__(self) -> str:
        """Kind, shape and bytes."""
        return f"StackedJacobian(kind={self.kind!r}, shape={self.shape}, n_bytes={self.n_bytes})"

    def gram(self, dtype: tf.DType | None = None) -> tf.Tensor:
        """J Jᵀ, [batch·n_out, batch·n_out]: how much two output rows share in the weights.

        Args:
            dtype: what to compute in; None is the dtype of J. float64 keeps what squaring would lose.
        """
        dtype = dtype or self.dtype
        total = None
        for part in self.parts:
            # One after the other: side by side they would all be in memory at a time.
            with tf.control_dependencies([] if total is None else [total]):
                products = part.gram(dtype) if self.kind == "kernel" else gram_of_blocks(part.blocks(dtype))
            total = products if total is None else total + products
        return total

    def weight_gram(self, dtype: tf.DType | None = None) -> tf.Tensor:
        """JᵀJ, [n_weights, n_weights]: the smaller of the two products where there are more rows than weights.

        The rows of J are formed a few samples at a time.

        Args:
            dtype: as in `gram`.
        """
        dtype, n_weights, n_out = dtype or self.dtype, self.n_weights, self.parts[0].n_out
        if self.kind == "products":
            dense = self.to_dense(dtype)
            return tf.matmul(dense, dense, transpose_a=True)
        n_samples: int | tf.Tensor = self.parts[0].n_samples if self.n_rows is None else self.n_rows // n_out
        at_once = max(1, ENTRIES_AT_ONCE // (n_out * n_weights))
        at_once = tf.minimum(at_once, n_samples) if self.n_rows is None else min(at_once, n_samples)

        def add(start: tf.Tensor, gram: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            first = tf.minimum(start, n_samples - at_once)  # the last samples come with some that were there before
            new = tf.cast(tf.range(at_once) + first >= start, dtype)
            rows = dataclasses.replace(self, parts=tuple(part.samples(first, at_once) for part in self.parts))
            some = rows.to_dense(dtype) * tf.repeat(new, n_out)[:, tf.newaxis]
            return start + at_once, gram + tf.matmul(some, some, transpose_a=True)

        # A zero that only the run knows: TensorFlow would store a constant of this size with the graph, used or not.
        zero = tf.cast(tf.minimum(self.parts[0].n_samples, 0), dtype)
        start = (tf.constant(0), tf.fill([n_weights, n_weights], zero))
        return tf.while_loop(lambda start, gram: start < n_samples, add, start)[1]

    def transpose_matvec(self, w: Any) -> tf.Tensor:
        """Jᵀw, [n_weights], for a vector w [batch·n_out]. With w = ∂L/∂y this is the gradient ∂L/∂θ.

        It is computed in the dtype of `w`.

        Raises:
            TypeError: if `w` is not floating.
            ValueError: if `w` does not have one entry per row.
        """
        w = one_entry_per("row", "w", w, self.n_rows)
        products: dict[int, tf.Tensor] = {}
        for part in self.parts:
            products |= part.transpose_products(w)  # w → Jᵀw
        return tf.concat(
            [products.get(place, tf.zeros([size], w.dtype)) for place, size in enumerate(self.sizes)], axis=0
        )

    def matvec(self, v: Any) -> tf.Tensor:
        """Jv, [batch·n_out], for a vector v [n_weights]: how much y moves with the weights, to first order.

        It is computed in the dtype of `v`.

        Raises:
            TypeError: if `v` is not floating.
            ValueError: if `v` does not have one entry per weight.
        """
        v = one_entry_per("weight", "v", v, self.n_weights)
        by_place = dict(enumerate(tf.split(v, self.sizes)))
        return tf.add_n([part.products(by_place) for part in self.parts])  # v → Jv

    def scaled_rows(self, factors: Any) -> StackedJacobian:
        """diag(c) J, with row i multiplied by entry i of c = `factors` [batch·n_out], of the dtype of J.

        Raises:
            TypeError: if `factors` is not floating.
            ValueError: if `factors` does not have one entry per row.
        """
        factors = one_entry_per("row", "factors", factors, self.n_rows)
        return dataclasses.replace(self, parts=tuple(part.scaled_rows(factors) for part in self.parts))

    def to_dense(self, dtype: tf.DType | None = None) -> tf.Tensor:
        """The matrix J itself, [batch·n_out, n_weights].

        Args:
            dtype: as in `gram`.
        """
        dtype = dtype or self.dtype
        blocks: dict[int, tf.Tensor] = {}
        for part in self.parts:
            blocks |= part.blocks(dtype)
        n_rows = tf.shape(next(iter(blocks.values())))[0]
        return tf.concat(
            [blocks[i] if i in blocks else tf.zeros([n_rows, size], dtype) for i, size in enumerate(self.sizes)], axis=1
        )

    def finite_rows(self) -> tf.Tensor:
        """Which rows hold neither NaN nor Inf, [batch·n_out], told without forming J."""
        return tf.reduce_all(tf.stack([part.finite_rows() for part in self.parts]), axis=0)

    def __tf_flatten__(self) -> tuple[tuple[Any, ...], tuple[Part, ...]]:
        """What is known in Python, and the parts: this is how TensorFlow carries it out of a compiled function."""
        return (self.sizes, self.kind), self.parts

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[Any, ...], parts: tuple[Part, ...]) -> StackedJacobian:
        """The stacked Jacobian again, from the `metadata` and `parts` that `__tf_flatten__` gave."""
        return cls(tuple(parts), *metadata)


def one_entry_per(what: str, name: str, vector: Any, n: int | None) -> tf.Tensor:
    """Return the argument `name`, `vector`, as a floating vector of `n` entries, or raise."""
    vector = validation.floating(name, vector)
    if vector.shape.rank != 1 or not vector.shape.is_compatible_with([n]):
        raise ValueError(f"{name} must have shape [{n}], one entry per {what}, got {vector.shape}.")
    return vector


def values_of(weights: Sequence[Any]) -> list[Any]:
    """Weights as what a tape of TensorFlow watches: Keras variables at their value."""
    return [weight.value if isinstance(weight, keras.Variable) else weight for weight in weights]
