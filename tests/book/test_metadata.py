"""What the package says about itself where it is installed from: its addresses, and a README whose links lead there."""

import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from book import address
from book.toc import ROOT

READ = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "LICENSE-text", "_config.yml"]
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What a build reads, and no more."""
    folder = tmp_path / "project"
    for name in [*READ, "book/__init__.py", "book/address.py", "physgrad_tf/__init__.py"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def build(hook: str, folder: Path, to: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-c", BUILD, hook, str(to)], cwd=folder, capture_output=True, text=True, check=True
    )
    return to / done.stdout.splitlines()[-1]


def links(markdown: str) -> list[str]:
    tokens = [token for block in MarkdownIt().parse(markdown) for token in block.children or []]
    return [str(token.attrs[name]) for token in tokens for name in ("href", "src") if name in token.attrs]


def test_a_copy_that_is_not_published_names_no_address(project, tmp_path):
    said = PathDistribution(build("prepare_metadata_for_build_wheel", project, tmp_path)).metadata
    assert "Project-URL" not in said
    assert "set--me" not in said.as_string()


def test_addresses_of_a_published_copy(project, tmp_path):
    address.write("https://github.com/a/b", root=project)
    # From the archive of the sources: it must hold all that the build reads.
    with tarfile.open(build("build_sdist", project, tmp_path)) as archive:
        archive.extractall(tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    said = PathDistribution(build("prepare_metadata_for_build_wheel", sources, tmp_path)).metadata
    assert said.get_all("Project-URL") == [
        "Book, https://a.github.io/b",
        "Repository, https://github.com/a/b",
        "Issues, https://github.com/a/b/issues",
    ]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = links(said.get_payload())
    assert len(found) == len(links(readme)) > 0
    for link, original in zip(found, links(readme), strict=True):
        assert link.startswith("https://"), link
        if not original.startswith("https://"):
            assert link in {f"https://github.com/a/b/{kind}/main/{original}" for kind in ("raw", "blob")}
            assert (ROOT / original).is_file()


def test_a_build_leaves_nothing_behind(project, tmp_path):
    """pip builds where the sources are; a clone stays as it was."""
    before = sorted(project.rglob("*"))
    assert build("build_wheel", project, tmp_path / "wheel").suffix == ".whl"
    assert sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts) == before


def test_figures_are_an_extra(project, tmp_path):
    said = PathDistribution(build("prepare_metadata_for_build_wheel", project, tmp_path)).metadata
    needed = [line for line in said.get_all("Requires-Dist") if "extra ==" not in line]
    assert not any(name in line for line in needed for name in ("matplotlib", "ipython", "cycler"))
