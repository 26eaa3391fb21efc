"""Draw the still picture of every figure that moves: `make stills`. Needs Chromium."""

import sys
import tempfile
from pathlib import Path

from book.browser import Browser, View
from book.figures import alone
from book.pages.moving import FIGURES, in_the_book, stem

VIEW = View(width=900)


def draw(browser: Browser, name: str, problem: str) -> str:
    """The figure as it stands before anybody has touched it, as SVG."""
    with tempfile.TemporaryDirectory() as folder:
        browser.open(alone.write(Path(folder), name, problem).as_uri(), VIEW)
        drawn = browser.evaluate("document.querySelector('figure').moving.still()")
    if browser.complaints:
        raise RuntimeError(f"{name} {problem}: {browser.complaints}")
    return str(drawn)


def main() -> int:
    """Write all of them."""
    with Browser() as browser:
        for name, problem in in_the_book():
            path = FIGURES / "stills" / f"{stem(name, problem)}.svg"
            path.write_text(draw(browser, name, problem) + "\n", encoding="utf-8")
            print(path.relative_to(FIGURES.parents[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
