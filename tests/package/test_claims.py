"""A claim passes or raises, prints one line, and leaves its record where the ledger looks."""

import numpy as np
import pytest
import tensorflow as tf
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from physgrad_tf.claims import ClaimFailed, ClaimRecord, claim


def test_a_true_claim_prints_one_line(capsys):
    claim("G1", "One is one.", check=True, verdict="holds", measured={"ratio": 1.23456, "n": 12345})
    assert capsys.readouterr().out == "G1 holds: ratio = 1.23, n = 12345\n"


def test_a_claim_without_numbers_prints_one_line(capsys):
    claim("H12", "One is one.", check=np.bool_(True), verdict="does not hold")
    assert capsys.readouterr().out == "H12 does not hold: checked\n"


@pytest.mark.parametrize("check", [False, np.bool_(False), tf.constant(False)])
def test_a_false_claim_raises(check, capsys):
    with pytest.raises(ClaimFailed, match="The check failed for: Two is one"):
        claim("G1", "Two is one.", check=check, verdict="holds", measured={"ratio": 2.0})
    assert capsys.readouterr().out == ""


def test_in_a_notebook_the_record_stands_in_the_metadata():
    shell = InteractiveShell.instance()
    try:
        with capture_output() as captured:
            shell.run_cell(
                "from physgrad_tf.claims import claim\n"
                'claim("G1", "One is one.", check=True, verdict="holds", measured={"ratio": 1.234567})'
            )
    finally:
        InteractiveShell.clear_instance()
    (output,) = captured.outputs
    assert output.data == {"text/plain": "G1 holds: ratio = 1.23"}
    assert output.metadata == {
        "physgrad_claim": {
            "id": "G1",
            "sentence": "One is one.",
            "verdict": "holds",
            "measured": {"ratio": 1.235},
        }
    }


def test_a_record_is_json():
    data, metadata = ClaimRecord("G1", "One.", "holds", {"a": 1e-16})._repr_mimebundle_()
    assert data == {"text/plain": "G1 holds: a = 1e-16"}
    assert metadata["physgrad_claim"]["measured"] == {"a": 1e-16}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"id": "g1"}, ValueError, "id must be a letter and a number"),
        ({"id": "G01"}, ValueError, "id must be a letter and a number"),
        ({"sentence": " "}, ValueError, "sentence must be a sentence"),
        ({"verdict": "true"}, ValueError, "verdict must be one of holds, holds if, does not hold"),
        ({"check": 1}, TypeError, "check must be a single boolean, got int"),
        ({"check": np.array([True, True])}, TypeError, "check must be a single boolean, got ndarray"),
        ({"check": "yes"}, TypeError, "check must be a single boolean, got str"),
        ({"measured": {"a": np.ones(2)}}, TypeError, r"measured\['a'\] must be a single number"),
        ({"measured": {"a": True}}, TypeError, r"measured\['a'\] must be a single number"),
        ({"measured": {"a": float("nan")}}, ValueError, r"measured\['a'\] is NaN"),
    ],
)
def test_refusals(arguments, error, message):
    call = {"id": "G1", "sentence": "One is one.", "check": True, "verdict": "holds"} | arguments
    with pytest.raises(error, match=message):
        claim(call.pop("id"), call.pop("sentence"), **call)
