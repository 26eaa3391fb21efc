"""The scan of exponents and numbers of products on Poisson."""

import keras
import numpy as np
import pytest

from book.runs import long_exponents_fields
from book.runs.long_exponents_fields import EXPONENTS, PRODUCTS, RATES, SEARCH_SEED, Rule, experiments, train


@pytest.fixture
def small(monkeypatch):
    """Small fields, and a network with one layer in place of the U-Net."""

    def network(n, fields, seed):
        keras.utils.set_random_seed(seed)
        return keras.Sequential([keras.Input((n, n, 1)), keras.layers.Conv2D(1, 3, padding="same")])

    monkeypatch.setattr(long_exponents_fields, "N", 8)
    monkeypatch.setattr(long_exponents_fields, "u_net", network)


@pytest.mark.usefixtures("small")
def test_a_rule_trains_and_its_seed_and_its_rate_decide(monkeypatch):
    monkeypatch.setattr(long_exponents_fields, "N_PRODUCTS", 32)
    rules = [Rule(-0.5, 8, None, 0), Rule(-0.5, 8, None, 1), Rule(-0.5, 8, 0.1, 0), Rule(-0.5, 8, None, 0)]
    first, other, with_rate, again = (train(rule)["x"] for rule in rules)
    assert len(first) == 4  # a step of 8 products each
    assert first == again
    assert first != other
    assert first != with_rate
    assert first[-1] < first[0]


@pytest.mark.usefixtures("small")
def test_a_training_that_dies_is_a_result(monkeypatch):
    monkeypatch.setattr(long_exponents_fields, "N_PRODUCTS", 64)
    assert np.isnan(train(Rule(-1.0, 8, 1e20, 0))["x"]).all()


@pytest.mark.parametrize("best", RATES)
def test_every_entry_is_that_of_its_pair_at_the_rate_of_the_search(monkeypatch, best):
    number = {pair: i for i, pair in enumerate((p, k) for p in EXPONENTS for k in PRODUCTS)}

    def found(work, rules, modules):
        searching = {rule.seed for rule in rules} == {SEARCH_SEED}
        assert searching or {rule.rate for rule in rules} == {best}
        ends = [
            (0.0 if rule.rate == best else float("nan")) if searching else number[rule.exponent, rule.n_products]
            for rule in rules
        ]
        return [{"x": [9.0, end]} for end in ends]

    monkeypatch.setattr(long_exponents_fields, "trained", found)
    (table,) = experiments()
    rate = "t" if best is None else f"{best:g}"
    assert table.rows == [[f"{p:g}", *(f"{number[p, k]:.2g} ({rate})" for k in PRODUCTS)] for p in EXPONENTS]
