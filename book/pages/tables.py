"""Sphinx extension: the directive `tables`, which shows the tables that a command stored beside a page."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from book.runs.tables import Table, read


class Tables(SphinxDirective):
    """`{tables} long.json`: the tables of a file beside the page, then when and where they were measured.

    With `:only: title` the one table of this title, with `:but: title` all others.
    """

    required_arguments = 1
    option_spec: ClassVar[dict] = {"only": directives.unchanged_required, "but": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        _, name = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(name)
        record = read(Path(name))
        try:
            tables = chosen(record.tables, **self.options)
        except ValueError as error:
            raise self.error(f"{self.arguments[0]}: {error}") from error
        content: list[nodes.Node] = []
        for table in tables:
            content.append(nodes.rubric(text=table.title))
            content.append(nodes.paragraph(text=table.settings))
            content.append(grid(table.head, table.rows))
        facts = {"date": record.date} | record.environment.versions | record.environment.machine
        where = ", ".join(f"{what} {value}" for what, value in facts.items())
        content.append(nodes.paragraph(text=f"Measured with: {where}."))
        return content


def chosen(tables: Sequence[Table], only: str | None = None, but: str | None = None) -> list[Table]:
    """The one table with the title `only`, or all without that with the title `but`, or all.

    Raises:
        ValueError: if no table has the title.
    """
    titles = [table.title for table in tables]
    for title in (only, but):
        if title is not None and title not in titles:
            raise ValueError(f"there is no table {title!r}, but {titles}.")
    return [table for table in tables if table.title != but and only in (None, table.title)]


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
