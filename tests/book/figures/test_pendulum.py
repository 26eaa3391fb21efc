"""The loop, the plan and the gust of the figure are those of the package, with the network that the chapter stored."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from book.pages.moving import stored
from physgrad_tf import simulators, training
from tests.book.figures.networks import perceptron

N_POSITIONS = 60
KEPT = json.loads(stored("pendulum", "gust"))
PENDULUM = simulators.PushedPendulum(KEPT["dt"])
N_STEPS = KEPT["n_steps"]


@functools.cache
def positions():
    """60 random starts, goals and gusts, and what the package says of them."""
    rng = np.random.default_rng(0)
    starts, goals = rng.uniform(-1.4, 1.4, (N_POSITIONS, 2)), rng.uniform(-1.4, 1.4, (N_POSITIONS, 1))
    gusts = rng.integers(-8, 9, N_POSITIONS) * 0.1
    hits, times = rng.integers(0, N_STEPS, N_POSITIONS), rng.integers(0, 6 * N_STEPS + 1, N_POSITIONS)
    network = perceptron(KEPT["weights"])

    def run(push, gusts):
        states, kicked, pushes = [tf.constant(starts)], [], []
        for k in range(N_STEPS):
            kicked.append(states[-1] + np.where(hits == k, gusts, 0.0)[:, np.newaxis] * [0.0, 1.0])
            pushes.append(push(kicked[-1], k))
            states.append(PENDULUM.step(kicked[-1], pushes[-1]))
        return {
            "states": np.stack(states, axis=1),
            "kicked": np.stack(kicked, axis=1),
            "pushes": np.concatenate(pushes, axis=1),
        }

    def decide(state, k):
        left = np.full([N_POSITIONS, 1], 1.0 - k / N_STEPS)
        return network(tf.concat([state, goals, left], axis=1)).numpy()

    calm = run(decide, np.zeros(N_POSITIONS))
    loop, plan = run(decide, gusts), run(lambda _, k: calm["pushes"][:, k : k + 1], gusts)
    layer = training.ClosedLoop(network, PENDULUM, N_STEPS, n_state=2, dtype="float64")
    np.testing.assert_allclose(layer(np.hstack([starts, goals])), calm["pushes"], atol=1e-12)

    def miss(found):
        return np.hypot(found["states"][:, -1, 0] - goals[:, 0], found["states"][:, -1, 1])

    shown = []
    for i in range(N_POSITIONS):
        values = {
            "start": starts[i].tolist(),
            "goal on the circle": [np.sin(goals[i, 0]), -np.cos(goals[i, 0])],
            "gust": round(float(gusts[i]), 1),
            "time of the gust": int(hits[i]),
            "time": int(times[i]),
        }
        expected = {"goal": goals[i, 0], "time": times[i] / 6, "missLoop": miss(loop)[i], "missPlan": miss(plan)[i]}
        for name, found in (("calm", calm), ("loop", loop), ("plan", plan)):
            expected |= {(name, key): values_of[i] for key, values_of in found.items()}
        k, part = divmod(int(times[i]), 6)
        if part == 0:  # between two states the curve is drawn, and not computed by the package
            expected["here"] = loop["kicked"][i, k] if k < N_STEPS else loop["states"][i, k]
        shown.append((values, expected))
    return shown


def compare(pendulum):
    """Over all positions, to 1e-6 of numbers of order one."""
    found = positions()
    for shown, (_, expected) in zip(pendulum.moves([values for values, _ in found]), found, strict=True):
        for name, wanted in expected.items():
            value = shown[name[0]][name[1]] if isinstance(name, tuple) else shown[name]
            assert np.max(np.abs(np.subtract(value, wanted))) < 1e-6, name


def test_pushes_and_paths_are_those_of_the_package(figure):
    compare(figure("pendulum", "gust"))


def test_the_curve_between_two_states_is_that_of_the_pendulum(figure):
    """Half-way through a step, against a scheme with steps a hundredth as long; a cubic is off by little."""
    found = [values | {"time": 6 * (index % N_STEPS) + 3} for index, (values, _) in enumerate(positions())]
    fine = simulators.PushedPendulum(KEPT["dt"] / 100)
    for values, shown in zip(found, figure("pendulum", "gust").moves(found), strict=True):
        k = (values["time"] - 3) // 6
        state, push = (np.array([shown["loop"][name][k]]) for name in ("kicked", "pushes"))
        for _ in range(50):
            state = fine.step(state, push[:, np.newaxis]).numpy()
        np.testing.assert_allclose(shown["here"], state[0], atol=0.03)


def test_the_loop_answers_a_gust_and_the_plan_does_not(figure):
    """Inside of what was trained, with a gust in the middle."""
    values = [each | {"gust": 0.5, "time of the gust": 3} for each, _ in positions()]
    for each in values:
        each["start"] = np.clip(each["start"], -0.7, 0.7).tolist()
        goal = np.clip(np.arctan2(each["goal on the circle"][0], -each["goal on the circle"][1]), -0.7, 0.7)
        each["goal on the circle"] = [np.sin(goal), -np.cos(goal)]
    shown = list(figure("pendulum", "gust").moves(values))
    assert np.median([each["missLoop"] for each in shown]) < 0.5 * np.median([each["missPlan"] for each in shown])


@pytest.mark.parametrize(
    "fault",
    [
        ("[q, p, goal, 1 - k / nSteps]", "[q, p, goal, 1 + k / nSteps]"),
        ("[q, p, goal, 1 - k / nSteps]", "[q, -p, goal, 1 - k / nSteps]"),
        ("p + (dt / 2) * (u - Math.sin(q))", "p + (dt / 2) * (u + Math.sin(q))"),
        ("q + dt * half", "q - dt * half"),
        ("half + (dt / 2) * (u - Math.sin(next))", "half - (dt / 2) * (u - Math.sin(next))"),
        ("[q, p + gust]", "[q, p - gust]"),
        ("calm.pushes[k]", "-calm.pushes[k]"),
        ("states[nSteps][0] - goal", "states[nSteps][0] + goal"),
        ("Math.atan2(x, -y)", "Math.atan2(-x, -y)"),
        ("sum + value * kernel[i][j], b)", "sum + value * kernel[i][j], -b)"),
        ("sums.map(Math.tanh)", "sums.map((sum) => -Math.tanh(sum))"),
        ("1 + 2 * s) * (1 - s) ** 2", "1 + 2 * s) * (1 + s) ** 2"),
    ],
)
def test_a_wrong_sign_is_noticed(figure, fault):
    wrong = figure("pendulum", "gust", fault)
    with pytest.raises(AssertionError):
        compare(wrong)


@pytest.mark.parametrize(
    "fault", [("v * (1 - s) - w * s", "v * (1 - s) + w * s"), ("[p, u - Math.sin(q)]", "[p, u + Math.sin(q)]")]
)
def test_a_curve_that_is_bent_the_wrong_way_is_noticed(figure, fault):
    with pytest.raises(AssertionError):
        test_the_curve_between_two_states_is_that_of_the_pendulum(lambda name, problem: figure(name, problem, fault))
