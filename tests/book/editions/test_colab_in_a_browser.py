"""Notebooks of the Colab edition, rendered by nbconvert and opened in Chromium: formulas, pictures, folds."""

from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

from book.browser import Browser, View
from book.toc import ROOT, notebooks

COLAB = ROOT / "_build" / "colab"
MATHJAX = "_static/mathjax/tex-svg-full.js"
# As front ends do it: formulas between dollars, all macros of TeX, a number where `\tag` asks for one.
CONFIGURE = """window.MathJax = {tex: {inlineMath: [['$', '$']], displayMath: [['$$', '$$']]},
                                 options: {skipHtmlTags: ['script', 'style', 'pre', 'code']}}"""
FOUND = """(() => {
  const shown = document.body.innerText;
  return {
    dollars: shown.split('\\n').filter(line => line.includes('$$')),
    formulas: document.querySelectorAll('mjx-container').length,
    wrong: [...document.querySelectorAll('[data-mjx-error], merror')].map(e => e.outerHTML.slice(0, 200)),
    dead: [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src.slice(0, 60)),
    pictures: document.images.length,
    folds: document.querySelectorAll('details').length,
    open: document.querySelectorAll('details[open]').length,
  };
})()"""


@pytest.mark.parametrize("page", notebooks(ROOT), ids=str)
def test_it_shows_as_it_should(page: Path, browser: Browser, html: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(COLAB / page, as_version=4)
    rendered, _ = HTMLExporter(mathjax_url="", require_js_url="").from_notebook_node(notebook)
    (tmp_path / "page.html").write_text(rendered, encoding="utf-8")
    opened = browser.open((tmp_path / "page.html").as_uri(), View())
    opened.add_script_tag(content=CONFIGURE)
    opened.add_script_tag(path=html / MATHJAX)
    opened.evaluate("MathJax.startup.promise")
    found = browser.evaluate(FOUND)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert browser.complaints == []
    assert found["wrong"] == found["dead"] == found["dollars"] == []
    assert found["formulas"] > 10
    assert found["pictures"] >= text.count("![")
    assert found["folds"] == text.count("<details>")
    assert found["open"] == 0
