"""How much memory and work a step with the Jacobian of a whole batch takes, told before it is made.

The making of the Jacobian is traced for a few samples, that of the step for the batch that is asked about. Nothing is
computed. `traced_cost` reads the two graphs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from physgrad_tf import spectral
from physgrad_tf.spectral.step import SMALLEST_LANCZOS_RCOND
from physgrad_tf.training import traced_cost

#: For how many samples the making of the Jacobian is traced; what does not grow with them should not count.
FEW = 16
#: Where so many samples fit, any number counts as fitting.
MOST_SAMPLES = 2**20


@dataclasses.dataclass(frozen=True)
class JacobianSize:
    """How large the stacked Jacobian of a batch is, and what a step with it takes.

    Attributes:
        n_rows: batch·n_out.
        n_weights: the number of trainable weights.
        n_bytes: of the matrix in float64, in which it is decomposed.
        kind: how it is computed, "reverse", "layerwise", "kernel" or "products"; the last two never form the matrix.
        route: what is decomposed, "J Jᵀ", "JᵀJ", "J" or, of 32 products, "B of 32 products".
        peak_bytes: the most memory that a step holds at one time, beside weights and data: the copies of all samples on
            their way through network and physics, what is stored of J, the products, the decomposition. XLA often needs
            less. Right within a factor of 1.5 where it was measured; a `tf.while_loop` that does not count up to a
            constant is taken for one round.
        n_operations: floating-point operations of the step, in the same way.
    """

    n_rows: int
    n_weights: int
    n_bytes: int
    kind: str
    route: str
    peak_bytes: int
    n_operations: int


class StepCost:
    """Memory and operations of a step as functions of the number of samples.

    Args:
        stacked_jacobian: maps a batch of inputs to the stacked Jacobian.
        step: maps a stacked Jacobian and ∂L/∂y to the step.
        inputs: a batch of any size; of this only the structure, shapes and dtypes are looked at.
        kind: the kind of the stacked Jacobian.

    Attributes:
        n_out: outputs per sample.
        n_weights: the number of trainable weights.
    """

    def __init__(
        self,
        stacked_jacobian: Callable[[Any], Any],
        step: Callable[[Any, tf.Tensor], Any],
        inputs: Any,
        kind: str,
    ) -> None:
        self._step, self._known = step, dict[int, tuple[int, ...]]()
        traced = tf.function(stacked_jacobian, autograph=False)
        # One reverse pass a row runs the whole batch through every pass: with the square of the samples.
        sizes = (FEW, 4 * FEW) if kind == "reverse" else (FEW,)
        found = [traced.get_concrete_function(with_samples(inputs, size)) for size in sizes]
        self._stacked = found[0].structured_outputs
        self.n_out: int = self._stacked.n_rows // FEW
        self.n_weights: int = self._stacked.n_weights
        self._making = [polynomial([count(one.graph) for one in found]) for count in COUNTS]

    def memory(self, n_samples: int, at_once: int | None = None) -> int:
        """The peak in bytes for so many samples, the copies of `at_once` of them in memory at a time."""
        stored = self.stored(n_samples)
        if at_once is None or at_once >= n_samples:
            making = self._making[0](n_samples)
        else:  # what is stored of the portions stands beside what is made of them
            making = self._making[0](at_once) + 2 * stored
        return round(max(making, stored + self._step_of(n_samples)[0]))

    def operations(self, n_samples: int) -> int:
        """The floating-point operations for so many samples."""
        return round(self._making[1](n_samples) + self._step_of(n_samples)[1])

    def stored(self, n_samples: int) -> int:
        """What is stored of the Jacobian of so many samples, in bytes."""
        return sum(traced_cost.n_bytes(tensor) for tensor in tf.nest.flatten(self._stacked)) * n_samples // FEW

    def samples_that_fit(self, limit: int, at_once: int | None = None) -> int:
        """How many samples' step fits into `limit` bytes and takes a tenth less at most; MOST_SAMPLES for any number.

        0 if that of one sample does not fit.
        """
        low, high = (0, 0), (MOST_SAMPLES, self.memory(MOST_SAMPLES, at_once))
        if high[1] <= limit:
            return MOST_SAMPLES
        trial = 32
        while low[1] < 0.9 * limit and high[0] > low[0] + 1:
            found = trial, self.memory(trial, at_once)
            low, high = (found, high) if found[1] <= limit else (low, found)
            if low[0]:  # memory grows with a power of the samples
                part = math.log(0.95 * limit / low[1]) / math.log(high[1] / low[1])
                trial = round(low[0] * (high[0] / low[0]) ** part)
            else:
                trial = round(high[0] * (0.95 * limit / high[1]))
            trial = min(max(trial, low[0] + 1), high[0] - 1)
        return low[0]

    def at_once_that_fits(self, n_samples: int | None, limit: int) -> int | None:
        """The most samples whose copies fit into `limit` bytes at a time, at least 1; None if all do.

        Where their number is not known, the copies get half of it, and what is stored the other half.
        """
        if n_samples is not None and self._making[0](n_samples) <= limit:
            return None
        left = limit / 2 if n_samples is None else limit - 2 * self.stored(n_samples)
        return max(1, int(left / self._making[0](1)))

    def _step_of(self, n_samples: int) -> tuple[int, ...]:
        if n_samples not in self._known:
            stacked = with_samples(self._stacked, n_samples, of=FEW)
            dtype = tf.nest.flatten(self._stacked)[-1].dtype
            gradient = tf.TensorSpec([n_samples * self.n_out], dtype)
            graph = tf.function(self._step, autograph=False).get_concrete_function(stacked, gradient).graph
            self._known[n_samples] = tuple(count(graph) for count in COUNTS)
        return self._known[n_samples]


class ProductsCost(StepCost):
    """The same of a step from products alone, which goes with the samples, beside the vectors of all weights.

    Args:
        step: maps a batch of inputs to y [batch, n_out] and the step [n_weights].
        inputs: as in `StepCost`.
    """

    def __init__(self, step: Callable[[Any], Any], inputs: Any) -> None:
        self._traced, self._inputs, self._known = (
            tf.function(step, autograph=False),
            inputs,
            dict[int, tuple[int, ...]](),
        )
        y, of_all_weights = self._traced.get_concrete_function(with_samples(inputs, FEW)).structured_outputs
        self.n_out, self.n_weights = y.shape[1], of_all_weights.shape[0]

    def memory(self, n_samples: int, at_once: int | None = None) -> int:
        """The peak in bytes for so many samples; there are no copies, and `at_once` says nothing."""
        return self._step_of(n_samples)[0]

    def operations(self, n_samples: int) -> int:
        """The floating-point operations for so many samples."""
        return self._step_of(n_samples)[1]

    def stored(self, n_samples: int) -> int:
        """Nothing is stored of the Jacobian."""
        return 0

    def _step_of(self, n_samples: int) -> tuple[int, ...]:
        if n_samples not in self._known:
            graph = self._traced.get_concrete_function(with_samples(self._inputs, n_samples)).graph
            self._known[n_samples] = tuple(count(graph) for count in COUNTS)
        return self._known[n_samples]


#: What is told of a graph.
COUNTS = (traced_cost.peak_bytes, traced_cost.n_operations)


def polynomial(values: list[int]) -> Callable[[int], float]:
    """c₁b, or c₁b + c₂b² with c₂ ≥ 0, through the values at b = FEW, or at FEW and 4·FEW."""
    square = max(0.0, (values[1] - 4 * values[0]) / (12 * FEW**2)) if len(values) == 2 else 0.0
    linear = values[0] / FEW - FEW * square
    return lambda b: linear * b + square * b**2


def with_samples(tensors: Any, n_samples: int, of: int | None = None) -> Any:
    """The structure as specs with `n_samples` along the first axis, or, with `of` samples now, in that proportion."""

    def spec(tensor: Any) -> tf.TensorSpec:
        first = n_samples if of is None else tensor.shape[0] * n_samples // of
        return tf.TensorSpec([first, *tensor.shape[1:]], tensor.dtype)

    return tf.nest.map_structure(spec, tensors) if of else keras.tree.map_structure(spec, tensors)


def route(kind: str, n_rows: int, n_weights: int, rcond: float, n_products: int | None) -> str:
    """What is decomposed; `n_products` is None where no products are taken."""
    if n_products is not None:
        whole = kind != "products" and spectral.SMALLEST_GRAM_RCOND <= rcond < SMALLEST_LANCZOS_RCOND
        return "J Jᵀ" if whole and n_rows <= n_weights else f"B of {n_products} products"
    if rcond < spectral.SMALLEST_GRAM_RCOND:
        return "J"
    return "J Jᵀ" if n_rows <= n_weights else "JᵀJ"


def in_words(n_bytes: float) -> str:
    """Bytes with their unit."""
    power = min(4, max(0, int(math.log2(max(1.0, n_bytes)) // 10)))
    return f"{n_bytes / 2 ** (10 * power):.4g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
