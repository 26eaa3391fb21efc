"""What came out of a comparison, as numbers, as a table and as a figure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Runs:
    """All trainings of one method.

    Args:
        method: what was trained.
        rate: the learning rate of the trainings that count.
        tuning: what the rates gave on the tuning seeds, rate → [tuning seed, record]; empty if there was one rate only.
        steps: after how many steps was measured, [record].
        measured: what is compared, [seed, record]; infinite where a training had died.
        history: what Keras logged of the batches, name → [seed, record], such as `"loss"` or `"rank"`.
        stopped_at: for every seed the number of updates of the weights at which the training died, or None.
        stopped_by: for every seed what was not finite then, such as `"what is measured"` or `"the Jacobian or the
            gradient of the loss in y"`, or None.
        weights: those of the network at the end, by seed.
        seconds_per_step: the median over all records; measuring is not counted. NaN if all died before the first.
        model: the model that was trained.
        network: its network.
    """

    method: Any
    rate: float
    tuning: dict[float, np.ndarray]
    steps: np.ndarray
    measured: np.ndarray
    history: dict[str, np.ndarray]
    stopped_at: list[int | None]
    stopped_by: list[str | None]
    weights: dict[int, list[np.ndarray]]
    seconds_per_step: float
    model: keras.Model
    network: keras.Model

    @property
    def ends(self) -> np.ndarray:
        """What is compared, at the end of the trainings, [seed]."""
        return self.measured[:, -1]

    @property
    def median(self) -> float:
        """The median over the seeds at the end of the trainings."""
        return float(np.median(self.ends))

    @property
    def n_stopped(self) -> int:
        """How many trainings have died."""
        return sum(step is not None for step in self.stopped_at)

    @property
    def at_edge(self) -> bool:
        """Whether the best rate lies at an end of its grid although that was extended; another might be better."""
        return bool(self.tuning) and self.rate in (min(self.tuning), max(self.tuning))

    def trained(self, seed: int) -> keras.Model:
        """The model with the weights that the training of a seed ended with.

        Args:
            seed: one of those that count.

        Returns:
            `model`, whose weights are written over; the next call gives the same object other weights.

        Raises:
            ValueError: if the comparison did not train with this seed.
        """
        if seed not in self.weights:
            raise ValueError(f"seed must be one of {sorted(self.weights)}, got {seed}.")
        self.network.set_weights(self.weights[seed])
        return self.model


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The runs of all methods; `comparison["Adam"]` are those of one.

    Args:
        runs: the runs by the name of the method.
        quantity: what was measured, in words.
        baselines: what is reached without training, by name.
    """

    runs: dict[str, Runs]
    quantity: str
    baselines: Mapping[str, float]

    def __getitem__(self, name: str) -> Runs:
        """The runs of one method."""
        return self.runs[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the methods."""
        return iter(self.runs)

    def __len__(self) -> int:
        """How many methods."""
        return len(self.runs)

    def __str__(self) -> str:
        """The whole table."""
        return self.table()

    def table(self, seconds: bool = True) -> str:
        """One line a method: the median over the seeds, their range, the rate, and what it cost.

        Args:
            seconds: whether the time of a step and of a training is told, which no two runs have in common.

        Returns:
            Lines of text. A rate is followed by the grid that it was chosen from.
        """
        costs = ["rate", "of", "steps", "batch", *(["ms a step", "seconds"] if seconds else [])]
        rows = [["", "median", "lowest", "highest", "died", *costs]]
        for name, runs in self.runs.items():
            tried = " ".join(f"{rate:g}" for rate in runs.tuning) if runs.tuning else "not tuned"
            found = [f"{value:.2e}" for value in (runs.median, runs.ends.min(), runs.ends.max())]
            row = [name, *found, f"{runs.n_stopped} of {len(runs.ends)}"]
            row += [f"{runs.rate:g}", tried + (" (at the edge)" if runs.at_edge else "")]
            row += [str(runs.method.n_steps), str(runs.method.batch_size)]
            if seconds:
                row += [
                    f"{1000 * runs.seconds_per_step:.3g}",
                    f"{runs.seconds_per_step * runs.method.n_steps:.3g}",
                ]
            rows.append(row)
        for name, value in self.baselines.items():
            rows.append([name, f"{value:.2e}", "", "", "", "", "no training", *[""] * (len(costs) - 2)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in [self.quantity, *lines])

    def draw(self, axes: Any = None, over: str = "steps") -> Any:
        """Draw what was measured: the median over the seeds as a line, their range as a band.

        The colours are those of `plotting.METHOD_COLORS` where a method has its name there. Where a training has died
        the band is open above.

        Args:
            axes: matplotlib axes to draw on; new ones unless given.
            over: what runs to the right, `"steps"` or `"seconds"`.

        Returns:
            The axes.

        Raises:
            ImportError: if matplotlib is not installed.
            ValueError: if `over` is neither.
        """
        if over not in ("steps", "seconds"):
            raise ValueError(f'over must be "steps" or "seconds", got {over!r}.')
        from matplotlib import pyplot

        from physgrad_tf import plotting

        if axes is None:
            axes = pyplot.subplots()[1]
        finite = [values[np.isfinite(values)] for values in (runs.measured for runs in self.runs.values())]
        highest = max([*(values.max() for values in finite if values.size), *self.baselines.values()], default=1.0)
        taken = {plotting.METHOD_COLORS[name][0] for name in self.runs if name in plotting.METHOD_COLORS}
        free = itertools.cycle([color for color in plotting.COLORS.values() if color not in taken] or [plotting.INK])
        for name, runs in self.runs.items():
            color, marker = plotting.METHOD_COLORS.get(name) or (next(free), ".")
            right = runs.steps * (1.0 if over == "steps" else runs.seconds_per_step)
            low, high = runs.measured.min(axis=0), runs.measured.max(axis=0)
            alive = np.isfinite(low)
            open_above = np.where(np.isfinite(high), high, 10.0 * highest)
            axes.fill_between(right[alive], low[alive], open_above[alive], color=color, alpha=0.25, lw=0)
            median = np.median(runs.measured, axis=0)
            axes.plot(right, np.where(np.isfinite(median), median, np.nan), color=color, marker=marker, label=name)
        styles = itertools.cycle(("--", ":", "-.", (0, (1, 3))))
        for (name, value), style in zip(self.baselines.items(), styles, strict=False):  # as many as there are baselines
            axes.axhline(value, color=plotting.INK, linestyle=style, linewidth=1.2, label=name)
        axes.set(yscale="log", xlabel="steps" if over == "steps" else "time of training [s]", ylabel=self.quantity)
        axes.set_ylim(top=min(axes.get_ylim()[1], 3.0 * highest))
        axes.legend()
        return axes
