"""What a cell printed: the texts of its outputs, their words and their numbers."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

# A number that stands alone: no letter, digit or dot touches it, so that float32, x1 and 2.21.0 are words.
NUMBER = re.compile(
    r"(?:(?<![\w.])[+\-−])?(?<![\w.])(?:\d+\.?\d*|\.\d+)(?:[eE][+\-]?\d+)?(?!\w)(?!\.\d)|(?<![\w.])[+\-−]?inf(?!\w)"
)
WHOLE = re.compile(r"[+\-−]?\d+\.?")
FIGURE = "Figure, "  # what the summary of a figure begins with
CLAIM_KEY = "physgrad_claim"


def texts(outputs: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a reader sees as text, output by output; neighbouring pieces of one stream are one text."""
    found: list[str] = []
    stream = None
    for output in outputs:
        if output["output_type"] == "stream":
            if output["name"] == stream:
                found[-1] += output["text"]
            else:
                found.append(output["text"])
            stream = output["name"]
            continue
        stream = None
        if output["output_type"] in ("display_data", "execute_result"):
            found += [str(value) for kind, value in sorted(output["data"].items()) if kind.startswith("text/")]
    return found


def numbers(outputs: Iterable[Mapping[str, Any]]) -> list[str]:
    """All numbers that a cell printed, in order, as they are printed."""
    return [number for text in texts(outputs) for number in NUMBER.findall(text)]


def words(outputs: Iterable[Mapping[str, Any]]) -> list[str]:
    """All that is no number, text by text, without the blanks that numpy sets beside numbers to align them."""
    return [re.sub(r"\s*#\s*", "#", NUMBER.sub("#", text)) for text in texts(outputs)]


def is_figure(text: str) -> bool:
    """Whether a text is the summary of a figure."""
    return text.startswith(FIGURE)


def pictures(outputs: Iterable[Mapping[str, Any]]) -> int:
    """How many pictures a cell shows."""
    return sum(any(kind.startswith("image/") for kind in output.get("data", {})) for output in outputs)


def claims(outputs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records of the claims that a cell made."""
    return [output["metadata"][CLAIM_KEY] for output in outputs if CLAIM_KEY in output.get("metadata", {})]


def value(number: str) -> float:
    """A printed number as a number."""
    return float(number.replace("−", "-"))
