"""Sphinx extension: a full stop, comma or bracket stays on the line of the formula before it.

A browser may break a line on either side of a formula, since to the browser it is a picture.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata

MARKS = re.compile(r"[.,;:!?)\]’”–-]+")


class KeepPunctuation(SphinxPostTransform):
    """Put each formula and the marks behind it into one inline node, which the style sheet never breaks."""

    default_priority = 800
    formats = ("html",)

    def run(self, **options: Any) -> None:
        """Change the document in place."""
        for formula in list(self.document.findall(nodes.math)):
            siblings = formula.parent.children
            position = siblings.index(formula) + 1
            behind = siblings[position] if position < len(siblings) else None
            if not isinstance(behind, nodes.Text):
                continue
            text = behind.astext()
            marks = MARKS.match(text)
            if marks is None:
                continue
            together = nodes.inline(classes=["unbroken"])
            formula.parent.replace(behind, nodes.Text(text[marks.end() :]))
            formula.replace_self(together)
            together += [formula, nodes.Text(marks[0])]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the transform."""
    app.add_post_transform(KeepPunctuation)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
