"""Sphinx extension: the role `running-time`, how long a reader waits for a chapter, from the record of `make execute`.

`` {running-time}`here` `` is this chapter, any other text the docname of another one.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole
from sphinx.util.typing import ExtensionMetadata

from book.runs import timings
from book.toc import ROOT

_MINUTES = ("a minute", "two minutes", "three minutes")


def in_words(seconds: float) -> str:
    """A duration as precise as it carries over to another machine: to ten seconds, or to a minute.

    Args:
        seconds: what the record has, at most 210.

    Raises:
        ValueError: when it is longer, which no chapter may be.
    """
    if not 0.0 <= seconds < 210.0:
        raise ValueError(f"seconds is {seconds}; expected from 0 to 210")
    tens = 10 * max(1, round(seconds / 10.0))
    return f"about {tens} seconds" if tens <= 50 else f"about {_MINUTES[max(0, round(seconds / 60.0) - 1)]}"


class RunningTime(SphinxRole):
    """The time that a chapter took when it was last executed."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        docname = self.env.docname if self.text == "here" else self.text.strip("/")
        self.env.note_dependency(str(ROOT / timings.TIMINGS))
        ran = timings.read().get(f"{docname}.ipynb")
        if ran is None:
            message = self.inliner.reporter.error(f"no running time of {docname} is on record: run `make execute`")
            return [nodes.problematic(self.rawtext, self.rawtext)], [message]
        return [nodes.Text(in_words(ran.quiet_seconds))], []


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the role."""
    app.add_role("running-time", RunningTime())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
