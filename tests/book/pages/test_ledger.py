"""The ledger's sources: every statement is answered by an executed claim, and every record stems from its cell."""

import ast
import builtins
from pathlib import Path

import nbformat
import pytest
import yaml

from book import outputs
from book.pages.ledger import PARTS, weakest
from book.records import STATEMENTS, VERDICTS, Claim, claims, statements
from book.runs.margins import REQUIRED, STORED, Margins, margins
from book.toc import ROOT, notebooks
from physgrad_tf.claims import ClaimRecord, shown

NOTEBOOKS = notebooks()


def test_every_statement_is_claimed():
    claimed = {claim.id for claim in claims()}
    missing = [s.id for s in statements() if s.id not in claimed]
    assert missing == [], "no executed claim carries these IDs"


def test_no_claim_has_an_unknown_id():
    unknown = sorted({claim.id for claim in claims()} - {s.id for s in statements()})
    assert unknown == [], "chapters/closing/statements.yml does not list these IDs"


@pytest.mark.parametrize(("letter", "last"), [("G", 38), ("S", 25), ("H", 27), ("F", 6)])
def test_the_statements_of_a_part_are_complete(letter, last):
    ids = [s.id for s in statements() if s.id.startswith(letter)]
    assert ids == [f"{letter}{number}" for number in range(1, last + 1)]


def test_statements_have_a_part_a_source_a_place_and_a_text():
    for statement in statements():
        assert statement.id[0] in PARTS
        assert bool(statement.source) != (statement.id[0] == "F"), "what stands in no source belongs to part F"
        assert set(statement.source) <= set("ABCD")
        assert statement.where.strip()
        assert statement.statement.strip().endswith(".")


def test_verdicts_and_numbers():
    for claim in claims():
        assert claim.verdict in VERDICTS, claim
        assert claim.sentence.strip(), claim
        assert claim.measured, f"{claim.id} in {claim.notebook}: a claim without a number"
        assert all(isinstance(value, int | float) for value in claim.measured.values()), claim


def test_the_verdicts_are_those_that_are_expected():
    """The statements' file says what became of each: a verdict that is turned in a chapter fails here."""
    found = claims()
    for statement in statements():
        assert weakest([claim for claim in found if claim.id == statement.id]) == statement.verdict, statement.id


def test_no_statement_stands_in_the_file_twice(tmp_path):
    entries = yaml.safe_load((ROOT / STATEMENTS).read_text(encoding="utf-8"))
    (tmp_path / STATEMENTS).parent.mkdir(parents=True)
    (tmp_path / STATEMENTS).write_text(yaml.safe_dump([*entries, entries[3]]), encoding="utf-8")
    with pytest.raises(ValueError, match=f"{entries[3]['id']} stands there twice"):
        statements(tmp_path)


@pytest.mark.parametrize("change", [{"verdict": "true"}, {"remark": "…"}])
def test_a_malformed_statement_is_refused(tmp_path, change):
    entry = yaml.safe_load((ROOT / STATEMENTS).read_text(encoding="utf-8"))[0] | change
    (tmp_path / STATEMENTS).parent.mkdir(parents=True)
    (tmp_path / STATEMENTS).write_text(yaml.safe_dump([entry]), encoding="utf-8")
    with pytest.raises(ValueError, match="expected"):
        statements(tmp_path)


@pytest.mark.parametrize("each", margins(), ids=lambda each: each.claim.anchor)
def test_every_claim_has_its_margin_everywhere(each):
    """In the notebook, on other processors, with other seeds and on other versions: whatever was run."""
    small = {name: margin for name, margin in each.by_setting.items() if margin is not None and not margin >= REQUIRED}
    assert not small, f"{each.claim.id} in {each.claim.notebook}: margins below {REQUIRED}: {small}"


def test_a_small_margin_has_a_name():
    claim = Claim("G1", "…", "holds", {}, 2.0, Path("a.ipynb"), 0, "claim-g1")
    each = Margins(claim, {STORED: 2.0, "seeds-1": 1.01, "avx": None})
    assert (each.smallest, each.weakest_setting) == (1.01, "seeds-1")
    with pytest.raises(AssertionError, match=r"G1 in a.ipynb: margins below 1.3: \{'seeds-1': 1.01\}"):
        test_every_claim_has_its_margin_everywhere(each)


def test_the_weakest_verdict_counts():
    made = [Claim("G1", "…", verdict, {}, None, Path("a.ipynb"), 0, "claim-g1") for verdict in ("holds", "holds if")]
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
        stored = outputs.claims(cell.outputs)
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
                stated = arguments.get(name, ast.Constant(None))
                assert isinstance(stated, ast.Constant), f"{where}: the {name} of a claim is a literal"
                assert stated.value == record[name], f"{where}: run `make execute`"
            assert (record["verdict"] is None) == (record["id"][0] == "F"), f"{where}: a verdict is about a source"
            assert decides(arguments["check"], arguments["measured"]), (
                f"{where}: {record['id']} checks {ast.unparse(arguments['check'])}, which is none of what it measured"
            )
            measured = arguments["measured"]
            if isinstance(measured, ast.Dict):
                keys = [key.value for key in measured.keys if isinstance(key, ast.Constant)]
                if len(keys) == len(measured.keys):
                    assert sorted(keys) == sorted(record["measured"]), f"{where}: run `make execute`"


def decides(check: ast.expr, measured: ast.expr) -> bool:
    """Whether a check and the numbers beside it share a computed name: what is checked is what is printed."""

    def computed(expression: ast.expr) -> set[str]:
        names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
        return names - set(dir(builtins)) - {"above", "below", "near", "np", "tf", "keras", "pg", "plt"}

    return bool(computed(check) & computed(measured))


@pytest.mark.parametrize(
    ("check", "measured", "decided"),
    [
        ("below(worst, 0.1)", "{'worst': worst}", True),
        ("[above(a, b), True]", "{'ratio': a / b}", True),
        ("below(errors.max(), 1e-12)", "dict(zip(names, errors))", True),
        ("True", "{'worst': worst}", False),
        ("bool(1)", "{'worst': worst}", False),
        ("below(1.0, 2.0)", "{'worst': worst}", False),
        ("below(np.abs(-1.0), 2.0)", "{'worst': np.abs(worst)}", False),
        ("below(best, 0.1)", "{'worst': worst}", False),
    ],
)
def test_a_check_that_decides_nothing_is_noticed(check, measured, decided):
    expressions = (ast.parse(text, mode="eval").body for text in (check, measured))
    assert decides(*expressions) is decided


@pytest.mark.parametrize("page", NOTEBOOKS, ids=str)
def test_the_records_are_those_of_the_printed_lines(page):
    """An edited number, sentence or verdict in the metadata shows beside the line that the claim printed."""
    for cell in nbformat.read(ROOT / page, as_version=4).cells:
        for output in cell.get("outputs", []):
            for record in outputs.claims([output]):
                assert same_line(output["data"]["text/plain"], record), f"{page}: run `make execute`"


def same_line(printed: str, record: dict) -> bool:
    """Whether a line is that of a record, in whatever order the file keeps the numbers: it sorts them."""
    numbers = [f"{name} = {shown(number)}" for name, number in record["measured"].items()]
    line = ClaimRecord(**record).line()
    return sorted(printed) == sorted(line) and all(part in printed for part in (*numbers, record["sentence"]))


def test_an_edited_record_is_not_its_line():
    record = {"id": "G1", "sentence": "One.", "verdict": "holds", "measured": {"b": 12.0, "a": 0.5}, "margin": 2.0}
    line = ClaimRecord(**record).line()
    assert same_line(line, record)
    assert same_line(line, record | {"measured": {"a": 0.5, "b": 12.0}})
    for change in ({"measured": {"b": 21.0, "a": 0.5}}, {"verdict": "holds if"}, {"sentence": "Two."}, {"id": "G2"}):
        assert not same_line(line, record | change)
