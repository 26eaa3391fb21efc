"""Pictures are stored in fewer bytes, and look the same."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from book.runs.pictures import shrink, shrink_pictures
from physgrad_tf import plotting


@pytest.fixture(scope="module")
def figure() -> bytes:
    """A figure in the style of the book: lines, a transparent band, letters, a map of colours."""
    with plt.rc_context():
        plotting.use_style()
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.6))
        t = np.linspace(0.0, 6.0, 200)
        left.plot(t, np.sin(t), label="a line")
        left.fill_between(t, np.sin(t) - 0.2, np.sin(t) + 0.2, alpha=0.25)
        left.legend()
        right.pcolormesh(np.add.outer(np.sin(t), np.cos(t)))
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Description": "a figure, in words"})
        plt.close(figure)
    return file.getvalue()


def on(background: int, png: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    page = Image.new("RGBA", picture.size, (background, background, background, 255))
    return np.asarray(Image.alpha_composite(page, picture)).astype(float)


@pytest.mark.parametrize("background", [255, 18])  # of a light and of a dark page
def test_a_picture_looks_the_same_in_less_than_half_the_bytes(figure, background):
    small = shrink(figure)
    assert len(small) < len(figure) / 2
    moved = on(background, small) - on(background, figure)
    assert np.sqrt(np.mean(moved**2)) < 2.0  # of 255; the worst of the book's pictures 1.3
    assert np.abs(moved).max() < 64  # 38


def test_what_the_file_says_about_itself_stays(figure):
    assert Image.open(io.BytesIO(shrink(figure))).text == Image.open(io.BytesIO(figure)).text


def test_equal_pictures_give_equal_bytes(figure):
    assert shrink(figure) == shrink(figure)


def test_a_picture_of_few_colours_stays_as_it_is(figure):
    assert shrink(shrink(figure)) == shrink(figure)


def test_the_pictures_of_a_notebook(figure):
    drawn = new_output("display_data", data={"image/png": base64.b64encode(figure).decode(), "text/plain": "a figure"})
    notebook = new_notebook(cells=[new_code_cell("plt.show()", outputs=[new_output("stream", text="1\n"), drawn])])
    shrink_pictures(notebook)
    printed, picture = notebook.cells[0].outputs
    assert printed.text == "1\n"
    assert picture.data["text/plain"] == "a figure"
    assert base64.b64decode(picture.data["image/png"]) == shrink(figure)
