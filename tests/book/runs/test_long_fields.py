"""The comparison on fields: equal work, a search that does not end at an edge, and results that are kept."""

import numpy as np
import pytest

from book.runs import long_fields
from book.runs.fields import problem
from book.runs.long_fields import STARTS, search
from book.runs.train_fields import ADAM_STEPS_PER_PRODUCT, N_PRODUCTS, Training, measured


def test_all_get_the_same_work():
    for k in STARTS["products"]:
        run = Training("Poisson", 32, "Gauss-Newton", k, 0)
        assert run.n_steps * k == N_PRODUCTS
    assert Training("Poisson", 32, "Adam", 1e-3, 0).n_steps == ADAM_STEPS_PER_PRODUCT * N_PRODUCTS


@pytest.mark.parametrize(
    ("best", "grid"),
    [
        (3e-3, [1e-3, 3e-3, 1e-2]),
        (3e-2, [1e-3, 3e-3, 1e-2, 3e-2, 9e-2]),
        (1e-4, [1e-3 / 27, 1e-3 / 9, 1e-3 / 3, 1e-3, 3e-3, 1e-2]),
    ],
)
def test_the_search_goes_on_until_the_best_is_no_end(monkeypatch, best, grid):
    def train(asked):
        return [{"x": [abs(np.log(run.setting / best))]} for run in asked]

    monkeypatch.setattr(long_fields, "PROBLEMS", {"Poisson": ("Adam",)})
    monkeypatch.setattr(long_fields, "train", train)
    found = search("Poisson")["Adam"]
    np.testing.assert_allclose(sorted(found), grid)


def test_the_search_ends_where_there_is_nothing_beyond(monkeypatch):
    monkeypatch.setattr(long_fields, "PROBLEMS", {"Poisson": ("Gauss-Newton",)})
    monkeypatch.setattr(long_fields, "train", lambda asked: [{"x": [run.setting]} for run in asked])
    assert sorted(search("Poisson")["Gauss-Newton"]) == [1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize("name", ["Poisson", "heat with noise"])
def test_bands_of_an_error_add_up_to_it(name):
    fields = problem(name, 8)
    error = np.random.default_rng(0).normal(size=fields.x_test.shape)
    found = measured(fields, fields.x_test + error)
    assert found["x"] == pytest.approx(np.mean(np.abs(error)), rel=1e-5)
    assert np.sum(np.square(found["bands"])) == pytest.approx(np.mean(error**2), rel=1e-5)
    assert measured(fields, fields.x_test)["y"] == 0.0
