"""The style is readable on both pages, by computed contrast; a figure's summary follows its data."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from physgrad_tf import plotting

POINTS = ("GD", "Newton", "IG", "PG")
STEPS = ("SIP", "Adam", "GN", "HIG")
NETWORKS = ("SIP", "Adam", "SGD", "Adadelta", "Adagrad", "RMSprop")


def luminance(color):
    """Relative luminance of the Web Content Accessibility Guidelines."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    lighter, darker = sorted([luminance(first), luminance(second)], reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#121212"])
def test_letters_and_lines_stand_out_on_both_pages(page):
    assert contrast(plotting.INK, page) > 4.0
    for name, color in plotting.COLORS.items():
        assert contrast(color, page) > 2.4, name


@pytest.mark.parametrize("together", [POINTS, STEPS, NETWORKS])
def test_methods_that_share_a_figure_differ_in_color_and_marker(together):
    colors, markers = zip(*(plotting.METHOD_COLORS[name] for name in together), strict=True)
    assert len(set(colors)) == len(set(markers)) == len(together)
    assert {*POINTS, *STEPS, *NETWORKS} == set(plotting.METHOD_COLORS)


def test_use_style_sets_transparent_figures():
    with mpl.rc_context():
        plotting.use_style()
        assert mpl.rcParams["savefig.transparent"]
        assert mpl.rcParams["text.color"] == plotting.INK


def points(figure):
    return plotting.summary(figure).splitlines()


def test_a_summary_tells_what_a_figure_draws():
    figure, axes = plt.subplots(figsize=(4, 3))
    axes.plot([0.0, 1.0, 2.0], [0.0, 1.0, 0.0])
    axes.set(xlim=(0.0, 4.0), ylim=(-1.0, 1.0))
    # x is 0, 1/4, 1/2 of the width; y is 1/2, 1, 1/2 of the height.
    assert points(figure) == [
        "Figure, 4 by 3 inches",
        "  x 0 to 4, y -1 to 1",
        "    line: 3 points, x 0.250 0.204 0.500, y 0.667 0.236 0.500",
    ]
    plt.close(figure)


def test_a_summary_measures_on_the_scale_of_the_axes():
    figure, axes = plt.subplots()
    axes.loglog([1.0, 10.0, 100.0], [1e-4, 1e-2, 1.0])
    axes.set(xlim=(1.0, 100.0), ylim=(1e-4, 1.0))
    assert points(figure)[2].endswith("x 0.500 0.408 1.000, y 0.500 0.408 1.000")
    plt.close(figure)


def draw(kind, axes, values):
    places = np.arange(len(values), dtype=float)
    {
        "plot": lambda: axes.plot(places, values),
        "words": lambda: axes.plot([f"n{k:g}" for k in places], values),
        "scatter": lambda: axes.scatter(places, values),
        "coloured": lambda: axes.scatter(places, places, c=values, clim=(0.0, 10.0)),
        "bar": lambda: axes.bar(places, values),
        "band": lambda: axes.fill_between(places, values, 2.0 * values),
        "arrows": lambda: axes.quiver(places, places, values, 1.0 + places),
        "contours": lambda: axes.contour(places, places, np.outer(values, values)),
        "image": lambda: axes.imshow(np.outer(values, places), vmin=0.0, vmax=10.0),
        "mesh": lambda: axes.pcolormesh(np.outer(values, places), vmin=0.0, vmax=10.0),
    }[kind]()
    axes.set(xlim=(-1.0, 5.0), ylim=(-1.0, 9.0))


KINDS = ["plot", "words", "scatter", "coloured", "bar", "band", "arrows", "contours", "image", "mesh"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_summary_changes_with_the_data_and_with_nothing_else(kind):
    def described(values):
        figure, axes = plt.subplots()
        draw(kind, axes, values)
        found = plotting.summary(figure)
        plt.close(figure)
        return found

    values = np.array([1.0, 2.0, 0.5, 3.0])
    assert described(values) == described(values)
    assert described(values) != described(np.array([1.0, 2.0, 0.9, 3.0]))
    assert described(values) != described(values[::-1])
    assert len(described(values).splitlines()) >= 3


def test_a_summary_passes_over_what_is_not_finite():
    figure, axes = plt.subplots()
    axes.plot([0.0, 1.0, 2.0], [1.0, np.nan, np.inf])
    axes.set(xlim=(0.0, 2.0), ylim=(0.0, 2.0))
    assert points(figure)[2].endswith("y 0.500 0.000 0.500")
    plt.close(figure)
