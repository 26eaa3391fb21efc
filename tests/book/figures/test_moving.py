"""Every figure that moves, in the built book: by pointer, finger and keys, light on a desk and dark on a phone."""

import re
from pathlib import Path

import pytest

from book.browser import View
from book.figures.__main__ import draw
from book.pages.moving import FIGURES, MARK, in_the_book, stem
from book.toc import ROOT, pages
from physgrad_tf import plotting

SHOWN = in_the_book()
NAMES = [f"{name}-{problem}" for name, problem in SHOWN]
THEMES_AND_WIDTHS = [("light", 1200), ("dark", 390)]  # colours do not depend on the width, nor places on the theme


def page_of(name: str, problem: str) -> str:
    found = [
        page for page in pages(ROOT) if f"{{moving}} {name} {problem}" in (ROOT / page).read_text(encoding="utf-8")
    ]
    return found[0].with_suffix(".html").as_posix()


#: The figures by the page that they stand on, since opening one takes longer than moving them.
ON_PAGE: dict[str, list[tuple[str, str]]] = {}
for _figure in SHOWN:
    ON_PAGE.setdefault(page_of(*_figure), []).append(_figure)
PLAYING = [
    path
    for path, figures in ON_PAGE.items()
    if any("frame.player(" in (FIGURES / f"{name}.js").read_text(encoding="utf-8") for name, _ in figures)
]


@pytest.fixture
def shown(browser, html: Path):
    """Opens a page and returns it with the elements of its figures, by name."""

    def opened(path, **view):
        page = browser.open((html / path).as_uri(), View(formulas=False, **view))
        complaints = [said for said in browser.complaints if "font" not in said and "net::ERR_FAILED" not in said]
        assert complaints == []
        figures = {
            f"{name} {problem}": page.locator(f"figure.{MARK}{name}--{problem}") for name, problem in ON_PAGE[path]
        }
        return page, figures

    return opened


def state(figure):
    """All that the figure shows, as text."""
    return figure.evaluate("element => JSON.stringify(element.moving.shown())")


def changed(figure, before):
    """What it shows once that differs from `before`, or after two seconds: a busy machine redraws late."""
    for _ in range(40):
        if (now := state(figure)) != before:
            break
        figure.page.wait_for_timeout(50)
    return now


# The event of scrolling comes with the next picture, and what it changes with the one after.
SCROLL = """element => {
  element.scrollIntoView({block: 'center', behavior: 'instant'});
  const picture = () => new Promise(requestAnimationFrame);
  return picture().then(picture).then(picture);
}"""


# The words of a figure come when the hand rests, may take a line more, and move what is below.
SAID = "[...document.querySelectorAll('figure.moving-on')].every(figure => !figure.moving.waiting)"
HIT = "(element, [x, y]) => document.elementFromPoint(x, y)?.closest('.moving-board')?.contains(element)"


def middle_of_first_handle(figure):
    """Where a reader presses it, once the page lies still: a busy machine may take its time."""
    page, handle = figure.page, figure.locator(".moving-board [role=application]").first
    page.wait_for_function(SAID)
    for _ in range(20):
        handle.evaluate(SCROLL)
        box = handle.bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.wait_for_timeout(100)
        if box == handle.bounding_box() and handle.evaluate(HIT, middle):
            return middle
    raise AssertionError(f"the handle does not lie under its middle: {box}")


@pytest.mark.parametrize(("theme", "width"), THEMES_AND_WIDTHS)
@pytest.mark.parametrize("path", ON_PAGE)
def test_pointer_and_keyboard_move_it(shown, path, theme, width):
    page, figures = shown(path, theme=theme, width=width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name, figure in figures.items():
        assert not figure.locator("img").is_visible(), name
        assert figure.locator(".moving-board").first.is_visible(), name

        before = state(figure)
        x, y = middle_of_first_handle(figure)
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 24, y - 16, steps=4)
        page.mouse.up()
        dragged = changed(figure, before)
        assert dragged != before, name

        figure.locator(".moving-board [role=application]").first.focus()
        page.keyboard.press("ArrowRight")
        pushed = changed(figure, dragged)
        assert pushed != dragged, name
        for slider in figure.locator("input[type=range]").all():
            before = slider.input_value()
            slider.focus()
            page.keyboard.press("ArrowLeft")
            assert slider.input_value() != before, name
        for box in figure.locator("input[type=checkbox]").all():
            before = box.is_checked()
            box.focus()
            page.keyboard.press("Space")
            assert box.is_checked() != before, name


def test_what_comes_late_above_a_figure_does_not_move_it_away_from_the_pointer(shown):
    """A library that remembers where its board was misses the point once the page has moved under it."""
    page, figures = shown(next(iter(ON_PAGE)))
    figure = next(iter(figures.values()))
    before = state(figure)
    page.mouse.move(*middle_of_first_handle(figure))  # the library looks where the board is
    figure.evaluate("""element => {
      const late = document.createElement('div');
      late.style.height = '60px';
      document.body.style.overflowAnchor = 'none';  // or the page scrolls with what comes
      element.before(late);
    }""")
    box = figure.locator(".moving-board [role=application]").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 24, y - 16, steps=4)
    page.mouse.up()
    assert changed(figure, before) != before


@pytest.mark.parametrize("path", ON_PAGE)
def test_a_finger_moves_it(shown, path):
    page, figures = shown(path, width=390, height=800, touch=True)
    touch = page.context.new_cdp_session(page)

    def dispatch(kind, *at):
        points = [{"x": at[0], "y": at[1]}] if at else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    for name, figure in figures.items():
        before = state(figure)
        x, y = middle_of_first_handle(figure)
        dispatch("touchStart", x, y)
        for part in (0.25, 0.5, 0.75, 1.0):
            dispatch("touchMove", x + 24 * part, y - 16 * part)
        dispatch("touchEnd")
        assert changed(figure, before) != before, name


@pytest.mark.parametrize("path", ON_PAGE)
def test_it_is_read_out_and_printed_as_a_still_picture(shown, path):
    page, figures = shown(path)
    for name, figure in figures.items():
        for handle in figure.locator(".moving-board [role=application]").all():
            before = handle.get_attribute("aria-label")
            handle.focus()
            page.keyboard.press("ArrowRight")
            page.keyboard.press("ArrowUp")
            assert handle.get_attribute("aria-label") != before, name
        for slider in figure.locator("input[type=range]").all():
            assert slider.evaluate("input => input.labels[0].querySelector('span').textContent"), name
            assert slider.get_attribute("aria-valuetext"), name
        words = figure.locator("[role=status]")
        assert len(words.inner_text().split()) > 4, name
        before = words.inner_text()
        figure.locator("input[type=range]").first.focus()
        page.keyboard.press("Home")
        page.wait_for_timeout(400)
        assert words.inner_text() != before, name

    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # as the browser does before it prints
    for name, figure in figures.items():
        still = figure.locator("img")
        assert still.evaluate("still => still.decode().then(() => still.naturalWidth)") > 0, name
        assert still.is_visible(), name
        assert not figure.locator(".moving-stage").is_visible(), name


@pytest.mark.parametrize("path", ON_PAGE)
def test_without_scripts_the_still_picture_stays(shown, path):
    _, figures = shown(path, scripts=False)
    for name, figure in figures.items():
        assert figure.locator("img").is_visible(), name
        assert figure.locator(".moving-stage").count() == 0, name
        caption = figure.locator("figcaption p")
        assert "moves" in caption.evaluate("text => getComputedStyle(text, '::after').content"), name


@pytest.mark.parametrize("path", PLAYING)
def test_what_plays_can_be_stopped_and_stepped(shown, path):
    """By the keyboard, as by the pointer: they are buttons."""
    page, figures = shown(path)
    for name, figure in figures.items():
        for play in figure.get_by_role("button", name="play", exact=True).all():
            time = figure.locator("input[type=range]").first
            time.focus()
            page.keyboard.press("Home")
            first = float(time.input_value())
            play.press("Enter")
            page.wait_for_timeout(1500)
            pause = figure.get_by_role("button", name="pause", exact=True)
            pause.press("Enter")
            stopped = float(time.input_value())
            assert stopped > first, name
            page.wait_for_timeout(600)
            assert float(time.input_value()) == stopped, name
            figure.get_by_role("button", name="step", exact=True).click()
            assert float(time.input_value()) > stopped, name


@pytest.mark.parametrize("path", PLAYING)
def test_who_wants_less_motion_sees_it_slower(shown, path):
    page, figures = shown(path)
    page.evaluate("""() => {
      const begin = setInterval;
      window.waits = [];
      window.setInterval = (work, wait) => { waits.push(wait); return begin(work, wait); };
    }""")
    for name, figure in figures.items():
        for _ in figure.get_by_role("button", name="play", exact=True).all():
            for motion in ("no-preference", "reduce"):
                page.emulate_media(reduced_motion=motion)
                figure.get_by_role("button", name="play", exact=True).press("Enter")
                figure.get_by_role("button", name="pause", exact=True).press("Enter")
            usual, slower = page.evaluate("waits.slice(-2)")
            assert slower == 4 * usual, name


@pytest.mark.parametrize("path", ON_PAGE)
def test_nothing_moves_unless_somebody_moves_it(shown, path):
    page, figures = shown(path)
    before = [state(figure) for figure in figures.values()]
    page.wait_for_timeout(500)
    assert [state(figure) for figure in figures.values()] == before
    assert page.evaluate("document.getAnimations().length") == 0


def test_the_colab_edition_says_that_it_moves():
    for path, figures in ON_PAGE.items():
        notebook = ROOT / "_build/colab" / Path(path).with_suffix(".ipynb")
        said = notebook.read_text(encoding="utf-8").count("(In the rendered book this figure moves.)")
        assert said == len(figures)


NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


@pytest.mark.parametrize(("name", "problem"), SHOWN, ids=NAMES)
def test_the_still_picture_is_what_the_figure_draws(browser, name, problem):
    stored = (FIGURES / "stills" / f"{stem(name, problem)}.svg").read_text(encoding="utf-8")
    drawn = draw(browser, name, problem)
    assert NUMBER.sub("0", drawn).split() == NUMBER.sub("0", stored).split(), "make stills"
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (drawn, stored)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.6), "make stills"  # pixels


def test_only_pages_with_a_figure_load_the_library(browser, html: Path):
    for page in pages(ROOT):
        text = (html / page.with_suffix(".html")).read_text(encoding="utf-8")
        assert ("jsxgraphcore.js" in text) == (page.with_suffix(".html").as_posix() in ON_PAGE), page


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
