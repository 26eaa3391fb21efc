"""Sphinx extension: the directive `digits`, how many printed numbers are compared, and how tightly."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

from book import outputs
from book.checks.nbval_tolerance import IGNORE, allowed_in
from book.pages.tables import grid
from book.runs import settings
from book.toc import ROOT, notebooks, title

TIGHT = 0.01  # of the number


@dataclass(frozen=True)
class Digits:
    """The printed numbers of a chapter: those compared within 1 %, within more, by order of magnitude, not at all."""

    tight: int
    loose: int
    by_order: int
    ignored: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.tight + self.loose + self.by_order + self.ignored


def digits_of(page: Path, root: Path = ROOT) -> Digits:
    """Count the numbers that a chapter's cells print; those that summarise a figure are left out."""
    allowed, counts = allowed_in(page, root), {"tight": 0, "loose": 0, "by_order": 0, "ignored": 0}
    for cell in nbformat.read(root / page, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        of_figures = [
            outputs.is_figure(text) for text in outputs.texts(cell.outputs) for _ in outputs.NUMBER.findall(text)
        ]
        for tolerance, of_figure in zip(allowed[cell.id], of_figures, strict=True):
            if of_figure:
                continue
            if IGNORE in cell.metadata.get("tags", []):
                counts["ignored"] += 1
            elif tolerance.excused:
                counts["by_order"] += 1
            else:
                counts["tight" if tolerance.relative <= TIGHT else "loose"] += 1
    return Digits(**counts)


def together(found: Iterable[Digits]) -> Digits:
    """The sum of some chapters."""
    rows = [(each.tight, each.loose, each.by_order, each.ignored) for each in found]
    return Digits(*(sum(column) for column in zip(*rows, strict=True)))


class PrintedDigits(SphinxDirective):
    """`{digits}`: for every chapter, how its printed numbers are compared."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        for path in (settings.RECORD, *notebooks(root)):
            self.env.note_dependency(str(root / path))
        found = {page: digits_of(page, root) for page in notebooks(root)}
        rows: list[list[nodes.Node | str]] = []
        for page, digits in found.items():
            target = page.with_suffix("").as_posix()
            name = nodes.Text(title(page, root))
            rows.append([make_refnode(self.env.app.builder, self.env.docname, target, "", name), *_row(digits)])
        rows.append(["All chapters", *_row(together(found.values()))])
        head = ["Chapter", "Printed numbers", "within 1 %", "within 20 %", "by order of magnitude", "not compared"]
        return [grid(head, rows)]


def _row(digits: Digits) -> list[str]:
    parts = (digits.tight, digits.loose, digits.by_order, digits.ignored)
    return [str(digits.total), *(f"{100.0 * part / max(digits.total, 1):.0f} %" for part in parts)]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("digits", PrintedDigits)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
