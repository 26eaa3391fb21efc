"""A line wider than its box goes on under a shade at the edge, which ends where the line does."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from book.browser import View

WIDE = "[...document.querySelectorAll('.cell_output pre')].findIndex(box => box.scrollWidth > box.clientWidth + 40)"
EDGE = 3  # pixels


def shades(box, scrolled: str) -> tuple[float, float]:
    """How far the first and the last pixels differ from those beside them, in the empty row below the text."""
    box.evaluate(f"box => {{ box.scrollLeft = {scrolled}; }}")
    box.page.wait_for_timeout(100)
    row = np.asarray(Image.open(io.BytesIO(box.screenshot())).convert("L"), dtype=float)[-6]
    inside = np.median(row)
    return abs(row[1 : 1 + EDGE].mean() - inside), abs(row[-1 - EDGE : -1].mean() - inside)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_line_that_goes_on_is_told_by_a_shade(browser, html: Path, theme):
    page = browser.open((html / "chapters/gradients/newton.html").as_uri(), View(theme, width=390, formulas=False))
    box = page.locator(".cell_output pre").nth(browser.evaluate(WIDE))
    left, right = shades(box, "0")
    assert left < 2
    assert right > 20
    left, right = shades(box, "box.scrollWidth")
    assert left > 20
    assert right < 2
