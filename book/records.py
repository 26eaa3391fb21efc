"""The claims that the chapters made when they ran, and the statements of the sources that they answer."""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml

from book.toc import ROOT, notebooks

METADATA_KEY = "physgrad_claim"
STATEMENTS = Path("chapters/closing/statements.yml")
VERDICTS = ("holds", "holds if", "does not hold")


@dataclass(frozen=True)
class Statement:
    """What a source says, in the book's words."""

    id: str
    source: tuple[str, ...]
    where: str
    statement: str


@dataclass(frozen=True)
class Claim:
    """One executed and passed claim: the record in the metadata of its output, and where it stands."""

    id: str
    sentence: str
    verdict: str
    measured: dict[str, float]
    notebook: Path
    cell: int
    anchor: str


def statements(root: Path = ROOT) -> list[Statement]:
    """The statements of `chapters/closing/statements.yml`, in its order.

    Raises:
        ValueError: when an entry lacks a key, has one too many, or repeats an ID.
    """
    entries = yaml.safe_load((root / STATEMENTS).read_text(encoding="utf-8"))
    seen: dict[str, Statement] = {}
    for entry in entries:
        if set(entry) != {"id", "source", "where", "statement"}:
            raise ValueError(f"{STATEMENTS}: expected the keys id, source, where and statement, got {sorted(entry)}")
        if not re.fullmatch(r"[A-Z]\d+", entry["id"]):
            raise ValueError(f"{STATEMENTS}: expected an ID such as 'G1', got {entry['id']!r}")
        if entry["id"] in seen:
            raise ValueError(f"{STATEMENTS}: {entry['id']} stands there twice")
        source = tuple(entry["source"])
        seen[entry["id"]] = Statement(entry["id"], source, entry["where"], entry["statement"])
    return list(seen.values())


def claims(root: Path = ROOT) -> list[Claim]:
    """All claims stored in the notebooks of the book, in reading order."""
    return [claim for notebook in notebooks(root) for claim in claims_of(notebook, root)]


def claims_of(notebook: Path, root: Path = ROOT) -> list[Claim]:
    """The claims stored in one notebook, in the order of its cells."""
    cells = nbformat.read(root / notebook, as_version=4).cells
    found: list[Claim] = []
    for position, cell in enumerate(cells):
        for output in cell.get("outputs", []):
            record = output.get("metadata", {}).get(METADATA_KEY)
            if record is None:
                continue
            earlier = sum(claim.id == record["id"] for claim in found)
            anchor = f"claim-{record['id'].lower()}" + (f"-{earlier + 1}" if earlier else "")
            found.append(
                Claim(
                    id=record["id"],
                    sentence=record["sentence"],
                    verdict=record["verdict"],
                    measured=dict(record["measured"]),
                    notebook=notebook,
                    cell=position,
                    anchor=anchor,
                )
            )
    return found
