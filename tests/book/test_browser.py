"""The pages as a browser shows them, in both themes and on a phone: formulas, pictures, folding, width, requests."""

from urllib.parse import quote, urljoin

import pytest

from book.browser import Browser, PageFailed, View
from book.toc import pages

PHONE = {"width": 390, "height": 800}
# What is wrong with the formulas of a page, as a list of words about it.
FORMULAS = r"""(() => {
  const found = [];
  const article = document.querySelector("article.bd-article");
  for (const node of document.querySelectorAll("[data-mjx-error], mjx-merror, [data-mml-node='merror']"))
    found.push("a TeX error: " + (node.getAttribute("data-mjx-error") || node.textContent || node.outerHTML));
  for (const node of document.querySelectorAll("mjx-container [fill='red'], mjx-container [stroke='red']"))
    found.push("red ink in a formula: " + node.closest("mjx-container").outerHTML.slice(0, 200));
  for (const node of document.querySelectorAll(".math"))
    if (!node.querySelector("mjx-container")) found.push("a formula that was not drawn: " + node.textContent);
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent, parent = walker.currentNode.parentElement;
    const isTeX = /\\[(\[]|\\[)\]]|\$\$|\\begin\{|\$[^$\s][^$]*\$/.test(text);
    if (isTeX && !parent.closest("pre, code, script, style, mjx-container"))
      found.push("TeX shown as text: " + text.trim().slice(0, 80));
  }
  return found;
})()"""
# What else a page shows that it should not.
PROBLEMS = """(() => {
  const found = [];
  const article = document.querySelector("article.bd-article");
  for (const img of document.images) {
    if (img.complete && img.naturalWidth === 0) found.push("a picture that does not load: " + img.src);
    const style = getComputedStyle(img);
    const dims = {light: "brightness(0.72)", dark: "brightness(1.3)"}[document.documentElement.dataset.theme];
    const wanted = img.closest("figure.own-page") || !img.closest("figure, div.cell_output") ? "none" : dims;
    if (article.contains(img) && (style.filter !== wanted || style.backgroundColor !== "rgba(0, 0, 0, 0)"))
      found.push(`a picture that the theme changes (${style.filter}, ${style.backgroundColor}): ` + img.src);
  }
  for (const solution of article.querySelectorAll(".solution")) {
    if (!solution.classList.contains("toggle-hidden")) {
      found.push("a solution that is not folded: " + solution.id);
      continue;
    }
    if (!solution.querySelector(".cell")) found.push("a solution in which nothing runs: " + solution.id);
    if (solution.getBoundingClientRect().height > 80) found.push("a folded solution that takes room: " + solution.id);
    solution.querySelector("button.toggle-button").click();
    if (solution.getBoundingClientRect().height < 100) found.push("a solution that does not open: " + solution.id);
    solution.querySelector("button.toggle-button").click();
  }
  const theme = document.documentElement.dataset.theme;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  if (theme !== (dark ? "dark" : "light")) found.push("the theme is " + theme);
  const excess = document.scrollingElement.scrollWidth - innerWidth;
  if (excess > 1) {
    const wide = [...article.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > innerWidth + 1);
    const culprits = wide.slice(0, 3).map(e => e.outerHTML.slice(0, 120));
    found.push(`the page is ${excess} pixels wider than the window: ${culprits}`);
  }
  const loaded = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  const files = loaded.filter(file => !/[/](mathjax|jsxgraph)[/]/.test(file.name)); // libraries, kept by the browser
  const weight = files.reduce((sum, file) => sum + file.decodedBodySize, 0);
  const heavy = files.sort((a, b) => b.decodedBodySize - a.decodedBodySize).slice(0, 3).map(file => file.name);
  if (weight > 1.5e6) found.push(`the page weighs ${weight} bytes, most of it ${heavy}`);
  return found;
})()"""


NAMES = [page.with_suffix(".html").as_posix() for page in pages()]
BUTTONS = """(() => ({
  code: document.querySelectorAll("div.cell_input pre").length,
  copy: document.querySelectorAll("div.cell_input button.copybtn").length,
  next: document.querySelector("a.right-next")?.getAttribute("href"),
  previous: document.querySelector("a.left-prev")?.getAttribute("href"),
}))()"""


@pytest.mark.parametrize("name", NAMES)
def test_page_looks_right(browser, address, name):
    """In both themes and on a phone; code can be copied, and pages turned. Formulas take longest and are drawn once."""
    for view in (View("dark", formulas=False), View("light")):
        shown = browser.open(address + name, view)
        assert browser.evaluate(PROBLEMS) == [], view
        elsewhere = [asked for asked in browser.requests if not asked.startswith((address, "data:", "blob:"))]
        assert elsewhere == []
        assert [said for said in browser.complaints if view.formulas or "net::ERR_FAILED" not in said] == []
    assert browser.evaluate(FORMULAS) == []
    found = browser.evaluate(BUTTONS)
    assert found["copy"] == found["code"]
    place = NAMES.index(name)
    before, after = ([None, *NAMES][place], [*NAMES, None][place + 1])
    for link, wanted in ((found.get("previous"), before), (found.get("next"), after)):
        assert link is None if wanted is None else urljoin(address + name, link) == address + wanted
    shown.set_viewport_size(PHONE)
    browser.settle()
    assert browser.evaluate(PROBLEMS) == [], "on a phone"


RESULTS = """(async () => {
  const found = () => [...document.querySelectorAll("#search-results li a")].map(link => link.getAttribute("href"));
  for (let wait = 0; wait < 100 && !found().length; wait++) await new Promise(done => setTimeout(done, 50));
  return found();
})()"""
LOOKED_FOR = {
    "SpectralModel": "chapters/closing/api/training.html#physgrad_tf.training.SpectralModel",
    "half_inverse": "chapters/closing/api/spectral.html#physgrad_tf.spectral.half_inverse",
    "η": "chapters/closing/notation.html#",
    "tau": "chapters/closing/notation.html#",
    "learning rate": "chapters/closing/glossary.html#term-learning-rate",
    "H16": "chapters/closing/ledger.html#ledger-h16",
}


@pytest.mark.parametrize("words", LOOKED_FOR)
def test_search_finds(browser, address, words):
    """A function, a symbol, the name of a symbol, a term and a claim come first."""
    browser.open(f"{address}search.html?q={quote(words)}", View())
    found = browser.evaluate(RESULTS)
    assert found[0].startswith(LOOKED_FOR[words]), found


@pytest.fixture
def specimen(browser: Browser, tmp_path):
    """Opens a page of one's own making."""

    def opened(body):
        article = f'<article class="bd-article">{body}</article>'
        page = tmp_path / "specimen.html"
        page.write_text(f'<!doctype html><html data-theme="light"><body>{article}</body></html>', encoding="utf-8")
        browser.open(page.as_uri(), View("light"))
        return browser

    return opened


def test_a_good_page_gives_no_offence(specimen):
    browser = specimen("<p>Nothing wrong.</p>")
    assert browser.evaluate(PROBLEMS) + browser.evaluate(FORMULAS) == []
    assert browser.complaints == []


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("throw new Error('a fault in a script')", "a fault in a script"),
        ("setTimeout(() => { throw new Error('a late fault') }, 0)", "a late fault"),
        ("console.error('an error in the console')", "an error in the console"),
        ("document.body.append(Object.assign(new Image(), {src: 'missing.png'}))", "missing.png"),
    ],
)
def test_a_page_that_complains_is_heard(specimen, script, complaint):
    browser = specimen(f"<p>Text.</p><script>{script}</script>")
    assert any(complaint in said for said in [*browser.complaints, *browser.requests])
    assert browser.complaints


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<img src="missing.png" alt="nothing">', "a picture that does not load"),
        ('<span class="math">x</span>', "a formula that was not drawn"),
        ("<p>\\(x\\)</p>", "TeX shown as text"),
        ('<div style="width: 3000px">wide</div>', "pixels wider than the window"),
        ('<div class="solution">open</div>', "a solution that is not folded"),
        ('<mjx-container><g fill="red"></g></mjx-container>', "red ink in a formula"),
    ],
)
def test_a_page_that_looks_wrong_is_seen(specimen, body, problem):
    browser = specimen(body)
    found = browser.evaluate(PROBLEMS) + browser.evaluate(FORMULAS)
    assert any(problem in each for each in found), found


def test_a_script_that_fails_is_no_answer(specimen):
    with pytest.raises(PageFailed, match="nothing of that name"):
        specimen("<p>Text.</p>").evaluate("(() => { throw new Error('nothing of that name') })()")


def test_a_page_that_is_not_there_fails(browser, tmp_path):
    with pytest.raises(PageFailed):
        browser.open((tmp_path / "nowhere.html").as_uri(), View("light"))
