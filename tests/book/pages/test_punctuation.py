"""What stands behind a formula stays on its line, and the text is the same."""

import pytest
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document

from book.pages.punctuation import KeepPunctuation


def paragraph(*parts: nodes.Node) -> nodes.paragraph:
    document = new_document("one", get_default_settings())
    document += nodes.paragraph("", "", *parts)
    KeepPunctuation(document).run()
    return document[0]


@pytest.mark.parametrize(
    ("behind", "kept", "rest"),
    [(", and", ",", " and"), (").", ").", ""), ("-th step", "-", "th step"), ("”. So", "”.", " So")],
)
def test_marks_go_with_the_formula(behind, kept, rest):
    found = paragraph(nodes.Text("with "), nodes.math("", "J"), nodes.Text(behind))
    assert found.astext() == f"with J{behind}"
    (together,) = found.findall(nodes.inline)
    assert together.astext() == f"J{kept}"
    assert found.children[-1].astext() == rest


@pytest.mark.parametrize("behind", [[], [nodes.Text(" and")], [nodes.math("", "K")], [nodes.strong("", ",")]])
def test_what_is_no_mark_stays(behind):
    found = paragraph(nodes.math("", "J"), *behind)
    assert list(found.findall(nodes.inline)) == []
