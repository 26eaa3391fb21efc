"""A figure alone on a page, set and read by tests."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from book.browser import View
from book.figures import alone
from book.pages.moving import FIGURES

SET = """(([figure, values]) => {
  for (const [label, value] of Object.entries(values)) figure.inputs[label].set(value);
  figure.changed();
  return figure.shown();
})([document.querySelector('figure').moving, %s])"""


@pytest.fixture
def figure(browser, tmp_path) -> Callable[..., Callable[[dict[str, Any]], Any]]:
    """Opens a figure; what it returns moves it, `label: value`, and reads what it shows then.

    A value is what the reader sets: the place of a point, the position of a slider, a tick.
    """

    def opened(name: str, problem: str, fault: tuple[str, str] | None = None) -> Callable[[dict[str, Any]], Any]:
        text = (FIGURES / f"{name}.js").read_text(encoding="utf-8")
        if fault:
            assert text.count(fault[0]) == 1, f"{name}.js must hold {fault[0]!r} once"
            text = text.replace(*fault)
        page = alone.write(tmp_path, name, problem, {f"{name}.js": text})
        browser.open(page.as_uri(), View(width=900))
        assert [said for said in browser.complaints if "net::ERR" not in said] == []
        return lambda values: browser.evaluate(SET % json.dumps(values))

    return opened
