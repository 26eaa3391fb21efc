"""The addresses stand in one place, and one command writes them wherever they are needed."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book import address
from book.runs.set_address import set_address
from book.runs.set_up import TAG, cell_source, write_cells

CONFIG = """title: A book
repository:
  url: https://github.com/set--me/a-book   # a comment
  branch: main
html:
  baseurl: ""
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    (tmp_path / "_config.yml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: one\n", encoding="utf-8")
    cells = [new_markdown_cell("# One"), new_code_cell("", metadata={"tags": [TAG]}), new_code_cell("1 + 1")]
    cells[2].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "one.ipynb")
    return tmp_path


def test_it_is_not_published_until_an_address_is_written(book: Path) -> None:
    assert not address.is_published(book)
    assert address.pages_address(book) is None
    address.write("https://github.com/Someone/some-book", root=book)
    assert address.is_published(book)
    assert address.repository_address(book) == "https://github.com/Someone/some-book"
    assert address.pages_address(book) == "https://someone.github.io/some-book"
    assert "# a comment" in (book / "_config.yml").read_text(encoding="utf-8")


def test_pages_of_their_own_domain(book: Path) -> None:
    address.write("https://github.com/a/b", "https://book.example.org", root=book)
    assert address.pages_address(book) == "https://book.example.org"


def test_pages_of_a_user(book: Path) -> None:
    address.write("https://github.com/Someone/someone.github.io", root=book)
    assert address.pages_address(book) == "https://someone.github.io"


def test_set_up_cells_follow_and_nothing_is_run(book: Path) -> None:
    write_cells(book)
    before = nbformat.read(book / "one.ipynb", as_version=4)
    set_address("https://github.com/a/b", root=book)
    after = nbformat.read(book / "one.ipynb", as_version=4)
    assert after.cells[1].source == cell_source(book)
    assert 'book = "https://github.com/a/b"\n' in after.cells[1].source
    assert after.cells[2] == before.cells[2]


def test_written_twice_is_written_once(book: Path) -> None:
    set_address("https://github.com/a/b", root=book)
    once = {path.name: path.read_bytes() for path in book.iterdir()}
    set_address("https://github.com/a/b", root=book)
    assert {path.name: path.read_bytes() for path in book.iterdir()} == once


@pytest.mark.parametrize(
    "wrong", ["git@github.com:a/b", "http://github.com/a/b", "https://github.com/a/b.git", "https://github.com/a/b/"]
)
def test_an_address_that_would_break_links_is_refused(book: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match="repository is"):
        address.write(wrong, root=book)
    (book / "_config.yml").write_text(CONFIG.replace("https://github.com/set--me/a-book", wrong))
    with pytest.raises(ValueError, match=r"repository\.url is"):
        address.repository_address(book)


def test_a_configuration_without_a_place_for_it_is_refused(book: Path) -> None:
    (book / "_config.yml").write_text(CONFIG.replace('  baseurl: ""\n', ""))
    with pytest.raises(ValueError, match="baseurl"):
        address.write("https://github.com/a/b", root=book)


def test_links_of_a_text_that_stands_elsewhere(book: Path) -> None:
    text = "![a](b/c.svg), [d](e.md), [f](https://g.org/), [h](#i)"
    assert address.with_absolute_links(text, book) == text
    address.write("https://github.com/a/b", root=book)
    assert address.with_absolute_links(text, book) == (
        "![a](https://github.com/a/b/raw/main/b/c.svg), [d](https://github.com/a/b/blob/main/e.md), "
        "[f](https://g.org/), [h](#i)"
    )
