"""How far a printed number may lie from the stored one: as far as `make settings` saw it move, with some room.

A number that other processors, versions and slightly other starting weights move by at most `spread` is compared
within three times that, and at least to the last digit that is printed. Whole numbers and numbers of one digit that
never moved are compared exactly. A number that would need more than a fifth of itself, or more than its second digit
can tell, is excused: its spread is the reason, and it is held to its order of magnitude. One that overflowed in some
settings only may do so again.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from book.outputs import WHOLE, value

SAFETY = 3.0
LARGEST = 0.2  # of the number
FLOOR = 1e-12  # of two excused numbers below it, both are rounding errors


@dataclass(frozen=True)
class Tolerance:
    """What is allowed for one printed number.

    Attributes:
        stored: the number as the notebook has it.
        spread: by how much it moved at most, in all settings.
        units: how many units of the last printed digit are allowed in any case, 0 or 1.
        decades: the largest ratio of two numbers that were seen, as a power of ten.
        overflows: whether it was finite in one setting and not in another: whether it overflows is then chance.
    """

    stored: str
    spread: float
    units: int
    decades: float
    overflows: bool = False

    @property
    def absolute(self) -> float:
        """The largest allowed distance, if the number is compared."""
        unit = resolution(self.stored)
        # Both numbers were rounded: what they differ by beyond one unit has moved for certain.
        moved = self.spread if self.spread < unit else SAFETY * (self.spread - unit) + unit
        return max(moved, self.units * unit) * (1.0 + 1e-9)

    @property
    def relative(self) -> float:
        """The same as a part of the number; infinite at zero unless nothing is allowed."""
        size = abs(value(self.stored))
        return self.absolute / size if size and math.isfinite(size) else (math.inf if self.spread else 0.0)

    @property
    def excused(self) -> bool:
        """Whether the number moves too much to be compared."""
        if not self.spread:
            return False
        size = abs(value(self.stored))
        if not size or not math.isfinite(size):
            return True
        second_digit = 10.0 ** (math.floor(math.log10(size)) - 1)
        return self.absolute > min(LARGEST * size, 4.9 * second_digit)

    def allows(self, computed: str) -> bool:
        """Whether a computed number agrees with the stored one."""
        a, b = value(self.stored), value(computed)
        if a == b:
            return True
        if self.excused:
            if not (math.isfinite(a) and math.isfinite(b)):
                return self.overflows
            apart = abs(math.log10(max(abs(a), FLOOR) / max(abs(b), FLOOR)))
            return apart <= max(1.0, 1.5 * self.decades)
        if not (math.isfinite(a) and math.isfinite(b)):
            return False
        # `1.0` may stand for 1.00, as in 1.01: the finer of the two tells how both were rounded.
        finer = 0.0 if whole(self.stored) and whole(computed) else min(resolution(self.stored), resolution(computed))
        either = 1.0 + 1e-9 if max(digits(self.stored), digits(computed)) >= 3 else 0.0
        return abs(a - b) <= max(self.absolute, either * finer)


def tolerances(stored: Sequence[str], seen: Sequence[Sequence[str]]) -> list[Tolerance]:
    """The tolerance of every number of a cell.

    Args:
        stored: the numbers as the notebook has them.
        seen: the same numbers under every setting that computes the same up to rounding.

    Returns:
        One tolerance a number, in their order.
    """
    rows = [row for row in seen if len(row) == len(stored)]
    spreads = [max((_apart(number, row[i]) for row in rows), default=0.0) for i, number in enumerate(stored)]
    sensitive = any(spreads)
    found = []
    for i, (number, spread) in enumerate(zip(stored, spreads, strict=True)):
        sizes = [max(abs(value(n)), FLOOR) for n in [number, *(row[i] for row in rows)] if math.isfinite(value(n))]
        decades = math.log10(max(sizes) / min(sizes)) if sizes else 0.0
        # In a cell in which something moves, the second digit may be on the edge between two as well.
        rounded = not whole(number) and (digits(number) >= 3 or (digits(number) == 2 and sensitive))
        finite = {math.isfinite(value(n)) for n in [number, *(row[i] for row in rows)]}
        found.append(Tolerance(number, spread, int(rounded), decades, len(finite) == 2))
    return found


def whole(number: str) -> bool:
    """Whether a number is printed without decimals: a count."""
    return WHOLE.fullmatch(number) is not None


def resolution(number: str) -> float:
    """One unit of the last printed digit."""
    mantissa, _, exponent = number.lower().replace("−", "-").partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 0.0 if "inf" in mantissa else 10.0 ** (int(exponent or 0) - decimals)


def digits(number: str) -> int:
    """How many significant digits are printed."""
    mantissa = re.sub(r"[+\-−.]", "", number.lower().partition("e")[0])
    return len(mantissa.lstrip("0")) if mantissa.isdigit() else 0


def _apart(a: str, b: str) -> float:
    if value(a) == value(b):
        return 0.0
    return abs(value(a) - value(b)) if math.isfinite(value(a)) and math.isfinite(value(b)) else math.inf
