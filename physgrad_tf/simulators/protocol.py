"""What a simulator must offer, and what the book's own simulators share."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, runtime_checkable

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
        """The fields, by name."""
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
