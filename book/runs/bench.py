"""Measure what a training step costs: `make bench`. All figures are ratios of two things timed in one run.

Seconds depend on the machine and its load, ratios much less, and a wide spread says that the machine was busy. So
nothing here is asserted by a test. Run it on an idle machine. The table is stored, and the book shows it.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from book.runs import bench_half_inverse, bench_machines, bench_products, tables
from book.toc import ROOT
from physgrad_tf import simulators, training

ROUNDS = 7


RECORD = Path("chapters/closing/bench.json")


def main() -> None:
    """Time everything and write the record."""
    tables.write(benchmarks(), ROOT / RECORD)


def benchmarks() -> Iterator[tables.Table]:
    """The tables, in the order in which the book shows them."""
    yield scale_invariant_steps()
    yield from bench_half_inverse.tables()
    yield from bench_products.tables()
    yield from bench_machines.tables()


def scale_invariant_steps() -> tables.Table:
    """How many times as long as an Adam step a SIP step takes."""
    rows = []
    for what, target, first, second in pairs():
        print(f"{what} …", flush=True)
        rows.append([what, *compare(first, second), f"{target:g}"])
    return tables.Table(
        "One training step over one step of Adam on the loss",
        f"Batches of 100 for the sine example, of 32 for heat. Medians of {ROUNDS} rounds in which both ran in turn; "
        "in brackets the smallest and the largest ratio of a round.",
        ["Step", "ratio", "milliseconds", "meant to be at most"],
        rows,
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


def compare(first: Callable[[], float], second: Callable[[], float]) -> tuple[str, str]:
    """Time both in turn, and take the ratio round by round: a machine that slows down slows both."""
    rounds = [(first(), second()) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in rounds]
    a, b = (1e3 * statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", f"{a:.2f} over {b:.2f}"


if __name__ == "__main__":
    main()
