"""Sphinx extension: the directive `tables`, which shows the tables that a command stored beside a page."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from book.runs.tables import read


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
        titles = [table.title for table in record.tables]
        for option, title in self.options.items():
            if title not in titles:
                raise self.error(f"{self.arguments[0]} has no table {title!r} for :{option}:, but {titles}.")
        only, but = self.options.get("only"), self.options.get("but")
        content: list[nodes.Node] = []
        for table in record.tables:
            if table.title == but or only not in (None, table.title):
                continue
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
