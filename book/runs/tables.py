"""Tables that a command stored beside a page, with the date, versions and machine they were measured with.

`make long` and `make bench` run for too long, or need too quiet a machine, to be part of a chapter. What they measured
is stored with its date, its versions and its machine, and nobody edits it.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from book import digests
from book.runs.timings import Environment, here


@dataclass(frozen=True)
class Table:
    """One experiment: what was run, and its numbers as they are shown.

    Attributes:
        title: what the table shows.
        settings: everything else one must know to run it again.
        head: the names of the columns.
        rows: the entries, as text.
    """

    title: str
    settings: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Record:
    """All tables of one run, with its date, its versions and its machine."""

    date: str
    environment: Environment
    tables: list[Table]


def write(tables: Iterable[Table], path: Path) -> None:
    """Print the tables one by one, as they are made, and then store them as of today and of this machine."""
    made = []
    for table in tables:
        print("\n".join(["", table.title, *(" | ".join(row) for row in [table.head, *table.rows])]), flush=True)
        made.append(table)
    record = Record(datetime.now(UTC).date().isoformat(), here(), made)
    stored = {"checksum": digests.of_record(asdict(record)), **asdict(record)}
    path.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Record:
    """What `write` has stored."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    tables = [Table(**table) for table in stored["tables"]]
    return Record(stored["date"], Environment(**stored["environment"]), tables)
