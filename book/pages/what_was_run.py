"""Sphinx extension: the directive `runs`, which shows what was executed, with which versions, where, for how long."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

from book.pages.tables import grid
from book.runs.timings import TIMINGS, distinct, read
from book.toc import title


class Runs(SphinxDirective):
    """`{runs}`: seconds per chapter, then versions and machine, from the record that `make execute` keeps."""

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
            seconds = f"{run.quiet_seconds:.0f}" + (f" (measured: {run.seconds:.0f})" if run.slowness != 1.0 else "")
            rows.append([link, seconds, run.date, str(environments.index(run.environment) + 1)])
        total = sum(run.quiet_seconds for run in runs.values())
        rows.append(["All chapters", f"{total:.0f}", "", ""])
        content: list[nodes.Node] = [grid(["Chapter", "Seconds", "Run on", "Set-up"], rows)]
        for number, environment in enumerate(environments, start=1):
            content.append(nodes.rubric(text=f"Versions and machine of set-up {number}"))
            pairs = [*environment.versions.items(), *environment.machine.items()]
            content.append(grid(["What", "Which"], [list(pair) for pair in pairs]))
        return content


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("runs", Runs)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
