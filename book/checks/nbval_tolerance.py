"""Pytest plugin (`-p book.checks.nbval_tolerance`): compare the outputs of a cell within the tolerance its tags state.

nbval compares outputs as text. A cell with the tag `rtol=1e-3` or `atol=1e-12`, or both, is compared number by number:
two numbers agree when |a − b| ≤ max(rtol·max(|a|, |b|), atol), and whitespace next to a number may differ, since numpy
pads columns. Whole numbers must be equal, and so must all other text. Without a tag nothing changes.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from nbval.plugin import IPyNbCell

TAG = re.compile(r"(rtol|atol)=(.*)")
# A number that stands alone: no letter, digit or dot touches it, so that float32, x1 and 2.21.0 are words.
NUMBER = re.compile(r"(?:(?<![\w.])[+\-−])?(?<![\w.])(?:\d+\.?\d*|\.\d+)(?:[eE][+\-]?\d+)?(?!\w)(?!\.\d)")
WHOLE = re.compile(r"[+\-−]?\d+\.?")


class TolerantText(str):
    """Text that equals another text when their numbers agree within a tolerance and the rest is the same."""

    rtol: float
    atol: float

    def __new__(cls, text: str, rtol: float, atol: float) -> "TolerantText":
        """The text, with the tolerance that its comparison allows."""
        made = super().__new__(cls, text)
        made.rtol, made.atol = rtol, atol
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return NotImplemented
        mine, theirs = NUMBER.findall(self), NUMBER.findall(other)
        if len(mine) != len(theirs) or _words(self) != _words(other):
            return False
        return all(self._agree(a, b) for a, b in zip(mine, theirs, strict=True))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def _agree(self, a: str, b: str) -> bool:
        x, y = (float(number.replace("−", "-")) for number in (a, b))
        if WHOLE.fullmatch(a) and WHOLE.fullmatch(b):
            return x == y
        return math.isclose(x, y, rel_tol=self.rtol, abs_tol=self.atol)


def tolerance(tags: list[str]) -> tuple[float, float] | None:
    """(rtol, atol) as the tags of a cell state them, or None when they state neither.

    Raises:
        ValueError: when a tolerance is no positive finite number, or rtol is 1 or more, which would accept anything.
    """
    found = {"rtol": 0.0, "atol": 0.0}
    matches = [match for match in map(TAG.fullmatch, tags) if match]
    for match in matches:
        name, text = match.groups()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0.0 < value < (1.0 if name == "rtol" else math.inf):
            raise ValueError(f"the cell's tag {match[0]!r}: expected a tolerance such as {name}=1e-3")
        found[name] = value
    return (found["rtol"], found["atol"]) if matches else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let a cell that states a tolerance hand its outputs to the comparison as tolerant text."""
    if not isinstance(item, IPyNbCell):
        return
    try:
        stated = tolerance(item.cell.metadata.get("tags", []))
    except ValueError as error:
        raise pytest.UsageError(f"{item.nodeid}: {error}") from error
    if stated is not None:
        item.sanitize = _tolerant(item.sanitize, *stated)


def _tolerant(sanitize: Callable[[Any], Any], rtol: float, atol: float) -> Callable[[Any], Any]:
    def tolerant(value: Any) -> Any:
        clean = sanitize(value)
        return TolerantText(clean, rtol, atol) if isinstance(clean, str) else clean

    return tolerant


def _words(text: str) -> list[str]:
    """The text between the numbers, without the whitespace that touches a number."""
    words = NUMBER.split(text)
    last = len(words) - 1
    return [
        word if last == 0 else word.rstrip() if i == 0 else word.lstrip() if i == last else word.strip()
        for i, word in enumerate(words)
    ]
