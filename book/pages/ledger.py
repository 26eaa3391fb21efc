"""Sphinx extension: the directive `ledger`, and an anchor on every code cell that makes a claim.

The ledger reads the records that the claims left in the notebooks and sets each beside the statement it answers. It
computes nothing: a verdict that shows here was asserted by the cell it links to.

A statement is one line, which opens. `book/assets/ledger.js` shows the lines of one verdict or chapter; without it all
are there, and open all the same. The role `claim` with a number is a link to the statement's line.
"""

from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Protocol, cast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
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
#: What a line begins with where its sentence, without that, would read as the source's.
LEADS = {"not shown": "Undecided:", "does not hold": "Corrected:"}
#: What an entry says about the source, by the verdict.
ABOUT_THE_SOURCE = {
    "holds": "It was tested as it stands.",
    "holds if": "The source leaves out a condition, and the sentence that was tested names it.",
    "not shown": "No run of ours decides it. The sentence says what was seen.",
    "does not hold": "The source is wrong here. The sentence that was tested is the correction.",
}
SCRIPT = "ledger.js"


class Tagged(nodes.General, nodes.Element):
    """An element of HTML that docutils has no node for.

    Its attributes are `tag`, its name, and `having`, the attributes of the element itself.
    """


class Ledger(SphinxDirective):
    """`{ledger}`: all statements, their verdicts, corrected sentences, numbers and cells, grouped by part."""

    def run(self) -> list[nodes.Node]:
        self.root = Path(self.env.srcdir)
        for path in (STATEMENTS, settings.RECORD, Path("_toc.yml"), *notebooks(self.root)):
            self.env.note_dependency(str(self.root / path))
        listed = statements(self.root)
        made: dict[str, list[Claim]] = {statement.id: [] for statement in listed}
        for claim in claims(self.root):
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
        self.margins = {(m.claim.notebook, m.claim.anchor): m for m in margins(self.root)}
        content: list[nodes.Node] = [_summary(made), nodes.raw("", choice(made, self.root), format="html")]
        for letter, name in PARTS.items():
            part = [statement for statement in listed if statement.id[0] == letter]
            if part:
                content.append(self._part(letter, name, part, made))
        return content

    def _part(self, letter: str, name: str, part: list[Statement], made: Mapping[str, list[Claim]]) -> nodes.section:
        section = nodes.section(ids=[f"ledger-part-{letter.lower()}"], names=[], classes=["ledger-part"])
        section += nodes.title(text=f"{letter}: {name}")
        section += _tagged("ul", *(self._entry(statement, made[statement.id]) for statement in part))
        return section

    def _entry(self, statement: Statement, answers: list[Claim]) -> nodes.Element:
        verdict, anchor = weakest(answers), _anchor(statement.id)
        line = next((claim for claim in answers if claim.verdict == verdict), None)
        # What the search finds under the number, and where the role `claim` leads.
        domain = cast(StandardDomain, self.env.get_domain("std"))
        domain.note_object("claim", statement.id, anchor, location=self.get_location())
        folded = nodes.container(classes=["ledger-folded"])
        # A place within what is folded: browsers open the fold for it, with or without the script.
        folded += _tagged("span", ids=[statement.id], classes=["ledger-place"])
        folded += self._source(statement)
        folded += [self._answer(claim, alone=len(answers) == 1) for claim in answers]
        details = _tagged("details", _line(statement, verdict, line), folded)
        entry = _tagged("li", details, classes=["ledger-entry", _css(verdict)], ids=[anchor])
        chapters = dict.fromkeys(_slug(claim) for claim in answers)
        entry["having"] = {"data-verdict": verdict, "data-chapters": " ".join(chapters)}
        if line is not None:
            entry += self._link(line, "cell", f" of {statement.id}, in “{self._title(line)}”")
        return entry

    def _source(self, statement: Statement) -> list[nodes.Node]:
        text, messages = self.state.inline_text(statement.statement, self.lineno)
        source = f"Source {' and '.join(statement.source)}" if statement.source else "No source"
        where = nodes.paragraph(text=f"{source}, {statement.where}:", classes=["ledger-source"])
        return [where, nodes.paragraph("", "", *text, classes=["ledger-statement"]), *messages]

    def _answer(self, claim: Claim, alone: bool) -> nodes.container:
        answer = nodes.container(classes=["ledger-answer", _css(claim.verdict)])
        verdict = nodes.inline(text=f"{MARKS[claim.verdict]} {claim.verdict}", classes=["ledger-verdict"])
        # The sentence is plain text in the chapter's output; it stays plain text here.
        about = ABOUT_THE_SOURCE[claim.verdict] if alone else claim.sentence
        answer += nodes.paragraph("", "", verdict, nodes.Text(f": {about}"))
        if claim.measured:
            numbers = nodes.bullet_list(classes=["ledger-numbers"])
            for name, value in claim.measured.items():
                numbers += nodes.list_item("", nodes.paragraph(text=f"{name} = {show(value)}"))
            answer += numbers
        margin = margin_in_words(self.margins[claim.notebook, claim.anchor])
        answer += nodes.paragraph(text=margin, classes=["ledger-margin"])
        answer += self._link(claim, f"The cell, in “{self._title(claim)}”")
        return answer

    def _link(self, claim: Claim, text: str, heard: str = "") -> nodes.paragraph:
        words: list[nodes.Node] = [nodes.Text(text)]
        if heard:  # by those who do not see which line the link is in
            words.append(nodes.inline(text=heard, classes=["visually-hidden"]))
        link = make_refnode(self.env.app.builder, self.env.docname, _slug(claim), claim.anchor, words)
        return nodes.paragraph("", "", link, classes=["ledger-cell"])

    def _title(self, claim: Claim) -> str:
        return title(claim.notebook, self.root)


def choice(made: Mapping[str, list[Claim]], root: Path) -> str:
    """The form that chooses the lines to show. It is hidden until the script that answers it runs.

    Args:
        made: the claims of every statement.
        root: the folder of the book.
    """
    verdicts = Counter(weakest(answers) for answers in made.values())
    chapters = Counter(slug for answers in made.values() for slug in {_slug(claim) for claim in answers})
    by_verdict = [(v, f"{MARKS.get(v, '○')} {v}", verdicts[v]) for v in (*VERDICTS, OPEN) if verdicts[v]]
    pages = [(page.with_suffix("").as_posix(), title(page, root)) for page in notebooks(root)]
    by_chapter = [(slug, name, chapters[slug]) for slug, name in pages if chapters[slug]]
    count = f"{len(made)} of {len(made)} shown"
    return (
        '<form class="ledger-choice" autocomplete="off" hidden>'
        f"{_select('verdict', 'Verdict', by_verdict)}{_select('chapter', 'Chapter', by_chapter)}"
        '<button type="reset">Show all</button>'
        f'<p class="ledger-count" role="status" aria-live="polite">{count}</p></form>'
    )


def weakest(answers: list[Claim]) -> str:
    """The verdict on a statement: of several claims with its ID, the one that leaves least of it standing."""
    return max((claim.verdict for claim in answers), key=VERDICTS.index, default=OPEN)


def margin_in_words(found: Margins) -> str:
    """The smallest margin of a claim and where it was met, in a sentence."""
    n_settings = len(found.by_setting) - 1
    if found.smallest is None:
        return f"Exact, as stored and under {n_settings} other settings."
    where = "as stored" if found.weakest_setting == STORED else f"under {found.weakest_setting}"
    return f"Smallest margin {shown(found.smallest)}, met {where}, of the stored run and {n_settings} other settings."


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
        if container.get("nb_element") == "cell_code" and (anchors := by_cell.get(container["cell_index"])):
            container["ids"] += anchors
            container["classes"].append("claims")  # the stylesheet lets their lines break


class _Writer(Protocol):
    """What a `Tagged` needs of the translator that writes it."""

    body: list[str]

    def starttag(self, node: nodes.Element, tagname: str, suffix: str, **attributes: Any) -> str:
        """The opening tag with the ids and classes of the node."""


def visit_tagged(writer: _Writer, node: nodes.Element) -> None:
    """Open the element."""
    writer.body.append(writer.starttag(node, node["tag"], "", **node.get("having", {})))


def depart_tagged(writer: _Writer, node: nodes.Element) -> None:
    """Close the element."""
    writer.body.append(f"</{node['tag']}>")


def add_script(app: Sphinx, page: str, template: str, context: dict[str, Any], document: nodes.document | None) -> None:
    """Give the script to the page that has a ledger."""
    if document is not None and any("ledger-entry" in node["classes"] for node in document.findall(Tagged)):
        app.add_js_file(SCRIPT, loading_method="defer")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive, its elements, its script, the role `claim`, and the anchors."""
    app.add_directive("ledger", Ledger)
    app.add_crossref_type("claim", "claim", ref_nodeclass=nodes.inline)
    app.add_node(Tagged, html=(visit_tagged, depart_tagged))
    app.connect("doctree-read", anchor_claims)
    app.connect("html-page-context", add_script)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}


def _summary(made: Mapping[str, list[Claim]]) -> nodes.paragraph:
    counts = Counter(weakest(answers) for answers in made.values())
    n_claims = sum(len(answers) for answers in made.values())
    parts = [
        f"{MARKS.get(verdict, '○')} {verdict}: {counts[verdict]}" for verdict in (*VERDICTS, OPEN) if counts[verdict]
    ]
    text = f"{len(made)} statements, {n_claims} executed claims. " + " · ".join(parts) + "."
    return nodes.paragraph(text=text, classes=["ledger-summary"])


def _line(statement: Statement, verdict: str, claim: Claim | None) -> nodes.Element:
    having = {"role": "img", "aria-label": verdict, "title": verdict}
    mark = _tagged("span", nodes.Text(MARKS.get(verdict, "○")), classes=["ledger-mark"], having=having)
    sentence = nodes.inline(classes=["ledger-sentence"])
    if verdict in LEADS:
        sentence += [nodes.inline(text=LEADS[verdict], classes=["ledger-lead"]), nodes.Text(" ")]
    sentence += nodes.Text(claim.sentence if claim else OPEN)
    name = nodes.inline(text=statement.id, classes=["ledger-id"])
    return _tagged("summary", mark, nodes.Text(" "), name, nodes.Text(" "), sentence)


def _select(name: str, label: str, options: list[tuple[str, str, int]]) -> str:
    given = "".join(f'<option value="{escape(value)}">{escape(text)} ({n})</option>' for value, text, n in options)
    return f'<label>{label} <select name="{name}"><option value="">all</option>{given}</select></label>'


def _tagged(tag: str, *children: nodes.Node, **attributes: Any) -> Tagged:
    return Tagged("", *children, tag=tag, **attributes)


def _slug(claim: Claim) -> str:
    return claim.notebook.with_suffix("").as_posix()


def _anchor(claim_id: str) -> str:
    return f"ledger-{claim_id.lower()}"


def _css(verdict: str) -> str:
    return "verdict-" + verdict.replace(" ", "-")
