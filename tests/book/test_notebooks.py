"""The contract of the notebooks: executed as they stand, clean, reproducible, complete, within their budget."""

import ast
import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from PIL import Image

from book import digests, outputs
from book.checks.nbval_tolerance import stated
from book.runs import timings
from book.runs.execute import NOTEBOOK_METADATA
from book.runs.set_up import TAG, cell_source
from book.toc import ROOT, notebooks, pages

PAGES = notebooks()
CONTENT = [page for page in PAGES if page.stem != "intro" and "closing" not in page.parts]
SECONDS_A_CHAPTER, SECONDS_FOR_THE_BOOK = 180, 1080  # one chapter after the other
LINES_IN_SIGHT = 150  # what is folded does not count
LOCAL_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|root|tmp|work|Users|usr|opt|mnt|var|private|content)/\w|\b[A-Z]:\\\w|file://"
)

# A line of a grid as the chapters print it: "Adam  η = 0.03: 0.055  η = 0.1: 0.024", with or without the letter.
RATE_AND_RESULT = re.compile(r"(?:^|\s)(?:η = )?(\d[\d.e+-]*): *(\d[\d.e+-]*|inf)(?=\s|$)")

every_notebook = pytest.mark.parametrize("page", PAGES, ids=str)
every_chapter = pytest.mark.parametrize("page", CONTENT, ids=str)


def read(page: Path) -> NotebookNode:
    return nbformat.read(ROOT / page, as_version=4)


def code(page: Path) -> list[NotebookNode]:
    return [cell for cell in read(page).cells if cell.cell_type == "code"]


def texts(output: NotebookNode) -> list[str]:
    """Everything of an output that a reader can read."""
    found = [output.get("text", ""), output.get("evalue", "")]
    found += [
        value for kind, value in output.get("data", {}).items() if kind.startswith("text/") or kind == "image/svg+xml"
    ]
    return found


def has_figure(cell: NotebookNode) -> bool:
    return any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))


def test_the_table_of_contents_lists_every_page_once():
    listed = pages()
    assert len(set(listed)) == len(listed)
    present = {
        path.relative_to(ROOT)
        for path in (ROOT / "chapters").rglob("*")
        if path.suffix in {".ipynb", ".md"} and ".ipynb_checkpoints" not in path.parts
    }
    assert present == set(listed), "chapters/ and _toc.yml differ"


def test_there_are_chapters():
    assert CONTENT


@every_notebook
def test_notebook_is_valid(page):
    nbformat.validate(read(page))


@every_notebook
def test_executed_from_top_to_bottom(page):
    cells = code(page)
    assert all(cell.source.strip() for cell in cells), "an empty code cell"
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run `make execute`"


@every_notebook
def test_no_error_and_nothing_on_stderr(page):
    for number, cell in enumerate(code(page)):
        for output in cell.outputs:
            assert output.output_type != "error", f"code cell {number} stores an error: {output.get('evalue')}"
            assert output.get("name") != "stderr", f"code cell {number} wrote to stderr: {output.get('text')}"
        assert "raises-exception" not in cell.metadata.get("tags", []), (
            f"code cell {number} hides an exception from nbval"
        )


@every_notebook
def test_set_up_cell_is_first_and_current(page):
    cells = code(page)
    assert [TAG in cell.metadata.get("tags", []) for cell in cells] == [True] + [False] * (len(cells) - 1)
    assert cells[0].source == cell_source(), "run `make execute`: the set-up cell is not the current one"


def test_the_set_up_cell_sets_the_seeds():
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(cell_source())) if isinstance(node, ast.Call)]
    assert "keras.utils.set_random_seed" in calls


@every_notebook
def test_no_path_of_one_machine(page):
    for number, cell in enumerate(read(page).cells):
        for text in [cell.source, *(text for output in cell.get("outputs", []) for text in texts(output))]:
            match = LOCAL_PATH.search(text)
            assert match is None, f"cell {number}: {text[max(0, match.start() - 30) : match.end() + 40]!r}"


@every_notebook
def test_no_object_address_in_an_output(page):
    for number, cell in enumerate(code(page)):
        for text in (text for output in cell.outputs for text in texts(output)):
            assert not re.search(r"at 0x[0-9a-f]{6,}", text), f"code cell {number}: {text!r}"


@every_notebook
def test_no_best_rate_lies_at_the_edge_of_its_grid(page):
    # A comparison says so itself; a better rate may lie beyond, and then it was not fair.
    for number, cell in enumerate(code(page)):
        for text in (text for output in cell.outputs for text in texts(output)):
            assert "(at the edge)" not in text, f"code cell {number}: {text}"


@every_notebook
def test_no_best_rate_of_a_printed_grid_lies_at_its_edge(page):
    # A race by hand prints its grid, one method a line.
    for number, cell in enumerate(code(page)):
        for line in (line for output in cell.outputs for text in texts(output) for line in text.splitlines()):
            assert not best_at_the_edge(line), f"code cell {number}: {line}"


def best_at_the_edge(line: str) -> bool:
    """Whether a printed grid is best at one of its ends; where all rates are alike, within a tenth, none is best."""
    results = [float(result) for _, result in RATE_AND_RESULT.findall(line)]
    lived = [result for result in results if np.isfinite(result)]
    if len(results) < 3 or not lived or max(lived) <= 1.1 * min(lived):
        return False
    return np.argmin(results) in (0, len(results) - 1)


def test_a_best_rate_at_the_edge_is_seen_in_a_printed_grid():
    assert best_at_the_edge("GN, τ = 1e-2    η = 2: 0.0033    η = 4: 0.0095    η = 8: 0.51   ")
    assert best_at_the_edge("   Adam   0.001: inf  0.003: 2e-3  0.01: 1.7e-05")
    assert not best_at_the_edge("HIG, τ = 1e-5   η = 2: 0.055    η = 4: 0.014    η = 8: 0.18   ")
    assert not best_at_the_edge("   SGD    0.003: 1.7  0.01: 1.65  0.03: inf")  # nothing was learned at any
    assert not best_at_the_edge("b =  4   median 0.2")  # no grid


@every_notebook
def test_only_the_metadata_that_the_runner_writes(page):
    notebook = read(page)
    assert notebook.metadata == NOTEBOOK_METADATA
    assert not any("execution" in cell.metadata for cell in notebook.cells)


@every_notebook
def test_every_figure_has_alt_text_a_caption_and_a_name(page):
    for number, cell in enumerate(code(page)):
        if not has_figure(cell):
            assert "mystnb" not in cell.metadata, f"code cell {number} describes a figure that it does not draw"
            continue
        settings = cell.metadata.get("mystnb", {})
        alt = settings.get("image", {}).get("alt", "")
        assert len(alt.split()) >= 4, f"code cell {number}: say in words what the figure shows, got alt text {alt!r}"
        assert settings.get("figure", {}).get("caption", "").strip(), f"code cell {number} has no caption"
        assert settings["figure"].get("name", "").startswith("fig-"), f"code cell {number}: expected a name 'fig-…'"


@every_notebook
def test_ignored_outputs_have_a_reason(page):
    for number, cell in enumerate(code(page)):
        tags = cell.metadata.get("tags", [])
        reasons = [tag for tag in tags if re.fullmatch(r"reason:[\w-]{8,}", tag)]
        ignored = [tag for tag in tags if tag in {"nbval-ignore-output", "nbval-skip"}]
        assert "nbval-skip" not in ignored, f"code cell {number} is not run by the check at all"
        widened = stated(tags) != (0.0, 0.0)
        assert (bool(ignored) or widened) == bool(reasons), f"code cell {number}: tags {tags}"
        assert not re.search(r"#\s*(NBVAL_|PYTEST_VALIDATE)", cell.source), (
            f"code cell {number}: use tags, with a reason"
        )


@every_notebook
def test_every_cell_has_an_id_of_its_own(page):
    ids = [cell.id for cell in read(page).cells]
    assert len(set(ids)) == len(ids)


@every_notebook
def test_every_picture_is_the_one_that_its_summary_describes(page):
    """The file of the picture holds the summary of its arrays: two pictures that were swapped show here."""
    for number, cell in enumerate(code(page)):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                assert outputs.is_figure(output.data["text/plain"]), f"code cell {number}: no summary"
                assert picture.text["Description"] == output.data["text/plain"], f"code cell {number}"


DECIMAL = re.compile(r"(?<![\w.\-])\d+\.\d+(?![\w.]*\d)")
NO_PROSE = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|```.*?```|`[^`]*`|\]\([^)]*\)|\bPython [\d., andto]+", re.DOTALL)


def in_sight(notebook: NotebookNode) -> int:
    """Lines of code that are not folded, blank ones and those of solutions included."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return sum(len(cell.source.splitlines()) for cell in cells if "hide-input" not in cell.metadata.get("tags", []))


@every_notebook
def test_little_code_is_in_sight(page):
    assert in_sight(read(page)) <= LINES_IN_SIGHT


def test_code_in_sight_is_counted():
    markdown, code_cell = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    folded = code_cell("x = 1", metadata={"tags": ["hide-input"]})
    solution = [markdown("```{solution-start} ex-a\n```"), code_cell("x = 1"), markdown("```{solution-end}\n```")]
    cells = [code_cell("x = 1\n\ny = 2"), folded, *solution, code_cell("z = 3")]
    assert in_sight(nbformat.v4.new_notebook(cells=cells)) == 5


def unfounded(notebook: NotebookNode) -> list[str]:
    """Decimal numbers in the prose that no cell of the notebook has written or printed, rounded or as a percentage."""
    known = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts_of_cell = [cell.source, *outputs.texts(cell.outputs)]
            known |= {abs(outputs.value(number)) for text in texts_of_cell for number in outputs.NUMBER.findall(text)}
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for number in DECIMAL.findall(NO_PROSE.sub(" ", cell.source)):
                decimals = len(number.partition(".")[2])
                if not any(float(number) in (round(k, decimals), round(100.0 * k, decimals)) for k in known if k < 1e9):
                    found.append(number)
    return found


@every_notebook
def test_numbers_in_the_prose_were_computed(page):
    assert unfounded(read(page)) == []


def test_an_unfounded_number_is_noticed():
    cells = [
        nbformat.v4.new_code_cell("rate = 0.3", outputs=[nbformat.v4.new_output("stream", text="loss 0.1234\n")]),
        nbformat.v4.new_markdown_cell(
            "At a rate of 0.3 the loss is 0.12, or 12.3 %, not 0.13; $x = 4.5$ is no result."
        ),
    ]
    assert unfounded(nbformat.v4.new_notebook(cells=cells)) == ["0.13"]


@every_chapter
def test_ends_with_a_summary_and_exercises(page):
    source = "\n\n".join(cell.source for cell in read(page).cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## +(.+?)\s*$", source, re.MULTILINE)
    if headings[-2] == "For the record":  # what the main line does not need, behind its summary
        del headings[-2]
    assert headings[-2:] == ["Summary", "Exercises"]
    summary = re.search(r"^## +Summary\s*$(.*?)^## ", source, re.MULTILINE | re.DOTALL)
    assert summary is not None
    assert len(summary[1].split()) >= 40, "the summary says too little"


@every_chapter
def test_every_exercise_has_one_executed_folded_solution_right_after_it(page):
    """An exercise, then a gated solution in which a cell runs: start and end stand alone in their cells."""
    found: list[tuple[str, bool]] = []
    solving: str | None = None
    for number, cell in enumerate(read(page).cells):
        exercise = re.search(r"^```\{exercise\}.*\n:label: (ex-\S+)", cell.source)
        start = re.match(r"```\{solution-start\} (\S+)\n:class: dropdown\n```$", cell.source)
        if cell.cell_type == "code":
            if solving is not None:
                found[-1] = (solving, True)
            continue
        assert "{exercise-start}" not in cell.source, f"cell {number}: use {{exercise}}"
        assert "{solution}" not in cell.source, (
            f"cell {number}: use {{solution-start}}, a cell that runs, {{solution-end}}"
        )
        assert cell.source.count("```{solution-start}") == bool(start), (
            f"cell {number}: solution-start stands alone, folded"
        )
        if solving is not None:
            assert not re.search(r"^#+ ", cell.source, re.MULTILINE), f"cell {number}: a heading inside a solution"
        if exercise is not None:
            assert solving is None, f"cell {number}: exercise inside the solution to {solving}"
            found.append((exercise[1], False))
        elif start is not None:
            assert found, f"cell {number}: a solution without an exercise"
            assert start[1] == found[-1][0], (
                f"cell {number}: the solution to {start[1]} follows the exercise {found[-1][0]}"
            )
            solving = start[1]
        elif "{solution-end}" in cell.source:
            assert cell.source == "```{solution-end}\n```", f"cell {number}: solution-end stands alone"
            assert solving is not None, f"cell {number}: no solution to end"
            solving = None
    assert solving is None, f"the solution to {solving} does not end"
    assert [label for label, solved in found if not solved] == [], "exercises without an executed solution"
    assert len(found) >= 3, f"expected at least three exercises, found {len(found)}"
    assert len({label for label, _ in found}) == len(found)


def test_every_notebook_ran_within_its_budget():
    runs = timings.read()
    assert set(runs) == {page.as_posix() for page in PAGES}, "run `make execute`: the record does not match _toc.yml"
    stale = [page for page in PAGES if runs[page.as_posix()].digest != digests.of_chapter(read(page))]
    assert stale == [], "run `make execute`: seconds of an older version of the chapter"
    # Measured on different days, on machines that others use as well: what counts is the time on a quiet one.
    seconds = {chapter: run.quiet_seconds for chapter, run in runs.items()}
    assert all(0 < value <= SECONDS_A_CHAPTER for value in seconds.values()), seconds
    assert sum(seconds.values()) <= SECONDS_FOR_THE_BOOK, seconds
