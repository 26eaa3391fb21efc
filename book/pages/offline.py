"""Sphinx extension: no page names another host as a source of code.

Jupyter Book always loads sphinx-thebe, which puts the address of a CDN into every page, twice, for a button that this
book does not have.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], document: nodes.document | None) -> None:
    """Take the scripts of sphinx-thebe out of the page."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "THEBE_JS_URL" not in (script.attributes.get("body") or "") and "sphinx-thebe" not in str(script.filename)
    ]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the filter, after all extensions that add scripts."""
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
