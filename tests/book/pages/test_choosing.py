"""The table of all methods on all problems: each number is one that a cell stored, and each is on the page."""

import re
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from book.pages.choosing import CHOSEN, contests
from book.pages.ledger import show
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


def test_every_comparison_is_on_the_page(html):
    page = BeautifulSoup((html / Path("chapters/closing/choosing.html")).read_text(encoding="utf-8"), "html.parser")
    rows = [row for table in page.find_all("table") for row in table.find_all("tr") if len(row.find_all("td")) == 4]
    linked = {row.find_all("td")[3].a["href"].rsplit("#")[-1]: [] for row in rows if row.find_all("td")[3].a}
    for row in rows:
        if row.find_all("td")[3].a:
            linked[row.find_all("td")[3].a["href"].rsplit("#")[-1]].append(row.find_all("td")[2])
    for contest in contests():
        best, value = next(iter(contest.results.items()))
        cells = linked[contest.claim.anchor]
        assert any(
            cell.strong is not None and cell.strong.get_text() == f"{plain(best)}: {show(value)}" for cell in cells
        )
        texts = [cell.get_text() for cell in cells]
        assert any(all(f"{plain(m)}: {show(v)}" in text for m, v in contest.results.items()) for text in texts)


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
