"""Claims: a statement, the inequalities that decide it, and the record that the ledger reads.

A claim stands in the cell that makes it true. It prints one line, leaves its record in the metadata of the output, and
raises where a check fails. An inequality knows its margin, the factor by which its weaker side could grow before it
falls: a claim that holds by a hair on one machine falls on the next one.
"""

from __future__ import annotations

import dataclasses
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

__all__ = ["ClaimFailed", "ClaimRecord", "Inequality", "Verdict", "above", "below", "claim", "near"]

#: What becomes of a statement when it is tested.
Verdict = Literal["holds", "holds if", "does not hold", "not shown"]
RECORD_KEY = "physgrad_claim"
LARGEST_MARGIN = 1000.0  # beyond it a margin is that of a rounding error, and says no more


class ClaimFailed(AssertionError):
    """The check of a claim was false."""


@dataclasses.dataclass(frozen=True)
class Inequality:
    """One side below another, by some factor.

    Attributes:
        margin: the larger side over the smaller one; of arrays, the smallest such factor. Above 1 the inequality holds.
        words: both sides of the tightest case, for the message of a claim that fails.
    """

    margin: float
    words: str

    def __bool__(self) -> bool:
        """Whether the inequality holds."""
        return self.margin > 1.0


def below(value: Any, bound: Any) -> Inequality:
    """`value` < `bound`, in every entry.

    Args:
        value: a number or an array of numbers, none negative. NaN is below nothing.
        bound: a number, or an array that broadcasts with `value`, none negative; nothing is below zero.

    Returns:
        The inequality; its margin is the smallest bound / value.

    Raises:
        TypeError: if a side is no number and no array of numbers.
        ValueError: if a side is empty or negative: a factor needs a scale. Compare magnitudes, or use a plain boolean
            for a sign.
    """
    return _ordered(_sides("value", value), _sides("bound", bound))


def above(value: Any, bound: Any) -> Inequality:
    """`value` > `bound`, in every entry.

    Args:
        value: a number or an array of numbers, none negative. NaN is above nothing.
        bound: a positive number, or an array that broadcasts with `value`.

    Returns:
        The inequality; its margin is the smallest value / bound.

    Raises:
        TypeError: if a side is no number and no array of numbers.
        ValueError: if a side is empty or negative, or all of the bound is zero: a factor needs a scale. Compare
            magnitudes, or use a plain boolean for a sign.
    """
    small = _sides("bound", bound)
    if not small.any():
        raise ValueError("bound must not be zero: a margin is a factor. Use a plain boolean for a sign.")
    return _ordered(small, _sides("value", value))


def near(value: Any, target: Any, within: float) -> Inequality:
    """|`value` − `target`| < `within`, in every entry.

    Args:
        value: a number or an array of numbers.
        target: a number, or an array that broadcasts with `value`.
        within: the distance that is allowed, positive.

    Returns:
        The inequality; its margin is `within` over the largest distance.

    Raises:
        TypeError: if an argument is no number and no array of numbers.
        ValueError: if an argument is empty, or `within` is not positive.
    """
    if not within > 0.0:
        raise ValueError(f"within must be a positive number, got {within!r}.")
    return below(np.abs(_numbers("value", value) - _numbers("target", target)), within)


@dataclasses.dataclass(frozen=True)
class ClaimRecord:
    """What a claim leaves behind.

    Attributes:
        id: the claim's ID, a letter for the part and a number.
        sentence: the statement that was checked; the corrected one unless the verdict is "holds".
        verdict: what became of the source's statement; None where no source makes one.
        measured: the numbers that were measured, by name, with the digits that are printed.
        margin: the smallest margin of its inequalities, at most 1000; None where all checks are exact, 0 where an
            exact one failed.
    """

    id: str
    sentence: str
    verdict: Verdict | None
    measured: dict[str, float]
    margin: float | None

    @property
    def passed(self) -> bool:
        """Whether every check was true."""
        return self.margin is None or self.margin > 1.0

    def line(self) -> str:
        """All of the record but its margin, in one line of text."""
        measured = ", ".join(f"{name} = {shown(number)}" for name, number in self.measured.items())
        source = f"the source: {self.verdict}" if self.verdict else ""
        parts = [f"{'✓' if self.passed else '✗'} {self.id}: {self.sentence}", measured, source]
        return " · ".join(part for part in parts if part)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The line as text, the record as metadata: IPython stores both with the cell's output."""
        return {"text/plain": self.line()}, {RECORD_KEY: dataclasses.asdict(self)}


def claim(
    id: str,
    sentence: str,
    *,
    check: bool | Inequality | Sequence[bool | Inequality],
    verdict: Verdict | None = None,
    measured: Mapping[str, Any] | None = None,
) -> None:
    """State something, and stop here if it is not so.

    Args:
        id: the claim's ID, such as "G7". Always a literal, so that it can be found without running anything.
        sentence: the statement that `check` decides. Where the source is wrong or conditional, the corrected statement.
        check: what decides it: an inequality (`below`, `above`, `near`), several of them, or, for what is exact, such
            as a count or a sign, a Python or numpy boolean or a scalar tensor of booleans. An array of booleans is
            refused: say which "all" you mean.
        verdict: "holds", "holds if", "does not hold" or "not shown", about the source's statement; None for a statement
            that stands in no source.
        measured: numbers by name, printed to three digits and shown in the ledger. Infinity is a result, NaN is not.

    Raises:
        ClaimFailed: if a check is false. The record is shown all the same.
        TypeError: if an argument has the wrong type, such as a number where a boolean belongs.
        ValueError: if the ID, sentence or verdict is malformed, there is no check, or a number is NaN.
    """
    if not isinstance(id, str) or not re.fullmatch(r"[A-Z][1-9][0-9]*", id):
        raise ValueError(f'id must be a letter and a number, such as "G7", got {id!r}.')
    if not isinstance(sentence, str) or not sentence.strip():
        raise ValueError(f"sentence must be a sentence, got {sentence!r}.")
    if verdict is not None and verdict not in get_args(Verdict):
        raise ValueError(f"verdict must be None or one of {', '.join(get_args(Verdict))}, got {verdict!r}.")
    checks = list(check) if isinstance(check, (list, tuple)) else [check]
    if not checks:
        raise ValueError("check must be an inequality, a boolean or several of them, got none.")
    margins = [each.margin if isinstance(each, Inequality) else _exact(each) for each in checks]
    finite = [min(margin, LARGEST_MARGIN) for margin in margins if margin is not None]
    record = ClaimRecord(
        id,
        sentence,
        verdict,
        {name: _printed(number(name, value)) for name, value in (measured or {}).items()},
        _on_its_side_of_one(min(finite)) if finite else None,
    )
    show(record)
    # The margins themselves decide: three digits of 1.0003 are 1.
    if not all(margin is None or margin > 1.0 for margin in margins):
        failed = [each.words if isinstance(each, Inequality) else "an exact check" for each in checks if not each]
        raise ClaimFailed(f"{id}: {'; '.join(failed)}. The check failed for: {sentence}")


def _on_its_side_of_one(margin: float) -> float:
    """The margin with the digits that are printed, or with all of them where rounding would hide that it passes."""
    rounded = _printed(margin)
    return rounded if (rounded > 1.0) == (margin > 1.0) else margin


def shown(number: float) -> str:
    """Three digits, or all digits of a whole number below a million."""
    return f"{number:.0f}" if float(number).is_integer() and abs(number) < 1e6 else f"{number:.3g}"


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


def _printed(number: float) -> float:
    # What the record keeps is what its line prints, so that the two can be compared; counts stay whole.
    return int(number) if number.is_integer() and abs(number) < 1e6 else float(f"{number:.3g}")


def _exact(check: Any) -> float | None:
    value = check.numpy() if hasattr(check, "numpy") else check
    if type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"check must be an inequality or a single boolean, got {type(value).__name__}.")
    return None if value else 0.0


def _numbers(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise TypeError(f"{name} must be a number or an array of numbers, got {type(value).__name__}.")
    if not array.size:
        raise ValueError(f"{name} must not be empty.")
    return array.astype(np.float64)


def _sides(name: str, value: Any) -> np.ndarray:
    array = _numbers(name, value)
    if np.any(array < 0.0):
        raise ValueError(f"{name} must not be negative, got {array.min()}. A margin is a factor: compare magnitudes.")
    return array


def _ordered(small: np.ndarray, large: np.ndarray) -> Inequality:
    small, large = (side.ravel() for side in np.broadcast_arrays(small, large))
    if not large.any():
        return Inequality(0.0, f"{small.max():.4g} is not below 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(large == 0.0, 0.0, large / small)
    factors[np.isnan(factors)] = 0.0  # NaN on either side, or infinity on both
    tightest = int(np.argmin(factors))
    return Inequality(float(factors[tightest]), f"{small[tightest]:.4g} < {large[tightest]:.4g}")
