"""The ellipses and the steps of the family are those of the package."""

import functools

import numpy as np
import pytest

from physgrad_tf import spectral

N_POSITIONS = 60
V = np.array([[np.sqrt(3.0), -1.0], [1.0, np.sqrt(3.0)]]) / 2.0  # columns v₁, v₂: turned by 30°
ANGLES = np.pi / 48.0 * np.arange(97)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)])
MEMBERS = {"GD": 1.0, "p = 0": 0.0, "HIG": -0.5, "GN": -1.0}


def drawn(jacobian, p, tau, mode):
    """The ellipses of steps and of progress, [97, 2] each, of the package's V f(Σ) Uᵀ; and the matrix."""
    matrix = spectral.spectral_power(jacobian, p, rcond=tau, mode=mode).numpy()
    return {"steps": (matrix @ CIRCLE).T, "progress": (jacobian @ matrix @ CIRCLE).T}, matrix


@functools.cache
def positions():
    """Random positions: what is set, and what the package makes of it."""
    rng, found = np.random.default_rng(0), []
    for k in range(N_POSITIONS):
        grid = ((0.05, -1.0, 1.0), (0.02, -2.0, 0.0), (0.02, -3.0, -0.02))  # the sliders' own positions
        p, scale, rcond = (round(rng.uniform(low, high) / step) * step for step, low, high in grid)
        mode = ("truncate", "clamp")[k % 2]
        angle = rng.uniform(0.0, 2.0 * np.pi)
        wish = np.array([np.cos(angle), np.sin(angle)])
        jacobian = np.diag([1.0, 10.0**scale]) @ V.T
        wanted, matrix = drawn(jacobian, p, 10.0**rcond, mode)
        wanted |= {"wish": wish, "step": matrix @ wish, "change": jacobian @ matrix @ wish}
        wanted["along"] = np.diag(jacobian @ matrix)  # speeds along y₁ and y₂
        members = {name: drawn(jacobian, power, 0.0, "truncate")[0] for name, power in MEMBERS.items()}
        sliders = {"exponent p": p, "λ = σ₂ / σ₁": scale, "threshold τ / σ₁": rcond, "values below τ": mode}
        found.append((sliders | {"direction of −g": wish.tolist()}, wanted, members, mode, scale < rcond))
    return found


def largest_difference(opened):
    """Over all positions, relative to numbers of order one."""
    worst = 0.0

    def compare(found, wanted):
        nonlocal worst
        for name, numbers in wanted.items():
            values = np.array(found[name], dtype=float)
            assert values.shape == numbers.shape, name
            worst = np.maximum(worst, np.max(np.abs(values - numbers) / (1.0 + np.abs(numbers))))

    moves = opened.moves([inputs for inputs, *_ in positions()])
    for shown, (_, wanted, members, *_) in zip(moves, positions(), strict=True):
        compare(shown, wanted)
        assert np.max(np.abs(wanted["steps"])) < shown["seen"], "the step must lie in the plane"
        for name, member in members.items():
            compare(shown["members"][name], member)
    return worst


def test_ellipses_and_steps_are_those_of_the_package(figure):
    assert largest_difference(figure("family", "circle")) < 1e-6


def test_the_positions_have_both_modes_on_both_sides_of_the_threshold():
    assert len({(mode, below) for *_, mode, below in positions()}) == 4


@pytest.mark.parametrize(
    "fault",
    [
        ("** (p - 1)", "** (p + 1)"),
        ("sigma ** p : 0", "sigma ** -p : 0"),
        ("sigma > tau ?", "sigma < tau ?"),
        ("[-Math.sin(Math.PI / 6), Math", "[Math.sin(Math.PI / 6), Math"),
        ("a * V[0][0] + b * V[1][0]", "a * V[0][0] - b * V[1][0]"),
        ("a * V[0][1] + b * V[1][1]", "a * V[0][1] - b * V[1][1]"),
        ("f[1] * wish[1]])", "-f[1] * wish[1]])"),
        ("f[1] * ratio() * wish[1]", "-f[1] * ratio() * wish[1]"),
        ("p: -0.5 }", "p: 0.5 }"),
        ("p: -1 }", "p: 1 }"),
    ],
)
def test_a_wrong_sign_is_noticed(figure, fault):
    wrong = figure("family", "circle", fault)
    with pytest.raises(AssertionError):
        assert largest_difference(wrong) < 1e-6
