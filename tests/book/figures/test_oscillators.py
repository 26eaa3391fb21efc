"""The network, the trolleys and the gust of the figure are those that the chapter stored, and of the package."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from book.pages.moving import stored
from physgrad_tf import simulators
from tests.book.figures.networks import perceptron

N_POSITIONS = 60
KEPT = json.loads(stored("oscillators", "linear"))
SYSTEM = simulators.CoupledOscillators(**KEPT["system"])


@functools.cache
def positions():
    """60 random starts and gusts, and what the package says of them."""
    rng = np.random.default_rng(0)
    starts = rng.uniform(-0.4, 1.4, (N_POSITIONS, 4))
    gusts = rng.integers(-10, 11, N_POSITIONS) * 0.05
    hits, times = rng.integers(0, SYSTEM.n_steps, (2, N_POSITIONS))
    pushes = perceptron(KEPT["weights"])(starts).numpy()

    def run(pushes, gusts):
        states = [tf.constant(starts)]
        for k in range(SYSTEM.n_steps):
            kick = np.where(hits == k, gusts, 0.0)[:, np.newaxis] * [0.0, 0.0, 1.0, 0.0]
            states.append(SYSTEM.step(states[-1] + kick, pushes[:, k : k + 1]))
        return np.stack(states, axis=1)

    steered, free = run(pushes, gusts), run(np.zeros_like(pushes), np.zeros(N_POSITIONS))
    np.testing.assert_allclose(free[:, -1], SYSTEM.simulate(np.zeros_like(pushes), starts), atol=1e-12)
    found = []
    for i in range(N_POSITIONS):
        values = {
            "start of the first trolley": starts[i, [0, 2]].tolist(),
            "start of the second trolley": starts[i, [1, 3]].tolist(),
            "gust on the first trolley": round(float(gusts[i]), 2),
            "time of the gust": int(hits[i]),
            "time": int(times[i]),
        }
        expected = {
            "pushes": pushes[i],
            "steered": steered[i],
            "free": free[i],
            "missSteered": np.linalg.norm(steered[i, -1] - starts[i]),
            "missFree": np.linalg.norm(free[i, -1] - starts[i]),
            "time": times[i],
        }
        found.append((values, expected))
    return found


def compare(trolleys):
    """Over all positions, to 1e-6 of numbers of order one."""
    found = positions()
    for shown, (_, expected) in zip(trolleys.moves([values for values, _ in found]), found, strict=True):
        for name, wanted in expected.items():
            assert np.max(np.abs(np.subtract(shown[name], wanted))) < 1e-6, name


def test_pushes_and_paths_are_those_of_the_package(figure):
    compare(figure("oscillators", "linear"))


def test_the_stored_network_steers(figure):
    """Inside of the square in which it was trained, and without a gust."""
    inside = [values | {"gust on the first trolley": 0.0} for values, _ in positions()]
    for values in inside:
        for name in ("start of the first trolley", "start of the second trolley"):
            values[name] = np.clip(values[name], 0.0, 1.0).tolist()
    shown = list(figure("oscillators", "linear").moves(inside))
    assert np.median([each["missSteered"] for each in shown]) < 0.1 * np.median([each["missFree"] for each in shown])


@pytest.mark.parametrize(
    "fault",
    [
        ("sum + value * kernel[i][j], b)", "sum + value * kernel[i][j], -b)"),
        ("sums.map(Math.tanh)", "sums.map((sum) => -Math.tanh(sum))"),
        ("const d = q2 - q1", "const d = q1 - q2"),
        ("-q1 + pull", "q1 + pull"),
        ("-q2 - pull", "-q2 + pull"),
        ("+ system.control_weight * u", "- system.control_weight * u"),
        ("along(state, k1, dt / 2)", "along(state, k1, -dt / 2)"),
        ("along(state, k3, dt)", "along(state, k3, -dt)"),
        ("2 * k2[i] + 2 * k3[i]", "2 * k2[i] - 2 * k3[i]"),
        ("p1 + gust", "p1 - gust"),
        ("value - state[i]", "value + state[i]"),
    ],
)
def test_a_wrong_sign_is_noticed(figure, fault):
    wrong = figure("oscillators", "linear", fault)
    with pytest.raises(AssertionError):
        compare(wrong)
