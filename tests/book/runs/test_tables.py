"""The stored tables: written whole or not at all, read back as they were, and all of them on the page."""

import json
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from book import digests
from book.pages.tables import chosen
from book.runs import bench, long, long_exponents, long_fields, settings
from book.runs.tables import Table, read, write
from book.toc import ROOT

STORED = [long.RECORD, long_fields.RECORD, long_exponents.RECORD, bench.RECORD]
TABLE = Table("Title", "Three seeds.", ["Method", "Error"], [["SIP", "0.1 to 0.2"], ["Adam", "0.3 to 0.4"]])


def test_what_is_written_is_read(tmp_path, capsys):
    write([TABLE], tmp_path / "record.json")
    record = read(tmp_path / "record.json")
    assert record.tables == [TABLE]
    assert len(record.date) == len("2026-11-22")
    assert record.environment.versions["tensorflow"]
    assert "SIP | 0.1 to 0.2" in capsys.readouterr().out


def test_a_run_that_breaks_off_leaves_the_old_record(tmp_path):
    def breaks():
        yield TABLE
        raise RuntimeError("out of memory")

    write([TABLE], tmp_path / "record.json")
    before = (tmp_path / "record.json").read_bytes()
    with pytest.raises(RuntimeError, match="out of memory"):
        write(breaks(), tmp_path / "record.json")
    assert (tmp_path / "record.json").read_bytes() == before


@pytest.mark.parametrize("path", [*STORED, settings.RECORD], ids=str)
def test_nobody_has_edited_a_record(path):
    stored = json.loads((ROOT / path).read_text(encoding="utf-8"))
    checksum = stored.pop("checksum")
    assert digests.of_record(stored) == checksum, f"{path} is not what its command wrote"


def test_an_edited_record_is_noticed(tmp_path):
    write([TABLE], tmp_path / "record.json")
    (tmp_path / "record.json").write_text((tmp_path / "record.json").read_text().replace("0.1 to", "0.01 to"))
    stored = json.loads((tmp_path / "record.json").read_text())
    assert stored.pop("checksum") != digests.of_record(stored)


@pytest.mark.parametrize("path", STORED, ids=str)
def test_stored_tables_are_complete(path):
    record = read(ROOT / path)
    assert record.tables
    for table in record.tables:
        assert table.title.strip()
        assert table.settings.strip()
        assert table.rows, f"{path}, {table.title}: no rows"
        assert {len(row) for row in table.rows} == {len(table.head)}, f"{path}, {table.title}: ragged"


def test_a_page_may_show_one_table_or_all_others():
    tables = [Table(title, "", [], []) for title in ("a", "b", "c")]
    titles = [[table.title for table in chosen(tables, **words)] for words in ({}, {"only": "b"}, {"but": "b"})]
    assert titles == [["a", "b", "c"], ["b"], ["a", "c"]]
    for words in ({"only": "d"}, {"but": "d"}):
        with pytest.raises(ValueError, match="there is no table 'd'"):
            chosen(tables, **words)


@pytest.mark.parametrize("path", STORED, ids=str)
def test_stored_tables_are_on_the_page(html, path):
    record = read(ROOT / path)
    page = BeautifulSoup((html / Path("chapters/closing/runs.html")).read_text(encoding="utf-8"), "html.parser")
    shown = [[cell.get_text(strip=True) for cell in row.find_all("td")] for row in page.find_all("tr")]
    for table in record.tables:
        assert table.title in page.get_text()
        for row in table.rows:
            assert [entry.strip() for entry in row] in shown
    assert record.date in page.get_text()
