"""The workflows ask for as little as they need, run what is pinned, and publish nothing empty."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book.checks import rehearse, site
from book.runs.versions import VERSIONS
from book.toc import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
#: What a job may ask for beyond reading the contents.
MORE = {
    ("publish", "build"): {"contents": "read", "pages": "read"},
    ("publish", "colab"): {"contents": "write"},
    ("publish", "deploy"): {"pages": "write", "id-token": "write"},
}
ADDRESS = "https://github.com/someone/a-book"


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def unpinned(workflow: dict[str, Any]) -> list[str]:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    return [action for action in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_permissions_are_least(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert unpinned(workflow) == []
    assert len(re.findall(r"uses: \S+@[0-9a-f]{40}  # v\d", text)) == text.count("uses: "), "each names its version"
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in workflow["jobs"].items():
        assert job.get("permissions", {"contents": "read"}) == MORE.get((path.stem, name), {"contents": "read"}), name
        assert job["timeout-minutes"] <= 45


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_step_runs_what_somebody_else_can_write(path: Path) -> None:
    """Expressions go into the environment of a step, not into its script; nor is an owner's name written out."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    for step in steps(workflow):
        assert not re.search(r"\$\{\{\s*github", step.get("run", "")), step
    assert "set--me" not in path.read_text(encoding="utf-8")


def test_the_colab_edition_runs_once_a_week() -> None:
    weekly = yaml.safe_load((ROOT / ".github/workflows/weekly.yml").read_text(encoding="utf-8"))
    without_the_package = [name for name, versions in VERSIONS.items() if not versions.package]
    assert weekly["jobs"]["edition"]["strategy"]["matrix"]["name"] == without_the_package


def test_a_planted_tag_is_found() -> None:
    assert unpinned({"jobs": {"a": {"steps": [{"uses": "actions/checkout@v4"}]}}}) == ["actions/checkout@v4"]


def test_everything_in_publish_has_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rehearsal takes its steps from the workflow; here all of them in order, with scripts that do nothing."""
    ran: list[str] = []
    monkeypatch.setattr(rehearse, "_run", lambda step, host: ran.append(rehearse._fill(step["run"], host)))
    monkeypatch.setattr(rehearse, "_use", lambda step, host, root: ran.append(step["uses"].partition("@")[0]))
    monkeypatch.setattr(rehearse.subprocess, "run", lambda *a, **k: type("Done", (), {"stdout": "0" * 40}))
    rehearse.rehearse(tmp_path)
    assert ran.index("make book colab") < ran.index("actions/upload-pages-artifact") < ran.index("actions/deploy-pages")
    assert "book.checks.site" in ran[-1]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Sources and pages of a published book of one chapter."""
    (tmp_path / "_config.yml").write_text(f"repository: {{url: {ADDRESS}}}\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: chapters/one\n")
    html, edition = tmp_path / "html", tmp_path / "colab"
    for folder in (tmp_path / "chapters", html / "chapters", html / "_images", edition):
        folder.mkdir(parents=True)
    nbformat.write(new_notebook(cells=[new_markdown_cell("# One")]), tmp_path / "chapters/one.ipynb")
    (html / "searchindex.js").write_text('Search.setIndex({"docnames":["chapters/one"]})')
    (html / "index.html").write_text("to the book")
    (html / "_images/a.png").write_bytes(b"a picture")
    button = '<a href="https://colab.research.google.com/github/someone/a-book/blob/colab/chapters/one.ipynb">Colab</a>'
    (html / "chapters/one.html").write_text(
        f'<main><h1 id="one">One</h1><img src="../_images/a.png"></main>{button}', encoding="utf-8"
    )
    link = "[here](https://someone.github.io/a-book/chapters/one.html#one)"
    cells = [new_markdown_cell(link), new_code_cell(f'book = "{ADDRESS}"')]
    nbformat.write(new_notebook(cells=cells), edition / "one.ipynb")
    return tmp_path


def found(book: Path) -> list[str]:
    return list(site.faults((book / "html").as_uri(), (book / "colab/one.ipynb").as_uri(), book))


def test_a_whole_site_has_no_faults(published: Path) -> None:
    assert found(published) == []


def test_an_empty_site_is_not_published(published: Path) -> None:
    for path in (published / "html").rglob("*.*"):
        path.write_text("")
    faults = found(published)
    assert "index.html: not there" in faults
    assert "chapters/one.html: not there" in faults
    assert "searchindex.js: no search" in faults


def test_planted_faults_of_a_site(published: Path) -> None:
    page = published / "html/chapters/one.html"
    whole = page.read_text(encoding="utf-8")
    for old, new, fault in [
        ("a.png", "b.png", "no picture"),
        (">One<", ">Two<", "not the page"),
        ("/blob/colab/", "/blob/main/", "no button"),
        ("<main>", "<main>https://github.com/set--me/a-book", "not published"),
        ('id="one"', 'id="two"', "leads nowhere"),
    ]:
        page.write_text(whole.replace(old, new), encoding="utf-8")
        assert any(fault in line for line in found(published)), fault
    page.write_text(whole, encoding="utf-8")
    assert found(published) == []


def test_planted_faults_of_a_notebook(published: Path) -> None:
    notebook = published / "colab/one.ipynb"
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for position, text, fault in [(0, "no link", "no link to the pages"), (1, 'book = "elsewhere"', "does not fetch")]:
        changed = json.loads(json.dumps(content))
        changed["cells"][position]["source"] = text
        notebook.write_text(json.dumps(changed), encoding="utf-8")
        assert any(fault in line for line in found(published)), fault
    notebook.write_text("<html>404</html>")
    assert any("no notebook" in line for line in found(published))


def test_an_address_without_a_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one that begins with"):
        list(site.faults("_build/html"))
