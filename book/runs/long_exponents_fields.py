"""Why one half? Every exponent with several numbers of products on Poisson.

    python -m book.runs.long_exponents_fields

What has been trained is kept, so that the command can be broken off and called again.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from book.runs import tables
from book.runs.fields import problem, u_net
from book.runs.long_exponents import EXPONENTS, RATES, SEARCH_SEED, SEEDS, Found
from book.runs.train_fields import BATCH, N_PRODUCTS, followed
from book.runs.trainings import trained
from book.toc import ROOT
from physgrad_tf import training

RECORD = Path("chapters/closing/exponents_fields.json")
N = 32
#: Products with J in a step; as many with its transpose.
PRODUCTS = (8, 16, 32)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One training: an exponent with a number of products per step.

    Attributes:
        rate: the learning rate, or None for `trust_region`, which chooses the length of every step.
        seed: of the weights and of the order of the batches.
    """

    exponent: float
    n_products: int
    rate: float | None
    seed: int


def main() -> None:
    """Train all and write the record."""
    tables.write(experiments(), ROOT / RECORD)


def experiments() -> Iterator[tables.Table]:
    """One table: the rate of each entry is the best one on another seed."""
    pairs = list(itertools.product(EXPONENTS, PRODUCTS))
    searched = errors([Rule(*pair, rate, SEARCH_SEED) for pair in pairs for rate in RATES])
    best = [RATES[i] for i in np.argmin(np.reshape(searched, (len(pairs), len(RATES))), axis=1)]
    ends = errors([Rule(*pair, rate, seed) for pair, rate in zip(pairs, best, strict=True) for seed in SEEDS])
    entries = [str(Found(*each)) for each in zip(best, np.reshape(ends, (len(pairs), -1)).tolist(), strict=True)]
    rows = np.reshape(entries, (len(EXPONENTS), len(PRODUCTS))).tolist()
    yield tables.Table(
        f"Exponents and products: Poisson {N} × {N}",
        f"Median of mean |x − x*| on 64 held-out fields, three seeds. {N_PRODUCTS} products with J and as many with "
        f"its transpose in every training, in steps of {', '.join(str(k) for k in PRODUCTS)}, on {BATCH} samples "
        "each. In brackets the rate that was best on another seed, of "
        f"{', '.join(f'{rate:g}' for rate in RATES if rate)} and t, "
        "the length that trust_region chooses. ∞: a training died. Columns: products per step.",
        ["Exponent p", *(str(k) for k in PRODUCTS)],
        [[f"{p:g}", *row] for p, row in zip(EXPONENTS, rows, strict=True)],
    )


def errors(rules: list[Rule]) -> list[float]:
    """The error in x after each training; infinite where it died."""
    results = trained(train, rules, ("long_exponents_fields.py", "fields.py", "train_fields.py"))
    ends = [result["x"][-1] for result in results]
    return [end if np.isfinite(end) else float("inf") for end in ends]


def train(rule: Rule) -> dict[str, Any]:
    """Errors on the held-out fields, as `train_fields.followed` returns them; not a number where the training died."""
    fields = problem("Poisson", N)
    model = training.SpectralModel(
        u_net(N, fields.y_train, rule.seed),
        fields.simulator,
        exponent=rule.exponent,
        jacobian="products",
        n_products=rule.n_products,
        trust_region=rule.rate is None,
    )
    model.compile(keras.optimizers.SGD(rule.rate or 1.0), training.HalfSquaredError("sum"))
    try:
        return followed(model, fields.y_train, fields, N_PRODUCTS // rule.n_products, rule.seed)
    except (ValueError, tf.errors.InvalidArgumentError) as error:  # in a step, or where the errors are measured
        if "finite" not in str(error):
            raise
        return {"x": [float("nan")]}


if __name__ == "__main__":
    main()
