"""The scan of exponents and thresholds: each pair at its best rate, and a training that dies is a result."""

import numpy as np
import pytest

from book.runs import long_exponents
from book.runs.long_exponents import RATES, SEARCH_SEED, SEEDS, Found, Rule, searched_and_trained

RULE = Rule("linear oscillators", -0.5, 1e-6)


@pytest.mark.parametrize("best", RATES)
def test_the_rate_is_that_of_the_search_and_the_losses_are_those_of_other_seeds(monkeypatch, best):
    def loss(model, system, weights, seed):
        rate = None if model.trust_region else float(model.optimizer.learning_rate)
        right = rate is best or (rate is not None and best is not None and rate == pytest.approx(best))
        return (0.0 if right else 1.0) if seed == SEARCH_SEED else float(seed)

    monkeypatch.setattr(long_exponents, "held_out_loss", loss)
    assert searched_and_trained(RULE) == {"rate": best, "losses": [float(seed) for seed in SEEDS]}


def test_the_same_seed_gives_the_same_loss_again(monkeypatch):
    monkeypatch.setattr(long_exponents, "N_STEPS", 4)
    monkeypatch.setattr(long_exponents, "RATES", (None,))
    monkeypatch.setattr(long_exponents, "SEEDS", (0, 1, 0))
    first, other, again = searched_and_trained(RULE)["losses"]
    assert first == again != other
    assert 0.0 < first < 0.36  # the loss without a push


def test_a_training_that_dies_is_a_result(monkeypatch):
    monkeypatch.setattr(long_exponents, "N_STEPS", 30)
    monkeypatch.setattr(long_exponents, "RATES", (100.0,))
    monkeypatch.setattr(long_exponents, "SEEDS", (0,))
    assert searched_and_trained(Rule("nonlinear oscillators", -1.0, 1e-6))["losses"] == [np.inf]


@pytest.mark.parametrize(
    ("found", "words"),
    [(Found(0.3, [1.0, 0.012, 0.5]), "0.5 (0.3)"), (Found(None, [np.inf, 1e-5, np.inf]), "∞ (t)")],
)
def test_an_entry_is_the_median_and_the_rate(found, words):
    assert str(found) == words
