"""What the rod shows is what the package says of a plate whose temperature varies along one direction only."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import simulators

N = 32
N_PER_TIME = 15
TIMES = (0.1, 0.6, 1.3, 2.0)
GAPS = (4.5, 27.5)  # the outer edges of the two pieces
INVERSES = ("raw", "cutoff", "probabilistic")
DESCENT = "gradient descent"
MOST_STEPS = 12  # by automatic differentiation; of more the gain is compared


def pieces(edges, heights):
    """x* [batch, N], means over cells: one piece from 4.5 to the first edge, one from the second to 27.5."""
    fine = (np.arange(N * 1000) + 0.5) / 1000.0 - 0.5  # a thousand places in every cell
    inside = [(fine > GAPS[0]) & (fine < edges[:, :1]), (fine > edges[:, 1:]) & (fine < GAPS[1])]
    return (
        sum(height * where for height, where in zip(heights.T[..., np.newaxis], inside, strict=True))
        .reshape(len(edges), N, 1000)
        .mean(axis=2)
    )


def plate(rod):
    """Fields [batch, N, N, 1] that vary along their rows as `rod` [batch, N] does."""
    return tf.constant(np.repeat(rod[:, np.newaxis, :, np.newaxis], N, axis=1))


def along(fields):
    """The mean over the other direction: waves across it, in which the raw inverse amplifies rounding, drop out."""
    return np.asarray(fields)[..., 0].mean(axis=1)


def descend(heat, y, guess, steps):
    """Gradient descent on ½|P(x) − y|² with η = 1, by automatic differentiation; `steps` [batch] of them."""
    x, found = guess, guess.numpy()
    for number in range(1, MOST_STEPS + 1):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum((heat(x) - y) ** 2) / 2.0
        x = x - tape.gradient(loss, x)
        found[steps == number] = x.numpy()[steps == number]
    return found


def heights(rod):
    return np.abs(np.fft.rfft(rod)) / np.sqrt(N)


@functools.cache
def positions(noises):
    """60 random positions: what is set, and what the package makes of it."""
    rng, found = np.random.default_rng(0), []
    for nu_t in TIMES:
        edges = np.stack([rng.uniform(5.5, 15.0, N_PER_TIME), rng.uniform(15.0, 26.5, N_PER_TIME)], axis=1).round(3)
        tops = rng.uniform(0.1, 1.4, (N_PER_TIME, 2))
        noise, sigma = rng.uniform(-6.0, -1.0, N_PER_TIME).round(1), rng.uniform(-6.0, 0.0, N_PER_TIME).round(1)
        power = rng.uniform(0.0, [1.05, 3.0, 1.05] * (N_PER_TIME // 3)).round(1)
        steps = np.rint(10.0**power).astype(int)
        heat = simulators.Heat(nu_t)
        truth = pieces(edges, tops)
        y = along(heat(plate(truth))) + 10.0 ** noise[:, np.newaxis] * np.array(noises)
        guess = np.repeat(y.mean(axis=1, keepdims=True), N, axis=1)
        descended = descend(heat, plate(y), plate(guess), steps)
        for k in range(N_PER_TIME):
            d = heat.damping(N)[0]
            answers = {DESCENT: along(descended)[k]} if steps[k] <= MOST_STEPS else {}
            gains = {DESCENT: d * sum((1.0 - d**2) ** step for step in range(steps[k]))}  # each step adds d r̂
            for name in INVERSES:
                inverse = simulators.Heat(nu_t, inverse=name, noise=10.0 ** sigma[k])
                answers[name] = along(inverse.local_inverse(plate(y[k : k + 1]), plate(guess[k : k + 1])))[0]
                gains[name] = inverse.gain(N)[0]
            values = {
                "conduction νt": nu_t,
                "noise of the camera": noise[k],
                "σ of cutoff, probabilistic": sigma[k],
                "steps m of GD": power[k],
                "edge and height of the left piece": [edges[k, 0], tops[k, 0]],
                "edge and height of the right piece": [edges[k, 1], tops[k, 1]],
            } | dict.fromkeys([*INVERSES, DESCENT], True)
            meets = np.sqrt(-noise[k] * np.log(10.0) / nu_t)
            found.append((values, truth[k], y[k], answers, gains, meets))
    return found


def error(found, wanted):
    """The largest difference, relative to the largest of the wanted numbers where that exceeds 1."""
    found, wanted = np.array(found, dtype=float), np.asarray(wanted)
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    return np.max(np.abs(found - wanted)) / max(1.0, np.max(np.abs(wanted)))


def largest_difference(opened):
    """Over all positions. Raw answers are as large as gain times noise; rounding times gain is below 1e-7 of 1."""
    noises = tuple(opened.browser.evaluate("document.querySelector('figure').moving.shown().noises"))
    worst = 0.0
    positions_there = positions(noises)
    moves = opened.moves([values for values, *_ in positions_there])
    for shown, (_, truth, y, answers, gains, meets) in zip(moves, positions_there, strict=True):
        pairs = [(shown["truth"], truth), (shown["y"], y), (shown["meets"], meets)]
        pairs += [(shown["heights"]["truth"], heights(truth)), (shown["heights"]["y"], heights(y))]
        assert set(shown["found"]) == set(shown["gains"]) == set(gains)
        pairs += [(shown["found"][name], answer) for name, answer in answers.items()]
        for name, gain in gains.items():  # of a gain every digit counts, however small it is
            assert np.array_equal(np.array(shown["gains"][name]) > 0.0, gain > 0.0)
            worst = np.maximum(worst, np.max(np.abs(shown["gains"][name] - gain) / np.where(gain > 0.0, gain, 1.0)))
        worst = max(worst, *(error(*pair) for pair in pairs))
    return worst


def test_rod_and_inverses_are_those_of_the_package(figure):
    assert largest_difference(figure("heat", "rod")) < 1e-6


def test_the_noise_has_mean_0_and_standard_deviation_1(figure):
    noises = figure("heat", "rod").move({})["noises"]
    assert len(noises) == N
    np.testing.assert_allclose([np.mean(noises), np.std(noises)], [0.0, 1.0], atol=0.02)


def test_where_it_stands_first_only_the_probabilistic_inverse_finds_the_edges(figure):
    shown = figure("heat", "rod").move({})
    missed = {name: np.mean(np.abs(np.subtract(x, shown["truth"]))) for name, x in shown["found"].items()}
    blurred = np.mean(np.abs(np.subtract(shown["y"], shown["truth"])))
    assert missed["probabilistic"] < 0.55 * blurred
    assert missed["probabilistic"] < 0.75 * missed[DESCENT]
    assert missed["raw"] > 50.0 * blurred


@pytest.mark.parametrize(
    "fault",
    [
        ("-sum(field.map((u, i) => u * sine", "sum(field.map((u, i) => u * sine"),
        ("* cosine[(i * j) % n] - im", "* cosine[(i * j) % n] + im"),
        ("Math.exp(-(number(j) ** 2)", "Math.exp((number(j) ** 2)"),
        ("value - simulated[i]", "value + simulated[i]"),
        ("value + change[i]", "value - change[i]"),
        ("value + noise() * noises[i]", "value - noise() * noises[i]"),
        ("d > sigma() ?", "d < sigma() ?"),
        ("d / (d ** 2 + sigma() ** 2)", "d / (d ** 2 - sigma() ** 2)"),
        ("-Math.expm1(steps()", "Math.expm1(steps()"),
        ("Math.log1p(-(d ** 2))", "Math.log1p(d ** 2)"),
        ("Math.min(to, i + 0.5) - Math.max(from, i - 0.5)", "Math.min(to, i + 0.5) - Math.max(from, i + 0.5)"),
        ("-Math.log(noise()) / spread()", "Math.log(noise()) / spread()"),
    ],
)
def test_a_wrong_sign_is_noticed(figure, fault):
    wrong = figure("heat", "rod", fault)
    with pytest.raises((AssertionError, TypeError)):
        assert largest_difference(wrong) < 1e-6
