"""Short fingerprints: of what a chapter computes, and of a stored record, so that neither changes unnoticed."""

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nbformat import NotebookNode


def of_chapter(notebook: NotebookNode) -> str:
    """What a chapter computes: its code without comments and layout, and without the set-up cell."""
    return _of_sources(cell.source for cell in [c for c in notebook.cells if c.cell_type == "code"][1:])


def of_modules(paths: Iterable[Path]) -> str:
    """What some modules compute: their code without comments and layout."""
    return _of_sources(path.read_text(encoding="utf-8") for path in sorted(paths))


def of_record(content: Any) -> str:
    """The content of a record, whatever its layout: nobody edits one by hand."""
    return _short(json.dumps(content, sort_keys=True, ensure_ascii=False))


def _of_sources(sources: Iterable[str]) -> str:
    return _short("\n".join(ast.dump(ast.parse(source)) for source in sources))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
