"""Whether a network treats the samples of a batch one by one, told by a trial before anything is built on it.

Structure does not tell it all: a layer of a reader's own may draw random numbers, compare a sample with the others, or
have no batch axis at all. So the network is asked about two small batches with two copies of one sample in each.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.jacobians.tapping import (
    everything_below,
    generators,
    layers_below,
    own_weights,
    replaced,
    takes_training,
)

#: Answers to one sample that differ by less, in units of the largest answer, are equal. Over the networks of the tests
#: rounding gave at most 6e-7, layers that mix samples or draw random numbers at least 1e-2.
TOLERANCE = 1e-4

_verdicts: weakref.WeakKeyDictionary[keras.Layer, dict[Any, str | None]] = weakref.WeakKeyDictionary()


def refuse_dependent(network: keras.Layer, inputs: Any, training: bool) -> None:
    """Raise unless the network treats the samples one by one.

    Args:
        network: a built network.
        inputs: a batch as it takes it; of this only the structure, shapes and dtypes are looked at.
        training: whether it runs as in training.

    Raises:
        SamplesDependent: if the answer to one sample depends on the others, on their number, or on chance.
    """
    reason = why_dependent(network, inputs, training)
    if reason is not None:
        raise validation.SamplesDependent(
            f"{reason}, so that J cannot be computed sample by sample. Leave that out, or take the textbook kind, "
            'StackedJacobian.reverse or jacobian="reverse".'
        )


def why_dependent(network: keras.Layer, inputs: Any, training: bool) -> str | None:
    """Why the samples cannot be treated one by one, as `refuse_dependent` says it, or None if they can.

    A trial that cannot run warns and counts as passed; so does one of inputs whose size is not known.
    """
    like = samples_like(inputs)
    if any(None in shape for shape, _ in like):
        return None
    key = (training, like, tuple(layer.trainable for layer in everything_below(network)))
    known = _verdicts.setdefault(network, {})
    if key not in known:
        known[key] = _try(network, inputs, training)
    return known[key]


def samples_like(inputs: Any) -> tuple[tuple[tuple[int | None, ...], str], ...]:
    """Shape and dtype of a sample, tensor by tensor: what does not depend on the number of samples."""
    return tuple((tuple(leaf.shape[1:]), str(leaf.dtype)) for leaf in keras.tree.flatten(inputs))


def _try(network: keras.Layer, inputs: Any, training: bool) -> str | None:
    """Ask for [s, s, t] and for [s, s, u, v]."""
    rng = np.random.default_rng(0)

    def points(leaf: Any) -> np.ndarray:
        shape = (5, *leaf.shape[1:])
        dtype = tf.as_dtype(leaf.dtype).as_numpy_dtype
        return rng.normal(size=shape).astype(dtype) if np.issubdtype(dtype, np.floating) else rng.integers(0, 2, shape)

    pool = keras.tree.map_structure(points, inputs)
    dtypes = keras.tree.map_structure(lambda leaf: leaf.dtype, inputs)
    options = {"training": training} if takes_training(network.call) else {}
    answers, heads = [], []
    states = {id(generator.state) for layer in everything_below(network) for generator in generators(layer)}
    variables = [variable for variable in network.non_trainable_variables if id(variable) not in states]
    changed: dict[str, None] = {}
    try:
        for rows in ([0, 0, 1], [0, 0, 2, 3]):
            with tf.init_scope(), keras.StatelessScope() as scope, _leading_sizes(network) as sizes:
                batch = keras.tree.map_structure(lambda p, d, rows=rows: tf.constant(p[rows], d), pool, dtypes)
                answer = network(batch, **options)
                changed |= {v.path: None for v in variables if scope.get_current_value(v) is not None}
                answers.append([keras.ops.convert_to_numpy(part) for part in keras.tree.flatten(answer)])
            heads.append([(name, size / len(rows)) for name, size in sizes])
    except Exception as error:  # noqa: BLE001 (whatever a reader's layer raises is said)
        warnings.warn(
            f"network {network.name} could not be asked about random inputs ({type(error).__name__}: {error}), so that "
            "only its layers tell whether it treats the samples of a batch one by one.",
            stacklevel=2,
        )
        return None
    for (name, few), (_, more) in zip(*heads, strict=True):
        if few != more:
            return f"layer {name} is called on something without a batch axis: its size does not grow with the batch"
    for few, more in zip(*answers, strict=True):
        if not (_equal(few[0], few[1]) and _equal(more[0], more[1])):
            return (
                f"network {network.name} answers two copies of one sample differently: it draws random numbers or "
                "counts the samples"
            )
        if not _equal(few[0], more[0]):
            return f"network {network.name} answers a sample differently in the company of others: it mixes samples"
    if changed:
        return f"network {network.name} changes {', '.join(changed)} whenever it runs: no two runs are of one network"
    return None


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two answers are equal up to rounding."""
    size = max(np.max(np.abs(a), initial=0.0), np.max(np.abs(b), initial=0.0))
    return bool(np.allclose(a, b, rtol=0.0, atol=TOLERANCE * size, equal_nan=True))


@contextlib.contextmanager
def _leading_sizes(network: keras.Layer) -> Iterator[list[tuple[str, float]]]:
    """Note the leading size of what leaves each layer with weights, call by call."""
    sizes: list[tuple[str, float]] = []

    def listener(layer: keras.Layer, call: Any) -> Any:
        def listen(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            if tf.is_tensor(output) and output.shape.rank:
                sizes.append((layer.name, float(tf.shape(output)[0])))
            return output

        return listen

    with contextlib.ExitStack() as stack:
        for layer in layers_below(network):
            if own_weights(layer):
                stack.enter_context(replaced(layer, "call", listener(layer, layer.call)))
        yield sizes
