"""The set-up cell finds the package where a reader's machine has it, and is the same in every notebook."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from book import address
from book.runs import set_up

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = sorted((ROOT / "chapters").rglob("*.ipynb"))

# Runs a cell where physgrad_tf can be found below one folder only: an installed or editable copy stays out of sight.
FENCED_RUN = """
import importlib.util, sys
from pathlib import Path

class Fenced:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        spec = self.finder.find_spec(name, path, target)
        if name == "physgrad_tf" and spec is not None and not Path(spec.origin).is_relative_to(sys.argv[1]):
            return None
        return spec

sys.meta_path[:] = [Fenced(finder) for finder in sys.meta_path]
assert importlib.util.find_spec("physgrad_tf") is None, "the fence leaks: this test would prove nothing"
exec(compile(sys.argv[2], "cell", "exec"))
"""
FINDING_ONLY, IMPORTS = set_up.cell_source().split("import keras\n")
WHERE = '\nprint(importlib.util.find_spec("physgrad_tf").origin)'


def run_cell(source: str, folder: Path, fence: Path, repository: str) -> subprocess.CompletedProcess[str]:
    """Runs a cell in a folder, with physgrad_tf out of sight unless it lies below the fence."""
    environment = {**os.environ, "PHYSGRAD_REPOSITORY": repository, "PYTHONWARNINGS": "error"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", FENCED_RUN, str(fence), source]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with this working tree's package, to be cloned in place of the published one."""
    home = tmp_path_factory.mktemp("published")
    shutil.copytree(ROOT / "physgrad_tf", home / "physgrad_tf", ignore=shutil.ignore_patterns("__pycache__"))
    (home / "chapters").mkdir()
    (home / "chapters" / "a-chapter").touch()
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    later = [*author, "commit", "--quiet", "--allow-empty", "-m", "history that a shallow clone leaves behind"]
    for arguments in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "-m", "publish"], later):
        subprocess.run(["git", *arguments], cwd=home, check=True)
    return home


def test_in_an_empty_folder_it_clones_and_imports_from_the_clone(repository: Path, tmp_path: Path) -> None:
    result = run_cell(
        set_up.cell_source() + "\nprint(pg.__file__, claim.__name__)", tmp_path, tmp_path, repository.as_uri()
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(tmp_path / "physgrad-tf/physgrad_tf/__init__.py"), "claim"]
    depth = subprocess.run(["git", "rev-list", "--count", "HEAD"], cwd=tmp_path / "physgrad-tf", capture_output=True)
    assert depth.stdout.strip() == b"1"


def test_a_clone_that_is_there_is_used_again(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path / "physgrad-tf")
    result = run_cell(FINDING_ONLY + WHERE, tmp_path, tmp_path, "file:///nowhere")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == str(tmp_path / "physgrad-tf/physgrad_tf/__init__.py")


def test_inside_the_repository_it_walks_up_and_clones_nothing(repository: Path) -> None:
    result = run_cell(FINDING_ONLY + WHERE, repository / "chapters", repository, "file:///nowhere")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == str(repository / "physgrad_tf/__init__.py")
    assert not (repository / "chapters/physgrad-tf").exists()


def test_cloning_itself_prints_nothing(repository: Path, tmp_path: Path) -> None:
    result = run_cell(FINDING_ONLY + WHERE, tmp_path, tmp_path, repository.as_uri())
    assert (result.returncode, result.stderr) == (0, "")


def test_a_failing_clone_says_what_to_do(tmp_path: Path) -> None:
    result = run_cell(set_up.cell_source(), tmp_path, tmp_path, (tmp_path / "missing").as_uri())
    assert result.returncode != 0
    message = result.stderr.strip().splitlines()
    assert any("RuntimeError: Could not clone file://" in line for line in message), result.stderr
    assert "Is there a network?" in result.stderr
    assert "PHYSGRAD_REPOSITORY" in result.stderr
    assert re.search(r"Git said: \S", result.stderr)
    assert list(tmp_path.iterdir()) == []


def test_without_git_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run_cell(set_up.cell_source(), tmp_path, tmp_path, (tmp_path / "missing").as_uri())
    assert "RuntimeError: Could not clone file://" in result.stderr
    assert "there is no git on this machine" in result.stderr


def test_a_clone_that_was_cut_off_is_set_aside(repository: Path, tmp_path: Path) -> None:
    """A folder of that name without the package in it, as an interrupted session leaves it."""
    (tmp_path / "physgrad-tf/physgrad_tf").mkdir(parents=True)
    (tmp_path / "physgrad-tf/notes.txt").write_text("mine")
    result = run_cell(FINDING_ONLY + WHERE, tmp_path, tmp_path, repository.as_uri())
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == str(tmp_path / "physgrad-tf/physgrad_tf/__init__.py")
    (aside,) = tmp_path.glob("physgrad-tf-incomplete-*")
    assert (aside / "notes.txt").read_text() == "mine", "nothing of the reader's is lost"


def test_it_runs_twice(repository: Path, tmp_path: Path) -> None:
    result = run_cell(2 * (FINDING_ONLY + "\n") + "print(len(sys.path))", tmp_path, tmp_path, repository.as_uri())
    once = run_cell(FINDING_ONLY + "\nprint(len(sys.path))", tmp_path, tmp_path, repository.as_uri())
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == once.stdout


def test_without_the_variable_it_clones_the_address_of_the_configuration() -> None:
    assert f'book = "{address.repository_address()}"\n' in set_up.cell_source()
    assert 'os.environ.get("PHYSGRAD_REPOSITORY", book)' in set_up.cell_source()


def test_it_pins_and_installs_nothing() -> None:
    source = set_up.cell_source()
    assert "pip" not in source.replace("pipe", "")
    assert "==" not in source


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_notebook_begins_with_it(path: Path) -> None:
    first = next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    assert first.source == set_up.cell_source(), "run `make execute`, or call book.runs.set_up.write_cells()"
    assert set_up.TAG in first.metadata.get("tags", [])
