"""A claim passes or raises, knows its margin, prints one line, and leaves its record where the ledger looks."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from physgrad_tf.claims import ClaimFailed, ClaimRecord, above, below, claim, near

POSITIVE = st.floats(1e-100, 1e100)


def test_a_true_claim_prints_one_line_with_its_sentence(capsys):
    claim("G1", "One is one.", check=True, verdict="holds", measured={"ratio": 1.23456, "n": 12345})
    assert capsys.readouterr().out == "✓ G1: One is one. · ratio = 1.23, n = 12345 · the source: holds\n"


def test_a_claim_of_the_book_s_own_names_no_source(capsys):
    claim("F1", "One is one.", check=True, measured={"n": 1})
    assert capsys.readouterr().out == "✓ F1: One is one. · n = 1\n"


def test_a_claim_without_numbers_prints_one_line(capsys):
    claim("H12", "One is one.", check=np.bool_(True), verdict="does not hold")
    assert capsys.readouterr().out == "✓ H12: One is one. · the source: does not hold\n"


@pytest.mark.parametrize("check", [False, np.bool_(False), tf.constant(False), [True, False], [below(1, 2), False]])
def test_a_false_claim_raises_and_shows_its_record(check, capsys):
    with pytest.raises(ClaimFailed, match="The check failed for: Two is one"):
        claim("G1", "Two is one.", check=check, verdict="holds", measured={"ratio": 2.0})
    assert capsys.readouterr().out.startswith("✗ G1: Two is one. · ratio = 2")


@pytest.mark.parametrize("check", [below(2.0, 1.0), above(1.0, 2.0), near(1.0, 2.0, 0.5), below(1.0, 1.0)])
def test_an_inequality_that_does_not_hold_raises(check):
    with pytest.raises(ClaimFailed, match="<"):
        claim("G1", "Two is one.", check=check, verdict="holds")


def test_a_claim_passes_by_a_hair_and_not_without_it(capsys):
    claim("G1", "Just so.", check=below(1.0, 1.0001), verdict="holds")
    assert "✓ G1" in capsys.readouterr().out
    with pytest.raises(ClaimFailed):
        claim("G1", "Just not.", check=below(1.0001, 1.0), verdict="holds")


@given(POSITIVE, POSITIVE)
def test_the_margin_is_the_factor_by_which_the_weaker_side_can_grow(a, b):
    small, large = sorted((a, b))
    assert below(small, large).margin == pytest.approx(large / small)
    assert above(large, small).margin == pytest.approx(large / small)
    assert bool(below(a, b)) == (a < b)
    assert bool(above(a, b)) == (a > b)
    grown = 0.999 * large / small
    assert grown <= 1.0 or below(small * grown, large)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=5))
def test_of_arrays_the_tightest_pair_counts(pairs):
    values, bounds = np.array(pairs).T
    assert below(values, bounds).margin == pytest.approx(min(b / v for v, b in pairs))
    assert below(tf.constant(values), 1e100).margin == pytest.approx(1e100 / values.max())


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_near_is_a_bound_on_the_distance(value, target, within):
    assert bool(near(value, target, within)) == (abs(value - target) < within)


@pytest.mark.parametrize(
    ("inequality", "margin"),
    [
        (below(0.0, 1.0), math.inf),
        (below(float("nan"), 1.0), 0.0),
        (above(float("nan"), 1.0), 0.0),
        (below([0.5, float("nan")], 1.0), 0.0),
        (above(float("inf"), 1.0), math.inf),
        (below(1.0, float("inf")), math.inf),
        (below(float("inf"), float("inf")), 0.0),
        (below(float("inf"), 1.0), 0.0),
        (below(0.0, 0.0), 0.0),
        (above(0.0, 1.0), 0.0),
        (below([1.0, 1.0], [2.0, 0.0]), 0.0),
        (below(3, 4), 4 / 3),
    ],
)
def test_edges(inequality, margin):
    assert inequality.margin == margin
    assert bool(inequality) == (margin > 1.0)


def test_the_record_keeps_the_smallest_margin():
    shell = InteractiveShell.instance()
    try:
        with capture_output() as captured:
            shell.run_cell(
                "from physgrad_tf.claims import above, below, claim\n"
                'claim("G1", "One is one.", check=[below(1.0, 2.5), above(6.0, 4.0), True], verdict="holds",\n'
                '      measured={"ratio": 1.234567, "n": 1234567})\n'
                'claim("G2", "Exact.", check=True, verdict="holds if")\n'
                'claim("G3", "Rounding.", check=below(1e-16, 1e-12), verdict="holds")\n'
                'claim("G4", "False.", check=[below(1.0, 2.0), below(2.0, 1.0)], verdict="holds")'
            )
    finally:
        InteractiveShell.clear_instance()
    records = [output.metadata["physgrad_claim"] for output in captured.outputs[:4]]
    assert [record["margin"] for record in records] == [1.5, None, 1000, 0.5]
    assert records[0] == {
        "id": "G1",
        "sentence": "One is one.",
        "verdict": "holds",
        "measured": {"ratio": 1.23, "n": 1.23e6},
        "margin": 1.5,
    }
    for output, record in zip(captured.outputs, records, strict=False):
        assert output.data == {"text/plain": ClaimRecord(**record).line()}, "the line is not that of the record"


def test_a_record_is_json():
    data, metadata = ClaimRecord("G1", "One.", "holds", {"a": 1e-16}, None)._repr_mimebundle_()
    assert data == {"text/plain": "✓ G1: One. · a = 1e-16 · the source: holds"}
    assert metadata["physgrad_claim"]["measured"] == {"a": 1e-16}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"id": "g1"}, ValueError, "id must be a letter and a number"),
        ({"id": "G01"}, ValueError, "id must be a letter and a number"),
        ({"sentence": " "}, ValueError, "sentence must be a sentence"),
        ({"verdict": "true"}, ValueError, "verdict must be None or one of holds, holds if, does not hold, not shown"),
        ({"check": 1}, TypeError, "check must be an inequality or a single boolean, got int"),
        ({"check": np.array([True, True])}, TypeError, "check must be an inequality or a single boolean, got ndarray"),
        ({"check": "yes"}, TypeError, "check must be an inequality or a single boolean, got str"),
        ({"check": []}, ValueError, "check must be an inequality, a boolean or several of them, got none"),
        ({"measured": {"a": np.ones(2)}}, TypeError, r"measured\['a'\] must be a single number"),
        ({"measured": {"a": True}}, TypeError, r"measured\['a'\] must be a single number"),
        ({"measured": {"a": float("nan")}}, ValueError, r"measured\['a'\] is NaN"),
    ],
)
def test_refusals(arguments, error, message):
    call = {"id": "G1", "sentence": "One is one.", "check": True, "verdict": "holds"} | arguments
    with pytest.raises(error, match=message):
        claim(call.pop("id"), call.pop("sentence"), **call)


@pytest.mark.parametrize(
    ("compare", "error", "message"),
    [
        (lambda: below(-1.0, 2.0), ValueError, "value must not be negative, got -1.0"),
        (lambda: above(1.0, -2.0), ValueError, "bound must not be negative"),
        (lambda: above(1.0, 0.0), ValueError, "bound must not be zero"),
        (lambda: below(True, 2.0), TypeError, "value must be a number"),
        (lambda: below("1", 2.0), TypeError, "value must be a number or an array of numbers, got str"),
        (lambda: below([], 2.0), ValueError, "value must not be empty"),
        (lambda: near(1.0, 1.0, -1.0), ValueError, "within must be a positive number, got -1.0"),
    ],
)
def test_inequalities_refuse(compare, error, message):
    with pytest.raises(error, match=message):
        compare()
