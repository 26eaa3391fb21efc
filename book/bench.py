"""Measure what a training step costs: `python -m book.bench`. All figures are ratios of two things timed in one run.

Seconds depend on the machine and its load, ratios much less, and a wide spread says that the machine was busy. So
nothing here is asserted by a test. Run it on an idle machine.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf import simulators, training

ROUNDS = 7


@dataclass(frozen=True)
class Ratio:
    """How many times as long a takes as b; the median of rounds in which both ran in turn.

    Attributes:
        what: a over b, in words.
        target: what the ratio is meant not to exceed.
        ratio: median over the rounds.
        spread: smallest and largest ratio of a round.
        milliseconds: medians of a and b, for orientation.
    """

    what: str
    target: float
    ratio: float
    spread: tuple[float, float]
    milliseconds: tuple[float, float]


def main() -> None:
    """Time all pairs and print the table."""
    for what, target, first, second in pairs():
        print(f"{what} …", flush=True)
        result = compare(what, target, first, second)
        print(
            f"  {result.ratio:.2f} ({result.spread[0]:.2f} to {result.spread[1]:.2f}), meant to be at most {target:g}; "
            f"{result.milliseconds[0]:.2f} ms over {result.milliseconds[1]:.2f} ms",
            flush=True,
        )


def pairs() -> Iterator[tuple[str, float, Callable[[], float], Callable[[], float]]]:
    """What is compared with what: words, target, and two timers that return seconds per step."""
    rng = np.random.default_rng(0)
    batch = tf.constant(rng.uniform(-1.0, 1.0, (100, 2)), tf.float32)
    sine = simulators.Sine(xi=32.0, phi=np.pi / 4)
    for words, target, compiled in (("plain graph", 2.0, False), ("compiled by XLA", 1.2, True)):
        yield (
            f"Sine example, SIP step (saddle-free Newton) over Adam step, {words}",
            target,
            timer(scale_invariant(sine, training.SaddleFreeNewtonSolver()), batch, compiled, 300),
            timer(training.DifferentiablePhysics(perceptron(), sine), batch, compiled, 300),
        )
        yield (
            f"Sine example, SIP step (closed-form inverse) over Adam step, {words}",
            target,
            timer(scale_invariant(sine, None), batch, compiled, 300),
            timer(training.DifferentiablePhysics(perceptron(), sine), batch, compiled, 300),
        )
    heat = simulators.Heat(nu_t=4.0)
    fields = heat.simulate(tf.constant(simulators.soft_rectangles(32, 32, rng), tf.float32))
    yield (
        "Heat conduction 32 × 32, SIP step over Adam step, plain graph",
        2.0,
        timer(training.ScaleInvariantPhysics(convolutions(), heat), fields, False, 10),
        timer(training.DifferentiablePhysics(convolutions(), heat), fields, False, 10),
    )


def perceptron() -> keras.Model:
    """The network of the sine example."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(width, "relu") for width in (32, 64, 32)]
    return keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(2)])


def convolutions() -> keras.Model:
    """A small network from field to field."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Conv2D(8, 3, padding="same", activation="relu") for _ in range(3)]
    return keras.Sequential([keras.Input((32, 32, 1)), *hidden, keras.layers.Conv2D(1, 3, padding="same")])


def scale_invariant(simulator: simulators.Simulator, inverse: object) -> training.PhysicsModel:
    """The sine example's network with an inverse."""
    return training.ScaleInvariantPhysics(perceptron(), simulator, inverse=inverse)


def timer(model: training.PhysicsModel, batch: tf.Tensor, compiled: bool, n_steps: int) -> Callable[[], float]:
    """A function that runs `n_steps` training steps on one batch and returns seconds per step; it has run once."""
    model.compile(keras.optimizers.Adam(1e-4), jit_compile=compiled)
    model.train_on_batch(batch, batch)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def steps() -> tf.Tensor:
        def one(k: tf.Tensor) -> tf.Tensor:
            model.train_step((batch, batch))
            return k + 1

        return tf.while_loop(lambda k: k < n_steps, one, [tf.constant(0)])[0]

    def run() -> float:
        start = time.perf_counter()
        steps().numpy()
        return (time.perf_counter() - start) / n_steps

    run()
    return run


def compare(what: str, target: float, first: Callable[[], float], second: Callable[[], float]) -> Ratio:
    """Time both in turn, and take the ratio round by round: a machine that slows down slows both."""
    rounds = [(first(), second()) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in rounds]
    return Ratio(
        what,
        target,
        round(statistics.median(ratios), 2),
        (round(min(ratios), 2), round(max(ratios), 2)),
        (
            round(1e3 * statistics.median(a for a, _ in rounds), 3),
            round(1e3 * statistics.median(b for _, b in rounds), 3),
        ),
    )


if __name__ == "__main__":
    main()
