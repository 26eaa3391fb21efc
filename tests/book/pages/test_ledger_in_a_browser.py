"""The ledger as a reader uses it, from a file: lines that open, a choice of lines, places that addresses name."""

from collections import Counter
from pathlib import Path

import pytest

from book.browser import View
from book.pages.ledger import weakest
from book.records import claims, statements
from book.toc import notebooks

EVERY = claims()
MADE = {statement.id: [claim for claim in EVERY if claim.id == statement.id] for statement in statements()}
VERDICTS = Counter(weakest(made) for made in MADE.values())
CHAPTERS = Counter(page for made in MADE.values() for page in {claim.notebook for claim in made})
DESK, PHONE = View(), View(width=390, height=800)
STATE = """(() => {
  const visible = element => element.getClientRects().length > 0;
  const entries = [...document.querySelectorAll(".ledger-entry")];
  return {
    shown: entries.filter(visible).map(entry => entry.querySelector(".ledger-id").textContent),
    open: entries.filter(entry => entry.querySelector("details").open).map(entry => entry.id),
    parts: [...document.querySelectorAll(".ledger-part")].filter(visible).map(part => part.id),
    form: visible(document.querySelector("form.ledger-choice")),
    count: document.querySelector(".ledger-count").textContent,
  };
})()"""
TOP = "document.getElementById('ledger-h12').getBoundingClientRect().top"


@pytest.fixture
def ledger(browser, html: Path):
    """Opens the ledger from its file."""

    def opened(place="", view=DESK):
        page = browser.open((html / "chapters/closing/ledger.html").as_uri() + place, view)
        # Chromium takes the icons' font from a server only.
        assert [said for said in browser.complaints if "font" not in said and "net::ERR_FAILED" not in said] == []
        return page

    return opened


def state(page):
    # A reset takes effect after the event.
    return page.evaluate(f"new Promise(done => setTimeout(() => done({STATE}), 20))")


def test_every_line_is_there_and_closed(ledger):
    found = state(ledger())
    assert found["shown"] == list(MADE)
    assert found["open"] == []
    assert found["form"]
    assert found["count"] == f"{len(MADE)} of {len(MADE)} shown"


def test_the_lines_of_a_verdict(ledger):
    page = ledger()
    for verdict, n in VERDICTS.items():
        page.get_by_label("Verdict").select_option(verdict)
        found = state(page)
        assert found["shown"] == [name for name, made in MADE.items() if weakest(made) == verdict]
        assert found["count"] == f"{n} of {len(MADE)} shown"
        assert f"{verdict} ({n})" in page.get_by_label("Verdict").inner_text()


def test_the_lines_of_a_chapter(ledger):
    page = ledger()
    offered = page.evaluate("[...document.querySelector('select[name=chapter]').options].map(each => each.value)")
    assert offered == ["", *(page.with_suffix("").as_posix() for page in notebooks() if page in CHAPTERS)]
    for chapter, n in CHAPTERS.items():
        page.get_by_label("Chapter").select_option(chapter.with_suffix("").as_posix())
        wanted = [name for name, made in MADE.items() if chapter in {claim.notebook for claim in made}]
        found = state(page)
        assert found["shown"] == wanted
        assert found["count"] == f"{n} of {len(MADE)} shown"
        assert found["parts"] == [f"ledger-part-{letter.lower()}" for letter in dict.fromkeys(n[0] for n in wanted)]


def test_both_choices_hold_at_once_and_are_taken_back(ledger):
    page = ledger()
    page.get_by_label("Chapter").select_option("chapters/hig/fields")
    page.get_by_label("Verdict").select_option("does not hold")
    wanted = [
        name
        for name, made in MADE.items()
        if weakest(made) == "does not hold" and any(claim.notebook.stem == "fields" for claim in made)
    ]
    assert state(page)["shown"] == wanted
    assert state(page)["count"] == f"{len(wanted)} of {len(MADE)} shown"
    page.get_by_role("button", name="Show all").click()
    assert state(page)["shown"] == list(MADE)
    assert state(page)["count"] == f"{len(MADE)} of {len(MADE)} shown"
    assert page.get_by_label("Verdict").input_value() == page.get_by_label("Chapter").input_value() == ""


def test_the_count_is_announced(ledger):
    status = ledger().get_by_role("status")
    assert status.get_attribute("aria-live") == "polite"
    assert status.inner_text() == f"{len(MADE)} of {len(MADE)} shown"


def test_a_keyboard_is_enough(ledger):
    page = ledger()
    page.get_by_label("Verdict").focus()
    page.keyboard.press("ArrowDown")
    assert 0 < len(state(page)["shown"]) < len(MADE)
    for _ in range(2):  # past the chapters, to the button that shows all
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert state(page)["shown"] == list(MADE)
    page.keyboard.press("Tab")  # the first line
    page.keyboard.press("Enter")
    assert state(page)["open"] == [f"ledger-{next(iter(MADE)).lower()}"]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.ledger-folded') !== null"), "what was opened comes next"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert state(page)["open"] == []


@pytest.mark.parametrize(("place", "view"), [("#ledger-h12", DESK), ("#H12", DESK), ("#h12", PHONE)])
def test_a_place_in_the_address_opens_its_line(ledger, place, view):
    page = ledger(place, view)
    assert state(page)["open"] == ["ledger-h12"]
    assert 40 < page.evaluate(TOP) < view.height / 2, "the line is in sight, below the bar at the top"


def test_a_line_that_is_not_shown_is_shown_when_an_address_names_it(ledger):
    page = ledger()
    page.get_by_label("Chapter").select_option("chapters/intro")
    assert "H12" not in state(page)["shown"]
    page.evaluate("location.hash = '#ledger-h12'")
    page.wait_for_function(f"0 < {TOP} && {TOP} < innerHeight")
    found = state(page)
    assert found["open"] == ["ledger-h12"]
    assert found["shown"] == list(MADE)
    assert found["count"] == f"{len(MADE)} of {len(MADE)} shown"
    page.get_by_label("Chapter").select_option("chapters/intro")
    page.evaluate("location.hash = '#ledger-part-h'")
    page.wait_for_function("!document.getElementById('ledger-part-h').hidden")
    page.evaluate("location.hash = '#nowhere'")
    assert state(page)["shown"] == list(MADE)


@pytest.mark.parametrize("view", [View(scripts=False), View("dark", 390, 800, scripts=False)], ids=["desk", "phone"])
def test_without_scripts_all_is_shown(ledger, view):
    page = ledger("", view)
    found = page.evaluate(STATE)
    assert found["shown"] == list(MADE)
    assert not found["form"], "a choice that nothing answers is not offered"
    page.locator("#ledger-g1 summary").click()
    assert page.evaluate(STATE)["open"] == ["ledger-g1"]
    assert page.locator("#ledger-g1 .ledger-statement").is_visible()
    page = ledger("#H12", view)
    assert page.evaluate(STATE)["open"] == ["ledger-h12"]
    page.wait_for_timeout(1500)  # the theme scrolls smoothly
    assert 40 < page.evaluate(TOP) < view.height / 2


LINES = """[...document.querySelectorAll(".ledger-entry summary")].map(line => {
  const height = parseFloat(getComputedStyle(line).lineHeight);
  return Math.round(line.getBoundingClientRect().height / height);
})"""


@pytest.mark.parametrize(("view", "most"), [(DESK, 1), (View("dark"), 1), (PHONE, 3)], ids=["desk", "dark", "phone"])
def test_a_closed_line_is_one_line(ledger, view, most):
    """On a phone one for mark and number, and two for the sentence."""
    assert max(ledger("", view).evaluate(LINES)) <= most


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_and_choices_can_be_seen(ledger, theme):
    """The contrast of letters with what is behind them, as WCAG computes it."""
    contrast = """(() => {
      const light = colour => {
        const parts = colour.match(/[0-9.]+/g).slice(0, 3).map(Number)
          .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
      };
      const behind = element => {
        const colour = getComputedStyle(element).backgroundColor;
        return colour.startsWith("rgba(0, 0, 0, 0") && element.parentElement ? behind(element.parentElement) : colour;
      };
      const found = {};
      for (const element of document.querySelectorAll(
          ".ledger-mark, .ledger-lead, .ledger-verdict, .ledger-source, .ledger-choice select, .ledger-count")) {
        const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const name = element.className || element.tagName;
        found[name] = Math.min(found[name] || 21, ratio);
      }
      return found;
    })()"""
    found = ledger("", View(theme)).evaluate(contrast)
    assert len(found) == 6
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}
