"""The whole book as one page, and printed: no link leads out or astray, nothing is folded, nothing is lost."""

import re
from pathlib import Path

import pikepdf
import pytest
from bs4 import BeautifulSoup

from book.browser import Browser, PageFailed
from book.editions.pdf import FOLDER, SITE, one_page, print_page
from book.toc import ROOT, docnames, title

FIRST = """<html><head><title>A book</title><link rel="stylesheet" href="../_static/a.css">
<script>other()</script><script>window.MathJax = {}</script></head><body>
<nav class="bd-links"><ul><li><a href="#">One</a></li><li><a href="part/two.html">Two</a></li></ul></nav>
<article class="bd-article"><section id="one"><h1>One<a class="headerlink" href="#one">#</a></h1>
<p id="id1">See <a href="part/two.html#id1">there</a>, <a href="#id1">here</a>, <a href="part/two.html">all</a>,
<a href="https://example.org/">elsewhere</a>, <a href="../genindex.html">the index</a>.</p>
<img src="../_images/a.png" loading="lazy"><div class="cell tag_set-up">import</div>
<details><summary>more</summary><p>folded</p></details></section></article></body></html>"""
SECOND = """<html><head></head><body><article class="bd-article"><section id="two"><h1>Two</h1>
<p id="id1">Back to <a href="../one.html#id1">the first</a>.</p></section></article></body></html>"""
NAMES = ["chapters/one", "chapters/part/two"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "html/chapters/part").mkdir(parents=True)
    (tmp_path / "html/chapters/one.html").write_text(FIRST, encoding="utf-8")
    (tmp_path / "html/chapters/part/two.html").write_text(SECOND, encoding="utf-8")
    return tmp_path / "html"


def test_two_pages_become_one(site):
    soup = BeautifulSoup(one_page(site, NAMES, "../html"), "html.parser")
    assert [h1.text for h1 in soup.select("article h1")] == ["One", "Two"]
    names = [part["id"] for part in soup.select("[id]")]
    assert sorted(names) == [
        *("chapters/one", "chapters/one--id1", "chapters/one--one"),
        *("chapters/part/two", "chapters/part/two--id1", "chapters/part/two--two", "contents"),
    ]
    assert [link["href"] for link in soup.select("a")] == [
        *("#chapters/one", "#chapters/part/two"),  # the contents
        *("#chapters/part/two--id1", "#chapters/one--id1", "#chapters/part/two", "https://example.org/"),
        "#chapters/one--id1",
    ]
    assert "the index" in soup.text
    assert soup.select_one("img")["src"] == "../html/_images/a.png"
    assert soup.select_one("link")["href"] == "../html/_static/a.css"
    assert [script.text for script in soup.select("script")] == ["window.MathJax = {}"]
    assert soup.select_one("details").has_attr("open")
    assert "import" not in soup.text


def test_a_page_without_an_article_is_refused(site):
    (site / "chapters/part/two.html").write_text("<html><body></body></html>", encoding="utf-8")
    with pytest.raises(ValueError, match=r"chapters/part/two\.html: expected an article"):
        one_page(site, NAMES, "../html")


def test_the_book_as_one_page(html):
    soup = BeautifulSoup(one_page(ROOT / SITE, docnames(), "../html"), "html.parser")
    names = [part["id"] for part in soup.select("[id]")]
    # An extension gives all its boxes one name; nothing leads there.
    doubled = [name for name in set(names) if names.count(name) > 1]
    assert [name for name in doubled if soup.select(f"a[href='#{name}']")] == []
    astray = [str(link) for link in soup.select("a[href^='#']") if link["href"][1:] not in names]
    assert astray == []
    assert [link["href"] for link in soup.select("a[href]") if not re.match("#|https?://", link["href"])] == []
    missing = [p["src"] for p in soup.select("img[src]") if not (ROOT / FOLDER / p["src"]).resolve().is_file()]
    assert missing == []
    headings = [" ".join(h1.text.split()) for h1 in soup.select("article h1")]
    assert len(headings) == len(docnames())
    assert headings[0] == title(Path("chapters/intro.ipynb"))


def test_links_and_bookmarks_of_the_print(site, browser: Browser, tmp_path):
    page, pdf = tmp_path / "book.html", tmp_path / "book.pdf"
    (tmp_path / "html/_static").mkdir()
    (tmp_path / "html/_static/a.css").write_text("", encoding="utf-8")
    page.write_text(one_page(site, NAMES, "html").replace('<img loading="eager" src="html/_images/a.png"/>', ""))
    print_page(browser, page, pdf)
    with pikepdf.open(pdf) as book:
        with book.open_outline() as outline:
            assert [entry.title for entry in outline.root] == ["One", "Two"]
        links = [link for sheet in book.pages for link in sheet.get("/Annots", [])]
        assert [str(link.A.URI) for link in links if "/A" in link] == ["https://example.org/"]
        assert len([link for link in links if "/Dest" in link]) == 6
        assert len(book.pages) == 3  # the contents, and two pages


def test_what_is_missing_is_not_printed_over(site, browser, tmp_path):
    page = tmp_path / "book.html"
    page.write_text(one_page(site, NAMES, "html"), encoding="utf-8")
    with pytest.raises(PageFailed, match="ERR_FILE_NOT_FOUND"):
        print_page(browser, page, tmp_path / "book.pdf")
    page.write_text('<article><span class="math">\\(x\\)</span></article>', encoding="utf-8")
    with pytest.raises(PageFailed, match="1 formulas were not drawn"):
        print_page(browser, page, tmp_path / "book.pdf")
