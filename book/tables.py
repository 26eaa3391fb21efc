"""Tables that a command stored beside a page, and the Sphinx directive `tables` that shows them.

`python -m book.long` and `python -m book.bench` run for too long, or need too quiet a machine, to be part of a chapter.
What they measured is stored with its date, its versions and its machine, and nobody edits it.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from book.timings import Environment, here


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
    path.write_text(json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Record:
    """What `write` has stored."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    tables = [Table(**table) for table in stored["tables"]]
    return Record(stored["date"], Environment(**stored["environment"]), tables)


class Tables(SphinxDirective):
    """`{tables} long.json`: the tables of a file beside the page, then when and where they were measured."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        _, name = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(name)
        record = read(Path(name))
        content: list[nodes.Node] = []
        for table in record.tables:
            content.append(nodes.rubric(text=table.title))
            content.append(nodes.paragraph(text=table.settings))
            content.append(grid(table.head, table.rows))
        facts = {"date": record.date} | record.environment.versions | record.environment.machine
        where = ", ".join(f"{what} {value}" for what, value in facts.items())
        content.append(nodes.paragraph(text=f"Measured with: {where}."))
        return content


def grid(head: list[str], rows: Iterable[list[nodes.Node | str]] | list[list[str]]) -> nodes.table:
    """A table of the document tree."""
    table = nodes.table()
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *[_row(row) for row in rows])
    table += group
    return table


def _row(cells: Iterable[nodes.Node | str]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        content = nodes.Text(cell) if isinstance(cell, str) else cell
        row += nodes.entry("", nodes.paragraph("", "", content))
    return row


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("tables", Tables)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
