"""The style is readable on both pages: contrast is computed, not judged by eye."""

import matplotlib as mpl
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
