"""The comparison of outputs: what it lets pass, what it must not, and that nbval really uses it."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from book.checks.nbval_tolerance import IGNORE, differences, same_order, stated
from book.checks.tolerances import tolerances
from book.outputs import CLAIM_KEY, numbers
from book.toc import ROOT


def stream(text):
    return new_output("stream", name="stdout", text=f"{text}\n")


def shown(text, **metadata):
    return new_output("display_data", data={"text/plain": text}, metadata=metadata)


def agree(old, new, tags=()):
    return differences(old, new, tolerances(numbers(old), []), tags) == []


@pytest.mark.parametrize("output", [stream, shown])
@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("loss 1.000", "loss 1.001", True),
        ("loss 1.000", "loss 1.002", False),
        ("loss 1.000", "loss -1.000", False),
        ("loss −1.000", "loss −1.001", True),
        ("1.00e-10", "1.01e-10", True),
        ("1.00e-10", "1.10e-10", False),
        ("0.0", "1e-300", False),
        ("[1.    2.50]", "[ 1.0  2.51]", True),
        ("[[1.0 2.0]\n [3.0 4.0]]", "[[ 1.0   2.0]\n [ 3.0   4.0]]", True),
        ("10000 steps", "10001 steps", False),
        ("10000. steps", "10001. steps", False),
        ("a 1.000, b 2.000", "a 1.000, b 2.500", False),  # not only the first number
        ("a 1.000, b 2.000, c 3.000", "a 1.000, b 2.000, c 3.100", False),
        ("loss 1.0", "cost 1.0", False),
        ("loss 1.0", "loss 1.0 1.0", False),
        ("loss 1.0", "loss", False),
        ("loss 1.0", "loss nan", False),
        ("loss 1.0", "loss inf", False),
        ("loss nan", "loss nan", True),
        ("float32", "float64", False),
        ("version 2.21.0", "version 2.21.1", False),
        ("x1 = 0.5", "x2 = 0.5", False),
    ],
)
def test_two_outputs(output, old, new, same):
    assert agree([output(old)], [output(new)]) is same


def test_outputs_that_are_missing_or_too_many_are_seen():
    assert not agree([stream("1"), shown("2")], [stream("1")])
    assert not agree([stream("1")], [stream("1"), shown("2")])
    assert not agree([shown("a")], [stream("a"), shown("a")])
    picture = new_output("display_data", data={"text/plain": "Figure, 6 by 4 inches", "image/png": "…"})
    assert agree([picture], [picture])
    assert not agree([picture], [shown("Figure, 6 by 4 inches")]), "a picture that is no longer drawn"


def test_pieces_of_a_stream_are_one_text():
    pieces = [new_output("stream", name="stdout", text="1.0"), new_output("stream", name="stdout", text="50\n")]
    assert agree([stream("1.050")], pieces)


def record(**changes):
    claim = {"id": "G1", "sentence": "One.", "verdict": "holds", "measured": {"ratio": 2.0}, "margin": 2.0} | changes
    return shown("✓ G1", **{CLAIM_KEY: claim})


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"margin": 3.0}, True),
        ({"margin": 40.0}, False),
        ({"margin": None}, False),
        ({"id": "G2"}, False),
        ({"sentence": "Two."}, False),
        ({"verdict": "holds if"}, False),
        ({"measured": {"other": 2.0}}, False),
    ],
)
@pytest.mark.parametrize("tags", [(), (IGNORE,)])
def test_records_of_claims_are_compared(changes, same, tags):
    assert agree([record()], [record(**changes)], tags) is same
    assert not agree([record()], [], tags)


def test_claims_in_ignored_cells_agree_in_order_of_magnitude():
    old = [stream("chaos 17"), record()]
    assert agree(old, [stream("other chaos"), record(measured={"ratio": 7.0})], [IGNORE])
    assert not agree(old, [stream("chaos 17"), record(measured={"ratio": 70.0})], [IGNORE])
    assert not agree(old, [stream("other chaos"), record()])


def test_same_order():
    assert same_order(1.0, 9.0) and not same_order(1.0, 11.0)
    assert same_order(1e-17, 0.0) and not same_order(1e-9, 0.0)
    assert same_order(float("inf"), float("inf")) and not same_order(float("inf"), 1e9)


def test_tags_need_a_reason():
    reason = "reason:rounding-near-zero"
    assert stated([]) == (0.0, 0.0)
    assert stated(["rtol=1e-3", reason]) == (1e-3, 0.0)
    assert stated(["atol=1e-12", "rtol=1e-3", reason]) == (1e-3, 1e-12)
    with pytest.raises(ValueError, match="without a reason"):
        stated(["rtol=1e-3"])
    assert agree([stream("2e-16")], [stream("1e-17")], ["atol=1e-12", reason])
    assert not agree([stream("2e-16")], [stream("1e-17")])


@pytest.mark.parametrize("tag", ["rtol=", "rtol=tight", "rtol=0", "rtol=-1e-3", "rtol=0.5", "rtol=nan", "atol=inf"])
def test_a_malformed_tag_is_refused(tag):
    with pytest.raises(ValueError, match=tag):
        stated([tag, "reason:some-reason"])


# What a cell stored, what it prints now, its tags, and whether that passes.
CELLS = [
    ("1.000", "1.001", [], True),
    ("1.000", "1.004", [], False),
    ("1.000", "1.004", ["rtol=1e-2", "reason:an-example"], True),
    ("1.000 and 2.000", "1.000 and 2.500", [], False),
    ("7", "8", [], False),
    ("2e-16", "1e-17", ["atol=1e-12", "reason:an-example"], True),
    ("chaos 1", "chaos 2", [IGNORE, "reason:an-example"], True),
]


def test_nbval_compares_in_this_way(tmp_path: Path):
    """In nbval itself, on streams and on displayed text: a change of its inner workings shows here."""
    cells = [new_code_cell("pass", execution_count=1)]
    for old, new, tags, _ in CELLS:
        for source, output in [
            (f"print('{new}')", stream(old)),
            (f"display({{'text/plain': '{new}'}}, raw=True)", shown(old)),
        ]:
            cells.append(new_code_cell(source, outputs=[output], metadata={"tags": tags}, execution_count=1))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    nbformat.write(new_notebook(cells=cells), tmp_path / "cells.ipynb")
    command = [sys.executable, "-m", "pytest", "-p", "book.checks.nbval_tolerance", "-p", "no:cacheprovider", "-rA"]
    command += ["--color=no", "--nbval", "--nbval-current-env", "-c", os.devnull, "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [*command, "cells.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    passed = [f"PASSED cells.ipynb::Cell {number}\n" in done.stdout for number in range(1, len(cells))]
    assert passed == [expected for *_, expected in CELLS for _ in range(2)], done.stdout + done.stderr
