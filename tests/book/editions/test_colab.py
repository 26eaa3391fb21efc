"""The Colab edition: plain Markdown, the numbers of the pages, solutions that fold, pictures that show."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from book.editions.colab import SOLUTION_TITLE
from book.runs.set_up import TAG, cell_source
from book.toc import ROOT, notebooks

COLAB = ROOT / "_build" / "colab"
PAGES = notebooks(ROOT)
#: What MyST writes and plain Markdown does not know.
SOURCE = {
    "directive": re.compile(r"^\s*(?::{3,}|`{3,}\s*\{|~{3,}\s*\{)", re.MULTILINE),
    "option of a directive": re.compile(r"^\s*:(?:label|class|name|align|width|alt):", re.MULTILINE),
    "role": re.compile(r"\{[a-z][a-z:+-]*\}`"),
    "target": re.compile(r"^\([\w-]+\)=\s*$", re.MULTILINE),
    "label of an equation": re.compile(r"\$\$\s*\([\w-]+\)"),
    "comment": re.compile(r"^%|<!--", re.MULTILINE),
    "HTML of one front end": re.compile(r"<(?:script|style|a|div|span)\b", re.IGNORECASE),
    "mark of the builder": re.compile("[\x02\x03]"),
}
FOLD = ("<details>\n<summary>Solution</summary>\n\n", "\n\n</details>")


@pytest.fixture(scope="module")
def edition() -> dict[str, NotebookNode]:
    if not COLAB.is_dir():
        pytest.fail(f"{COLAB} is not there. Run `make colab` first (`make test` does).", pytrace=False)
    return {page.as_posix(): nbformat.read(COLAB / page, as_version=4) for page in PAGES}


def texts(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def left_of_the_source(notebook: NotebookNode) -> list[tuple[str, str]]:
    """What is MyST and not Markdown, by kind; code in fences and backticks may hold anything."""
    found = []
    for text in texts(notebook):
        for kind, pattern in SOURCE.items():
            found += [(kind, hit[0]) for hit in pattern.finditer(text)]
        for token in MarkdownIt("commonmark").enable("table").parse(text):
            if token.type == "fence" and not re.fullmatch(r"|python|ipython3?|text|bash|console", token.info.strip()):
                found.append(("fence", token.info))
            if token.type == "html_block" and not re.match(r"</?details>|<summary>", token.content.strip()):
                found.append(("HTML", token.content))
    return found


def pictures(notebook: NotebookNode) -> Iterator[str]:
    for text in texts(notebook):
        for token in MarkdownIt("commonmark").enable("table").parse(text):
            for child in token.children or []:
                if child.type == "image":
                    yield str(child.attrs["src"])


def dead_pictures(notebook: NotebookNode) -> list[str]:
    """Pictures that do not show; a reader of the notebook has no files beside it."""
    found = []
    for source in pictures(notebook):
        kind, _, data = source.partition(",")
        try:
            assert kind == "data:image/png;base64"
            assert Image.open(io.BytesIO(base64.b64decode(data, validate=True))).width > 400
        except (AssertionError, ValueError, OSError):
            found.append(source[:60])
    # A picture whose address holds a blank is no picture to a Markdown parser, but text.
    return found + [
        hit[0]
        for text in texts(notebook)
        for hit in re.finditer(r"!\[[^\]]*\]\((?!data:image/png;base64,)[^)]*\)", text)
    ]


def is_for_the_reader(cell: NotebookNode) -> bool:
    """Whether a cell is there to be filled, or is the folded check that says right or wrong."""
    tags = cell.metadata.get("tags", [])
    return "exercise" in tags and (
        "hide-input" in tags or re.search(r"^ *\.\.\.", cell.source, re.MULTILINE) is not None
    )


def open_solutions(notebook: NotebookNode) -> list[str]:
    """Cells behind an exercise that a reader sees before asking for them."""
    found, behind = [], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.search(r"^> \*\*Exercise \d", cell.source, re.MULTILINE):
            behind = True
        elif cell.cell_type == "markdown" and cell.source.startswith("## References"):
            behind = False
        elif behind and cell.cell_type == "markdown":
            if not (cell.source.startswith(FOLD[0]) and cell.source.endswith(FOLD[1])):
                found.append(cell.source[:60])
        elif behind and is_for_the_reader(cell):
            continue
        elif behind and not (
            cell.source.startswith(SOLUTION_TITLE)
            and cell.metadata.get("cellView") == "form"
            and cell.metadata.get("jupyter", {}).get("source_hidden")
            and not cell.outputs
        ):
            found.append(cell.source[:60])
    return found


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_cell_holds_what_only_the_book_understands(edition: dict[str, NotebookNode], page: Path) -> None:
    assert left_of_the_source(edition[page.as_posix()]) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_picture_shows(edition: dict[str, NotebookNode], page: Path) -> None:
    drawn = len(re.findall(r"^```\{(?:figure|moving)\}|^:{3,}\{figure\}", _markdown(page), re.MULTILINE))
    assert len(list(pictures(edition[page.as_posix()]))) == drawn
    assert dead_pictures(edition[page.as_posix()]) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_solutions_are_folded(edition: dict[str, NotebookNode], page: Path) -> None:
    notebook = edition[page.as_posix()]
    assert open_solutions(notebook) == []
    exercises = sum(len(re.findall(r"^> \*\*Exercise \d", text, re.MULTILINE)) for text in texts(notebook))
    assert exercises == len(re.findall(r"^`{3,}\{exercise\}", _markdown(page), re.MULTILINE))
    assert sum(text.startswith(FOLD[0]) for text in texts(notebook)) >= exercises


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_code_and_its_outputs_are_those_of_the_chapter(edition: dict[str, NotebookNode], page: Path) -> None:
    chapter = [c for c in nbformat.read(ROOT / page, as_version=4).cells if c.cell_type == "code"]
    found = [cell for cell in edition[page.as_posix()].cells if cell.cell_type == "code"]
    assert [re.sub(r"\A# @title.*\n", "", cell.source) for cell in found] == [cell.source for cell in chapter]
    assert [cell.metadata.get("tags", []) for cell in found] == [cell.metadata.get("tags", []) for cell in chapter]
    assert found[0].metadata["tags"][0] == TAG
    assert found[0].source.endswith(cell_source())
    for here, there in zip(found, chapter, strict=True):
        assert here.outputs == ([] if here.source.startswith(SOLUTION_TITLE) else there.outputs)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_numbers_are_those_of_the_page(edition: dict[str, NotebookNode], html: Path, page: Path) -> None:
    """Figures, equations and exercises bear the numbers that the rendered page shows, in the same order."""
    soup = BeautifulSoup((html / page.with_suffix(".html")).read_text(encoding="utf-8"), "html.parser")
    text = "\n\n".join(texts(edition[page.as_posix()]))
    figures = [" ".join(found.get_text().split()) for found in soup.select("figcaption .caption-number")]
    assert re.findall(r"^\*\*(Fig\. [\d.]+)\*\*", text, re.MULTILINE) == figures
    equations = [found.get_text().strip("()#¶") for found in soup.select(".math .eqno")]
    assert re.findall(r"\\tag\{([\d.]+)\}", text) == equations
    exercises = [" ".join(found.get_text().split()) for found in soup.select(".exercise .caption-number")]
    assert re.findall(r"^> \*\*(Exercise [\d.]+)", text, re.MULTILINE) == exercises


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_copy_that_is_not_published_has_no_links_to_pages(edition: dict[str, NotebookNode], page: Path) -> None:
    text = "\n\n".join(texts(edition[page.as_posix()]))
    assert not re.search(r"\]\((?!https?://|data:)", text)
    assert "set--me" not in text


def test_what_a_chapter_cites_stands_at_its_end(edition: dict[str, NotebookNode]) -> None:
    cited = [edition[page.as_posix()] for page in PAGES if "{cite" in _markdown(page)]
    assert len(cited) > 10
    for notebook in cited:
        assert texts(notebook)[-1].startswith("## References\n\n- ")
    newton = texts(edition["chapters/gradients/newton.ipynb"])
    assert "Nocedal and Wright, 2006" in "".join(newton)
    assert re.search(r"^- Jorge Nocedal and Stephen.*Numerical Optimization", newton[-1], re.MULTILINE)


# --- the checks see what they are for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("directive", ":::{note}\nx\n:::"),
        ("directive", "```{figure} a.svg\n```"),
        ("role", "see {eq}`newton`"),
        ("role", "see {py:func}`f`"),
        ("target", "(a-target)=\n# A title"),
        ("label of an equation", "$$\nx\n$$ (a-label)"),
        ("comment", "% a comment"),
        ("HTML of one front end", '<a id="x"></a>'),
    ],
)
def test_planted_source_is_found(kind: str, text: str) -> None:
    found = left_of_the_source(new_notebook(cells=[new_markdown_cell(text)]))
    assert kind in {name for name, _ in found}


@pytest.mark.parametrize(
    "source", ["three-ways.svg", "../_images/a.png", "data:image/png;base64,bm9uZQ==", "data:image/svg+xml;base64,PA=="]
)
def test_a_planted_dead_picture_is_found(source: str) -> None:
    assert dead_pictures(new_notebook(cells=[new_markdown_cell(f"![text]({source})")]))


def test_planted_open_solutions_are_found() -> None:
    exercise = new_markdown_cell("> **Exercise 1 (Title)**\n>\n> What?")
    folded, shown = new_markdown_cell("text".join(FOLD)), new_markdown_cell("text")
    hidden = new_code_cell(f"{SOLUTION_TITLE}\nx", metadata={"cellView": "form", "jupyter": {"source_hidden": True}})
    assert open_solutions(new_notebook(cells=[exercise, folded, hidden])) == []
    assert open_solutions(new_notebook(cells=[exercise, shown, hidden])) == ["text"]
    assert open_solutions(new_notebook(cells=[exercise, folded, new_code_cell("x = 1")])) == ["x = 1"]
    to_fill, filled = (
        new_code_cell(code, metadata={"tags": ["exercise"]}) for code in ("x = 0\n...  # yours", "x = 1")
    )
    assert open_solutions(new_notebook(cells=[exercise, to_fill, folded, hidden])) == []
    assert open_solutions(new_notebook(cells=[exercise, filled, folded, hidden])) == ["x = 1"]
    hidden.outputs = [nbformat.v4.new_output("stream", text="42")]
    assert open_solutions(new_notebook(cells=[exercise, folded, hidden])) != []


def _markdown(page: Path) -> str:
    cells = nbformat.read(ROOT / page, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
