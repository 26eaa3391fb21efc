"""The answers of the local inverse and of its tangent are those of the package."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import simulators, updates

N_POSITIONS = 60


def cube(x):
    return x**3


def cube_root(y, x_guess):
    return tf.sign(y) * tf.abs(y) ** (1.0 / 3.0)


PROBLEMS = {
    "square": (simulators.Square(), None, 2.1, (-0.8, 4.4)),
    "cube": (cube, cube_root, 1.25, (-1.9, 1.9)),
}


@functools.cache
def positions(problem):
    """Random positions, and what the package says there: y₀, y₀ + Δy, where PG and IG go, and where IG lands."""
    simulator, inverse, reach, wishes = PROBLEMS[problem]
    rng = np.random.default_rng(0)
    x = tf.constant(rng.uniform(-reach, reach, (N_POSITIONS, 1)))
    wished = rng.uniform(*wishes, (N_POSITIONS, 1))
    part = rng.uniform(0.1, 1.0, (N_POSITIONS, 1)).round(2) // 0.05 * 0.05
    y = simulator(x)
    delta_y = part * (wished - y)
    linear = x + updates.inverse_gradient(simulator, x, delta_y)
    exists = (y + delta_y >= 0.0) | (problem == "cube")
    local = np.full_like(x, np.nan)
    asked = [tf.boolean_mask(values, exists[:, 0]) for values in (x, delta_y)]
    local[exists] = (asked[0] + updates.physical_gradient(simulator, *asked, local_inverse=inverse))[:, 0]
    expected = np.concatenate([x, y, y + delta_y, local, linear, simulator(linear)], axis=1)
    return x.numpy()[:, 0], wished[:, 0], part[:, 0], expected


def compare(opened, problem):
    """Over all positions, to 1e-6 of lengths of order one; where there is no pre-image none must be shown."""
    moves = [
        {"x₀, on the curve": [x, expected[1]], "wished y": [0.0, wished], "part η of the way": part}
        for x, wished, part, expected in zip(*positions(problem), strict=True)
    ]
    for shown, expected in zip(opened.moves(moves), positions(problem)[-1], strict=True):
        found = [*shown["start"], shown["goal"], shown["local"], shown["linear"], shown["lands"]]
        found = np.array(found, dtype=float)
        assert np.array_equal(np.isnan(found), np.isnan(expected))
        assert np.nanmax(np.abs(found - expected) / (1.0 + np.abs(expected))) < 1e-6
        if problem == "square" and shown["local"] is not None:
            assert shown["other"] == -shown["local"]
            assert min(shown["branch"]) <= shown["local"] <= max(shown["branch"])


@pytest.mark.parametrize("problem", PROBLEMS)
def test_answers_are_those_of_the_package(figure, problem):
    compare(figure("local-inverse", problem), problem)


@functools.cache
def loops():
    """Random way points, the closed way in y through them, and the root that follows it without a jump, in float64."""
    rng, found = np.random.default_rng(0), []
    for _ in range(N_POSITIONS):
        stops = rng.uniform(-1.7, 1.7, (3, 2))
        corners = np.concatenate([[1.0], stops[:, 0] + 1j * stops[:, 1], [1.0]])
        way = np.interp(np.arange(401) / 100.0, np.arange(5), corners)
        angle = np.unwrap(np.angle(way))
        root = np.sqrt(np.abs(way)) * np.exp(0.5j * angle)
        found.append((stops, way, root, round(angle[-1] / (2.0 * np.pi))))
    return found


def compare_loops(opened):
    """Over all loops, of the way in y and of the one in x."""
    moves = [
        {f"way point {number} in y": stop.tolist() for number, stop in enumerate(stops, 1)} for stops, *_ in loops()
    ]
    for shown, (_, way, root, rounds) in zip(opened.moves(moves), loops(), strict=True):
        assert shown["rounds"] == rounds
        for name, wanted in (("way", way), ("follow", root)):
            found = np.array(shown[name]) @ [1.0, 1.0j]
            assert np.max(np.abs(found - wanted) / (1.0 + np.abs(wanted))) < 1e-6


def test_x_follows_a_loop_on_its_branch(figure):
    assert {abs(rounds) for *_, rounds in loops()} == {0, 1}
    compare_loops(figure("local-inverse", "loop"))


@pytest.mark.parametrize(
    "fault",
    [
        ("near[1] < 0 ?", "near[1] > 0 ?"),
        ("Math.sign(b || 1)", "-Math.sign(b || 1)"),
        ("turns += Math.atan2", "turns -= Math.atan2"),
    ],
)
def test_a_wrong_branch_is_noticed(figure, fault):
    wrong = figure("local-inverse", "loop", fault)
    with pytest.raises(AssertionError):
        compare_loops(wrong)


def test_a_tie_goes_where_the_package_takes_it_and_a_gap_has_no_answer(figure):
    opened, zero = figure("local-inverse", "square"), tf.zeros([1, 1], tf.float64)
    shown = opened.move({"x₀, on the curve": [0.0, 0.0], "wished y": [0.0, 1.0]})
    assert shown["tie"]
    assert shown["linear"] is None
    assert shown["local"] == float(simulators.Square().local_inverse(zero + 1.0, zero)[0, 0])

    shown = opened.move({"wished y": [0.0, -0.5]})
    assert (shown["local"], shown["other"], shown["tie"]) == (None, None, False)


@pytest.mark.parametrize(
    ("problem", "fault"),
    [
        ("square", ("part() * (aim.Y() - y)", "part() * (y - aim.Y())")),
        ("square", ("const goal = y + step", "const goal = y - step")),
        ("square", ("x + step / slope(x)", "x - step / slope(x)")),
        ("square", ("Math.abs(a - x) - Math.abs(b - x)", "Math.abs(b - x) - Math.abs(a - x)")),
        ("square", ("[-Math.sqrt(y), Math.sqrt(y)]", "[Math.sqrt(y), Math.sqrt(y)]")),
        ("square", ("(x < 0 ? [-2.4, 0] : [0, 2.4])", "(x > 0 ? [-2.4, 0] : [0, 2.4])")),
        ("square", ("slope: (x) => 2 * x", "slope: (x) => -2 * x")),
        ("cube", ("[Math.cbrt(y)]", "[-Math.cbrt(y)]")),
        ("cube", ("slope: (x) => 3 * x ** 2", "slope: (x) => -3 * x ** 2")),
    ],
)
def test_a_wrong_sign_is_noticed(figure, problem, fault):
    wrong = figure("local-inverse", problem, fault)
    with pytest.raises(AssertionError):
        compare(wrong, problem)
