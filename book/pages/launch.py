"""Sphinx extension: buttons that leave the book lead where something is.

Colab opens the Colab edition, which the workflow `publish` puts on a branch of its own. A copy of the book that is not
published has neither buttons for Colab nor for its repository.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

from book.address import COLAB_BRANCH, is_published, repository_address

_OUTWARD = {"launch-buttons", "source-buttons"}


def lead_somewhere(app: Sphinx, page: str, template: str, context: dict[str, Any], document: nodes.document) -> None:
    """Point the theme's buttons to what is published, or take them away."""
    buttons = context.get("header_buttons", [])
    if not is_published():
        context["header_buttons"] = [button for button in buttons if button.get("label") not in _OUTWARD]
        return
    branch = app.config.html_theme_options["repository_branch"]
    for group in buttons:
        if group.get("label") == "launch-buttons":
            for button in group["buttons"]:
                button["url"] = button["url"].replace(f"/blob/{branch}/", f"/blob/{COLAB_BRANCH}/", 1)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the change, after the theme has made its buttons, and say at the end of a build what it means."""

    def say_if_unpublished(app: Sphinx, exception: Exception | None) -> None:
        if not is_published():
            logging.getLogger(__name__).info(
                "This copy of the book is not published (%s is no address), so its pages have no buttons for Colab and "
                "the repository. The workflow `publish` sets the address; by hand `python -m book.runs.set_address`.",
                repository_address(),
                color="yellow",
            )

    app.connect("html-page-context", lead_somewhere, priority=900)
    app.connect("build-finished", say_if_unpublished)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
