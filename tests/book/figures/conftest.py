"""A figure alone on a page, set and read by tests."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from book.browser import Browser, View
from book.figures import alone
from book.pages.moving import FIGURES

AT_ONCE = 12  # moves in one call of the browser, which costs more than they do
SET = """(([figure, moves]) => moves.map((values) => {
  for (const [label, value] of Object.entries(values)) figure.inputs[label].set(value);
  figure.changed();
  return figure.shown();
}))([document.querySelector('figure').moving, %s])"""


@dataclass(frozen=True)
class Opened:
    """A figure in the browser. It is moved by `label: value`, as a reader does: places of points, sliders, ticks."""

    browser: Browser

    def move(self, values: dict[str, Any]) -> Any:
        """What the figure shows after one move."""
        return next(self.moves([values]))

    def moves(self, all_values: Sequence[dict[str, Any]]) -> Iterator[Any]:
        """What it shows after every move, one after the other."""
        for first in range(0, len(all_values), AT_ONCE):
            yield from self.browser.evaluate(SET % json.dumps(all_values[first : first + AT_ONCE]))


@pytest.fixture
def figure(browser, tmp_path) -> Callable[..., Opened]:
    """Opens a figure alone on a page, if wanted with a fault: a text of its script, and what to put in its place."""

    def opened(name: str, problem: str, fault: tuple[str, str] | None = None) -> Opened:
        text = (FIGURES / f"{name}.js").read_text(encoding="utf-8")
        if fault:
            if text.count(fault[0]) != 1:
                raise ValueError(f"{name}.js must hold {fault[0]!r} once, found {text.count(fault[0])} times.")
            text = text.replace(*fault)
        page = alone.write(tmp_path, name, problem, {f"{name}.js": text})
        browser.open(page.as_uri(), View(width=900))
        if complaints := [said for said in browser.complaints if "net::ERR" not in said]:
            raise RuntimeError(f"{name} {problem}: {complaints}")
        return Opened(browser)

    return opened
