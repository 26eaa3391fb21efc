"""Whether network and physics treat the samples of a batch one by one, told by a trial before anything relies on it.

Structure does not tell it all: a layer of a reader's own may draw random numbers, compare a sample with the others, or
have no batch axis at all; so may a simulator. So both are asked about three small batches: with copies of one sample,
and with each of the others beside it and without it, as one sample may be the largest wherever it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
import weakref
from collections.abc import Callable, Iterator
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

#: Answers to one sample that differ by less, in units of the largest answer, are equal. Rounding gave at most 6e-7 over
#: the networks of the tests, and 7e-6 over the package's simulators, in float32 and with six networks each. Layers that
#: mix samples or draw random numbers gave at least 1e-2, simulators that do so 3e-3, with twenty networks each.
TOLERANCE = 1e-4

#: The verdict on a network that could not be asked, so that what follows it cannot be asked either.
UNASKED = ""
#: Sizes of random inputs that a simulator is asked about, the next one where it answers nothing finite.
SIZES = (1.0, 0.1, 0.01)
#: The samples of the batches.
ROWS = ([0, 0, 1], [0, 0, 2, 3], [1, 2])

_verdicts: weakref.WeakKeyDictionary[keras.Layer, dict[Any, str | None]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class OneByOne:
    """A map from inputs to y that is known to treat the samples one by one: whoever made it has tried."""

    outputs: Callable[[Any], tf.Tensor]

    def __call__(self, inputs: Any) -> tf.Tensor:
        """Return y."""
        return self.outputs(inputs)


def refuse_dependent(network: keras.Layer, inputs: Any, training: bool, outputs: Callable[[Any], tf.Tensor]) -> None:
    """Raise unless the network, and what follows it, treats the samples one by one.

    Args:
        network: a built network.
        inputs: a batch as it takes it; of this only the structure, shapes and dtypes are looked at.
        training: whether it runs as in training.
        outputs: maps inputs to y and calls the network on the way; it is not asked if it is `OneByOne`.

    Raises:
        SamplesDependent: if the answer to one sample depends on the others, on their number, or on chance.
    """
    reason = why_dependent(network, inputs, training)
    if reason is None and not isinstance(outputs, OneByOne):
        reason = why_outputs_dependent(network, outputs, inputs, training)
    if reason is not None:
        raise dependent(reason)


def dependent(reason: str) -> validation.SamplesDependent:
    """The error that says why the samples cannot be treated one by one, and what to do."""
    return validation.SamplesDependent(
        f"{reason}, so that J cannot be computed sample by sample. Leave that out, or take the textbook kind, "
        'StackedJacobian.reverse or jacobian="reverse".'
    )


def why_dependent(network: keras.Layer, inputs: Any, training: bool) -> str | None:
    """Why the samples cannot be treated one by one, as `refuse_dependent` says it, or None if they can.

    A trial that cannot run warns and counts as passed; so does one of inputs whose size is not known.
    """
    return _verdict(network, inputs, training) or None


def _verdict(network: keras.Layer, inputs: Any, training: bool) -> str | None:
    """What the trial said, asked once for all batches like `inputs`."""
    like = samples_like(inputs)
    if any(None in shape for shape, _ in like):
        return UNASKED
    key = (training, like, tuple(layer.trainable for layer in everything_below(network)))
    known = _verdicts.setdefault(network, {})
    if key not in known:
        known[key] = _try(network, inputs, training)
    return known[key]


def samples_like(inputs: Any) -> tuple[tuple[tuple[int | None, ...], str], ...]:
    """Shape and dtype of a sample, tensor by tensor: what does not depend on the number of samples."""
    return tuple((tuple(leaf.shape[1:]), str(leaf.dtype)) for leaf in keras.tree.flatten(inputs))


def why_outputs_dependent(
    network: keras.Layer, outputs: Callable[[Any], tf.Tensor], inputs: Any, training: bool
) -> str | None:
    """Why the physics cannot treat the samples one by one, or None if it can or a trial cannot run, of which it warns.

    Args:
        network: as in `why_dependent`; unless it treats the samples one by one, there is nothing to ask.
        outputs: maps inputs to y, by the network and what follows it.
        inputs: as in `why_dependent`.
        training: as in `why_dependent`.
    """
    if _verdict(network, inputs, training) is not None:
        return None

    def traced(batch: Any) -> tf.Tensor:  # not called as a tf.function: TensorFlow would warn of the second shape
        return tf.function(outputs, autograph=False).get_concrete_function(batch)(batch)

    def answers_of(run: Callable[[Any], tf.Tensor], size: float) -> list[list[np.ndarray]]:
        with tf.init_scope(), keras.StatelessScope():
            return [[keras.ops.convert_to_numpy(run(batch))] for batch in _batches(inputs, size)]

    try:
        for size in SIZES:
            try:
                answers = answers_of(traced, size)
            except Exception:  # noqa: BLE001 (it may only run eagerly)
                answers = answers_of(outputs, size)
            if all(np.isfinite(part).any() for run in answers for part in run):
                return _differing("the simulator", answers)
    except Exception as error:  # noqa: BLE001 (whatever a reader's simulator raises is said)
        warnings.warn(
            f"the simulator could not be asked about the network's answers to random inputs ({type(error).__name__}: "
            f"{error}), so that nothing tells whether it treats the samples of a batch one by one.",
            stacklevel=2,
        )
        return None
    warnings.warn(
        "the simulator answers nothing finite to the network's answers to random inputs, so that nothing tells whether "
        "it treats the samples of a batch one by one.",
        stacklevel=2,
    )
    return None


def _batches(inputs: Any, size: float = 1.0) -> list[Any]:
    """Random inputs of this `size` in the batches of `ROWS`."""
    rng = np.random.default_rng(0)

    def points(leaf: Any) -> np.ndarray:
        shape = (5, *leaf.shape[1:])
        dtype = tf.as_dtype(leaf.dtype).as_numpy_dtype
        return (
            (size * rng.normal(size=shape)).astype(dtype)
            if np.issubdtype(dtype, np.floating)
            else rng.integers(0, 2, shape)
        )

    pool = keras.tree.map_structure(points, inputs)
    dtypes = keras.tree.map_structure(lambda leaf: leaf.dtype, inputs)
    with tf.init_scope():
        return [
            keras.tree.map_structure(lambda p, d, rows=rows: tf.constant(p[rows], d), pool, dtypes) for rows in ROWS
        ]


def _differing(who: str, answers: list[list[np.ndarray]]) -> str | None:
    """What is wrong with the answers, tensor by tensor, to the batches of `ROWS`; None if nothing is."""
    for few, more, others in zip(*answers, strict=True):
        if not (_equal(few[0], few[1]) and _equal(more[0], more[1])):
            return f"{who} answers two copies of one sample differently: it draws random numbers or counts the samples"
        if not (_equal(few[0], more[0]) and _equal(few[2], others[0]) and _equal(more[2], others[1])):
            return f"{who} answers a sample differently in the company of others: it mixes samples"
    return None


def _try(network: keras.Layer, inputs: Any, training: bool) -> str | None:
    """Ask the network for all batches."""
    options = {"training": training} if takes_training(network.call) else {}
    answers, heads = [], []
    states = {id(generator.state) for layer in everything_below(network) for generator in generators(layer)}
    variables = [variable for variable in network.non_trainable_variables if id(variable) not in states]
    changed: dict[str, None] = {}
    try:
        for batch, rows in zip(_batches(inputs), ROWS, strict=True):
            with tf.init_scope(), keras.StatelessScope() as scope, _leading_sizes(network) as sizes:
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
        return UNASKED
    for (name, size), *others in zip(*heads, strict=True):
        if any(other != size for _, other in others):
            return f"layer {name} is called on something without a batch axis: its size does not grow with the batch"
    different = _differing(f"network {network.name}", answers)
    if different is not None:
        return different
    if changed:
        return f"network {network.name} changes {', '.join(changed)} whenever it runs: no two runs are of one network"
    return None


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two answers are equal up to rounding."""
    size = max(np.max(np.abs(part[np.isfinite(part)]), initial=0.0) for part in (a, b))
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
