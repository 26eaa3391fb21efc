"""IPython start-up file: another draw of everything random, or slightly other starting weights, from outside a chapter.

`make settings` copies this file into the start-up folder of the kernels that it starts. It imports nothing of the
project, since the kernel may run in an environment without it. Environment variables say what to do:

PHYSGRAD_SEED_SHIFT=N: N is added to every seed that a chapter sets, of data and of weights.
PHYSGRAD_DISTURB=N: every floating-point starting weight w becomes w (1 + 1e-6 ε), with ε from the N-th stream of normal
    numbers. This is more than what other processors and other versions do to the last digits.
PHYSGRAD_CORE=N: the kernel has the N-th core alone.
"""

import functools
import os
from collections.abc import Callable
from typing import Any


def shift_seeds(shift: int) -> None:
    """Add `shift` to the seeds of numpy, Keras and TensorFlow, wherever a chapter or the package sets one."""
    import keras
    import numpy as np
    import tensorflow as tf

    def shifted(seed: Any) -> Any:
        if isinstance(seed, (int, np.integer)):
            return int(seed) + shift
        if isinstance(seed, (list, tuple)):  # [seed, step]: the first entry tells the stream, the second counts on
            return [seed[0] + shift, *seed[1:]]
        if tf.is_tensor(seed):
            return tf.concat([seed[:1] + shift, seed[1:]], axis=0)
        return seed  # None, or a generator that was seeded before

    def wrap(home: Any, name: str, position: int) -> None:
        original: Callable[..., Any] = getattr(home, name)

        @functools.wraps(original)
        def seeded(*args: Any, **kwargs: Any) -> Any:
            if "seed" in kwargs:
                kwargs["seed"] = shifted(kwargs["seed"])
            elif len(args) > position:
                args = (*args[:position], shifted(args[position]), *args[position + 1 :])
            return original(*args, **kwargs)

        setattr(home, name, seeded)

    wrap(np.random, "default_rng", 0)
    wrap(np.random, "seed", 0)
    wrap(keras.utils, "set_random_seed", 0)
    wrap(tf.random, "set_seed", 0)
    for name in dir(tf.random):
        if name.startswith("stateless_"):
            wrap(tf.random, name, 1)
    wrap(tf.data.Dataset, "shuffle", 2)


def disturb_weights(stream: int, size: float = 1e-6) -> None:
    """Multiply the start of every trainable floating-point weight by 1 + `size`·ε.

    The initializer does it: a layer may be built while a function is traced, where a weight has no value yet.
    """
    import inspect

    import keras
    import numpy as np

    rng = np.random.default_rng([stream, 20_261_125])
    add_weight = keras.layers.Layer.add_weight
    signature = inspect.signature(add_weight)

    @functools.wraps(add_weight)
    def disturbed(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        dtype = keras.backend.standardize_dtype(given.arguments["dtype"] or self.variable_dtype)
        if not given.arguments["trainable"] or "float" not in dtype:
            return add_weight(self, *args, **kwargs)
        initializer = keras.initializers.get(given.arguments["initializer"] or "glorot_uniform")  # Keras's own default
        factor = 1.0 + size * rng.standard_normal(tuple(given.arguments["shape"] or ()))

        def start(shape: Any, dtype: Any = None) -> Any:
            value = initializer(shape, dtype=dtype)
            return value * keras.ops.convert_to_tensor(factor, dtype=value.dtype)

        given.arguments["initializer"] = start
        return add_weight(*given.args, **given.kwargs)

    keras.layers.Layer.add_weight = disturbed


if "PHYSGRAD_CORE" in os.environ and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["PHYSGRAD_CORE"]) % len(cores)]})
if "PHYSGRAD_SEED_SHIFT" in os.environ:
    shift_seeds(int(os.environ["PHYSGRAD_SEED_SHIFT"]))
if "PHYSGRAD_DISTURB" in os.environ:
    disturb_weights(int(os.environ["PHYSGRAD_DISTURB"]))
