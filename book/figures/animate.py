"""One figure moving, for the README: `python -m book.figures.animate` turns the unit of a height in the linked planes.

Needs Chromium. The picture is a GIF, since a README runs no scripts.
"""

import io
import math
import sys
import tempfile
from pathlib import Path

from PIL import Image

from book.browser import Browser, View
from book.figures import alone
from book.pages.moving import FIGURES

TARGET = FIGURES / "stills/planes-ball.gif"
N_FRAMES = 32
MILLISECONDS = 100
MOVE = """(t => {
  const figure = document.querySelector('figure').moving;
  figure.inputs['units in a metre'].set(0.5 * Math.sin(t));
  figure.changed();
})(%s)"""


def frames(browser: Browser) -> list[Image.Image]:
    """One turn of the unit from metres to smaller and larger units and back."""
    with tempfile.TemporaryDirectory() as folder:
        page = browser.open(alone.write(Path(folder), "planes", "ball").as_uri(), View(width=900))
        boards = page.locator(".moving-boards")
        found = []
        for number in range(N_FRAMES):
            browser.evaluate(MOVE % (2.0 * math.pi * number / N_FRAMES))
            found.append(Image.open(io.BytesIO(boards.screenshot())).convert("RGB"))
    return found


def main() -> int:
    """Write the GIF."""
    with Browser() as browser:
        pictures = [picture.quantize(32, dither=Image.Dither.NONE) for picture in frames(browser)]
    first, *others = pictures
    first.save(TARGET, save_all=True, append_images=others, duration=MILLISECONDS, loop=0, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
