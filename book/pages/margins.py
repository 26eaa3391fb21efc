"""Sphinx extension: the directive `margins`, every claim under every setting, as a picture and as numbers."""

import itertools
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

from book.pages.tables import grid
from book.runs import settings
from book.runs.margins import REQUIRED, STORED, Margins, margins
from book.toc import notebooks

CELL, ROW, LEFT, TOP = 20, 9, 46, 84  # pixels
#: Lower ends of the classes of margins and their colours, safe for colour-blind readers, seen on both pages.
CLASSES = (
    (0.0, "#d55e00"),
    (REQUIRED, "#e08a00"),
    (1.5, "#d9c04f"),
    (2.0, "#74b2d9"),
    (4.0, "#2f8fd0"),
    (20.0, "#2c6aa8"),
)


class MarginsOfClaims(SphinxDirective):
    """`{margins}`: a picture of claims by settings, then the smallest margin of every claim."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        for path in (settings.RECORD, *notebooks(root)):
            self.env.note_dependency(str(root / path))
        found = margins(root)
        names = columns(found)
        content: list[nodes.Node] = [nodes.raw("", picture(found, names), format="html")]
        rows: list[list[nodes.Node | str]] = []
        for each in sorted(found, key=lambda m: m.smallest if m.smallest is not None else float("inf")):
            claim = each.claim
            target = claim.notebook.with_suffix("").as_posix()
            link = make_refnode(self.env.app.builder, self.env.docname, target, claim.anchor, nodes.Text(claim.id))
            rows.append(
                [link, shown(each.smallest), each.weakest_setting, shown(claim.margin), str(len(each.by_setting) - 1)]
            )
        content.append(grid(["Claim", "Smallest margin", "under", "as stored", "settings run"], rows))
        return content


def columns(found: list[Margins]) -> list[str]:
    """The settings under which any claim ran, in their order."""
    return [STORED, *(name for name in settings.SETTINGS if any(name in each.by_setting for each in found))]


def shown(margin: float | None) -> str:
    """A margin in words: three digits, or why there is none."""
    if margin is None:
        return "exact"
    return "1000 or more" if margin >= 1000.0 else f"{margin:.3g}"


def picture(found: list[Margins], names: list[str]) -> str:
    """An SVG with a row for each claim and a column for each setting, coloured by the margin."""
    width, height = LEFT + CELL * len(names) + 8, TOP + ROW * len(found) + 8
    label = f"Margins of {len(found)} claims under {len(names)} settings; the table below has the smallest ones"
    size = f'viewBox="0 0 {width} {height}" width="{width}"'
    parts = [f'<svg class="margins" role="img" {size} aria-label="{label}">']
    for number, name in enumerate(names):
        x = LEFT + CELL * number + CELL / 2 + 3
        parts.append(f'<text x="{x}" y="{TOP - 6}" transform="rotate(-60 {x} {TOP - 6})">{escape(name)}</text>')
    for row, each in enumerate(found):
        y = TOP + ROW * row
        parts.append(f'<text x="{LEFT - 5}" y="{y + ROW - 1.5}" text-anchor="end">{each.claim.id}</text>')
        for number, name in enumerate(names):
            if name not in each.by_setting:
                continue
            margin = each.by_setting[name]
            look = 'class="exact"' if margin is None else f'fill="{colour(margin)}"'
            parts.append(
                f'<rect x="{LEFT + CELL * number}" y="{y}" width="{CELL - 1}" height="{ROW - 1}" {look}>'
                f"<title>{each.claim.id}, {escape(name)}: {shown(margin)}</title></rect>"
            )
    return "".join([*parts, "</svg>", _legend()])


def colour(margin: float) -> str:
    """The colour of the class that a margin falls into."""
    return next(colour for lower, colour in reversed(CLASSES) if margin >= lower)


def _legend() -> str:
    ends = [lower for lower, _ in CLASSES[1:]]
    between = [f"{lower:g} to {upper:g}" for lower, upper in itertools.pairwise(ends)]
    words = [f"below {ends[0]:g}", *between, f"{ends[-1]:g} or more"]
    keys = [
        f'<span><i style="background:{colour}"></i>{word}</span>'
        for (_, colour), word in zip(CLASSES, words, strict=True)
    ]
    return f'<p class="margins-legend">{"".join(keys)}<span><i class="exact"></i>exact</span></p>'


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("margins", MarginsOfClaims)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
