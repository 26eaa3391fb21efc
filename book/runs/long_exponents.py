"""Why one half? Every exponent at every threshold on the oscillators: `python -m book.runs.long_exponents`.

Each pair of exponent and threshold has its own best rule for the length of a step, a rate or `trust_region`, found on
a seed of its own. What has been trained is kept, so that the command can be broken off and called again.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from book.runs import tables
from book.runs.trainings import trained
from book.toc import ROOT
from physgrad_tf import simulators, training

RECORD = Path("chapters/closing/exponents.json")
EXPONENTS = (-1.0, -0.75, -0.5, -0.25, 0.0)
THRESHOLDS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6)
#: Learning rates; None stands for `trust_region`, which chooses the length of every step.
RATES = (None, 0.1, 0.3, 1.0)
SEEDS = (0, 1, 2)
SEARCH_SEED = 3
BATCH, N_STEPS = 32, 300
SYSTEMS = {
    "linear oscillators": simulators.CoupledOscillators(24, 0.5, spring=0.2, cubic=0.0, control_weight=1.0),
    "nonlinear oscillators": simulators.CoupledOscillators(48, 0.25, spring=0.0, cubic=1.0, control_weight=3.0),
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """An exponent at a threshold, on one system."""

    system: str
    exponent: float
    rcond: float


@dataclasses.dataclass(frozen=True)
class Found:
    """What a rule gave: its best rate on the seed of the search, and the held-out losses of the other seeds with it."""

    rate: float | None
    losses: list[float]

    def __str__(self) -> str:
        """The median of the losses, and the rate."""
        median = np.median(self.losses)
        return f"{f'{median:.2g}' if np.isfinite(median) else '∞'} ({'t' if self.rate is None else f'{self.rate:g}'})"


def main() -> None:
    """Train all and write the record."""
    tables.write(experiments(), ROOT / RECORD)


def experiments() -> Iterator[tables.Table]:
    """A table for every system."""
    for system in SYSTEMS:
        rules = [Rule(system, *pair) for pair in itertools.product(EXPONENTS, THRESHOLDS)]
        found = [str(Found(**each)) for each in trained(searched_and_trained, rules, ("long_exponents.py",))]
        yield tables.Table(
            f"Exponents and thresholds: {system}",
            f"Median loss ½|y − y*|² on 256 held-out starts, three seeds, after {N_STEPS} steps of {BATCH} samples; "
            "three hidden layers of 20 tanh neurons. In brackets the rate that was best on another seed, of "
            f"{', '.join(f'{rate:g}' for rate in RATES if rate)} and t, the length that trust_region chooses. ∞: a "
            "training died. Columns: τ.",
            ["Exponent p", *(f"{rcond:g}" for rcond in THRESHOLDS)],
            [
                [f"{p:g}", *row]
                for p, row in zip(EXPONENTS, np.reshape(found, (-1, len(THRESHOLDS))).tolist(), strict=True)
            ],
        )


def searched_and_trained(rule: Rule) -> dict[str, float | list[float] | None]:
    """The fields of `Found`."""
    system = SYSTEMS[rule.system]
    # All of them first: a new seed makes TensorFlow forget what it has compiled.
    weights = {seed: network(seed, system.n_steps).get_weights() for seed in (*SEEDS, SEARCH_SEED)}
    models = {trust_region: compiled(rule, trust_region) for trust_region in (False, True)}
    begin = {trust_region: model.get_weights() for trust_region, model in models.items()}

    def loss(rate: float | None, seed: int) -> float:
        model = models[rate is None]
        model.set_weights(begin[rate is None])  # also what trust_region has learnt
        model.optimizer.learning_rate.assign(1.0 if rate is None else rate)
        return held_out_loss(model, system, weights[seed], seed)

    best = min(RATES, key=lambda rate: loss(rate, SEARCH_SEED))
    return dataclasses.asdict(Found(best, [loss(best, seed) for seed in SEEDS]))


def compiled(rule: Rule, trust_region: bool) -> training.SpectralModel:
    """The model that trains by a rule."""
    system = SYSTEMS[rule.system]
    model = training.SpectralModel(
        network(0, system.n_steps), system, rule.exponent, rule.rcond, trust_region=trust_region
    )
    model.compile(loss=training.HalfSquaredError("sum"), jit_compile=True)
    return model


def held_out_loss(
    model: training.SpectralModel, system: simulators.CoupledOscillators, weights: list[np.ndarray], seed: int
) -> float:
    """The loss after training from these weights; infinite where it died."""
    starts = system.random_states(2048, np.random.default_rng(1))
    held_out = system.random_states(256, np.random.default_rng(2))
    model.network.set_weights(weights)
    data = tf.data.Dataset.from_tensor_slices((starts, starts)).shuffle(len(starts), seed=seed)
    batches = data.batch(BATCH, drop_remainder=True).repeat()
    try:
        model.fit(batches, steps_per_epoch=N_STEPS, verbose=0, shuffle=False)
        misfit = system.simulate(model.network(held_out), held_out).numpy() - held_out
    except tf.errors.InvalidArgumentError as error:
        if "is not finite" not in str(error):
            raise
        return float("inf")
    loss = float(np.mean(np.sum(misfit**2, axis=1)) / 2.0)
    return loss if np.isfinite(loss) else float("inf")


def network(seed: int, n_pushes: int) -> keras.Sequential:
    """The network of the chapter on oscillators."""
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(20, "tanh") for _ in range(3)]
    return keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(n_pushes)])


if __name__ == "__main__":
    main()
