"""Sphinx extension: the directive `ledger`, and an anchor on every code cell that makes a claim.

The ledger reads the records that the claims left in the notebooks and sets each beside the statement it answers. It
computes nothing: a verdict that shows here was asserted by the cell it links to.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

from book.pages.margins import shown
from book.records import STATEMENTS, VERDICTS, Claim, Statement, claims, claims_of, statements
from book.runs import settings
from book.runs.margins import STORED, Margins, margins
from book.toc import notebooks, title

logger = logging.getLogger(__name__)

PARTS = {
    "G": "Gradients and their inversion",
    "S": "Scale-invariant physics training",
    "H": "Half-inverse gradients",
    "F": "Fields, in no source",
}
# A verdict is told by its word and by the shape of its mark, never by a colour alone.
MARKS = {"holds": "✓", "holds if": "◐", "not shown": "?", "does not hold": "✕"}
OPEN = "not checked"


class Ledger(SphinxDirective):
    """`{ledger}`: all statements, their verdicts, corrected sentences, numbers and cells, grouped by part."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        for path in (STATEMENTS, settings.RECORD, Path("_toc.yml"), *notebooks(root)):
            self.env.note_dependency(str(root / path))
        listed = statements(root)
        made: dict[str, list[Claim]] = {statement.id: [] for statement in listed}
        for claim in claims(root):
            if claim.id in made:
                made[claim.id].append(claim)
            else:
                logger.warning(
                    "%s claims %s, which %s does not list",
                    claim.notebook,
                    claim.id,
                    STATEMENTS,
                    location=self.env.docname,
                )
        self.margins = {(m.claim.notebook, m.claim.anchor): m for m in margins(root)}
        content: list[nodes.Node] = [_summary(made)]
        for letter, name in PARTS.items():
            part = [statement for statement in listed if statement.id[0] == letter]
            if part:
                content.append(self._part(letter, name, part, made))
        return content

    def _part(self, letter: str, name: str, part: list[Statement], made: Mapping[str, list[Claim]]) -> nodes.section:
        section = nodes.section(ids=[f"ledger-part-{letter.lower()}"], names=[])
        section += nodes.title(text=f"{letter}: {name}")
        index = nodes.paragraph(classes=["ledger-index"])
        for statement in part:
            verdict = weakest(made[statement.id])
            link = nodes.reference("", "", internal=True, refid=_anchor(statement.id), classes=[_css(verdict)])
            link += nodes.Text(f"{MARKS.get(verdict, '○')} {statement.id}")
            index += [link, nodes.Text(" ")]
        section += index
        section += [self._entry(statement, made[statement.id]) for statement in part]
        return section

    def _entry(self, statement: Statement, answers: list[Claim]) -> nodes.container:
        entry = nodes.container(ids=[_anchor(statement.id)], classes=["ledger-entry"])
        source = f"source {' and '.join(statement.source)}" if statement.source else "in no source"
        text, messages = self.state.inline_text(statement.statement, self.lineno)
        says = nodes.paragraph("", "", *text, classes=["ledger-statement"])
        entry += nodes.paragraph("", "", nodes.strong(text=statement.id), nodes.Text(f" · {source}, {statement.where}"))
        entry += [says, *messages]
        if not answers:
            entry += nodes.paragraph(text=f"○ {OPEN}", classes=["ledger-verdict", _css(OPEN)])
        for claim in answers:
            entry += self._answer(claim)
        return entry

    def _answer(self, claim: Claim) -> nodes.container:
        answer = nodes.container(classes=["ledger-answer"])
        verdict = nodes.inline(
            text=f"{MARKS[claim.verdict]} {claim.verdict}", classes=["ledger-verdict", _css(claim.verdict)]
        )
        # The sentence is plain text in the chapter's output; it stays plain text here.
        answer += nodes.paragraph("", "", verdict, nodes.Text(f" {claim.sentence}"))
        if claim.measured:
            numbers = nodes.bullet_list(classes=["ledger-numbers"])
            for name, value in claim.measured.items():
                numbers += nodes.list_item("", nodes.paragraph(text=f"{name} = {show(value)}"))
            answer += numbers
        answer += nodes.paragraph(
            text=margin_in_words(self.margins[claim.notebook, claim.anchor]), classes=["ledger-margin"]
        )
        target = claim.notebook.with_suffix("").as_posix()
        chapter = title(claim.notebook, Path(self.env.srcdir))
        label = nodes.Text(f"The cell, in “{chapter}”")
        link = make_refnode(self.env.app.builder, self.env.docname, target, claim.anchor, label)
        answer += nodes.paragraph("", "", link, classes=["ledger-cell"])
        return answer


def weakest(answers: list[Claim]) -> str:
    """The verdict on a statement: of several claims with its ID, the one that leaves least of it standing."""
    return max((claim.verdict for claim in answers), key=VERDICTS.index, default=OPEN)


def margin_in_words(found: Margins) -> str:
    """The smallest margin of a claim and where it was met, in a sentence."""
    n_settings = len(found.by_setting) - 1
    if found.smallest is None:
        return f"Exact, in all of {n_settings} other settings as well."
    where = "as stored" if found.weakest_setting == STORED else f"under {found.weakest_setting}"
    return f"Smallest margin {shown(found.smallest)}, {where}, of {n_settings} other settings."


def show(value: float) -> str:
    """A measured value: counts in full, everything else with three significant digits."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.3g}"


def anchor_claims(app: Sphinx, document: nodes.document) -> None:
    """Give every code cell that makes a claim the ids that the ledger links to."""
    source = Path(app.env.doc2path(app.env.docname))
    if source.suffix != ".ipynb":
        return
    root = Path(app.srcdir)
    by_cell: dict[int, list[str]] = {}
    for claim in claims_of(source.relative_to(root), root):
        by_cell.setdefault(claim.cell, []).append(claim.anchor)
    for container in document.findall(nodes.container):
        if container.get("nb_element") == "cell_code":
            container["ids"] += by_cell.get(container["cell_index"], [])


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive and the anchors."""
    app.add_directive("ledger", Ledger)
    app.connect("doctree-read", anchor_claims)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _summary(made: Mapping[str, list[Claim]]) -> nodes.paragraph:
    counts = Counter(weakest(answers) for answers in made.values())
    n_claims = sum(len(answers) for answers in made.values())
    parts = [
        f"{MARKS.get(verdict, '○')} {verdict}: {counts[verdict]}" for verdict in (*VERDICTS, OPEN) if counts[verdict]
    ]
    text = f"{len(made)} statements, {n_claims} executed claims. " + " · ".join(parts) + "."
    return nodes.paragraph(text=text, classes=["ledger-summary"])


def _anchor(claim_id: str) -> str:
    return f"ledger-{claim_id.lower()}"


def _css(verdict: str) -> str:
    return "verdict-" + verdict.replace(" ", "-")
