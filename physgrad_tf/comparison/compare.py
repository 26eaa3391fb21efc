"""The race itself: the same starts, data and measure for all, and for each its own best learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from physgrad_tf import validation
from physgrad_tf.comparison.method import Method
from physgrad_tf.comparison.progress import Progress
from physgrad_tf.comparison.result import Comparison, Runs
from physgrad_tf.comparison.training import Trainer
from physgrad_tf.training.physics_model import holds_solution


def compare(
    methods: Mapping[str, Method],
    new_network: Callable[[], keras.Model],
    data: tuple[Any, Any],
    held_out: tuple[Any, Any],
    *,
    seeds: Sequence[int] = range(5),
    tuning_seeds: Sequence[int] = (100, 101, 102),
    n_records: int = 5,
    measure: Callable[[keras.Model], float] | None = None,
    quantity: str = "held-out ½|y − y*|²",
    baselines: Mapping[str, float] | None = None,
    max_extensions: int = 3,
) -> Comparison:
    """Train every method with several seeds at its own best learning rate, and measure it on held-out data.

    With the seed s all methods start from the same weights, those of `new_network` after
    `keras.utils.set_random_seed(s)`, and draw their batches by s. The best rate of a method is the one whose median
    over `tuning_seeds` is lowest at the end of training. As long as it lies at an end of the grid, the grid is extended
    there by the factor between the last two rates, up to `max_extensions` times. Rates are judged on the same held-out
    samples as the methods, with other seeds; keep samples of your own aside for a last word. A training that comes to a
    step or a value that is not finite has died: its values are infinite from there on, a result like any other.
    `Runs.stopped_by` says what was not finite.

    Args:
        methods: the methods by their names.
        new_network: makes a network; called once for every seed.
        data: inputs and goals of the training, arrays or structures of arrays with the samples first.
        held_out: the same for the samples on which the methods are compared.
        seeds: those that count.
        tuning_seeds: those on which rates are chosen, none of which counts.
        n_records: how often a training is measured, at equal distances, the last time at its end.
        measure: maps a model to the number that is compared; lower is better. Unless given, it is the mean over the
            held-out samples of ½|y − y*|², with y what the model predicts and y* the goals, whatever loss it trains on.
        quantity: what is measured, in words, with its unit; for the table and the figure.
        baselines: what is reached without training, by name, such as that of an inverse without a network.
        max_extensions: how often a grid may be extended.

    Returns:
        All that was measured; it prints as a table and draws itself.

    Raises:
        TypeError: if a method is no `Method`, a function none, a number of the wrong kind, or data are no pair.
        ValueError: if there is no method or no seed, a seed both tunes and counts, a number of steps is no multiple of
            `n_records`, a batch is larger than the data, inputs and goals differ in number, what a model predicts has
            another shape than the goals, or a baseline has the name of a method.
    """
    check(methods, seeds, tuning_seeds, n_records, data)
    seeds, tuning_seeds = ([int(seed) for seed in its] for its in (seeds, tuning_seeds))  # Keras takes no NumPy ones
    n_samples("held_out", held_out)
    validation.function("new_network", new_network)
    validation.count("max_extensions", max_extensions, minimum=0)
    baselines = {name: validation.real("baselines", value) for name, value in (baselines or {}).items()}
    if set(baselines) & set(methods):
        raise ValueError(f"baselines must not have the name of a method, got {sorted(set(baselines) & set(methods))}.")
    if measure is None:
        measure = half_squared_error(held_out)
    validation.function("measure", measure)
    # Made before anything is compiled: setting a seed makes TensorFlow forget what it has prepared.
    starts = {seed: start_weights(new_network, seed, data[0]) for seed in (*tuning_seeds, *seeds)}
    n_tuned = sum(len(method.rates) for method in methods.values() if len(method.rates) > 1)
    progress = Progress(n_tuned * len(tuning_seeds) + len(methods) * len(seeds))
    runs = {}
    try:
        for name, method in methods.items():
            network = new_network()
            build(network, data[0])
            trainer = Trainer(method, network, data, measure, n_records)
            runs[name] = race(name, trainer, starts, seeds, tuning_seeds, max_extensions, progress)
    finally:
        progress.end()
    return Comparison(runs, quantity, baselines)


def race(
    name: str,
    trainer: Trainer,
    starts: Mapping[int, list[np.ndarray]],
    seeds: Sequence[int],
    tuning_seeds: Sequence[int],
    max_extensions: int,
    progress: Progress,
) -> Runs:
    """Choose the rate of one method, then train it with all seeds."""
    tuning: dict[float, np.ndarray] = {}

    def train(rate: float, seed: int) -> Any:
        progress.begin(f"{name}, rate {rate:g}, seed {seed}")
        return trainer.train(starts[seed], rate, seed)

    def try_out(rate: float) -> None:
        tuning[rate] = np.array([train(rate, seed).measured for seed in tuning_seeds])

    if len(trainer.method.rates) > 1:
        for rate in trainer.method.rates:
            try_out(rate)
        for _ in range(max_extensions):
            beyond = next_rate({rate: float(np.median(found[:, -1])) for rate, found in tuning.items()})
            if beyond is None:
                break
            try_out(beyond)
    medians = {rate: np.median(tuning[rate][:, -1]) for rate in sorted(tuning)}
    rate = min(medians, key=lambda rate: medians[rate], default=trainer.method.rates[0])
    trained = [train(rate, seed) for seed in seeds]
    seconds = np.concatenate([found.seconds_per_step for found in trained])
    n_steps, n_records = trainer.method.n_steps, trainer.n_records
    return Runs(
        method=trainer.method,
        rate=rate,
        tuning={rate: tuning[rate] for rate in medians},
        steps=n_steps // n_records * np.arange(1, n_records + 1),
        measured=np.array([found.measured for found in trained]),
        history=stacked([found.history for found in trained], n_records),
        stopped_at=[found.stopped_at for found in trained],
        stopped_by=[found.stopped_by for found in trained],
        weights={seed: found.weights for seed, found in zip(seeds, trained, strict=True)},
        seconds_per_step=float(np.median(seconds)) if seconds.size else np.nan,
        model=trainer.model,
        network=trainer.network,
    )


def next_rate(medians: Mapping[float, float]) -> float | None:
    """The rate beyond that end of the grid at which the best one lies; where all have died, a smaller one."""
    rates = sorted(medians)
    best = min(rates, key=lambda rate: medians[rate])  # the smallest of equals
    if best == rates[0]:
        return float(f"{rates[0] ** 2 / rates[1]:.6g}")
    if best == rates[-1]:
        return float(f"{rates[-1] ** 2 / rates[-2]:.6g}")
    return None


def stacked(histories: Sequence[Mapping[str, np.ndarray]], n_records: int) -> dict[str, np.ndarray]:
    """What was logged, name → [seed, record]; infinite for a training that died before it logged anything."""
    names = dict.fromkeys(name for history in histories for name in history)
    nothing = np.full(n_records, np.inf)
    return {name: np.array([history.get(name, nothing) for history in histories]) for name in names}


def start_weights(new_network: Callable[[], keras.Model], seed: int, inputs: Any) -> list[np.ndarray]:
    """The weights with which the trainings of a seed start."""
    keras.utils.set_random_seed(seed)
    network = new_network()
    if not isinstance(network, keras.Model):
        raise TypeError(f"new_network must return a keras.Model, got {type(network).__name__}.")
    build(network, inputs)
    return network.get_weights()


def build(network: keras.Model, inputs: Any) -> None:
    """Give the network its weights, where it waits for its first input."""
    if not network.built:
        network(keras.tree.map_structure(lambda array: tf.convert_to_tensor(array[:1]), inputs))


def half_squared_error(held_out: tuple[Any, Any]) -> Callable[[keras.Model], float]:
    """The mean over the samples of ½|y − y*|²."""
    inputs, goals = held_out
    if holds_solution(goals):  # as in training, with x* beside y*
        goals = goals["y"]
    goals = [np.asarray(goal, np.float64) for goal in keras.tree.flatten(goals)]

    def measure(model: keras.Model) -> float:
        outputs = keras.tree.flatten(model.predict_on_batch(inputs))
        if (found := [y.shape for y in outputs]) != (wanted := [goal.shape for goal in goals]):
            raise ValueError(f"held_out must hold goals of the shapes {found} that the model predicts, got {wanted}.")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is infinite, and has died
            squares = [np.sum((y - goal) ** 2) for y, goal in zip(outputs, goals, strict=True)]
        return float(sum(squares)) / (2 * len(goals[0]))

    return measure


def n_samples(name: str, data: tuple[Any, Any]) -> int:
    """How many samples there are, or `ValueError` where inputs and goals differ, `TypeError` where it is no pair."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError(f"{name} must be a pair of arrays, inputs and goals, got {type(data).__name__}.")
    lengths = {len(array) for array in keras.tree.flatten(data)}
    if len(lengths) != 1:
        raise ValueError(f"{name} must hold as many inputs as goals, got {sorted(lengths)} samples.")
    return lengths.pop()


def check(
    methods: Mapping[str, Method],
    seeds: Sequence[int],
    tuning_seeds: Sequence[int],
    n_records: int,
    data: tuple[Any, Any],
) -> None:
    """Raise where the numbers do not go together."""
    validation.count("n_records", n_records, minimum=1)
    for name, numbers in (("seeds", seeds), ("tuning_seeds", tuning_seeds)):
        for seed in numbers:
            validation.count(name, seed, minimum=0)
        if len(set(numbers)) != len(numbers) or not len(numbers):
            raise ValueError(f"{name} must be different seeds, at least one, got {list(numbers)}.")
    if set(seeds) & set(tuning_seeds):
        raise ValueError(f"tuning_seeds must not count as well, got {sorted(set(seeds) & set(tuning_seeds))} in both.")
    if not methods:
        raise ValueError("methods must hold at least one method, got none.")
    most = n_samples("data", data)
    for name, method in methods.items():
        if not isinstance(method, Method):
            raise TypeError(f"methods must hold objects of Method, got {type(method).__name__} for {name!r}.")
        if method.n_steps % n_records:
            raise ValueError(f"n_steps of {name!r} must be a multiple of n_records {n_records}, got {method.n_steps}.")
        if method.batch_size > most:
            raise ValueError(f"batch_size of {name!r} must be at most {most}, got {method.batch_size}.")
