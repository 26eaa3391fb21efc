"""The margins of all claims, under all settings: by what factor each could fail to be what it is."""

from dataclasses import dataclass
from pathlib import Path

from book.records import Claim, claims_of
from book.runs import settings
from book.toc import ROOT, notebooks

STORED = "stored"  # what the notebook itself stores
REQUIRED = 1.3


@dataclass(frozen=True)
class Margins:
    """One claim's margins.

    Attributes:
        claim: the claim as its notebook stores it.
        by_setting: its margin as stored and under every setting that ran; None where every check is exact and passed,
            0 where it was not reached.
    """

    claim: Claim
    by_setting: dict[str, float | None]

    @property
    def smallest(self) -> float | None:
        """The smallest margin; None for a claim that is exact under every setting."""
        return min((margin for margin in self.by_setting.values() if margin is not None), default=None)

    @property
    def weakest_setting(self) -> str:
        """Where the margin is smallest, or nothing for a claim that is exact."""
        inexact = {name: margin for name, margin in self.by_setting.items() if margin is not None}
        return min(inexact, key=inexact.__getitem__, default="")


def margins(root: Path = ROOT) -> list[Margins]:
    """The margins of all claims, in reading order; runs of another version of a chapter do not count."""
    record = settings.read(root)
    return [each for page in notebooks(root) for each in margins_of(page, record, root)]


def margins_of(page: Path, record: settings.Record, root: Path = ROOT) -> list[Margins]:
    """The margins of one chapter's claims."""
    stored = claims_of(page, root)
    current = settings.digest_of(page, root)
    runs = {name: run for name, run in record.runs.get(page.as_posix(), {}).items() if run.digest == current}
    found = []
    for number, claim in enumerate(stored):
        occurrence = sum(other.id == claim.id for other in stored[:number])
        by_setting = {STORED: claim.margin}
        for name, run in runs.items():
            same = [each.margin for each in run.claims if each.id == claim.id]
            by_setting[name] = same[occurrence] if occurrence < len(same) else 0.0
        found.append(Margins(claim, by_setting))
    return found
