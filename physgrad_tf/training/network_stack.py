"""Many small networks at once: one model holds them all, and one compiled loop trains them all.

A scan over seeds, learning rates and parameters of the physics trains the same small network dozens of times. One by
one, every step of every network pays for calls of tiny operations. Stacked, S networks share each call: the weights of
a layer are [S, n_in, n_out], and the data are [S, batch, n]. The networks stay independent, because the losses are
summed over them, and every weight belongs to one term of the sum.

The networks come first here and not the batch, so that every weight, bias or kernel, has the shape [S, ·, ·]. A
learning rate of shape [S, 1, 1] then gives each network its own, also within a schedule such as
`keras.optimizers.schedules.CosineDecay(rates, n_steps)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf import validation

# Optimizers whose step of a weight depends on the gradients of this weight alone.
ELEMENTWISE = (
    keras.optimizers.Adadelta,
    keras.optimizers.Adagrad,
    keras.optimizers.Adam,
    keras.optimizers.Adamax,
    keras.optimizers.Ftrl,
    keras.optimizers.Lion,
    keras.optimizers.Nadam,
    keras.optimizers.RMSprop,
    keras.optimizers.SGD,
)


def stack_networks(networks: Sequence[keras.Sequential]) -> keras.Sequential:
    """One model of S networks: [S, batch, n_in] → [S, batch, n_out], row s through a copy of network s.

    Args:
        networks: S built `keras.Sequential` of `keras.layers.Dense`, all of the same widths and activations. The same
            network may stand there several times; its copies train independently.

    Returns:
        A `keras.Sequential` of `keras.layers.EinsumDense` that starts with the weights of the networks.

    Raises:
        TypeError: if a network is not a `keras.Sequential` of `keras.layers.Dense`.
        ValueError: if there is no network, one is not built, two differ in more than their weights, or a layer is
            frozen or has constraints or regularisers, which a stack would lose.
    """
    networks = list(networks)
    if not networks:
        raise ValueError("networks must hold at least one network, got none.")
    for position, network in enumerate(networks):
        found, wanted = layers_of(f"networks[{position}]", network), layers_of("networks[0]", networks[0])
        if found != wanted:
            raise ValueError(f"networks must all have the layers {wanted}, got {found} at position {position}.")
    first = networks[0].layers[0]
    stack = keras.Sequential(
        [keras.Input(batch_shape=(len(networks), None, first.kernel.shape[0]), dtype=first.compute_dtype)]
    )
    for layer in networks[0].layers:
        stack.add(
            keras.layers.EinsumDense(
                "sbi,sio->sbo",  # h_s → h_s W_s for all s
                output_shape=(None, layer.units),
                activation=layer.activation,
                bias_axes="so" if layer.use_bias else None,
                dtype=layer.dtype_policy,
            )
        )
    values = zip(*(network.get_weights() for network in networks), strict=True)
    stack.set_weights([np.reshape(value, held.shape) for value, held in zip(values, stack.weights, strict=True)])
    return stack


def take_from_stack(stack: keras.Sequential, index: int, network: keras.Sequential) -> None:
    """Write the weights of network `index` of a stack into `network`, which can then be used alone.

    Args:
        stack: what `stack_networks` returned.
        index: which network, counted from 0.
        network: a built network of the same widths; its weights are overwritten.

    Raises:
        TypeError: if `network` is not a `keras.Sequential` of `keras.layers.Dense`.
        ValueError: if `index` is out of range, or `network` is not built or has other widths.
    """
    layers_of("network", network)
    n_networks = stack.weights[0].shape[0]
    if not 0 <= index < n_networks:
        raise ValueError(f"index must be from 0 to {n_networks - 1}, got {index}.")
    held = [weight[index] for weight in stack.get_weights()]  # a bias has the shape [1, n_out] here
    widths = [tuple(weight.shape) for weight in network.weights]
    if [(1, *shape)[-2:] for shape in widths] != [weight.shape for weight in held]:
        raise ValueError(f"network must have the widths of the stack, {[w.shape for w in held]}, got {widths}.")
    network.set_weights([np.reshape(weight, shape) for weight, shape in zip(held, widths, strict=True)])


def train_stack(
    stack: keras.Sequential,
    optimizer: keras.optimizers.Optimizer,
    batch: Callable[[tf.Tensor], Any],
    losses: Callable[[Any], tf.Tensor],
    measure: Callable[[], tf.Tensor],
    record_at: Sequence[int],
    updates_per_batch: int = 1,
    jit_compile: bool = True,
) -> tf.Tensor:
    """Train all networks of a stack in one compiled loop, and measure them on the way.

    Step i calls `batch(i)` once, and then minimises `losses` of its answer `updates_per_batch` times. What `batch`
    returns is held constant, so this is where an inverse simulator goes. A network that diverges shows NaN or Inf
    in its own records; the others do not notice.

    Args:
        stack: what `stack_networks` returned; its weights are updated.
        optimizer: a new Keras optimizer that treats every weight by itself. A learning rate of shape [S, 1, 1], also
            within a schedule, gives each network its own.
        batch: maps the number of the step, an int32 tensor, to the data, a tensor or a structure of tensors.
        losses: maps the data to the loss of every network, [S]. Both functions are traced once, so random numbers
            must come from the number of the step (`tf.random.stateless_uniform`, which draws other ones under XLA).
        measure: returns a tensor of what is to be recorded.
        record_at: the numbers of steps after which `measure` is called, increasing; 0 is before the first step, and
            the last number ends the training.
        updates_per_batch: how many updates of the weights follow each call of `batch`.
        jit_compile: whether the loop is compiled by XLA.

    Returns:
        The records, one row for each entry of `record_at`.

    Raises:
        TypeError: if a function is none, a number is no integer, or the optimizer lets weights act on one another.
        ValueError: if `record_at` does not increase from 0 or more, `updates_per_batch` is below 1, `losses` does not
            return [S], the optimizer was used before, or it clips gradients by norms, which would couple the networks.
    """
    marks = [validation.count("record_at", number, minimum=0) for number in record_at]
    if not marks or any(later <= earlier for earlier, later in itertools.pairwise(marks)):
        raise ValueError(f"record_at must be increasing numbers of steps, got {marks}.")
    validation.count("updates_per_batch", updates_per_batch, minimum=1)
    for name, function in (("batch", batch), ("losses", losses), ("measure", measure)):
        validation.function(name, function)
    refuse_coupling(optimizer)
    variables = stack.trainable_variables
    optimizer.build(variables)
    n_networks = variables[0].shape[0]

    def update(inner: tf.Tensor, data: Any) -> tf.Tensor:
        with tf.GradientTape() as tape:
            values = losses(data)
            total = optimizer.scale_loss(tf.reduce_sum(values))  # a weight of network s feels term s alone
        if values.shape != (n_networks,):
            raise ValueError(f"losses must return one value per network, [{n_networks}], got {values.shape}.")
        optimizer.apply(tape.gradient(total, [variable.value for variable in variables]), variables)
        return inner + 1

    def step(number: tf.Tensor) -> tf.Tensor:
        data = tf.nest.map_structure(tf.stop_gradient, batch(number))
        repeat(lambda inner: update(inner, data), tf.constant(0), tf.constant(updates_per_batch))
        return number + 1

    def advance(start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        repeat(step, start, end)
        return measure()

    # Traced here and not by the first call: TensorFlow warns where many new functions are traced by calls.
    number = tf.TensorSpec([], tf.int32)
    compiled = tf.function(advance, jit_compile=jit_compile, autograph=False).get_concrete_function(number, number)
    return tf.stack([compiled(tf.constant(start), tf.constant(end)) for start, end in itertools.pairwise([0, *marks])])


def repeat(body: Callable[[tf.Tensor], tf.Tensor], start: tf.Tensor, end: tf.Tensor) -> None:
    """Call `body`, which returns its number plus one, for the numbers from `start` up to and without `end`."""
    tf.while_loop(lambda number: number < end, lambda number: [body(number)], [start])


def layers_of(name: str, network: Any) -> list[tuple[Any, ...]]:
    """What the networks of one stack have in common: widths, activation, bias and dtype of every layer."""
    if not isinstance(network, keras.Sequential):
        raise TypeError(f"{name} must be a keras.Sequential of keras.layers.Dense, got {type(network).__name__}.")
    for layer in network.layers:
        if type(layer) is not keras.layers.Dense:
            raise TypeError(
                f"{name} must be a keras.Sequential of keras.layers.Dense, got a layer {type(layer).__name__}."
            )
        kept = [
            key for key, value in layer.get_config().items() if key.endswith(("_constraint", "_regularizer")) and value
        ]
        if kept or not layer.trainable:
            raise ValueError(
                f"{name} must have layers that are trained freely: a stack takes over no "
                f"{' and no '.join(kept) if kept else 'frozen weights'}, got them in {layer.name}."
            )
    if not network.built:
        raise ValueError(f"{name} must be built: give it a keras.Input, or call it once.")
    return [
        (*layer.kernel.shape, keras.activations.serialize(layer.activation), layer.use_bias, layer.compute_dtype)
        for layer in network.layers
    ]


def refuse_coupling(optimizer: Any) -> None:
    """Raise unless the optimizer treats every weight by itself and is new."""
    if not isinstance(optimizer, ELEMENTWISE):
        names = ", ".join(cls.__name__ for cls in ELEMENTWISE)
        raise TypeError(f"optimizer must be one of {names}, got {type(optimizer).__name__}.")
    if optimizer.clipnorm is not None or optimizer.global_clipnorm is not None:
        raise ValueError("optimizer must not clip gradients by norms: a norm over the stack would couple the networks.")
    if optimizer.built:
        raise ValueError("optimizer must be new: this one holds the state of other weights.")
