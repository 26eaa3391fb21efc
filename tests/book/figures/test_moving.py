"""Every figure that moves, in the built book: by pointer, finger and keys, in both themes, on a phone."""

import re
from collections import Counter
from pathlib import Path

import pytest

from book.browser import View
from book.figures.__main__ import draw
from book.pages.moving import FIGURES, MARK, in_the_book, stem
from book.toc import ROOT, pages
from physgrad_tf import plotting

SHOWN = in_the_book()
VIEWS = [View("light"), View("dark"), View("light", width=390, height=800), View("dark", width=390, height=800)]
NAMES = [f"{name}-{problem}" for name, problem in SHOWN]


def page_of(name: str, problem: str) -> str:
    found = [
        page for page in pages(ROOT) if f"{{moving}} {name} {problem}" in (ROOT / page).read_text(encoding="utf-8")
    ]
    return found[0].with_suffix(".html").as_posix()


@pytest.fixture
def shown(browser, html: Path):
    """Opens the page of a figure and returns it with the figure's element."""

    def opened(name, problem, view):
        page = browser.open((html / page_of(name, problem)).as_uri(), view)
        assert [said for said in browser.complaints if "font" not in said and "net::ERR_FAILED" not in said] == []
        figure = page.locator(f"figure.{MARK}{name}--{problem}")
        figure.scroll_into_view_if_needed()
        return page, figure

    return opened


def state(figure):
    """All that the figure shows, as text."""
    return figure.evaluate("element => JSON.stringify(element.moving.shown())")


def middle_of_first_handle(figure):
    handle = figure.locator(".moving-board [role=application]").first
    handle.evaluate("element => element.scrollIntoView({block: 'center', behavior: 'instant'})")
    handle.page.wait_for_timeout(50)  # the event of scrolling comes with the next picture
    box = handle.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.theme}-{view.width}")
@pytest.mark.parametrize(("name", "problem"), SHOWN, ids=NAMES)
def test_pointer_and_keyboard_move_it(shown, name, problem, view):
    page, figure = shown(name, problem, view)
    assert not figure.locator("img").is_visible()
    assert figure.locator(".moving-board").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    before = state(figure)
    x, y = middle_of_first_handle(figure)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 24, y - 16, steps=4)
    page.mouse.up()
    dragged = state(figure)
    assert dragged != before

    figure.locator(".moving-board [role=application]").first.focus()
    page.keyboard.press("ArrowRight")
    pushed = state(figure)
    assert pushed != dragged
    for slider in figure.locator("input[type=range]").all():
        before = slider.input_value()
        slider.focus()
        page.keyboard.press("ArrowLeft")
        assert slider.input_value() != before
    for box in figure.locator("input[type=checkbox]").all():
        before = box.is_checked()
        box.focus()
        page.keyboard.press("Space")
        assert box.is_checked() != before


@pytest.mark.parametrize(("name", "problem"), SHOWN, ids=NAMES)
def test_a_finger_moves_it(shown, name, problem):
    page, figure = shown(name, problem, View(width=390, height=800, touch=True))
    before = state(figure)
    x, y = middle_of_first_handle(figure)
    touch = page.context.new_cdp_session(page)

    def dispatch(kind, *at):
        points = [{"x": at[0], "y": at[1]}] if at else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    dispatch("touchStart", x, y)
    for part in (0.25, 0.5, 0.75, 1.0):
        dispatch("touchMove", x + 24 * part, y - 16 * part)
    dispatch("touchEnd")
    assert state(figure) != before


@pytest.mark.parametrize(("name", "problem"), SHOWN, ids=NAMES)
def test_it_is_read_out(shown, name, problem):
    page, figure = shown(name, problem, View())
    for handle in figure.locator(".moving-board [role=application]").all():
        before = handle.get_attribute("aria-label")
        handle.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowUp")
        assert handle.get_attribute("aria-label") != before
    for slider in figure.locator("input[type=range]").all():
        label = slider.evaluate("input => input.labels[0].querySelector('span').textContent")
        assert label
        assert slider.get_attribute("aria-valuetext")
    words = figure.locator("[role=status]")
    assert len(words.inner_text().split()) > 4
    before = words.inner_text()
    figure.locator("input[type=range]").first.focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(400)
    assert words.inner_text() != before


@pytest.mark.parametrize(("name", "problem"), SHOWN, ids=NAMES)
def test_the_still_picture_stays_without_scripts_and_in_print(shown, browser, html: Path, name, problem):
    page = browser.open((html / page_of(name, problem)).as_uri(), View(scripts=False))
    figure = page.locator(f"figure.{MARK}{name}--{problem}")
    assert figure.locator("img").is_visible()
    assert figure.locator(".moving-stage").count() == 0
    assert "moves" in figure.locator("figcaption p").evaluate("text => getComputedStyle(text, '::after').content")

    page, figure = shown(name, problem, View())
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # as the browser does before it prints
    assert figure.locator("img").evaluate("still => still.decode().then(() => still.naturalWidth)") > 0
    assert figure.locator("img").is_visible()
    assert not figure.locator(".moving-stage").is_visible()


def test_the_colab_edition_says_that_it_moves():
    for page, n in Counter(page_of(name, problem) for name, problem in SHOWN).items():
        notebook = ROOT / "_build/colab" / Path(page).with_suffix(".ipynb")
        assert notebook.read_text(encoding="utf-8").count("(In the rendered book this figure moves.)") == n


NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


@pytest.mark.parametrize(("name", "problem"), SHOWN, ids=NAMES)
def test_the_still_picture_is_what_the_figure_draws(browser, name, problem):
    stored = (FIGURES / "stills" / f"{stem(name, problem)}.svg").read_text(encoding="utf-8")
    drawn = draw(browser, name, problem)
    assert NUMBER.sub("0", drawn).split() == NUMBER.sub("0", stored).split(), "make stills"
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (drawn, stored)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.6), "make stills"  # pixels


def test_only_pages_with_a_figure_load_the_library(browser, html: Path):
    having = {page_of(name, problem) for name, problem in SHOWN}
    for page in pages(ROOT):
        text = (html / page.with_suffix(".html")).read_text(encoding="utf-8")
        assert ("jsxgraphcore.js" in text) == (page.with_suffix(".html").as_posix() in having), page


def test_a_figure_is_small():
    shared = sum((FIGURES / name).stat().st_size for name in ("moving.js", "moving.css"))
    for name, problem in SHOWN:
        own = (FIGURES / f"{name}.js").stat().st_size
        still = (FIGURES / "stills" / f"{stem(name, problem)}.svg").stat().st_size
        assert shared + own + still < 300_000


def test_colours_are_those_of_all_figures():
    style = (FIGURES / "moving.css").read_text(encoding="utf-8")
    found = dict(re.findall(r"--moving-(\w+): (#\w+);", style))
    assert found == {"ink": plotting.INK} | plotting.COLORS
