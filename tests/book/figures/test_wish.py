"""The steps that a wish in y becomes, and where they land, are those of the package."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import simulators, updates

N_POSITIONS = 60
PARTS = np.linspace(0.0, 1.0, 41)
TICKS = ("GD: η JᵀΔy", "IG: J⁻¹Δy", "PG: P⁻¹(y + Δy) − x")
SWIRL = simulators.Swirl(kappa=0.3)


def mixer(x):
    flow = x[:, 0] + x[:, 1]
    return tf.stack([flow, (60.0 * x[:, 0] + 10.0 * x[:, 1]) / flow], axis=1)


def unmix(y, x_guess):
    return tf.stack([y[:, 0] * (y[:, 1] - 10.0), y[:, 0] * (60.0 - y[:, 1])], axis=1) / 50.0


PROBLEMS = {  # simulator, inverse, limits of x and of the tip, range of the slider
    "mixer": (mixer, unmix, ([0.3, 0.3], [8.5, 8.5]), ([1.0, 12.0], [12.0, 58.0]), (-3.0, -0.5)),
    "swirl": (SWIRL, SWIRL.local_inverse, ([-2.0, -2.0], [2.0, 2.0]), ([-2.0, -2.0], [2.0, 2.0]), (-2.0, 0.5)),
}


@functools.cache
def positions(problem):
    """Random positions: x, tip and slider, and what the package makes of them."""
    simulator, inverse, of_x, of_tip, rates = PROBLEMS[problem]
    rng = np.random.default_rng(0)
    low, high = np.array(of_x)
    x = low + (high - low) * rng.uniform(size=(N_POSITIONS, 2)) ** 2  # so that taps are often nearly closed
    tip = rng.uniform(*of_tip, (N_POSITIONS, 2))
    exponents = (rng.uniform(*rates, N_POSITIONS) / 0.02).round() * 0.02  # the slider's own positions
    wish = tip - simulator(tf.constant(x)).numpy()

    def loss(x):
        return tf.reduce_sum((simulator(x) - tip) ** 2, axis=1) / 2.0

    steps = {
        "GD": updates.gradient_descent(loss, x, 1.0).numpy() * 10.0 ** exponents[:, np.newaxis],
        "IG": updates.inverse_gradient(simulator, x, wish).numpy(),
        "PG": updates.physical_gradient(simulator, x, wish, local_inverse=inverse).numpy(),
    }
    images = {}
    for name, step in steps.items():
        points = x[:, np.newaxis] + PARTS[:, np.newaxis] * step[:, np.newaxis]
        images[name] = simulator(tf.constant(points.reshape(-1, 2))).numpy().reshape(points.shape)
        if problem == "mixer":  # without flow there is no temperature, and nothing beyond
            images[name][np.cumsum(points.sum(axis=2) <= 0.0, axis=1) > 0] = np.nan
    return x, tip, exponents, steps, images


def largest_difference(opened, problem):
    """Over all positions and methods, relative to numbers of order one; images must have the same length."""
    x, tip, exponents, steps, images = positions(problem)
    worst = 0.0
    moves = [
        {"rate η of GD": exponents[k], "present x": x[k].tolist(), "tip of the wish in y": tip[k].tolist()}
        | dict.fromkeys(TICKS, True)
        for k in range(N_POSITIONS)
    ]
    for k, shown in enumerate(opened.moves(moves)):
        assert set(shown["steps"]) == set(steps)
        for name in steps:
            image = images[name][k]
            for found, wanted in (
                (shown["steps"][name], steps[name][k]),
                (shown["images"][name], image[np.isfinite(image).all(axis=1)]),
            ):
                found = np.array(found, dtype=float)
                assert found.shape == wanted.shape, name
                worst = np.maximum(worst, np.max(np.abs(found - wanted) / (1.0 + np.abs(wanted))))
    return worst


@pytest.mark.parametrize("problem", PROBLEMS)
def test_steps_and_landings_are_those_of_the_package(figure, problem):
    assert largest_difference(figure("wish", problem), problem) < 1e-6


def test_some_gradient_steps_turn_the_water_off():
    images = positions("mixer")[-1]
    assert np.isnan(images["GD"]).any()
    assert np.isfinite(images["PG"]).all()


def test_the_physical_gradient_lands_on_the_tip(figure):
    shown = figure("wish", "swirl").move({"tip of the wish in y": [-1.2, 0.4]})
    np.testing.assert_allclose(shown["images"]["PG"][-1], shown["tip"], atol=1e-12)
    assert np.linalg.norm(np.subtract(shown["images"]["IG"][-1], shown["tip"])) > 0.1


@pytest.mark.parametrize(
    ("problem", "fault"),
    [
        ("mixer", ("(-50 * hot)", "(50 * hot)")),
        ("mixer", ("(warm - 10)", "(warm + 10)")),
        ("mixer", ("eta() * (jacobian", "-eta() * (jacobian")),
        ("mixer", ("(d * p - b * q)", "(d * p + b * q)")),
        ("mixer", ("(a * q - c * p)", "(a * q + c * p)")),
        ("mixer", ("a * d - b * c", "a * d + b * c")),
        ("swirl", ("turn(y, -kappa * square(y))", "turn(y, kappa * square(y))")),
        ("swirl", ("(j === 0) - 2 * kappa", "(j === 0) + 2 * kappa")),
        ("swirl", ("(j === 1) + 2 * kappa", "(j === 1) - 2 * kappa")),
        ("swirl", ("Math.cos(angle) * x[0] - ", "Math.cos(angle) * x[0] + ")),
        ("swirl", ("minus(inverse(plus(P(x), wish)), x)", "minus(x, inverse(plus(P(x), wish)))")),
        ("swirl", ("minus(end(), P(here()))];", "minus(P(here()), end())];")),
        ("swirl", ("plus(x, step, k / n)", "plus(x, step, -k / n)")),
    ],
)
def test_a_wrong_sign_is_noticed(figure, problem, fault):
    wrong = figure("wish", problem, fault)
    with pytest.raises(AssertionError):
        assert largest_difference(wrong, problem) < 1e-6
