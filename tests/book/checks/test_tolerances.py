"""How far a number may lie from the stored one: as far as it was seen to move, never further."""

import math

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book import outputs
from book.checks.nbval_tolerance import IGNORE, allowed_in, stated
from book.checks.tolerances import LARGEST, Tolerance, digits, resolution, tolerances, whole
from book.pages.digits import digits_of, together
from book.toc import ROOT, notebooks

NOTEBOOKS = notebooks()


@pytest.mark.parametrize(
    ("number", "unit", "n_digits"),
    [("1.50", 0.01, 3), ("0.0041", 1e-4, 2), ("3.2e-05", 1e-6, 2), ("−7.", 1.0, 1), ("120", 1.0, 3), ("0.0", 0.1, 0)],
)
def test_digits_and_units(number, unit, n_digits):
    assert resolution(number) == pytest.approx(unit)
    assert digits(number) == n_digits
    assert whole(number) == (number in ("−7.", "120"))


@pytest.mark.parametrize(
    ("stored", "seen", "allowed", "refused"),
    [
        ("0.123", ["0.123"], ["0.123", "0.124", "0.122"], ["0.125", "0.133"]),  # the last digit may be on an edge
        ("0.123", ["0.124"], ["0.124"], ["0.125"]),
        ("0.123", ["0.125"], ["0.127"], ["0.128"]),  # moved by one unit for certain: three times that, and one
        ("0.12", ["0.12"], ["0.12", "0.121"], ["0.13", "0.11", "0.122"]),  # may stand for 0.120
        ("3e-06", ["3e-06"], ["3e-06"], ["4e-06", "2e-06"]),
        ("100", ["100"], ["100"], ["101", "99"]),
        ("100", ["104"], ["104", "109"], ["113"]),
        ("1.0", ["1.5"], ["3.0", "0.2"], ["11.0", "0.09"]),  # excused: by order of magnitude
        ("2e-16", ["7e-17"], ["0.0", "1e-14", "9e-13"], ["1e-9"]),  # a rounding error stays one
        ("0", ["0"], ["0"], ["1", "1e-9"]),
        ("inf", ["inf"], ["inf"], ["1e300", "-inf"]),
        ("inf", ["0.8"], ["inf", "0.8", "2e-3"], []),  # whether it overflows was chance
        ("0.8", ["inf"], ["inf", "0.8", "0.1"], ["1e-3", "90.0"]),
        ("0.8", ["0.1"], ["0.1"], ["inf", "nan"]),
    ],
)
def test_what_is_allowed(stored, seen, allowed, refused):
    (tolerance,) = tolerances([stored], [seen])
    assert [tolerance.allows(number) for number in allowed] == [True] * len(allowed)
    assert [tolerance.allows(number) for number in refused] == [False] * len(refused)


def test_the_second_digit_may_be_on_an_edge_where_something_moves():
    calm, moving = (tolerances(["0.12", "5.00"], [["0.12", other]])[0] for other in ("5.00", "5.01"))
    assert not calm.allows("0.13")
    assert moving.allows("0.13") and not moving.allows("0.14")


@given(st.floats(1e-6, 1e6), st.floats(0.0, 2.0))
def test_what_is_compared_is_compared_within_a_fifth(number, spread):
    stored, other = f"{number:.3g}", f"{number * (1.0 + spread):.3g}"
    (tolerance,) = tolerances([stored], [[other]])
    assert tolerance.allows(other), "a number that was seen is refused"
    if not tolerance.excused:
        assert tolerance.absolute <= LARGEST * abs(float(stored)) * (1.0 + 1e-6) or whole(stored)


def every_number():
    for page in NOTEBOOKS:
        for cell in nbformat.read(ROOT / page, as_version=4).cells:
            if cell.cell_type == "code" and IGNORE not in cell.metadata.get("tags", []):
                widened = stated(cell.metadata.get("tags", [])) != (0.0, 0.0)
                for tolerance in allowed_in(page)[cell.id]:
                    yield page, tolerance, widened


def edited(number: str, by: int) -> str | None:
    """A number with another second significant digit, or nothing where it has none."""
    mantissa, mark, exponent = number.lower().partition("e")
    significant = [i for i, char in enumerate(mantissa) if char.isdigit()]
    first = next((i for i in significant if mantissa[i] != "0"), None)
    later = [i for i in significant if first is not None and i > first]
    if not later:
        return None
    i = later[0]
    return f"{mantissa[:i]}{(int(mantissa[i]) + by) % 10}{mantissa[i + 1 :]}{mark}{exponent}"


def test_an_edited_number():
    assert edited("0.0417", 1) == "0.0427"
    assert edited("1.95e-05", 5) == "1.45e-05"
    assert edited("3e-06", 1) is None
    assert edited("-40.", 3) == "-43."


def test_an_edit_of_the_second_digit_fails():
    """Half the range of the digit, on every compared number of every cell."""
    passed = []
    for page, tolerance, widened in every_number():
        other = edited(tolerance.stored, 5)
        if other is not None and not tolerance.excused and not widened and tolerance.allows(other):
            passed.append((str(page), tolerance.stored, other))
    assert passed == []


def test_an_edit_of_the_second_digit_by_one_nearly_always_fails():
    edits = [(tolerance, edited(tolerance.stored, 1)) for _, tolerance, _ in every_number()]
    noticed = [not tolerance.allows(other) for tolerance, other in edits if other is not None]
    assert len(noticed) > 1000
    assert sum(noticed) >= 0.8 * len(noticed), f"{sum(noticed)} of {len(noticed)}"


def test_most_printed_numbers_are_compared_within_one_percent():
    found = together(digits_of(page) for page in NOTEBOOKS)
    # 0.9 is the aim. What trainings print moves by more on other processors and with weights disturbed by 1e-6.
    assert found.tight >= 0.82 * found.total, found


def test_no_compared_number_has_a_tolerance_above_a_fifth():
    for page, tolerance, _ in every_number():
        if not tolerance.excused:
            size = abs(outputs.value(tolerance.stored))
            assert not math.isfinite(size) or tolerance.absolute <= LARGEST * size * (1 + 1e-6) or size == 0.0, (
                page,
                tolerance,
            )


def test_a_tolerance_without_a_record_is_the_last_digit():
    assert Tolerance("0.123", 0.0, 1, 0.0).absolute == pytest.approx(0.001)
    assert not Tolerance("0.123", 0.0, 1, 0.0).excused
