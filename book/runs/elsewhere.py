"""A chapter as a reader runs it in Colab: the notebook of that edition, in an empty folder, without the package.

The notebook's first cell clones the repository; here it clones the files of this folder, committed or not.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book.toc import ROOT

EDITION = Path("_build/colab")
IMPORTABLE = "import importlib.util, sys; sys.exit(importlib.util.find_spec('physgrad_tf') is not None)"


class NotThere(Exception):
    """The Colab edition of a chapter was not written, or from another state of the chapter."""


def edition(page: Path, root: Path = ROOT) -> NotebookNode:
    """The notebook of the Colab edition, without outputs.

    Raises:
        NotThere: when its code is not that of the chapter.
    """
    path = root / EDITION / page
    if not path.is_file():
        raise NotThere(f"{path} is not there: `make colab` writes it")
    notebook = nbformat.read(path, as_version=4)
    if _code(notebook) != _code(nbformat.read(root / page, as_version=4)):
        raise NotThere(f"{path} has other code than {page}: `make colab` writes it anew")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _code(notebook: NotebookNode) -> list[str]:
    # A form has its title in the first line.
    return [re.sub(r"\A# @title.*\n", "", cell.source) for cell in notebook.cells if cell.cell_type == "code"]


@contextmanager
def nowhere(python: str, root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """An empty folder, and the address of a repository with the files of the book.

    Args:
        python: the interpreter that will run the notebook.
        root: the book's folder, a git repository.

    Raises:
        RuntimeError: when this interpreter finds the package without the repository.
    """
    with tempfile.TemporaryDirectory(prefix="physgrad-nowhere-") as home:
        empty, repository = Path(home) / "content", Path(home) / "repository"
        empty.mkdir()
        if subprocess.run([python, "-c", IMPORTABLE], cwd=empty).returncode != 0:
            raise RuntimeError(f"{python} imports physgrad_tf by itself; it is to come from the repository")
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in filter(None, names):
            if (root / name).is_file():  # and was not deleted since
                (repository / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, repository / name)
        git = ["git", "-C", str(repository), "-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=as it is"]):
            subprocess.run([*git, *command], check=True)
        yield empty, repository.as_uri()
