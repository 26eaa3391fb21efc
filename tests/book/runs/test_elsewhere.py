"""The Colab edition runs from an empty folder, with the repository's present files and without the package."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book.runs.elsewhere import EDITION, NotThere, edition, nowhere

PAGE = Path("one.ipynb")
OUTPUT = new_output("stream", text="2\n")


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A chapter, its edition with a folded cell, and a repository with a file that is not committed."""
    root = tmp_path / "book"
    (root / EDITION).mkdir(parents=True)
    (root / ".gitignore").write_text("_build/\n", encoding="utf-8")
    cells = [new_markdown_cell("# One"), new_code_cell("1 + 1", outputs=[OUTPUT]), new_code_cell("print(2)")]
    nbformat.write(new_notebook(cells=cells), root / PAGE)
    cells = [new_code_cell("1 + 1", outputs=[OUTPUT]), new_code_cell("# @title Solution\nprint(2)")]
    nbformat.write(new_notebook(cells=cells), root / EDITION / PAGE)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    subprocess.run(["git", "-C", str(root), "add", "one.ipynb"], check=True)
    (root / "two.txt").write_text("new", encoding="utf-8")
    return root


def test_the_edition_comes_without_outputs(book):
    notebook = edition(PAGE, book)
    assert [cell.outputs for cell in notebook.cells] == [[], []]


def test_an_edition_that_is_missing_or_old_is_refused(book):
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 2"), new_code_cell("print(2)")]), book / PAGE)
    with pytest.raises(NotThere, match=r"other code than one\.ipynb"):
        edition(PAGE, book)
    (book / EDITION / PAGE).unlink()
    with pytest.raises(NotThere, match="is not there"):
        edition(PAGE, book)


def test_the_folder_is_empty_and_the_repository_is_not(book, tmp_path):
    outside = getattr(sys, "_base_executable", sys.executable)  # of no environment, without the package
    with nowhere(outside, book) as (folder, address):
        assert list(folder.iterdir()) == []
        subprocess.run(["git", "clone", "--quiet", "--depth=1", address, str(tmp_path / "clone")], check=True)
    names = sorted(path.name for path in (tmp_path / "clone").iterdir())
    assert names == [".git", ".gitignore", "one.ipynb", "two.txt"]


def test_an_interpreter_that_has_the_package_is_refused(book):
    with pytest.raises(RuntimeError, match="imports physgrad_tf by itself"), nowhere(sys.executable, book):
        pass
