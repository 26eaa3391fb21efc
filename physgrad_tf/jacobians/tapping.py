"""Listen to the layers of a network while it runs: what enters a layer's weights, and what leaves them.

For the time of one call the `call` of every layer that holds trainable weights is replaced by one that lets the layer
run without its activation, notes what came in and what went out, and applies the activation afterwards. This serves
Sequential, Functional, nested, shared and subclassed models alike, and layers that are called several times.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from physgrad_tf import validation

#: Layers that run their inner layers in ways of their own (loops, reshaped batches): listened to as a whole.
WHOLE = (keras.layers.RNN, keras.layers.Wrapper)
#: Layers that are a kernel, perhaps a bias, and an activation, beside Dense.
CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D)
#: How much randomness a layer of Keras is told to use; it uses none if all that it has of these are zero.
STRENGTHS = ("rate", "stddev", "dropout", "recurrent_dropout")


class Call(NamedTuple):
    """One call of one layer.

    Attributes:
        layer: the layer.
        args: the positional arguments of the call.
        kwargs: its other arguments.
        output: what left the layer; before the activation where `is_linear` says that the layer is kernel and bias.
    """

    layer: keras.Layer
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: tf.Tensor


@contextlib.contextmanager
def tapped(network: keras.Layer, tape: tf.GradientTape) -> Iterator[list[Call]]:
    """Note all calls of layers with trainable weights, and let `tape` watch their outputs.

    Args:
        network: a built network.
        tape: a recording tape.

    Yields:
        The list of calls, which fills while the network runs.

    Raises:
        ValueError: while the network runs, if a layer does not return one tensor.
    """
    calls: list[Call] = []
    with contextlib.ExitStack() as stack:
        for layer in layers_below(network):
            if own_weights(layer):
                stack.enter_context(replaced(layer, "call", listener(layer, layer.call, calls, tape)))
        yield calls


@contextlib.contextmanager
def refusing_dependence(network: keras.Layer) -> Iterator[list[bool]]:
    """Refuse layers that mix samples or draw random numbers, wherever they are, wrappers included, while they run.

    Args:
        network: a built network.

    Yields:
        A list that gets, call by call of its layers, whether they ran as in training.

    Raises:
        SamplesDependent: while the network runs.
    """
    flags: list[bool] = []

    def listener(layer: keras.Layer, call: Any) -> Any:
        tells = takes_training(call)

        def listen(*args: Any, **kwargs: Any) -> Any:
            training = bool(kwargs.get("training")) if tells else is_random(layer)
            flags.append(training)
            if training:
                # Recurrent layers and wrappers before they run: an error inside would leave a mask behind in them.
                for inner in everything_below(layer) if isinstance(layer, WHOLE) else [layer]:
                    refuse_dependent_layer(inner)
            return call(*args, **kwargs)

        return listen

    with contextlib.ExitStack() as stack:
        for layer in everything_below(network):
            stack.enter_context(replaced(layer, "call", listener(layer, layer.call)))
        yield flags


def listener(layer: keras.Layer, call: Any, calls: list[Call], tape: tf.GradientTape) -> Any:
    """A stand-in for the layer's `call` that notes its arguments and its output."""

    def listen(*args: Any, **kwargs: Any) -> tf.Tensor:
        activation = layer.activation if is_linear(layer) else None
        # The weights are held constant here, so that the tape finds a path to them only where they are used elsewhere.
        constants = [(weight, tf.stop_gradient(weight.value)) for weight in own_weights(layer)]
        with contextlib.ExitStack() as stack:
            stack.enter_context(keras.StatelessScope(constants))
            if is_linear(layer):
                stack.enter_context(replaced(layer, "activation", None))
            output = call(*args, **kwargs)
        if not tf.is_tensor(output):
            raise ValueError(f"layer {layer.name} must return one tensor, got {type(output).__name__}.")
        output = tf.identity(output)  # a tensor of its own, so that no other path is counted
        tape.watch(output)
        calls.append(Call(layer, args, kwargs, output))
        return output if activation is None else activation(output)

    return listen


def layers_below(layer: keras.Layer, into: Callable[[keras.Layer], bool] | None = None) -> list[keras.Layer]:
    """The layer itself and all layers it is made of, each once.

    Args:
        layer: where to begin.
        into: which layers are looked into; None is all but those in WHOLE.
    """
    into = into or (lambda layer: not isinstance(layer, WHOLE))
    found: dict[int, keras.Layer] = {}
    waiting = [layer]
    while waiting:
        layer = waiting.pop()
        if id(layer) in found:
            continue
        found[id(layer)] = layer
        if into(layer):
            waiting += [inner for inner in keras.tree.flatten(list(vars(layer).values())) if is_layer(inner)]
    return list(found.values())


def everything_below(layer: keras.Layer) -> list[keras.Layer]:
    """The layer itself and all layers it is made of, those inside recurrent layers and wrappers included."""
    return layers_below(layer, into=lambda layer: True)


def is_layer(value: Any) -> bool:
    """Whether this is a Keras layer."""
    return isinstance(value, keras.Layer)


def takes_training(call: Callable[..., Any]) -> bool:
    """Whether the `call` of a layer is told if it runs in training."""
    return "training" in inspect.signature(call).parameters


def own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """The trainable weights of a layer that belong to none of the layers it is made of."""
    inner = {id(weight) for other in layers_below(layer)[1:] for weight in other.trainable_variables}
    return [weight for weight in layer.trainable_variables if id(weight) not in inner]


def is_linear(layer: keras.Layer) -> bool:
    """Whether the layer is a kernel, perhaps a bias, and an activation, as Dense and plain convolutions are."""
    method = type(layer).call
    if method is keras.layers.Dense.call:
        plain = True
    elif method in {convolution.call for convolution in CONVOLUTIONS}:
        plain = layer.data_format == "channels_last" and layer.groups == 1 and layer.padding in ("valid", "same")
        plain = plain and layer.rank in (1, 2)
    else:
        plain = False
    # With low-rank adapters the kernel is no variable, but computed from several.
    return plain and isinstance(layer.kernel, keras.Variable)


def is_random(layer: keras.Layer) -> bool:
    """Whether the layer draws random numbers of its own: it has a generator, and is not told to leave it alone."""
    strengths = [getattr(layer, name) for name in STRENGTHS if hasattr(layer, name)]
    if strengths and not any(strengths):
        return False
    return bool(generators(layer))


def generators(layer: keras.Layer) -> list[keras.random.SeedGenerator]:
    """The random generators that the layer itself holds."""
    held = keras.tree.flatten(list(vars(layer).values()))
    return [value for value in held if isinstance(value, keras.random.SeedGenerator)]


def mixes_samples(layer: keras.Layer) -> bool:
    """Whether the layer takes means over the batch in training."""
    return isinstance(layer, keras.layers.BatchNormalization) and layer.trainable


def refuse_dependent_layer(layer: keras.Layer) -> None:
    """Raise where a sample's output depends on the others in training, or would differ between two copies of it."""
    if mixes_samples(layer):
        raise validation.SamplesDependent(
            f"layer {layer.name} mixes the samples of a batch (BatchNormalization in training), so that no sample has "
            "a Jacobian of its own. Set its trainable = False, use LayerNormalization, or take the textbook kind, "
            'StackedJacobian.reverse or jacobian="reverse".'
        )
    if is_random(layer):
        raise validation.SamplesDependent(
            f"layer {layer.name} ({type(layer).__name__}) draws new random numbers for every copy of a sample. Leave "
            'it out, or take the textbook kind, StackedJacobian.reverse or jacobian="reverse".'
        )


@contextlib.contextmanager
def replaced(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of the instance for a while, behind the back of Keras's own bookkeeping of attributes."""
    missing = object()
    before = vars(thing).get(name, missing)
    vars(thing)[name] = value
    try:
        yield
    finally:
        if before is missing:
            del vars(thing)[name]
        else:
            vars(thing)[name] = before
