"""What a simulator must offer, and what the book's own simulators share."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf


@runtime_checkable
class Simulator(Protocol):
    """A differentiable map from x [batch, n] to y [batch, m]."""

    def simulate(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """Return y = P(x). `inputs` is what else the system was given, such as a start state; it may be ignored."""
        ...


@runtime_checkable
class InvertibleSimulator(Simulator, Protocol):
    """A simulator with an inverse near a known point."""

    def local_inverse(self, y: Any, x_guess: Any, inputs: Any = None) -> tf.Tensor:
        """Return the x closest to `x_guess` with P(x) = y."""
        ...


class SavedByFields:
    """Lets Keras save and load a frozen dataclass by its fields, together with a model that holds it.

    A simulator of your own inherits from it and is registered under the name of your package::

        @keras.saving.register_keras_serializable("your_package")
        @dataclasses.dataclass(frozen=True)
        class Pendulum(pg.simulators.SavedByFields):
            length: float

    The fields must be numbers, texts, or lists of them.
    """

    def get_config(self) -> dict[str, Any]:
        """The fields, by name.

        Raises:
            TypeError: if one is an array or a tensor, which Keras would store and not give back.
        """
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) or tf.is_tensor(value):
                raise TypeError(
                    f"{field.name} must be a number, a text or a list of them to be saved, got {type(value).__name__}: "
                    "keep a tuple, and make the array where it is used."
                )
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """An object with the fields `config`, as `get_config` returns them."""
        return cls(**config)


class FunctionOfX(SavedByFields):
    """Lets a simulator also be called like a function of x."""

    def __call__(self, x: Any, inputs: Any = None) -> tf.Tensor:
        """Return y = P(x); the same as `simulate`."""
        return self.simulate(x, inputs)  # type: ignore[attr-defined]
