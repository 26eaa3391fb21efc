"""The steps over the ripple, and the mean of the inverse gradient on the way, are those of the package."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import jacobians, updates

N_POSITIONS = 60
N_PIECES = 80
TICKS_OF_HEIGHT = 0.0025


def rippled(height):
    """P and its inverse, of the chapter; every sample has its own `height` of the ripple, [batch, 1]."""

    def simulate(x):
        return x + height * tf.sin(20.0 * x)

    def inverse(y, x_guess):
        low, high = y - 0.046, y + 0.046
        for _ in range(60):  # halves the bracket each time
            middle = (low + high) / 2.0
            below = simulate(middle) < y
            low, high = tf.where(below, middle, low), tf.where(below, high, middle)
        return (low + high) / 2.0

    return simulate, inverse


def inverse_gradients(height, y):
    """∂x/∂y at y [batch, n], by automatic differentiation."""
    flat = tf.constant(y.reshape(-1, 1))
    simulate, inverse = rippled(tf.constant(np.repeat(height, y.shape[1], axis=0)))
    return (1.0 / jacobians.jacobian(simulate, inverse(flat, flat))[:, 0, 0].numpy()).reshape(y.shape)


@functools.cache
def positions():
    """Random positions, and what the package makes of them."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 1.2, (N_POSITIONS, 1))
    exponent = (rng.uniform(-3.0, 0.08, N_POSITIONS) / 0.02).round() * 0.02  # the sliders' own positions
    height = rng.integers(0, 19, (N_POSITIONS, 1)) * TICKS_OF_HEIGHT
    delta = 10.0 ** exponent[:, np.newaxis]
    simulate, inverse = rippled(height)
    y = simulate(x).numpy()
    steps = {
        "PG": updates.physical_gradient(simulate, x, delta, local_inverse=inverse).numpy(),
        "IG": updates.inverse_gradient(simulate, x, delta).numpy(),
    }
    nodes, weights = np.polynomial.legendre.leggauss(16)
    parts = ((np.arange(N_PIECES)[:, np.newaxis] + (nodes + 1.0) / 2.0) / N_PIECES).ravel()
    mean = inverse_gradients(height, y + delta * parts) @ np.tile(weights / 2.0 / N_PIECES, N_PIECES)
    on_the_way = x + steps["PG"] * np.linspace(0.0, 1.0, 161)
    of_y = on_the_way + height * np.sin(20.0 * on_the_way)
    expected = {
        "x": x,
        "y": y,
        "delta": delta,
        "height": height,
        "goal": y + delta,
        "first": inverse_gradients(height, y),
        "local": x + steps["PG"],
        "linear": x + steps["IG"],
        "mean": mean,
        "lands PG": simulate(x + steps["PG"]).numpy(),
        "lands IG": simulate(x + steps["IG"]).numpy(),
        "way": np.stack([of_y, inverse_gradients(height, of_y)], axis=2),
    } | steps
    values = [
        {"wished change Δy": exponent[k], "height of the ripple": height[k, 0], "x₀, on the curve": [x[k, 0], y[k, 0]]}
        for k in range(N_POSITIONS)
    ]
    return values, expected


def largest_difference(opened):
    """Over all positions, relative to numbers of order one; of the steps, relative to Δy."""
    values, expected = positions()
    worst = []
    for k, shown in enumerate(opened.moves(values)):
        shown |= {f"lands {name}": place for name, place in shown["lands"].items()}
        for name, wanted in expected.items():
            scale = expected["delta"][k, 0] if name in ("PG", "IG") else 1.0
            found = np.array(shown[name], dtype=float).reshape(wanted[k].shape)
            worst.append(np.max(np.abs(found - wanted[k]) / (scale + np.abs(wanted[k]))))
    return np.max(worst)


def test_steps_and_mean_are_those_of_the_package(figure):
    assert largest_difference(figure("average", "ripple")) < 1e-6


def test_the_mean_on_the_way_is_the_ratio_of_the_physical_gradient(figure):
    for shown in figure("average", "ripple").moves(positions()[0]):
        assert shown["mean"] == pytest.approx(shown["PG"] / shown["delta"], rel=1e-6)


def test_the_long_way_smooths_and_the_short_one_does_not(figure):
    opened, spread = figure("average", "ripple"), {}
    for exponent in (-3, 0):
        places = [{"wished change Δy": exponent, "x₀, on the curve": [x, 0.0]} for x in np.linspace(0.0, 0.6, 60)]
        ratios = [shown["mean"] for shown in opened.moves(places)]
        spread[exponent] = max(ratios) / min(ratios)
    assert spread[-3] > 15.0
    assert spread[0] < 1.2


@pytest.mark.parametrize(
    "fault",
    [
        ("x + height * Math.sin", "x - height * Math.sin"),
        ("1 + omega * height * Math.cos", "1 - omega * height * Math.cos"),
        ("P(middle) < y", "P(middle) > y"),
        ("[-Math.sqrt(0.6), 5 / 18]", "[Math.sqrt(0.6), 5 / 18]"),
        ("weight * (high - low)", "weight * (low - high)"),
        ("low + high + place * (high - low)", "low + high + place * (low - 3 * high)"),
        ("from + ((to - from) * k) / pieces", "from - ((to - from) * k) / pieces"),
        ("total / (P(to) - P(from))", "total / (P(from) - P(to))"),
        ("inverse(y + delta)", "inverse(y - delta)"),
        ("x + first * delta", "x - first * delta"),
        ("goal: y + delta", "goal: y - delta"),
        ("PG: local - x", "PG: x - local"),
        ("IG: linear - x", "IG: x - linear"),
    ],
)
def test_a_wrong_sign_is_noticed(figure, fault):
    wrong = figure("average", "ripple", fault)
    with pytest.raises(AssertionError):
        assert largest_difference(wrong) < 1e-6
