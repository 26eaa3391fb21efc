"""The ledger's sources: every statement is answered by an executed claim, and every record stems from its cell."""

import ast
from pathlib import Path

import nbformat
import pytest

from book.pages.ledger import PARTS, weakest
from book.records import METADATA_KEY, VERDICTS, Claim, claims, statements
from book.toc import ROOT, notebooks

NOTEBOOKS = notebooks()


def test_every_statement_is_claimed():
    missing = [s.id for s in statements() if s.id not in {claim.id for claim in claims()}]
    assert missing == [], "no executed claim carries these IDs"


def test_no_claim_has_an_unknown_id():
    unknown = sorted({claim.id for claim in claims()} - {s.id for s in statements()})
    assert unknown == [], "chapters/closing/statements.yml does not list these IDs"


@pytest.mark.parametrize(("letter", "last"), [("G", 38), ("S", 25), ("H", 27)])
def test_the_statements_of_a_part_are_complete(letter, last):
    ids = [s.id for s in statements() if s.id.startswith(letter)]
    assert ids == [f"{letter}{number}" for number in range(1, last + 1)]


def test_statements_have_a_part_a_source_a_place_and_a_text():
    for statement in statements():
        assert statement.id[0] in PARTS
        assert statement.source
        assert set(statement.source) <= set("ABCD")
        assert statement.where.strip()
        assert statement.statement.strip().endswith(".")


def test_verdicts_and_numbers():
    for claim in claims():
        assert claim.verdict in VERDICTS, claim
        assert claim.sentence.strip(), claim
        assert claim.measured, f"{claim.id} in {claim.notebook}: a claim without a number"
        assert all(isinstance(value, int | float) for value in claim.measured.values()), claim


def test_the_weakest_verdict_counts():
    made = [Claim("G1", "…", verdict, {}, Path("a.ipynb"), 0, "claim-g1") for verdict in ("holds", "holds if")]
    assert weakest(made) == weakest(made[::-1]) == "holds if"
    assert weakest([]) == "not checked"


def claim_calls(source: str) -> list[ast.Call]:
    """The calls of `claim` in a cell. IPython's own syntax is not Python and makes no claims."""
    plain = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
    calls = [node for node in ast.walk(ast.parse(plain)) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func).split(".")[-1] == "claim"]


def written(call: ast.Call) -> dict[str, ast.expr]:
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


@pytest.mark.parametrize("page", NOTEBOOKS, ids=str)
def test_the_records_are_those_of_the_source(page):
    """IDs, sentences, verdicts and the names of the numbers, as the cell has them: a stale or edited output fails."""
    for number, cell in enumerate(nbformat.read(ROOT / page, as_version=4).cells):
        if cell.cell_type != "code":
            continue
        stored = [o.metadata[METADATA_KEY] for o in cell.outputs if METADATA_KEY in o.get("metadata", {})]
        calls = claim_calls(cell.source)
        where = f"{page}, cell {number}"
        assert len(stored) == len(calls), f"{where}: {len(calls)} claims in the source, {len(stored)} in the outputs"
        for call, record in zip(sorted(calls, key=lambda c: (c.lineno, c.col_offset)), stored, strict=True):
            assert call.args, where
            assert isinstance(call.args[0], ast.Constant), f"{where}: the ID of a claim is a literal"
            assert call.args[0].value == record["id"], where
            arguments = written(call)
            if len(call.args) > 1:
                arguments["sentence"] = call.args[1]
            for name in ("sentence", "verdict"):
                assert isinstance(arguments[name], ast.Constant), f"{where}: the {name} of a claim is a literal"
                assert arguments[name].value == record[name], f"{where}: run `make execute`"
            check = arguments["check"]
            assert not isinstance(check, ast.Constant), (
                f"{where}: {record['id']} checks the constant {ast.unparse(check)}"
            )
            measured = arguments.get("measured")
            if isinstance(measured, ast.Dict):
                keys = [key.value for key in measured.keys if isinstance(key, ast.Constant)]
                if len(keys) == len(measured.keys):
                    assert sorted(keys) == sorted(record["measured"]), f"{where}: run `make execute`"
