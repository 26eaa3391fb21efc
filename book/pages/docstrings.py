"""Sphinx extension: docstrings write |x| as readers of the source expect it; reStructuredText wants bars escaped."""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

_BAR = re.compile(r"(?<!\\)\|")


def escape_bars(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape every bar of a docstring that is not escaped yet, outside of ``literals``."""
    for number, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [_BAR.sub(r"\|", part) for part in parts[::2]]
        lines[number] = "``".join(parts)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the rewriting, ahead of napoleon, which makes reStructuredText of the sections."""
    app.connect("autodoc-process-docstring", escape_bars, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
