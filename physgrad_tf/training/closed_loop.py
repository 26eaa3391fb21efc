"""A network that is asked again at every time step, with the state that its own controls have led to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.training.signature import signature_of


@keras.saving.register_keras_serializable("physgrad_tf")
class ClosedLoop(keras.Layer):  # type: ignore[misc]
    """x = (u₁, …, u_n) with u_t = f(s_t, rest, time left; θ) and s_{t+1} = step(s_t, u_t).

    As the `network` of a physics model it trains the controller f through a sequence of network and simulator steps.
    Of `ScaleInvariantPhysics` every step then gets a term of its own in the proxy loss, ½|u_t − ũ_t|², and the inverse
    simulator answers for all controls at once. The gradient runs back through the earlier steps of both, the controller
    and the simulation.

    The inputs are [batch, n_state + n_rest]: the start state, then what the controller is shown unchanged at every step
    (such as the target; n_rest may be 0). Behind these the controller sees the part of the steps that is left, from 1
    down to 1/n. Without it, it could not tell whether a target is to be reached now or later.

    Args:
        controller: a Keras model or layer that maps [batch, n_state + n_rest + 1] to controls [batch, n_control].
        step: an object with `step(state, control)`, such as a simulator, or a function of state and control, which
            returns the next state [batch, n_state]. To be saved, it must be known to Keras.
        n_steps: number of control steps n, at least 1. They are unrolled.
        n_state: number of columns of a state, at least 1.
        **options: passed on to `keras.Layer`; the dtype is that of the controller unless given.

    Raises:
        TypeError: if `controller` is not a Keras layer, `step` cannot be called, or a number is not an integer.
        ValueError: if a number is below 1, or `step` is a layer whose weights would be trained as well. When called,
            if the inputs have fewer than n_state columns, or the controller or the step returns a wrong shape.
    """

    def __init__(self, controller: keras.Layer, step: Any, n_steps: int, n_state: int, **options: Any) -> None:
        if not isinstance(controller, keras.Layer):
            raise TypeError(f"controller must be a Keras model or layer, got {type(controller).__name__}.")
        super().__init__(**({"dtype": controller.dtype_policy} | options))
        self.controller = controller
        self.step = step
        self.n_steps = validation.count("n_steps", n_steps, minimum=1)
        self.n_state = validation.count("n_state", n_state, minimum=1)
        self._step = advance(step)
        refuse_learning(step)
        self.built = controller.built

    def get_config(self) -> dict[str, Any]:
        """Controller, step and numbers, serialised."""
        return super().get_config() | {
            "controller": keras.saving.serialize_keras_object(self.controller),
            "step": keras.saving.serialize_keras_object(self.step),
            "n_steps": self.n_steps,
            "n_state": self.n_state,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ClosedLoop:
        """A closed loop from its serialised parts."""
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value) if isinstance(value, dict) else value
                for name, value in config.items()
            }
        )

    def build(self, input_shape: Any) -> None:
        """Build the controller for inputs of shape `input_shape`, unless it is built already."""
        if not self.controller.built:
            self.controller.build((input_shape[0], input_shape[1] + 1))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Return all controls, [batch, n_steps · n_control], those of the first step first; `training` as in Keras."""
        state = validation.leading_columns("inputs", inputs, self.n_state)
        rest = inputs[:, self.n_state :]
        controls = []
        for k in range(self.n_steps):
            time_left = tf.ones_like(state[:, :1]) * (1.0 - k / self.n_steps)
            seen = tf.concat([state, rest, time_left], axis=1)
            control = validation.one_point_per_sample("controller", self.controller(seen, training=training), seen)
            controls.append(control)
            state = validation.like("step(state, control)", self._step(state, control), state, "state")
        refuse_learning(self.step)  # a layer may make its weights when it is called
        return tf.concat(controls, axis=1)


ClosedLoop.__signature__ = signature_of(ClosedLoop)


def advance(step: Any) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The map (state, control) → next state of a simulator or of a plain function."""
    if hasattr(step, "step"):
        return step.step
    validation.function("step", step)
    if isinstance(step, keras.Layer) and "training" in inspect.signature(step.call).parameters:
        return functools.partial(step, training=False)  # the physics does not learn
    return step


def refuse_learning(step: Any) -> None:
    """Raise if `step` is a layer with weights that would be trained with the controller."""
    if isinstance(step, keras.Layer) and step.trainable_variables:
        raise ValueError(
            f"step must not learn, got the layer {step.name} with trainable weights: set trainable = False."
        )
