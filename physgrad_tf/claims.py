"""Claims: a statement, the check that decides it, and the record that the ledger reads.

A claim stands in the cell that makes it true. It prints one line, raises where its check fails, and leaves its record
in the metadata of the output, where it does not take part in the comparison of outputs.
"""

from __future__ import annotations

import dataclasses
import numbers
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

__all__ = ["ClaimFailed", "ClaimRecord", "Verdict", "claim"]

#: What becomes of a statement when it is tested.
Verdict = Literal["holds", "holds if", "does not hold"]
RECORD_KEY = "physgrad_claim"


class ClaimFailed(AssertionError):
    """The check of a claim was false."""


@dataclasses.dataclass(frozen=True)
class ClaimRecord:
    """What a passed claim leaves behind.

    Attributes:
        id: the claim's ID, a letter for the part and a number.
        sentence: the statement that was checked; the corrected one unless the verdict is "holds".
        verdict: what became of the source's statement.
        measured: the numbers that were measured, by name.
    """

    id: str
    sentence: str
    verdict: Verdict
    measured: dict[str, float]

    def line(self) -> str:
        """ID, verdict and numbers in one line of text."""
        parts = [f"{name} = {shown(number)}" for name, number in self.measured.items()]
        return f"{self.id} {self.verdict}: " + (", ".join(parts) if parts else "checked")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The line as text, the record as metadata: IPython stores both with the cell's output."""
        record = dataclasses.asdict(self)
        # Counts stay whole; of other numbers four digits, so that machines leave the same record.
        record["measured"] = {
            name: int(number) if number.is_integer() and abs(number) < 1e15 else float(f"{number:.4g}")
            for name, number in self.measured.items()
        }
        return {"text/plain": self.line()}, {RECORD_KEY: record}


def claim(id: str, sentence: str, *, check: Any, verdict: Verdict, measured: Mapping[str, Any] | None = None) -> None:
    """State something, and stop here if it is not so.

    Args:
        id: the claim's ID, such as "G7". Always a literal, so that it can be found without running anything.
        sentence: the statement that `check` decides. Where the source is wrong or conditional, the corrected statement.
        check: True or False, a Python or numpy boolean or a scalar tensor of booleans. An array is refused:
            say which "all" you mean.
        verdict: "holds", "holds if" or "does not hold", about the source's statement.
        measured: numbers by name, printed to three digits and shown in the ledger.

    Raises:
        ClaimFailed: if `check` is false.
        TypeError: if an argument has the wrong type, such as a number where a boolean belongs.
        ValueError: if the ID, sentence or verdict is malformed, or a number is NaN.
    """
    if not isinstance(id, str) or not re.fullmatch(r"[A-Z][1-9][0-9]*", id):
        raise ValueError(f'id must be a letter and a number, such as "G7", got {id!r}.')
    if not isinstance(sentence, str) or not sentence.strip():
        raise ValueError(f"sentence must be a sentence, got {sentence!r}.")
    if verdict not in get_args(Verdict):
        raise ValueError(f"verdict must be one of {', '.join(get_args(Verdict))}, got {verdict!r}.")
    passed = check.numpy() if hasattr(check, "numpy") else check
    if type(passed).__name__ not in ("bool", "bool_"):
        raise TypeError(f"check must be a single boolean, got {type(passed).__name__}.")
    record = ClaimRecord(id, sentence, verdict, {name: number(name, value) for name, value in (measured or {}).items()})
    if not passed:
        raise ClaimFailed(f"{record.line()}. The check failed for: {sentence}")
    show(record)


def shown(number: float) -> str:
    """Three digits, or all digits of a whole number below a million."""
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e6 else f"{number:.3g}"


def number(name: str, value: Any) -> float:
    """Return a measured value, Python, numpy or scalar tensor, as a float."""
    scalar = value.numpy() if hasattr(value, "numpy") else value
    if isinstance(scalar, bool) or not (isinstance(scalar, numbers.Real) or getattr(scalar, "shape", None) == ()):
        raise TypeError(f"measured[{name!r}] must be a single number, got {type(value).__name__}.")
    if float(scalar) != float(scalar):
        raise ValueError(f"measured[{name!r}] is NaN.")
    return float(scalar)


def show(record: ClaimRecord) -> None:
    """Display the record in a notebook; print its line elsewhere."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:  # outside a notebook nothing else is needed
        print(record.line())
        return
    if get_ipython() is None:
        print(record.line())
        return
    from IPython.display import display

    display(record)  # type: ignore[no-untyped-call]
