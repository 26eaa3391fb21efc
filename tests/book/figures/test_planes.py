"""The paths in the linked planes are those of the package."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import jacobians, simulators, updates

G = 9.81
N_PER_RATE = 12
METHODS = ("GD", "Adam", "Newton", "IG", "PG")
N_STEPS = 12
SINES = (  # positions of the sliders of ξ, φ and η
    (0.0, 15.0, -2.2),
    (0.1, 0.0, -2.4),
    (0.3, 30.0, -2.8),
    (0.5, 75.0, -3.2),
    (0.6, 45.0, -3.6),
)


def drop(x):
    t = tf.sqrt(2.0 * x[:, 1] / G)
    return tf.stack([x[:, 0] * t, t], axis=1)


def drop_inverse(y, x):
    return tf.stack([y[:, 0] / y[:, 1], G * y[:, 1] ** 2 / 2.0], axis=1)


square = simulators.QuadraticComposite()


@dataclasses.dataclass(frozen=True)
class Problem:
    simulate: Callable
    inverse: Callable
    starts: tuple  # lowest and highest x
    goals: tuple
    unit: str | None
    above: float  # what x₂ must exceed
    rates: tuple
    dials: dict = dataclasses.field(default_factory=dict)  # further sliders


def sine(exponent, degrees, rate):
    """The sine at one position of its dials. The unit of x₂ is the first one's."""
    simulator = simulators.Sine(10.0**exponent, np.radians(degrees))
    dials = {"conditioning ξ": exponent, "rotation φ in degrees": degrees}
    nearby = ([-0.55, -0.55], [0.55, 0.55])
    return Problem(simulator, simulator.local_inverse, nearby, nearby, None, -np.inf, (10.0**rate,), dials)


PROBLEMS = {  # the sine has one for every position of its dials
    "ball": [
        Problem(
            drop,
            drop_inverse,
            ([0.3, 0.2], [4.5, 1.2]),
            ([0.5, 0.3], [4.0, 2.0]),
            "units in a metre",
            0.0,
            (0.02, 0.3, 1.0, 3.0, 8.0),
        )
    ],
    "square": [
        Problem(
            square,
            square.local_inverse,
            ([-0.2, 0.2], [3.5, 0.8]),
            ([-0.2, 0.5], [3.5, 3.0]),
            "units of x₂",
            -np.inf,
            (0.005, 0.01, 0.02, 0.03, 0.04),
        )
    ],
    "sine": [sine(*dials) for dials in SINES],
}


def paths_of_the_package(problem, start, goal, unit, eta, part):
    """Paths [step, sample, 2] in x of all methods, which move z = (x₁, unit · x₂)."""
    scale = np.stack([np.ones_like(unit), unit], axis=1)

    def P(z):
        return problem.simulate(z / scale)

    def loss(z):
        return tf.reduce_sum((P(z) - goal) ** 2, axis=1) / 2.0

    def wish(y):
        return part * (goal - y)

    def inverse(y, z):
        return problem.inverse(y, z / scale) * scale

    rules = {
        "GD": lambda z: updates.gradient_descent(loss, z, eta),
        "Newton": lambda z: updates.newton(loss, z, part),
        "IG": lambda z: updates.inverse_gradient(P, z, wish),
        "PG": lambda z: updates.physical_gradient(P, z, wish, local_inverse=inverse),
        "Adam": adam(loss, eta),
    }
    return {name: follow(rule, start * scale, problem.above) / scale for name, rule in rules.items()}


def follow(rule, start, above):
    """Points z [step, sample, 2]; NaN from where a path goes below the floor."""
    z, left, path = start, np.zeros(len(start), bool), [start]
    for _ in range(N_STEPS):
        z = z + rule(tf.constant(z)).numpy()
        left |= ~(z[:, 1] > above)
        path.append(np.where(left[:, np.newaxis], np.nan, z))
        z = np.where(left[:, np.newaxis], start, z)  # a simulator has no value there
    return np.stack(path)


def adam(loss, eta):
    """Adam as a rule, in float64."""
    mean = square = 0.0
    number = 0

    def rule(z):
        nonlocal mean, square, number
        slope, number = jacobians.gradient(loss, z).numpy(), number + 1
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        rate = eta * np.sqrt(1.0 - 0.999**number) / (1.0 - 0.9**number)
        return tf.constant(-rate * mean / (np.sqrt(square) + 1e-7))

    return rule


def keras_adam(loss, eta):
    """Keras's own, whose numbers β and η are those of float32."""
    optimizer, moved = keras.optimizers.Adam(eta), None

    def rule(z):
        nonlocal moved
        if moved is None:
            moved = keras.Variable(z, dtype="float64")
            optimizer.build([moved])
        moved.assign(z)
        optimizer.apply([jacobians.gradient(loss, z)], [moved])
        return moved.value - z

    return rule


def test_adam_is_that_of_keras():
    start, goal = np.array([[1.0, 0.5], [3.0, 1.2]]), np.array([[1.5, 0.5]])

    def loss(x):
        return tf.reduce_sum((drop(x) - goal) ** 2, axis=1) / 2.0

    ours, theirs = (follow(rule(loss, 0.05), start, 0.0) for rule in (adam, keras_adam))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)  # found: 2e-5


@functools.cache
def positions(name):
    """60 random positions: what is set, and the paths of the package."""
    rng, found = np.random.default_rng(0), []
    for problem, rate in ((one, rate) for one in PROBLEMS[name] for rate in one.rates):
        start = rng.uniform(*problem.starts, (N_PER_RATE, 2))
        goal = problem.simulate(tf.constant(rng.uniform(*problem.goals, (N_PER_RATE, 2)))).numpy()
        exponent = rng.uniform(-0.6, 0.6, N_PER_RATE).round(2) * (problem.unit is not None)
        position, part = round(float(np.log10(rate)), 1), float(rng.choice([0.3, 0.6, 1.0]))
        paths = paths_of_the_package(problem, start, goal, 10.0**exponent, 10.0**position, part)
        for sample in range(N_PER_RATE):
            sliders = problem.dials | ({problem.unit: exponent[sample]} if problem.unit else {})
            sliders |= {
                "rate η of GD and Adam": position,
                "part of the way of the others": part,
                "steps": N_STEPS,
            } | dict.fromkeys(METHODS, True)
            points = {
                "start in x": (start[sample] * [1.0, 10.0 ** exponent[sample]]).tolist(),
                "goal in y": goal[sample].tolist(),
            }
            found.append((sliders, points, {name: path[:, sample] for name, path in paths.items()}))
    return found


def largest_difference(opened, name):
    """Over all positions and methods, relative to lengths of order one; the lengths of the paths must agree."""
    worst = 0.0
    # The start keeps its height when the unit changes, so it is set afterwards.
    moves = [move for sliders, points, _ in positions(name) for move in (sliders, points)]
    after = itertools.islice(opened.moves(moves), 1, None, 2)
    for shown, (*_, paths) in zip(after, positions(name), strict=True):
        for method, path in paths.items():
            wanted = path[np.isfinite(path).all(axis=1)]
            found = np.array(shown["paths"][method], dtype=float)
            assert found.shape == wanted.shape, method
            worst = np.maximum(worst, np.max(np.abs(found - wanted) / (1.0 + np.abs(wanted))))
    return worst


@pytest.mark.parametrize("name", PROBLEMS)
def test_paths_are_those_of_the_package(figure, name):
    assert largest_difference(figure("planes", name), name) < 1e-6


def turn(opened):
    """Whose way in y stays when φ is turned, and the start with it."""
    found = []
    for degrees in (30.0, 80.0):
        shown = opened.move({"rotation φ in degrees": degrees} | dict.fromkeys(METHODS, True))
        simulator = simulators.Sine(shown["xi"], shown["phi"])
        found.append({name: simulator(tf.constant(path, tf.float64)) for name, path in shown["paths"].items()})
    return {name for name in METHODS if np.allclose(found[0][name], found[1][name], atol=1e-9)}


def test_a_turn_of_the_sine_changes_the_way_of_adam_alone(figure):
    assert turn(figure("planes", "sine")) == set(METHODS) - {"Adam"}


@pytest.mark.parametrize(
    "fault",
    [
        ("before - sine.phi", "sine.phi - before"),
        ("Math.sin(angle) * a + Math.cos(angle) * b", "Math.sin(angle) * a - Math.cos(angle) * b"),
        ("Math.cos(angle) * a - Math.sin(angle) * b", "Math.cos(angle) * a + Math.sin(angle) * b"),
    ],
)
def test_a_wrong_turn_is_noticed(figure, fault):
    assert not turn(figure("planes", "sine", fault))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("ball", ("(-eta() * slope)", "(eta() * slope)")),
        ("ball", ("(-rate * state.mean[i])", "(rate * state.mean[i])")),
        ("ball", ("(full) => -part() * full", "(full) => part() * full")),
        ("ball", ("solve(J(x), wish(x, aim))", "solve(J(x), minus(P(x), aim))")),
        ("ball", ("minus(inverse(plus(P(x), wish(x, aim)), x), x)", "minus(x, inverse(plus(P(x), wish(x, aim)), x))")),
        ("ball", ("second] = [1 / (g * t), -1 /", "second] = [1 / (g * t), 1 /")),
        ("ball", ("[[t, v / (g * t)]", "[[t, -v / (g * t)]")),
        ("ball", ("+ r[k] * second", "- r[k] * second")),
        ("sine", ("[[c, -s], [s, c]]", "[[c, s], [s, c]]")),
        ("sine", ("[[c, -s], [s, c]]", "[[c, -s], [-s, c]]")),
        ("sine", ("e[0] * x[0] + e[1] * x[1])) / sine.xi", "e[0] * x[0] - e[1] * x[1])) / sine.xi")),
        ("sine", ("(e[0] * x[0] + e[1] * x[1])]; }", "(e[0] * x[0] - e[1] * x[1])]; }")),
        ("sine", ("(sine.gamma / sine.xi) * Math.cos", "-(sine.gamma / sine.xi) * Math.cos")),
        ("sine", ("sine.gamma * sine.xi];", "-sine.gamma * sine.xi];")),
        ("sine", ("bend = -((sine", "bend = ((sine")),
        ("sine", ("Math.PI - arcsine", "Math.PI + arcsine")),
        ("sine", ("branch + 2 * Math.PI", "branch - 2 * Math.PI")),
        ("sine", ("(here - branch)", "(here + branch)")),
        ("sine", ("Math.abs(branches[0] - here) <=", "Math.abs(branches[0] - here) >")),
        ("sine", ("[i] * turned[0] + rows()", "[i] * turned[0] - rows()")),
    ],
)
def test_a_wrong_sign_is_noticed(figure, name, fault):
    wrong = figure("planes", name, fault)
    with pytest.raises(AssertionError):
        assert largest_difference(wrong, name) < 1e-6
