"""The pages as a browser shows them, in both themes and on a phone: formulas, pictures, folding, width, requests."""

import pytest

from book.checks.browser import View
from book.toc import pages

VIEWS = [View("light"), View("dark"), View("light", width=390, height=800)]
# What a page shows that it should not, as a list of words about it.
PROBLEMS = r"""(() => {
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
  for (const img of document.images) {
    if (img.complete && img.naturalWidth === 0) found.push("a picture that does not load: " + img.src);
    const style = getComputedStyle(img);
    if (article.contains(img) && (style.filter !== "none" || style.backgroundColor !== "rgba(0, 0, 0, 0)"))
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
  return found;
})()"""


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.theme}-{view.width}")
@pytest.mark.parametrize("page", pages(), ids=str)
def test_page_looks_right(browser, address, page, view):
    browser.open(address + page.with_suffix(".html").as_posix(), view)
    assert browser.evaluate(PROBLEMS) == []
    elsewhere = [asked for asked in browser.requests if not asked.startswith((address, "data:", "blob:"))]
    assert elsewhere == []
    assert browser.complaints == []
