"""How a simulator or an inverse that somebody brings is called: one rule for all of them.

*What is called.* Of an object with `simulate`, that method; a Keras layer or model, with `training=False`, since the
physics does not learn; anything else that can be called: functions, `tf.function`s, `functools.partial`s, objects.

*With what.* A simulator gets x, an inverse y and a guess of x. Either gets the inputs of the network as well if it asks
for them: by one more required parameter, or by a parameter named `inputs`. Parameters with defaults are its own affair.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation


def simulator_map(simulator: Any) -> Callable[[tf.Tensor, Any], tf.Tensor]:
    """The map (x, inputs) → y of a simulator.

    Args:
        simulator: what maps x [batch, n] to y [batch, m], as this module says.

    Raises:
        TypeError: if it cannot be called, or asks for more than x and inputs.
    """
    if hasattr(simulator, "simulate") and not isinstance(simulator, type):
        return _bind("simulator.simulate", simulator.simulate, ("x",))
    if isinstance(simulator, keras.Layer):
        return _of_layer(simulator)
    return _bind("simulator", simulator, ("x",))


def function_of_x(simulator: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """The map x → y of a simulator, with None for the inputs if it asks for them.

    Raises:
        TypeError: as `simulator_map`.
    """
    simulate = simulator_map(simulator)
    return lambda x: simulate(x, None)


def distance_map(simulator: Any) -> Callable[[tf.Tensor, tf.Tensor, Any], tf.Tensor]:
    """The map (x, y, inputs) → the error in x of every sample, [batch], of a simulator with `distance`.

    Args:
        simulator: its `distance` takes x and y*.

    Raises:
        TypeError: if it does not take x and y, and at most inputs beside these.
    """
    return _bind("simulator.distance", simulator.distance, ("x", "y"))


def inverse_map(name: str, inverse: Any) -> Callable[[tf.Tensor, tf.Tensor, Any], tf.Tensor]:
    """The map (y, x_guess, inputs) → x of an inverse simulator.

    Args:
        name: what it is called in an error.
        inverse: what maps y [batch, m] and a guess [batch, n] to the x [batch, n] near it with P(x) = y.

    Raises:
        TypeError: if it cannot be called, or does not take y and a guess, and at most inputs beside these.
    """
    return _bind(name, inverse, ("y", "x_guess"))


def _of_layer(layer: keras.Layer) -> Callable[[tf.Tensor, Any], tf.Tensor]:
    """A layer by the same rule, of the parameters that Keras does not fill by itself."""
    signature = inspect.signature(layer.call)
    options = {"training": False} if "training" in signature.parameters else {}

    def call(*arguments: Any, **named: Any) -> Any:
        return layer(*arguments, **named, **options)

    asked = [parameter for name, parameter in signature.parameters.items() if name not in ("training", "mask")]
    call.__signature__ = signature.replace(parameters=asked)  # type: ignore[attr-defined]
    return _bind("simulator", call, ("x",))


def _bind(name: str, function: Any, own: tuple[str, ...]) -> Callable[..., tf.Tensor]:
    """`function` as one of its `own` arguments and the inputs."""
    validation.function(name, function)
    if isinstance(function, type):
        raise TypeError(f"{name} must be a function or an object, got the class {function.__name__}: make an object.")
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # some functions that are written in C do not tell
        return lambda *arguments: function(*arguments[:-1])
    in_order = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    required = [p for p in in_order if p.default is p.empty]
    unknown = [
        p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name != "inputs"
    ]
    if (len(in_order) < len(own) and not any_number) or len(required) > len(own) + 1 or unknown:
        raise TypeError(
            f"{name} must be a function of {' and '.join(own)}, or of {', '.join(own)} and inputs, "
            f"got one of ({', '.join(map(str, parameters.values()))})."
        )
    fixed = function.keywords if isinstance(function, functools.partial) else {}
    others = [p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if "inputs" in {p.name for p in others if p not in in_order[: len(own)]} - set(fixed):
        return lambda *arguments: function(*arguments[:-1], inputs=arguments[-1])
    if len(required) > len(own):
        return function
    return lambda *arguments: function(*arguments[:-1])
