"""Sphinx extension: the directives `runs`, what was executed, where, for how long, and `bench`, what a step costs."""

import json
from collections.abc import Iterable
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

from book.timings import BENCH, TIMINGS, distinct, read
from book.toc import title


class Runs(SphinxDirective):
    """`{runs}`: seconds per chapter, then versions and machine, from the record that `python -m book.execute` keeps."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        self.env.note_dependency(str(root / TIMINGS))
        runs = read(root)
        if not runs:
            return [nodes.paragraph(text="No chapter has been executed yet.")]
        environments = distinct(runs)
        rows: list[list[nodes.Node | str]] = []
        for chapter, run in runs.items():
            self.env.note_dependency(str(root / chapter))
            name = nodes.Text(title(Path(chapter), root))
            target = Path(chapter).with_suffix("").as_posix()
            link = make_refnode(self.env.app.builder, self.env.docname, target, "", name)
            rows.append([link, f"{run.seconds:.0f}", run.date, str(environments.index(run.environment) + 1)])
        total = sum(run.seconds for run in runs.values())
        rows.append(["All chapters", f"{total:.0f}", "", ""])
        content: list[nodes.Node] = [_table(["Chapter", "Seconds", "Run on", "Set-up"], rows)]
        for number, environment in enumerate(environments, start=1):
            content.append(nodes.rubric(text=f"Versions and machine of set-up {number}"))
            pairs = [*environment.versions.items(), *environment.machine.items()]
            content.append(_table(["What", "Which"], [list(pair) for pair in pairs]))
        return content


class Bench(SphinxDirective):
    """`{bench}`: the ratios that `python -m book.bench` stored."""

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / BENCH
        self.env.note_dependency(str(path))
        record = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            [
                entry["what"],
                f"{entry['ratio']:.2f}",
                "{:.2f} to {:.2f}".format(*entry["spread"]),
                f"{entry['target']:g}",
                "{:.2f} / {:.2f}".format(*entry["milliseconds"]),
            ]
            for entry in record["ratios"]
        ]
        machine = record["environment"]["machine"]
        where = f"Measured on {record['date']}: {machine['processor']}, {machine['cores']} cores."
        return [_table(["a over b", "Ratio", "Rounds", "At most", "ms"], rows), nodes.paragraph(text=where)]


def _table(head: list[str], rows: Iterable[list[nodes.Node | str]]) -> nodes.table:
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
    """Register the directives."""
    app.add_directive("runs", Runs)
    app.add_directive("bench", Bench)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
