"""Sphinx extension: the directive `choosing`, all methods on all problems, from the numbers that the claims stored.

`chapters/closing/choosing.yml` names, for every problem, the claim and the measured quantities to show. The numbers are
those of the cells; the directive sorts them and computes nothing else.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

from book.pages.ledger import show
from book.pages.tables import grid
from book.records import Claim, claims
from book.toc import ROOT, notebooks, title

CHOSEN = Path("chapters/closing/choosing.yml")
KEYS = {"problem", "measure", "claim", "chapter", "results"}


@dataclass(frozen=True)
class Contest:
    """One problem on which several methods were measured alike.

    Attributes:
        problem: what was to be solved.
        measure: what the numbers are; smaller is better.
        claim: the claim whose record holds them.
        results: the number of every method, the smallest first.
    """

    problem: str
    measure: str
    claim: Claim
    results: dict[str, float]


def contests(root: Path = ROOT) -> list[Contest]:
    """The entries of `choosing.yml` with the numbers of their claims.

    Raises:
        ValueError: when an entry lacks a key, or names a claim or a quantity that no chapter stored.
    """
    made = claims(root)
    found = []
    for entry in yaml.safe_load((root / CHOSEN).read_text(encoding="utf-8")):
        if set(entry) != KEYS:
            raise ValueError(f"{CHOSEN}: expected the keys {sorted(KEYS)}, got {sorted(entry)}")
        wanted = set(entry["results"].values())
        fitting = [
            claim
            for claim in made
            if claim.id == entry["claim"]
            and claim.notebook.as_posix() == f"chapters/{entry['chapter']}.ipynb"
            and wanted <= set(claim.measured)
        ]
        if len(fitting) != 1:
            raise ValueError(
                f"{CHOSEN}: expected one claim {entry['claim']} in {entry['chapter']} that measured {sorted(wanted)}, "
                f"got {len(fitting)}"
            )
        results = {method: fitting[0].measured[name] for method, name in entry["results"].items()}
        ranked = dict(sorted(results.items(), key=lambda pair: pair[1]))
        found.append(Contest(entry["problem"], entry["measure"], fitting[0], ranked))
    return found


class Choosing(SphinxDirective):
    """`{choosing}`: one row per problem, the methods in the order of their results, and the cell."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        for path in (CHOSEN, Path("_toc.yml"), *notebooks(root)):
            self.env.note_dependency(str(root / path))
        rows: list[list[nodes.Node | str]] = []
        for contest in contests(root):
            order = nodes.inline()
            for position, (method, value) in enumerate(contest.results.items()):
                entry: nodes.Element = nodes.strong() if position == 0 else nodes.inline()
                entry.extend([self.text(method), nodes.Text(f": {show(value)}")])
                order.extend([nodes.Text("; ")] * (position > 0) + [entry])
            label = nodes.Text(f"{contest.claim.id}, {title(contest.claim.notebook, root)}")
            target = contest.claim.notebook.with_suffix("").as_posix()
            link = make_refnode(self.env.app.builder, self.env.docname, target, contest.claim.anchor, label)
            problem, measure = (self.text(words) for words in (contest.problem, contest.measure))
            rows.append([problem, measure, order, link])
        return [grid(["Problem", "Measured, smaller is better", "Results, best first", "Cell"], rows)]

    def text(self, words: str) -> nodes.inline:
        """Words with mathematics between dollars, as nodes."""
        content, messages = self.state.inline_text(words, self.lineno)
        return nodes.inline("", "", *content, *messages)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("choosing", Choosing)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
