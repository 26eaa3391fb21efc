"""The runner of the chapters: equal bytes from equal outputs, and no half-written chapter."""

import base64
import io

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from book.runs.execute import NOTEBOOK_METADATA, ChapterFailed, execute

SET_UP = "value = 2"


def write(path, *sources, set_up_tags=("set-up",)):
    cells = [new_markdown_cell("# Title"), new_code_cell("stale", metadata={"tags": list(set_up_tags)})]
    cells += [new_code_cell(source) for source in sources]
    nbformat.write(new_notebook(cells=cells, metadata={"colab": {"provenance": []}}), path)
    return path


def test_two_runs_give_the_same_bytes(tmp_path):
    path = write(tmp_path / "chapter.ipynb", "print(value)\nprint(value)", "import os; os.path.basename(os.getcwd())")
    execute(path, SET_UP)
    first = path.read_bytes()
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].source == SET_UP
    assert [cell.execution_count for cell in code] == [1, 2, 3]
    assert code[1].outputs[0].text == "2\n2\n"
    assert code[2].outputs[0].data["text/plain"] == repr(tmp_path.name), "the working directory is the notebook's"
    assert notebook.metadata == NOTEBOOK_METADATA
    assert not any("execution" in cell.metadata for cell in notebook.cells)
    execute(path, SET_UP)
    assert path.read_bytes() == first


def test_the_log_lines_of_libraries_stay_out_of_the_outputs(tmp_path):
    path = write(tmp_path / "chapter.ipynb", "import os\nos.write(2, b'a log line')\nprint('done')")
    execute(path, SET_UP)
    last = nbformat.read(path, as_version=4).cells[-1]
    assert [output.get("text") for output in last.outputs] == ["done\n"]


def test_an_error_names_the_cell_and_leaves_the_file(tmp_path):
    path = write(tmp_path / "chapter.ipynb", "print(1)", "value / 0", "print(3)")
    before = path.read_bytes()
    with pytest.raises(ChapterFailed) as failure:
        execute(path, SET_UP)
    assert all(text in str(failure.value) for text in (str(path), "cell 3", "value / 0", "ZeroDivisionError"))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_dead_kernel_is_a_failure(tmp_path):
    path = write(tmp_path / "chapter.ipynb", "import os\nos._exit(3)")
    before = path.read_bytes()
    with pytest.raises(ChapterFailed):
        execute(path, SET_UP)
    assert path.read_bytes() == before


@pytest.mark.parametrize("tags", [(), ("setup",)])
def test_a_notebook_without_a_set_up_cell_is_refused(tmp_path, tags):
    path = write(tmp_path / "chapter.ipynb", "print(1)", set_up_tags=tags)
    with pytest.raises(ValueError, match="set-up"):
        execute(path, SET_UP)


def test_equal_cells_get_ids_of_their_own(tmp_path):
    path = write(tmp_path / "chapter.ipynb", "print(value)", "print(value)", "print(value)")
    execute(path, SET_UP)
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert len(set(ids)) == len(ids) == 5


def test_figures_are_stored_with_their_summaries(tmp_path):
    source = "import matplotlib.pyplot as plt\nfrom physgrad_tf import plotting\nplotting.use_style()"
    drawing = "plt.plot([1.0, 2.0, 4.0])\nprint(plotting.summary(plt.gcf()))"
    path = write(tmp_path / "chapter.ipynb", source, drawing)
    execute(path, SET_UP)
    printed, drawn = [
        o for o in nbformat.read(path, as_version=4).cells[-1].outputs if o.output_type != "execute_result"
    ]
    assert drawn.data["text/plain"] == printed.text.strip()
    picture = Image.open(io.BytesIO(base64.b64decode(drawn.data["image/png"])))
    assert picture.text["Description"] == printed.text.strip()
