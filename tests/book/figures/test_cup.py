"""The step, the pull and the gradient on the stirred cup are those of the package."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import simulators, updates

N_PER_CUP = 12
KAPPAS = (0.0, 0.5, 1.0, 2.3, 4.0)


@functools.cache
def positions():
    """60 random positions, and what the package says there."""
    rng, found = np.random.default_rng(0), []
    for kappa in KAPPAS:
        cup = simulators.Swirl(kappa)
        x, aim = tf.constant(rng.uniform(-1.1, 1.1, (2, N_PER_CUP, 2)))
        eta = rng.integers(1, 21, (N_PER_CUP, 1)) * 0.05
        expected = of_the_package(cup, x, aim, eta)
        for sample in range(N_PER_CUP):
            values = {
                "proposal x": x[sample].numpy().tolist(),
                "wanted y*": aim[sample].numpy().tolist(),
                "part η of the way": round(float(eta[sample, 0]), 2),
                "turn at the rim, κ": kappa,
            }
            found.append((values, {name: points[sample].numpy() for name, points in expected.items()}))
    return found


def of_the_package(cup, x, aim, eta):
    def loss(points):
        return tf.reduce_sum((cup(points) - aim) ** 2, axis=1) / 2.0

    def wish(y):
        return eta * (aim - y)

    pull = updates.physical_gradient(cup, x, wish)
    gradient = tf.concat(
        [updates.gradient_descent(loss, x, float(rate))[i : i + 1] for i, rate in enumerate(eta[:, 0])], axis=0
    )
    return {
        "y": cup(x),
        "deltaY": wish(cup(x)),
        "target": x + pull,
        "pull": pull,
        "gradient": gradient,
        "solution": cup.local_inverse(aim, x),
        "reached": cup(x + pull),
        "landed": cup(x + gradient),
    }


def compare(cup):
    """Over all positions and places, to 1e-6 of lengths of order one."""
    found = positions()
    for shown, (_, expected) in zip(cup.moves([values for values, _ in found]), found, strict=True):
        for name, wanted in expected.items():
            assert np.max(np.abs(shown[name] - wanted) / (1.0 + np.abs(wanted))) < 1e-6


def test_step_pull_and_gradient_are_those_of_the_package(figure):
    compare(figure("cup", "stirred"))


@pytest.mark.parametrize(
    "fault",
    [
        ("Math.sin(angle) * a + Math.cos(angle) * b", "Math.sin(angle) * a - Math.cos(angle) * b"),
        ("Math.cos(angle) * a - Math.sin(angle) * b", "Math.cos(angle) * a + Math.sin(angle) * b"),
        ("const P = (x) => turn(x, kappa()", "const P = (x) => turn(x, -kappa()"),
        ("turn(y, -kappa() * square(y))", "turn(y, kappa() * square(y))"),
        ("turn(v, -kappa() * square(x))", "turn(v, kappa() * square(x))"),
        ("-x[1] * back[0] + x[0] * back[1]", "x[1] * back[0] + x[0] * back[1]"),
        ("2 * kappa() * aside", "-2 * kappa() * aside"),
        ("minus(aim, y), eta()", "minus(y, aim), eta()"),
        ("inverse(along(y, deltaY, 1))", "inverse(along(y, deltaY, -1))"),
        ("slope, -eta()", "slope, eta()"),
        ("pull: minus(target, x)", "pull: minus(x, target)"),
        ("P(along(x, gradient, 1))", "P(along(x, gradient, -1))"),
    ],
)
def test_a_wrong_sign_is_noticed(figure, fault):
    wrong = figure("cup", "stirred", fault)
    with pytest.raises(AssertionError):
        compare(wrong)
