"""A figure alone on a page, set and read by tests."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from book.browser import Browser, View
from book.figures import alone
from book.pages.moving import FIGURES

AT_ONCE = 60  # moves in one call of the browser, which costs more than they do
SET = """JSON.stringify((([figure, moves]) => moves.map((values) => {
  for (const [label, value] of Object.entries(values)) figure.inputs[label].set(value);
  figure.%s();
  return figure.shown();
}))([document.querySelector('figure').moving, %s]))"""
# A figure as it stands at first, of the texts of the frame and of its own script, in the place of the one before: a new
# page costs a second.
ANEW = """((text) => {
  const before = document.querySelector('figure');
  for (const board of before.moving.boards) JXG.JSXGraph.freeBoard(board);
  before.querySelector('.moving-stage').remove();
  before.classList.remove('moving-on');
  (0, eval)(`(() => { ${text}; moving.begin(); })()`);
})(%s)"""


@dataclass(frozen=True)
class Opened:
    """A figure in the browser. It is moved by `label: value`, as a reader does: places of points, sliders, ticks."""

    browser: Browser
    redraw: bool = True  # after every move; a fault shows in the numbers alone

    def move(self, values: dict[str, Any]) -> Any:
        """What the figure shows after one move."""
        return next(self.moves([values]))

    def moves(self, all_values: Sequence[dict[str, Any]]) -> Iterator[Any]:
        """What it shows after every move, one after the other; null where there is no number."""
        method = "changed" if self.redraw else "compute"
        for first in range(0, len(all_values), AT_ONCE):
            script = SET % (method, json.dumps(all_values[first : first + AT_ONCE]))
            yield from json.loads(self.browser.evaluate(script))


@pytest.fixture(scope="session")
def pages_of_figures(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("figures")


@pytest.fixture
def figure(browser, pages_of_figures) -> Callable[..., Opened]:
    """Opens a figure alone on a page, if wanted with a fault: a text of its script, and what to put in its place.

    The text may also stand in the script of the frame.
    """

    def opened(name: str, problem: str, fault: tuple[str, str] | None = None) -> Opened:
        text = "\n".join((FIGURES / f"{script}.js").read_text(encoding="utf-8") for script in ("moving", name))
        if fault:
            if text.count(fault[0]) != 1:
                found = text.count(fault[0])
                raise ValueError(f"{name}.js and moving.js must hold {fault[0]!r} once, found {found} times.")
            text = text.replace(*fault)
        address = alone.write(pages_of_figures, name, problem).as_uri()
        if browser.address != address:
            browser.open(address, View(width=900))
        browser.evaluate(ANEW % json.dumps(text))
        if complaints := [said for said in browser.complaints if "net::ERR" not in said]:
            raise RuntimeError(f"{name} {problem}: {complaints}")
        return Opened(browser, redraw=fault is None)

    return opened
