"""What takes part in a comparison."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import keras

from physgrad_tf import validation


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train a network, the learning rates to choose from, and how long it may train.

    Args:
        build: makes a compiled Keras model of a network that is given; its optimizer has a learning rate that can be
            set, hence no schedule. The models of `physgrad_tf.training` are meant, any other Keras model will do.
        rates: the grid of learning rates, increasing; it is extended by the factor between its last two where the best
            one lies at its end. A single rate is taken as it is, and the table says that it was not tuned.
        n_steps: batches in a training, of one update of the weights each, unless the model makes more. Methods are
            compared at equal time if their numbers of steps stand in the inverse ratio of what a step takes.
        batch_size: samples per update.

    Raises:
        TypeError: if `build` is no function, a rate is no number, or a number of steps or samples no integer.
        ValueError: if there is no rate, they do not increase, or a number is not positive.
    """

    build: Callable[[keras.Model], keras.Model]
    rates: Sequence[float]
    n_steps: int
    batch_size: int

    def __post_init__(self) -> None:
        """Check the arguments."""
        validation.function("build", self.build)
        rates = tuple(validation.positive("rates", rate) for rate in self.rates)
        if not rates or any(later <= earlier for earlier, later in itertools.pairwise(rates)):
            raise ValueError(f"rates must be increasing learning rates, at least one, got {rates}.")
        object.__setattr__(self, "rates", rates)
        validation.count("n_steps", self.n_steps, minimum=1)
        validation.count("batch_size", self.batch_size, minimum=1)
