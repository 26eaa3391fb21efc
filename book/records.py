"""The claims that the chapters made when they ran, and the statements of the sources that they answer."""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml

from book import outputs
from book.toc import ROOT, notebooks

KEYS = {"id", "source", "where", "statement", "verdict"}
STATEMENTS = Path("chapters/closing/statements.yml")
VERDICTS = ("holds", "holds if", "not shown", "does not hold")  # each leaves less of a statement standing


@dataclass(frozen=True)
class Statement:
    """What a source says, in the book's words, and what became of it: the verdict that the claims are to reach.

    A statement of the book's own has no source.
    """

    id: str
    source: tuple[str, ...]
    where: str
    statement: str
    verdict: str


@dataclass(frozen=True)
class Claim:
    """One executed and passed claim: the record in the metadata of its output, and where it stands.

    `margin` is None where every check is exact. What stands in no source holds, since it passed.
    """

    id: str
    sentence: str
    verdict: str
    measured: dict[str, float]
    margin: float | None
    notebook: Path
    cell: int
    anchor: str


def statements(root: Path = ROOT) -> list[Statement]:
    """The statements of `chapters/closing/statements.yml`, in its order.

    Raises:
        ValueError: when an entry lacks a key, has one too many, repeats an ID, or has no verdict that there is.
    """
    entries = yaml.safe_load((root / STATEMENTS).read_text(encoding="utf-8"))
    seen: dict[str, Statement] = {}
    for entry in entries:
        if set(entry) != KEYS:
            raise ValueError(f"{STATEMENTS}: expected the keys {sorted(KEYS)}, got {sorted(entry)}")
        if not re.fullmatch(r"[A-Z]\d+", entry["id"]):
            raise ValueError(f"{STATEMENTS}: expected an ID such as 'G1', got {entry['id']!r}")
        if entry["id"] in seen:
            raise ValueError(f"{STATEMENTS}: {entry['id']} stands there twice")
        if entry["verdict"] not in VERDICTS:
            raise ValueError(
                f"{STATEMENTS}: {entry['id']} has the verdict {entry['verdict']!r}, expected one of {VERDICTS}"
            )
        seen[entry["id"]] = Statement(**entry | {"source": tuple(entry["source"])})
    return list(seen.values())


def claims(root: Path = ROOT) -> list[Claim]:
    """All claims stored in the notebooks of the book, in reading order."""
    return [claim for notebook in notebooks(root) for claim in claims_of(notebook, root)]


def claims_of(notebook: Path, root: Path = ROOT) -> list[Claim]:
    """The claims stored in one notebook, in the order of its cells."""
    cells = nbformat.read(root / notebook, as_version=4).cells
    found: list[Claim] = []
    for position, cell in enumerate(cells):
        for record in outputs.claims(cell.get("outputs", [])):
            earlier = sum(claim.id == record["id"] for claim in found)
            anchor = f"claim-{record['id'].lower()}" + (f"-{earlier + 1}" if earlier else "")
            verdict = {"verdict": record["verdict"] or "holds"}
            found.append(Claim(**record | verdict, notebook=notebook, cell=position, anchor=anchor))
    return found
