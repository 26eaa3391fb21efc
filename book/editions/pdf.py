"""Print the whole book to `_build/pdf/`, through a headless Chromium: `python -m book.editions.pdf`, after `make book`.

The articles of all pages are put behind each other, and every name that a link can lead to gets the page before it.
Formulas are drawn by MathJax as on the pages, links lead within the file, and bookmarks to every section. What a page
folds lies open, but for the set-up cells: they are the same in every chapter and do nothing on paper.
"""

import posixpath
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import pikepdf
from bs4 import BeautifulSoup, Tag

from book.browser import Browser, BrowserMissing, PageFailed, View
from book.toc import ROOT, docnames

SITE = Path("_build/html")
FOLDER = Path("_build/pdf")
NAME = "inverting-gradients"
STYLE = Path(__file__).with_name("pdf.css")
#: Of an article, what is of no use on paper.
NOT_PRINTED = ".headerlink, .cell.tag_set-up, script"
# Resolves when pictures are there that a page would fetch only when they come into sight.
PICTURES = """Promise.all([...document.querySelectorAll('img[loading=lazy]')].map(picture => {
  picture.loading = 'eager';
  return picture.decode();
}))"""
UNDRAWN = """[...document.querySelectorAll(".math")].filter(math =>
  !math.querySelector("mjx-container") || math.querySelector("[data-mjx-error], [data-mml-node='merror']")).length"""
FOOTER = '<div style="width: 100%; font: 8px sans-serif; text-align: center"><span class="pageNumber"></span></div>'


def one_page(site: Path, names: Iterable[str], to_site: str) -> str:
    """The pages of a built book as a single one.

    Args:
        site: the folder of the built pages.
        names: of the pages, in reading order, without suffix.
        to_site: the way from the folder of the new page to that of the site.

    Returns:
        HTML with the head of the first page: its styles, and the script that draws formulas.
    """
    names = list(names)
    whole = BeautifulSoup("<!doctype html><html data-theme='light'><head></head><body></body></html>", "html.parser")
    head, body = whole.select_one("head"), whole.select_one("body")
    assert head is not None and body is not None
    for name in names:
        soup = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        if not head.contents:
            folder = posixpath.dirname(name)
            for part in soup.select("head meta[charset], head title, head link[rel=stylesheet], head script"):
                source = str(part.get("src", ""))
                if part.name == "script" and "MathJax" not in part.text and "mathjax" not in source:
                    continue
                for attribute in ("href", "src"):
                    if part.get(attribute):
                        part[attribute] = posixpath.join(to_site, posixpath.normpath(f"{folder}/{part[attribute]}"))
                head.append(part)
            style = whole.new_tag("style")
            style.append(STYLE.read_text(encoding="utf-8"))
            head.append(style)
        for part in [] if body.contents else soup.select("nav.bd-links"):  # the table of contents
            _move(part, name, names, to_site)
            part["id"] = "contents"
            body.append(part)
        article = soup.select_one("article.bd-article")
        if article is None:
            raise ValueError(f"{name}.html: expected an article, found none")
        _move(article, name, names, to_site)
        body.append(article)
    return str(whole)


def _move(article: Tag, name: str, names: list[str], to_site: str) -> None:
    for part in article.select(NOT_PRINTED):
        part.decompose()
    for part in article.select("[id]"):
        part["id"] = _anchor(name, str(part["id"]))
    article["id"] = _anchor(name, "")
    folder = posixpath.dirname(name)
    for picture in article.select("img[src]"):
        if not urlsplit(str(picture["src"])).scheme:
            picture["src"] = posixpath.join(to_site, posixpath.normpath(f"{folder}/{picture['src']}"))
        picture["loading"] = "eager"
    for folded in article.select("details"):
        folded["open"] = ""
    for link in article.select("a[href]"):
        parts = urlsplit(str(link["href"]))
        if parts.scheme:
            continue
        target = posixpath.normpath(posixpath.join(folder, parts.path)).removesuffix(".html") if parts.path else name
        if target in names:
            link["href"] = "#" + _anchor(target, parts.fragment)
        else:  # a file beside the pages, which is not in the book
            link.unwrap()


def _anchor(name: str, within: str) -> str:
    return f"{name}--{within}" if within else name


def print_page(browser: Browser, page: Path, pdf: Path) -> None:
    """Print a page of HTML.

    Raises:
        PageFailed: when the page or a file of it does not load, or a formula was not drawn.
    """
    opened = browser.open(page.as_uri(), View())
    undrawn = browser.evaluate(UNDRAWN)
    if undrawn or browser.complaints:
        raise PageFailed(f"{page}: {undrawn} formulas were not drawn; the page says {browser.complaints}")
    browser.evaluate(PICTURES)
    opened.pdf(
        path=pdf,
        prefer_css_page_size=True,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOTER,
        print_background=True,
        outline=True,
        tagged=True,
    )
    # Chromium writes every element of the document's structure as it is: packed, the file is half as large.
    with pikepdf.open(pdf, allow_overwriting_input=True) as written:
        written.save(object_stream_mode=pikepdf.ObjectStreamMode.generate, recompress_flate=True)


def main() -> int:
    """Print the book that was built; 0 when it worked."""
    folder = ROOT / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    page, pdf = folder / f"{NAME}.html", folder / f"{NAME}.pdf"
    page.write_text(one_page(ROOT / SITE, docnames(), posixpath.relpath(SITE, FOLDER)), encoding="utf-8")
    try:
        with Browser() as browser:
            print_page(browser, page, pdf)
    except BrowserMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    print(f"The book is at {pdf}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
