"""The Jacobian of a mini-batch from what enters a layer and the cotangents of what leaves it.

Of every layer z = aᵀW + β, row (i, k) of ∂y/∂W is the outer product of a at sample i and δ = ∂y_k/∂z at sample i. All δ
come from one reverse pass: every sample is repeated n_out times, and copy k of it sends back the unit cotangent of
output k. That costs n_out passes over a batch, not one per row, and it is one plain gradient: loops included, XLA
compiles it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.jacobians.parts import Blocks, OuterProducts, Part, disjoint
from physgrad_tf.jacobians.samples import refuse_dependent
from physgrad_tf.jacobians.tapping import Call, is_linear, own_weights, refusing_dependence, tapped


def layer_parts(network: keras.Layer, outputs: Callable[[Any], tf.Tensor], inputs: Any) -> list[Part]:
    """The parts of ∂y/∂θ, θ being the trainable weights of `network`.

    Raises:
        TypeError: if `network` is not a Keras layer, `outputs` is not a function, or y is not floating.
        ValueError: if y is not [batch, n_out] with a static n_out, a layer mixes samples or is random, or y depends on
            none of the weights.
    """
    if not isinstance(network, keras.Layer):
        raise TypeError(f"network must be a Keras model or layer, got {type(network).__name__}.")
    validation.function("outputs", outputs)
    with refusing_dependence(network) as in_training:
        y = validation.batch_of_points("outputs", outputs(inputs))  # once without copies: n_out comes from here
    n_out = y.shape[1]
    if n_out is None:
        raise ValueError(f"outputs must return [batch, n_out] with n_out known, got {y.shape}.")
    places = {id(weight): place for place, weight in enumerate(network.trainable_variables)}
    if not places:
        raise ValueError("network must have trainable weights, got none.")
    if in_training:  # it has run at all
        refuse_dependent(network, inputs, any(in_training), outputs)
    copies = keras.tree.map_structure(lambda tensor: tf.repeat(tensor, n_out, axis=0), inputs)
    weights = network.trainable_variables
    with tf.GradientTape(watch_accessed_variables=False) as tape, tapped(network, tape) as calls:
        for weight in weights:
            tape.watch(weight.value)
        y_copies = outputs(copies)
    if not calls:
        raise ValueError("outputs does not depend on any of the weights: it never calls the network.")
    refuse_loops(calls, y_copies)
    batch = tf.shape(y)[0]
    units = tf.tile(tf.eye(n_out, dtype=y.dtype), [batch, 1])
    # 1 → ∂y_k/∂z for copy k of every sample, of all layers at once
    sources = [[call.output for call in calls], [weight.value for weight in weights]]
    cotangents, elsewhere = tape.gradient(y_copies, sources, output_gradients=units)
    for weight, path in zip(weights, elsewhere, strict=True):
        if path is not None:
            raise ValueError(
                f"weight {weight.path} is used outside of the call of its layer, where it cannot be followed. Use it "
                "in its layer only, or take the textbook kind, StackedJacobian.reverse."
            )
    if all(cotangent is None for cotangent in cotangents):
        raise validation.NoGradient("outputs does not depend on any of the weights.")
    by_layer: dict[int, list[tuple[Call, tf.Tensor]]] = {}
    for call, cotangent in zip(calls, cotangents, strict=True):
        if cotangent is not None:
            by_layer.setdefault(id(call.layer), []).append((call, cotangent))
    parts = [part_of_layer(group, places, batch, n_out) for group in by_layer.values()]
    return disjoint(parts, parts[0].tensors[-1].dtype, n_out)


def layer_parts_in_chunks(
    network: keras.Layer, outputs: Callable[[Any], tf.Tensor], inputs: Any, samples_at_once: int
) -> list[Part]:
    """The same as `layer_parts`, with the copies of at most `samples_at_once` samples in memory at a time.

    The batch is cut into portions of one size; the last is filled up with copies of the last sample, which are cut off
    again.

    Raises:
        TypeError: as `layer_parts`, or if `samples_at_once` is not an integer.
        ValueError: as `layer_parts`, or if `samples_at_once` is below 1.
    """
    most = validation.count("samples_at_once", samples_at_once, minimum=1)
    first = keras.tree.flatten(inputs)[0]
    batch = tf.shape(first)[0] if first.shape[0] is None else first.shape[0]
    n_chunks = (batch + most - 1) // most
    n_chunks = tf.maximum(n_chunks, 1) if tf.is_tensor(n_chunks) else max(n_chunks, 1)
    size = (batch + n_chunks - 1) // n_chunks
    places = tf.reshape(tf.minimum(tf.range(n_chunks * size), batch - 1), [n_chunks, size])
    structure: list[Part] = []

    def one_chunk(places: tf.Tensor) -> list[tf.Tensor]:
        chunk = keras.tree.map_structure(lambda tensor: tf.gather(tensor, places), inputs)
        structure[:] = layer_parts(network, outputs, chunk)
        return tf.nest.flatten(structure)

    # traced for one sample, in a graph that is thrown away, for what comes out: one row or n_out of them
    traced = tf.function(one_chunk, autograph=False).get_concrete_function(tf.TensorSpec([1], places.dtype))
    specs = traced.structured_outputs
    chunks = tf.map_fn(one_chunk, places, parallel_iterations=1, fn_output_signature=[spec.dtype for spec in specs])
    whole = []
    for chunk, spec in zip(chunks, specs, strict=True):
        rows_per_sample = spec.shape[0]
        merged = tf.reshape(chunk, [n_chunks * size * rows_per_sample, *spec.shape[1:]])
        whole.append(merged[: batch * rows_per_sample])
    return list(tf.nest.pack_sequence_as(structure, whole))


def part_of_layer(
    group: Sequence[tuple[Call, tf.Tensor]], places: dict[int, int], batch: tf.Tensor, n_out: int
) -> Part:
    """The part of one layer, over all its calls."""
    layer = group[0][0].layer
    if not is_linear(layer):
        columns: dict[int, tf.Tensor] = {}
        for call, cotangent in group:
            for place, block in replay(call, cotangent, places).items():
                columns[place] = columns[place] + block if place in columns else block
        return Blocks(columns, n_out)
    inputs, deltas = [], []
    for call, cotangent in group:
        a = positions(layer, split_copies(call.args[0], batch, n_out)[:, 0])  # the copies are equal
        delta = split_copies(cotangent, batch, n_out)
        inner = a.shape[1:-1]
        n_positions = math.prod(inner) if inner.is_fully_defined() else tf.reduce_prod(tf.shape(a)[1:-1])
        inputs.append(tf.reshape(a, [batch, n_positions, a.shape[-1]]))
        deltas.append(tf.reshape(delta, [batch, n_out, n_positions, delta.shape[-1]]))
    bias = None if layer.bias is None else places.get(id(layer.bias))
    return OuterProducts(places.get(id(layer.kernel)), bias, tf.concat(inputs, axis=1), tf.concat(deltas, axis=2))


def positions(layer: keras.Layer, a: tf.Tensor) -> tf.Tensor:
    """What meets the kernel, position by position: the input itself, or its patches for a convolution."""
    if not hasattr(layer, "kernel_size"):
        return a
    rank = layer.rank
    if rank == 1:
        a = a[:, tf.newaxis]  # [b, 1, steps, channels]
    one = [1] * (2 - rank)
    patches = tf.image.extract_patches(
        a,
        sizes=[1, *one, *layer.kernel_size, 1],
        strides=[1, *one, *layer.strides, 1],
        rates=[1, *one, *layer.dilation_rate, 1],
        padding=layer.padding.upper(),
    )
    patches.set_shape([None, None, None, math.prod(layer.kernel.shape[:-1])])
    return patches


def split_copies(tensor: tf.Tensor, batch: tf.Tensor, n_out: int) -> tf.Tensor:
    """[b·k, …] → [b, k, …]. Another leading size than b·k fails here instead of being cut wrongly."""
    inner = tensor.shape[1:]
    sizes = inner.as_list() if inner.is_fully_defined() else tf.unstack(tf.shape(tensor)[1:])
    split = tf.reshape(tensor, tf.stack([batch, n_out, *sizes]))
    split.set_shape([None, n_out, *inner])
    return split


def replay(call: Call, cotangent: tf.Tensor, places: dict[int, int]) -> dict[int, tf.Tensor]:
    """∂y/∂w of any other layer, row by row: the layer is called again on every copy alone, its cotangent sent back."""
    layer = call.layer
    weights = [weight for weight in own_weights(layer) if id(weight) in places]
    variables = [weight.value for weight in weights]
    arguments = (call.args, call.kwargs)
    tensors = [value for value in tf.nest.flatten(arguments) if tf.is_tensor(value)]

    def one_row(row: tuple[list[tf.Tensor], tf.Tensor]) -> list[tf.Tensor]:
        alone = iter(row[0])
        args, kwargs = tf.nest.map_structure(
            lambda value: next(alone)[tf.newaxis] if tf.is_tensor(value) else value, arguments
        )
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in variables:
                tape.watch(variable)
            output = layer.call(*args, **kwargs)
        gradients = tape.gradient(output, variables, row[1][tf.newaxis], unconnected_gradients="zero")
        return [tf.reshape(gradient, [-1]) for gradient in gradients]

    blocks = tf.vectorized_map(one_row, (tensors, cotangent))
    return {places[id(weight)]: block for weight, block in zip(weights, blocks, strict=True)}


def refuse_loops(calls: Sequence[Call], y: tf.Tensor) -> None:
    """Raise where a layer ran inside a compiled loop, whose single rounds cannot be told apart from outside."""
    if tf.executing_eagerly():
        return
    for call in calls:
        if call.output.graph is not y.graph:
            raise ValueError(
                f"layer {call.layer.name} is called inside a tf.while_loop or another function of its own. Call the "
                "network in a Python loop, with the physics between two calls in a tf.while_loop if it takes many "
                "steps; or take the textbook kind, StackedJacobian.reverse."
            )
