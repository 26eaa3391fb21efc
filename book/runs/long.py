"""What holds only after long training: `python -m book.runs.long` runs it and stores the record, which the book shows.

A chapter uses the smallest setting that decides its claim. Some statements of the sources are about ten or thirty times
as many steps. They are run here, with numbers of steps fixed, so the record does not depend on the speed of the
machine. It takes some ten minutes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from book.runs import tables
from book.toc import ROOT
from physgrad_tf import simulators, training

RECORD = Path("chapters/closing/long.json")
SEEDS = (0, 1, 2)
BATCH = 100
STEPS = 30_000
#: Best constant rates at ξ = 1 and at ξ = 32; the published ones for SIP and Adam. SGD's goes with 1/ξ².
RATES = {
    "SIP": (3e-4, 3e-4),
    "Adam": (1e-3, 1e-3),
    "SGD": (1e-2, 1e-2 / 32**2),
    "Adadelta": (1e-1, 3e-2),
    "Adagrad": (3e-2, 3e-2),
    "RMSprop": (1e-4, 3e-4),
}


def main() -> None:
    """Run everything and write the record."""
    tables.write(experiments(), ROOT / RECORD)


def experiments() -> Iterator[tables.Table]:
    """The tables, in the order in which the book shows them."""
    yield six_optimizers()
    yield angles()


def six_optimizers() -> tables.Table:
    """S8, S9 and S15: all optimizers at ξ = 1 and ξ = 32, both coupled at 45°."""
    rows = []
    for name, rates in RATES.items():
        row = [name]
        for xi, rate in zip((1.0, 32.0), rates, strict=True):
            distances = train_sine(name, xi, 45.0, rate, STEPS)
            close = np.argmax(distances < 0.05 * xi / 32.0, axis=0) * (STEPS // RECORDS)
            reached = np.any(distances < 0.05 * xi / 32.0, axis=0)
            row += [f"{rate:.2g}", interval(distances[-1])]
            if xi == 32.0:
                row.append(", ".join(f"{n}" if r else "never" for n, r in zip(close, reached, strict=True)))
        rows.append(row)
    return tables.Table(
        "Sine example at 45°: distance in x after long training (S8, S9, S15)",
        f"{settings(STEPS)} Smallest and largest of three seeds; for every seed the first record below 0.05.",
        ["Optimizer", "rate, ξ = 1", "distance, ξ = 1", "rate, ξ = 32", "distance, ξ = 32", "steps to 0.05, ξ = 32"],
        rows,
    )


def angles() -> tables.Table:
    """S10: what the angle does to SIP and to Adam at ξ = 32."""
    rows = []
    for name in ("SIP", "Adam"):
        last = {degrees: train_sine(name, 32.0, degrees, RATES[name][1], STEPS)[-1] for degrees in (0.0, 1.0, 45.0)}
        ratio = np.median(last[45.0]) / np.median(last[0.0])
        rows.append([name, *(interval(distances) for distances in last.values()), f"{ratio:.2g}"])
    return tables.Table(
        "Sine example at ξ = 32: distance in x over the angle (S10)",
        f"{settings(STEPS)} Smallest and largest of three seeds; the ratio is one of medians.",
        ["Optimizer", "0°", "1°", "45°", "45° over 0°"],
        rows,
    )


RECORDS = 60


def settings(n_steps: int) -> str:
    """What all sine runs share, in words."""
    return (
        f"{n_steps} steps of {BATCH} targets at a constant rate, SIP with the L¹ proxy, network 2-32-64-32-2 with "
        f"ReLU, {RECORDS} records on 1000 held-out targets."
    )


def train_sine(method: str, xi: float, degrees: float, rate: float, n_steps: int) -> np.ndarray:
    """Mean distance to the closest solution, [1 + RECORDS, seed], while a network per seed trains."""
    print(f"{method}, ξ = {xi:g}, {degrees:g}°, {n_steps} steps …", flush=True)
    sine, solver = simulators.Sine(xi, np.radians(degrees)), training.SaddleFreeNewtonSolver()
    stack = training.stack_networks([perceptron(seed) for seed in SEEDS])
    held_out = tf.constant(np.random.default_rng(3).uniform(-1.0, 1.0, (len(SEEDS), 1000, 2)), tf.float32)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        y = tf.random.stateless_uniform([len(SEEDS), BATCH, 2], [7, step], -1.0, 1.0)
        if method != "SIP":
            return (y,)
        return y, tf.reshape(solver(sine, flat(y), flat(stack(y))), y.shape)

    def losses(data: tuple[tf.Tensor, ...]) -> tf.Tensor:
        x = stack(data[0])
        if method == "SIP":
            return tf.reduce_mean(tf.reduce_sum(tf.abs(x - data[1]), axis=2), axis=1)  # the published proxy is L¹
        misfit = tf.reshape(sine(flat(x)), x.shape) - data[0]
        return tf.reduce_mean(tf.reduce_sum(misfit**2, axis=2) / 2.0, axis=1)

    def measure() -> tf.Tensor:
        distance = sine.distance(flat(stack(held_out)), flat(held_out))
        return tf.reduce_mean(tf.reshape(distance, held_out.shape[:2]), axis=1)

    optimizer: Callable[[float], keras.optimizers.Optimizer] = getattr(
        keras.optimizers, "Adam" if method == "SIP" else method
    )
    marks = np.linspace(0, n_steps, RECORDS + 1).astype(int).tolist()
    # Without XLA: the solver's eigendecomposition is slow there.
    return training.train_stack(
        stack, optimizer(rate), batch, losses, measure, marks, jit_compile=method != "SIP"
    ).numpy()


def flat(points: tf.Tensor) -> tf.Tensor:
    """Points [networks, batch, 2] as one batch."""
    return tf.reshape(points, [-1, 2])


def perceptron(seed: int) -> keras.Sequential:
    """The network of the sine example, with weights from `seed`."""
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(width, "relu") for width in (32, 64, 32)]
    return keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(2)])


def interval(values: np.ndarray) -> str:
    """Smallest to largest, with two digits."""
    return f"{np.min(values):.2g} to {np.max(values):.2g}"


if __name__ == "__main__":
    main()
