"""The tolerance of compared outputs: what it lets pass, what it must not, and that nbval really uses it."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from book.checks.nbval_tolerance import TolerantText, tolerance
from book.toc import ROOT


@pytest.mark.parametrize(
    ("stored", "computed", "agree"),
    [
        ("loss 1.0", "loss 1.0004", True),
        ("loss 1.0", "loss 1.004", False),
        ("loss 1.0", "loss -1.0", False),
        ("loss −1.0", "loss −1.0004", True),
        ("1e-10", "1.0004e-10", True),
        ("1e-10", "1.1e-10", False),
        ("0.0", "1e-300", False),
        ("[1.    2.5]", "[ 1.0003  2.5]", True),
        ("[[1.0 2.0]\n [3.0 4.0]]", "[[ 1.0   2.0]\n [ 3.0   4.0]]", True),
        ("10000 steps", "10001 steps", False),
        ("10000. steps", "10001. steps", False),
        ("10000 steps", "10000 steps", True),
        ("loss 1.0", "cost 1.0", False),
        ("loss 1.0", "loss 1.0 1.0", False),
        ("loss 1.0", "loss", False),
        ("loss 1.0", "loss nan", False),
        ("loss nan", "loss nan", True),
        ("float32", "float64", False),
        ("version 2.21.0", "version 2.21.1", False),
        ("two  words", "two words", False),
        ("x1 = 0.5", "x2 = 0.5", False),
    ],
)
def test_one_in_a_thousand(stored, computed, agree):
    assert (TolerantText(stored, 1e-3, 0.0) == TolerantText(computed, 1e-3, 0.0)) is agree
    assert (TolerantText(stored, 1e-3, 0.0) != TolerantText(computed, 1e-3, 0.0)) is not agree


def test_absolute_tolerance_serves_numbers_that_should_be_zero():
    assert TolerantText("residual 3e-16", 0.0, 1e-12) == TolerantText("residual -1e-17", 0.0, 1e-12)
    assert TolerantText("residual 3e-16", 0.0, 1e-12) != TolerantText("residual 3e-11", 0.0, 1e-12)


def test_tags():
    assert tolerance([]) is None
    assert tolerance(["set-up", "hide-input"]) is None
    assert tolerance(["rtol=1e-3"]) == (1e-3, 0.0)
    assert tolerance(["atol=1e-12", "rtol=1e-3"]) == (1e-3, 1e-12)


@pytest.mark.parametrize("tag", ["rtol=", "rtol=tight", "rtol=0", "rtol=-1e-3", "rtol=1", "rtol=nan", "atol=inf"])
def test_a_malformed_tag_is_refused(tag):
    with pytest.raises(ValueError, match=tag):
        tolerance([tag])


# What a cell stored, what it prints now, its tags, and whether that passes.
CELLS = [
    ("1.0", "1.0004", ["rtol=1e-3"], True),
    ("1.0", "1.004", ["rtol=1e-3"], False),
    ("1.0", "1.0004", [], False),
    ("1.0", "1.0", [], True),
    ("7", "8", ["rtol=0.5"], False),
    ("2e-16", "1e-17", ["atol=1e-12"], True),
]


def test_nbval_compares_within_the_tags(tmp_path: Path):
    """In nbval itself, on streams and on displayed text: a change of its inner workings shows here."""
    cells = []
    for stored, computed, tags, _ in CELLS:
        stream = nbformat.v4.new_output("stream", name="stdout", text=f"{stored}\n")
        shown = nbformat.v4.new_output("display_data", data={"text/plain": stored})
        for source, output in [
            (f"print('{computed}')", stream),
            (f"display({{'text/plain': '{computed}'}}, raw=True)", shown),
        ]:
            cells.append(
                nbformat.v4.new_code_cell(source, outputs=[output], metadata={"tags": tags}, execution_count=1)
            )
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "cells.ipynb")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "book.checks.nbval_tolerance",
        "-p",
        "no:cacheprovider",
        "-rA",
        "--color=no",
    ]
    command += ["--nbval", "--nbval-current-env", "-c", os.devnull, "--rootdir", str(tmp_path), "cells.ipynb"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120
    )
    passed = [f"PASSED cells.ipynb::Cell {number}\n" in done.stdout for number in range(len(cells))]
    assert passed == [expected for *_, expected in CELLS for _ in range(2)], done.stdout + done.stderr
