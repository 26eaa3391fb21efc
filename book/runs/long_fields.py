"""Every method on the same fields with the same work: `python -m book.runs.long_fields`, half an hour a problem.

What has been trained is kept, so that the command can be broken off and called again.
"""

import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from book.runs import tables
from book.runs.fields import problem, u_net
from book.runs.train_fields import BANDS, BATCH, N_PRODUCTS, N_RECORDS, SIP_RATE, Training, measured, train_one
from book.runs.trainings import trained
from book.toc import ROOT
from physgrad_tf import simulators

RECORD = Path("chapters/closing/fields.json")
N = 32
SEEDS = (0, 1, 2)
SEARCH_SEED = 3
#: Where each search begins. It goes on beyond an edge of the grid as long as the best lies there.
STARTS = {"rate": (1e-3, 3e-3, 1e-2), "products": (8, 16, 32), "σ": (0.2, 0.5, 1.0)}
#: Ends of the search.
LIMITS = {"rate": (1e-5, 1.0), "products": (1, 128), "σ": (1e-3, 1e2)}
PROBLEMS = {
    "Poisson": ("Adam", "SIP", "Gauss-Newton", "half-inverse"),
    "heat with noise": ("Adam", "SIP", "supervised", "Gauss-Newton", "half-inverse"),
    "heat": ("Adam", "SIP", "supervised", "Gauss-Newton", "half-inverse"),
}


def main(names: Iterable[str]) -> None:
    """Train what the problems need and write the record."""
    tables.write(experiments(list(names) or list(PROBLEMS)), ROOT / RECORD)


def experiments(names: list[str]) -> Iterator[tables.Table]:
    """The tables, in the order in which the book shows them."""
    for name in names:
        found = search(name)
        yield searched(name, found)
        best = {method: min(errors, key=lambda setting: errors[setting]) for method, errors in found.items()}
        runs = {method: train([Training(name, N, method, best[method], seed) for seed in SEEDS]) for method in best}
        yield ends(name, best, runs)
        yield courses(name, runs)


def searched(name: str, found: dict[str, dict[float, float]]) -> tables.Table:
    """The error in x of every setting on the seed of the search."""
    return tables.Table(
        f"{name}, {N} × {N}: the search",
        f"Mean |x − x*| on the held-out fields after the whole work, seed {SEARCH_SEED}. A rate is the one at the "
        "start of a cosine, products are those of a step, and σ is the noise that the inverse assumes. Gauss-Newton "
        "has η = 1; the length of a half-inverse step is chosen by trust_region; where SIP searches σ, its rate is "
        f"{SIP_RATE:g}, not searched. The search goes on until the best is not an end.",
        ["Method", "what", "setting: error"],
        [
            [
                method,
                Training(name, N, method, 0.0, 0).what,
                ", ".join(f"{setting:g}: {error:.3g}" for setting, error in sorted(errors.items())),
            ]
            for method, errors in found.items()
        ],
    )


def search(name: str) -> dict[str, dict[float, float]]:
    """Errors over the settings of every method, beyond the first grid if the best lies at its edge."""
    found: dict[str, dict[float, float]] = {method: {} for method in PROBLEMS[name]}
    while True:
        asked = []
        for method, errors in found.items():
            what = Training(name, N, method, 0.0, 0).what
            settings = STARTS[what] if not errors else _beyond(what, errors)
            asked += [Training(name, N, method, setting, SEARCH_SEED) for setting in settings]
        if not asked:
            return found
        for run, result in zip(asked, train(asked), strict=True):
            found[run.method][run.setting] = result["x"][-1]


def _beyond(what: str, errors: dict[float, float]) -> list[float]:
    settings, factor = sorted(errors), 2.0 if what == "products" else 3.0
    best = min(errors, key=lambda setting: errors[setting])
    wanted = []
    if best == settings[0]:
        wanted.append(settings[0] / factor)
    if best == settings[-1]:
        wanted.append(settings[-1] * factor)
    low, high = LIMITS[what]
    return [setting for setting in wanted if low <= setting <= high]


def ends(name: str, best: dict[str, float], runs: dict[str, list[dict[str, Any]]]) -> tables.Table:
    """What came out at the end."""
    rows = [
        [
            method,
            f"{best[method]:g}",
            f"{Training(name, N, method, best[method], 0).n_steps}",
            interval([run["x"][-1] for run in results]),
            interval([run["y"][-1] for run in results]),
            *(interval([run["bands"][band] for run in results]) for band in range(len(BANDS) - 1)),
        ]
        for method, results in runs.items()
    ]
    alone = answers_of_the_inverse(name)
    for words, values in alone.items():
        rows.append([words, "", "", f"{values['x']:.2g}", f"{values['y']:.2g}", *(f"{v:.2g}" for v in values["bands"])])
    n_weights = u_net(N, np.arange(2.0)).count_params()
    return tables.Table(
        f"{name}, {N} × {N}: errors on held-out fields",
        f"A U-Net of {n_weights} weights, batches of {BATCH}, {N_PRODUCTS} products with J and as many with its "
        "transpose, or the steps of Adam that take as long. Smallest to largest of three seeds. "
        "Columns of wave numbers, in radians per point: root mean square of the error in x, of these waves alone.",
        ["Method", "setting", "steps", "mean |x − x*|", "½|y − y*|²"]
        + [f"{low:g}–{high:g}" for low, high in itertools.pairwise(BANDS)],
        rows,
    )


def courses(name: str, runs: dict[str, list[dict[str, Any]]]) -> tables.Table:
    """The error in x over the work."""
    parts = np.arange(1, N_RECORDS + 1) / N_RECORDS
    return tables.Table(
        f"{name}, {N} × {N}: mean |x − x*| over the work",
        "Columns: part of the work. Median of three seeds.",
        ["Method", *(f"{part:g}" for part in parts)],
        [
            [method, *(f"{value:.3g}" for value in np.median([run["x"] for run in results], axis=0))]
            for method, results in runs.items()
        ],
    )


def answers_of_the_inverse(name: str) -> dict[str, dict[str, Any]]:
    """Errors without any network: of the mean, or zero, as an answer, and of the inverse at its best noise."""
    fields = problem(name, N)
    if isinstance(fields.simulator, simulators.Poisson):
        found = {"zero": np.zeros_like(fields.y_test)}
        found["the inverse alone"] = fields.simulator.local_inverse(fields.y_test, found["zero"])
    else:
        # The noise is chosen on the training fields, which the inverse is free to see.
        errors = {}
        for noise in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0):
            x = simulators.Heat(fields.simulator.nu_t, noise=noise).local_inverse(fields.y_train, mean(fields.y_train))
            errors[noise] = float(np.mean(np.abs(x - fields.x_train)))
        best = min(errors, key=lambda noise: errors[noise])
        found = {"the mean": mean(fields.y_test)}
        inverse = simulators.Heat(fields.simulator.nu_t, noise=best)
        found[f"the inverse alone, σ = {best:g}"] = inverse.local_inverse(fields.y_test, found["the mean"])
    return {words: measured(fields, x) for words, x in found.items()}


def mean(y: np.ndarray) -> np.ndarray:
    """Fields [batch, n, n, 1] that are everywhere at the mean of y, which heat conduction conserves."""
    return np.array(np.broadcast_to(np.mean(y, (1, 2), keepdims=True), y.shape))


def train(asked: list[Training]) -> list[dict[str, Any]]:
    """The results of some trainings."""
    return trained(train_one, asked, ("fields.py", "train_fields.py"))


def interval(values: Iterable[float]) -> str:
    """Smallest to largest, with two digits."""
    values = list(values)
    return f"{np.min(values):.2g} to {np.max(values):.2g}"


if __name__ == "__main__":
    main(sys.argv[1:])
