"""Pytest plugin (`-p book.checks.nbval_tolerance`): compare what a cell prints within what was seen to move.

nbval compares outputs as text. Here words are compared as text, each number within its own tolerance, which follows
from the record of `make settings`, and claims by their records. Pictures are not compared; the summary of their
arrays, which is their text, is. A cell with the tag `nbval-ignore-output` and a reason is held to its claims, and
those to their order of magnitude. A tag such as `rtol=1e-3` or `atol=1e-12` widens the tolerances of a cell, and needs
a reason as well.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbval.plugin import IPyNbCell

from book import outputs
from book.checks.tolerances import FLOOR, Tolerance, tolerances
from book.runs import settings
from book.toc import ROOT

TAG = re.compile(r"(rtol|atol)=(.*)")
IGNORE = "nbval-ignore-output"
Outputs = Sequence[Mapping[str, Any]]


def stated(tags: Sequence[str]) -> tuple[float, float]:
    """(rtol, atol) as the tags of a cell state them; 0 where they don't.

    Raises:
        ValueError: when a tolerance is no positive finite number, or rtol is above 0.2, or there is no reason.
    """
    found = {"rtol": 0.0, "atol": 0.0}
    for match in filter(None, map(TAG.fullmatch, tags)):
        name, text = match.groups()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0.0 < value <= (0.2 if name == "rtol" else math.inf) or math.isinf(value):
            raise ValueError(f"the cell's tag {match[0]!r}: expected a tolerance such as {name}=1e-3, at most 0.2")
        if not any(tag.startswith("reason:") for tag in tags):
            raise ValueError(f"the cell's tag {match[0]!r} stands there without a reason: tag")
        found[name] = value
    return found["rtol"], found["atol"]


def differences(
    stored: Outputs, computed: Outputs, allowed: Sequence[Tolerance], tags: Sequence[str] = ()
) -> list[str]:
    """What a cell printed otherwise than its notebook says, in words; nothing where it agrees.

    Args:
        stored: the outputs in the notebook.
        computed: the outputs of the cell as it ran now.
        allowed: the tolerances of the stored numbers, in their order.
        tags: of the cell.

    Returns:
        One line for each difference.
    """
    if IGNORE in tags:
        return _claims_apart(stored, computed, coarse=True)
    found = _claims_apart(stored, computed, coarse=False)
    if outputs.pictures(stored) != outputs.pictures(computed):
        found.append(f"{outputs.pictures(stored)} pictures stored, {outputs.pictures(computed)} drawn")
    if outputs.words(stored) != outputs.words(computed):
        return [*found, f"words: stored {outputs.words(stored)!r}", f"computed {outputs.words(computed)!r}"]
    rtol, atol = stated(tags)
    for tolerance, number in zip(allowed, outputs.numbers(computed), strict=True):
        a, b = outputs.value(tolerance.stored), outputs.value(number)
        by_tag = (rtol or atol) and math.isclose(a, b, rel_tol=rtol, abs_tol=atol)
        if not (tolerance.allows(number) or by_tag):
            how = "by order of magnitude" if tolerance.excused else f"within {tolerance.absolute:.3g}"
            found.append(f"{tolerance.stored} stored, {number} computed, compared {how}")
    return found


def _claims_apart(stored: Outputs, computed: Outputs, coarse: bool) -> list[str]:
    """Where records of claims differ. Their numbers are printed and compared there, but in cells that are ignored."""
    old, new = outputs.claims(stored), outputs.claims(computed)
    if [claim["id"] for claim in old] != [claim["id"] for claim in new]:
        return [f"claims {[claim['id'] for claim in old]} stored, {[claim['id'] for claim in new]} made"]
    found = []
    for a, b in zip(old, new, strict=True):
        for key in ("sentence", "verdict"):
            if a[key] != b[key]:
                found.append(f"{a['id']}: {key} {a[key]!r} stored, {b[key]!r} made")
        if a["measured"].keys() != b["measured"].keys():  # a notebook's file sorts them
            found.append(f"{a['id']}: measured {list(a['measured'])} stored, {list(b['measured'])} made")
        elif coarse:
            for name, value in a["measured"].items():
                if not same_order(value, b["measured"][name]):
                    found.append(f"{a['id']}: {name} = {value} stored, {b['measured'][name]} measured")
        if (a["margin"] is None) != (b["margin"] is None) or not same_order(a["margin"] or 1.0, b["margin"] or 1.0):
            found.append(f"{a['id']}: margin {a['margin']} stored, {b['margin']} measured")
    return found


def same_order(a: float, b: float) -> bool:
    """Whether two numbers agree in order of magnitude; two rounding errors do."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b
    return abs(math.log10(max(abs(a), FLOOR) / max(abs(b), FLOOR))) <= 1.0


@functools.cache
def allowed_in(page: Path, root: Path = ROOT) -> dict[str, list[Tolerance]]:
    """The tolerances of all numbers in a notebook, by the id of the cell."""
    runs = settings.read(root).runs.get(page.as_posix(), {})
    seen = [run.seen for name, run in runs.items() if settings.SETTINGS[name].kind in settings.SAME_NUMBERS]
    found = {}
    for cell in nbformat.read(root / page, as_version=4).cells:
        if cell.cell_type == "code":
            rows = [numbers for by_cell in seen if (numbers := by_cell.get(cell.id)) is not None]
            found[cell.id] = tolerances(outputs.numbers(cell.outputs), rows)
    return found


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let every cell be compared in this way."""
    if not isinstance(item, IPyNbCell):
        return
    tags = item.cell.metadata.get("tags", [])
    try:
        stated(tags)
    except ValueError as error:
        raise pytest.UsageError(f"{item.nodeid}: {error}") from error
    path = item.parent.path
    inside = path.is_relative_to(ROOT)
    allowed = allowed_in(path.relative_to(ROOT)) if inside else allowed_in(Path(path.name), path.parent)

    def compare(computed: Outputs, stored: Outputs, skip_compare: object = None) -> bool:
        item.comparison_traceback = differences(stored, computed, allowed[item.cell.id], tags)
        return not item.comparison_traceback

    item.compare_outputs = compare
    item.options["check"] = True  # what is ignored is decided above
