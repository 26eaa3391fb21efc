"""The table of all methods on all problems: each number is one that a cell stored, and each is on the page."""

import json
import re
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from book.pages.choosing import CHOSEN, contests
from book.records import claims
from book.toc import ROOT


def test_every_number_was_stored_by_the_cell_it_links_to():
    made = claims()
    for contest in contests():
        assert contest.claim in made
        assert set(contest.results.values()) <= set(contest.claim.measured.values())
        assert list(contest.results.values()) == sorted(contest.results.values()), contest.problem
        assert len(contest.results) >= 2, f"{contest.problem}: a comparison of one"


def plain(words):
    """Words as the page's text has them: mathematics in TeX's own parentheses."""
    return re.sub(r"\$(.*?)\$", r"\\(\1\\)", words)


def stored_numbers(chapter, claim_id):
    """What the claims of an ID measured, from the notebook's file itself."""
    notebook = json.loads((ROOT / f"chapters/{chapter}.ipynb").read_text(encoding="utf-8"))
    found = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            record = output.get("metadata", {}).get("physgrad_claim", {})
            if record.get("id") == claim_id:
                found |= record["measured"]
    return found


def test_every_comparison_is_on_the_page(html):
    """Row by row, from the files themselves: as many rows as entries, in their order, numbers ranked and rounded."""
    page = BeautifulSoup((html / Path("chapters/closing/choosing.html")).read_text(encoding="utf-8"), "html.parser")
    rows = [row for table in page.find_all("table") for row in table.find_all("tr") if row.find("a") and row.find("td")]
    entries = yaml.safe_load((ROOT / CHOSEN).read_text(encoding="utf-8"))
    assert len(rows) == len(entries)
    for row, entry in zip(rows, entries, strict=True):
        problem, measure, order, cell = row.find_all("td")
        assert problem.get_text() == plain(entry["problem"])
        assert measure.get_text() == plain(entry["measure"])
        measured = stored_numbers(entry["chapter"], entry["claim"])
        ranked = sorted(entry["results"], key=lambda method: measured[entry["results"][method]])
        values = [measured[entry["results"][method]] for method in ranked]
        texts = [f"{v:.0f}" if float(v).is_integer() and abs(v) < 1e6 else f"{v:.3g}" for v in values]
        assert order.get_text() == "; ".join(f"{plain(m)}: {t}" for m, t in zip(ranked, texts, strict=True))
        assert order.strong.get_text() == f"{plain(ranked[0])}: {texts[0]}"
        assert f"{entry['chapter'].split('/')[-1]}.html#claim-{entry['claim'].lower()}" in cell.a["href"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claim": "G99"}, "expected one claim G99"),
        ({"chapter": "gradients/newton"}, "in gradients/newton"),
        ({"results": {"GD": "nobody measured this"}}, "nobody measured this"),
        ({"remark": "…"}, "expected the keys"),
    ],
)
def test_what_no_chapter_stored_is_refused(tmp_path, change, message):
    entry = yaml.safe_load((ROOT / CHOSEN).read_text(encoding="utf-8"))[0] | change
    (tmp_path / CHOSEN).parent.mkdir(parents=True)
    (tmp_path / "_toc.yml").symlink_to(ROOT / "_toc.yml")
    for folder in ("chapters", "chapters/closing"):
        for path in (ROOT / folder).iterdir():
            if path.name not in ("closing", CHOSEN.name):
                (tmp_path / folder / path.name).symlink_to(path)
    (tmp_path / CHOSEN).write_text(yaml.safe_dump([entry]), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        contests(tmp_path)
