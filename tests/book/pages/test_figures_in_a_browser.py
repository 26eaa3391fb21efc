"""Figures are drawn in mid-tones; each page gives them the contrast that its background needs."""

from pathlib import Path

import pytest
from matplotlib.colors import to_rgb

from book.browser import View
from physgrad_tf import plotting

FILTERS = """[...document.querySelectorAll('.bd-content figure img, .bd-content div.cell_output img')].map(image => ({
  own: image.closest('figure')?.classList.contains('own-page') ?? false,
  factor: getComputedStyle(image).filter,
  page: getComputedStyle(document.body).backgroundColor,
}))"""


def luminance(color):
    """Relative luminance of the Web Content Accessibility Guidelines."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    lighter, darker = sorted([luminance(first), luminance(second)], reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", ["chapters/gradients/overview", "chapters/hig/half-inverse"])
def test_letters_of_figures_have_contrast_in_both_themes(browser, html: Path, theme, page):
    found = browser.open((html / f"{page}.html").as_uri(), View(theme)).evaluate(FILTERS)
    assert found
    for image in found:
        if image["own"]:
            assert image["factor"] == "none"
            continue
        factor = float(image["factor"].removeprefix("brightness(").removesuffix(")"))
        behind = [int(part) / 255 for part in image["page"].strip("rgb()").split(",")]
        shown = {name: [min(1.0, factor * part) for part in to_rgb(color)] for name, color in COLORS.items()}
        assert contrast(shown.pop("ink"), behind) > 4.5
        for name, color in shown.items():
            assert contrast(color, behind) > 3.0, name


COLORS = {"ink": plotting.INK} | plotting.COLORS
