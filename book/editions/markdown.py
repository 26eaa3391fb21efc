"""The text of a chapter as plain Markdown, cell by cell, from the document that Sphinx has resolved.

Numbers, titles and addresses are Sphinx's. What plain Markdown lacks, admonitions and exercises, become quotations;
solutions fold.
"""

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.util.math import get_node_equation_number
from sphinx_exercise.nodes import exercise_enumerable_node, exercise_node, solution_node
from sphinx_markdown_builder.contexts import IndentContext, NoLineBreakContext, SubContextParams, WrappedContext
from sphinx_markdown_builder.translator import MarkdownTranslator

# What stands for a code cell in the stream of text; no chapter can contain it.
_MARK = "\x02{}\x03"
_MARKS = re.compile(r"\x02(\d+|solution|end)\x03")
_HIDDEN = ("<details>\n<summary>Solution</summary>\n\n", "\n\n</details>")


class code_cell(nodes.Element):
    """A code cell of the notebook; its attribute `index` is its place there, its children are captions."""


def pieces(markdown: str) -> Iterator[tuple[str | int, bool]]:
    """The stream of text, cut at its code cells.

    Args:
        markdown: what `ColabTranslator` wrote.

    Yields:
        In the order of the chapter a text or the index of a code cell, and whether it belongs to a solution.
    """
    folded = False
    parts = _MARKS.split(markdown)
    for text, mark in zip(parts[::2], [*parts[1::2], None], strict=True):
        if text.strip():
            yield text.strip().join(_HIDDEN) if folded else text.strip(), folded
        if mark in ("solution", "end"):
            folded = mark == "solution"
        elif mark is not None:
            yield int(mark), folded


class ColabTranslator(MarkdownTranslator):  # type: ignore[misc]
    """Writes a resolved document as Markdown that Colab, JupyterLab and VS Code show alike."""

    def unknown_visit(self, node: nodes.Node) -> None:
        """Nothing is left out in silence."""
        raise NotImplementedError(f"no Markdown for {type(node).__name__}: {node.astext()[:80]!r}")

    # --- code cells ---

    def visit_code_cell(self, node: nodes.Element) -> None:
        """Code cells divide the text; they stand at the top, not inside of a list or a quotation."""
        if len(self._ctx_queue) != 1:
            raise NotImplementedError(f"code cell {node['index']} stands inside of a quotation, a list or a table")
        self.add(_MARK.format(node["index"]), prefix_eol=2, suffix_eol=2)

    def visit_raw(self, node: nodes.Element) -> None:
        """Jupyter Book adds the set-up of a button to every page; a chapter has no text for one format alone."""
        if "thebe" not in node.astext() and "kernelName" not in node.astext():
            self.unknown_visit(node)
        raise nodes.SkipNode

    # --- pictures ---

    def visit_figure(self, node: nodes.Element) -> None:
        """A picture with its caption, as paragraphs."""
        self.ensure_eol(2)

    def depart_figure(self, node: nodes.Element) -> None:
        """A paragraph ends."""
        self.ensure_eol(2)

    def visit_image(self, node: nodes.Element) -> None:
        """The builder knows under which address a reader finds the picture."""
        text = node.get("alt", "").replace("[", r"\[").replace("]", r"\]").replace("\n", " ")
        self.add(f"![{text}]({self.builder.image_address(node)})", prefix_eol=2, suffix_eol=2)

    def visit_caption(self, node: nodes.Element) -> None:
        """The number and the text of a figure."""
        name = self.builder.numbered(node.parent, "figure")
        self._push_context(WrappedContext(f"**{name}** ", "", params=SubContextParams(2, 2)))

    def depart_caption(self, node: nodes.Element) -> None:
        """The caption ends."""
        self._pop_context()

    # --- mathematics: nothing is escaped, and a table's column marks must not occur ---

    def visit_math(self, node: nodes.Element) -> None:
        """Inline mathematics."""
        self.add(f"${self._formula(node)}$")
        raise nodes.SkipNode

    def visit_math_block(self, node: nodes.math_block) -> None:
        """A displayed equation with its number, if it has one."""
        tag = f" \\tag{{{get_node_equation_number(self, node)}}}" if node.get("number") else ""
        self.add(f"$$\n{self._formula(node)}{tag}\n$$", prefix_eol=2, suffix_eol=2)
        raise nodes.SkipNode

    def _formula(self, node: nodes.Element) -> str:
        formula = node.astext().strip()
        in_table = any(isinstance(parent, nodes.table) for parent in _parents(node))
        return formula.replace(r"\|", r"\Vert ").replace("|", r"\vert ") if in_table else formula

    def visit_literal(self, node: nodes.Element) -> None:
        """Code within a line."""
        text = node.astext()
        fence = "``" if "`" in text else "`"
        self.add(f"{fence}{text}{fence}")
        raise nodes.SkipNode

    # --- references ---

    def visit_reference(self, node: nodes.Element) -> None:
        """A link to a published page or elsewhere; bare text as long as the book is not published."""
        address = node.get("refuri", "")
        if "refid" in node:
            address = f"{self.builder.get_target_uri(self.builder.current_doc_name)}#{node['refid']}"
        context = WrappedContext("[", f"]({address})") if self.builder.leads_somewhere(address) else WrappedContext("")
        self._push_context(context)

    def depart_reference(self, node: nodes.Element) -> None:
        """The link ends."""
        self._pop_context()

    def visit_target(self, node: nodes.Element) -> None:
        """Links lead to the published pages, which have the targets."""
        raise nodes.SkipNode

    # --- quotations ---

    def visit_admonition(self, node: nodes.Element) -> None:
        """A quotation with a bold title."""
        self._push_context(IndentContext("> ", empty=True, params=SubContextParams(2, 2)))

    def depart_admonition(self, node: nodes.Element) -> None:
        """The quotation ends."""
        self._pop_context()

    def visit_exercise_enumerable_node(self, node: nodes.Element) -> None:
        """A quotation that begins with the exercise's number."""
        self._push_context(IndentContext("> ", empty=True, params=SubContextParams(2, 2)))
        title = node.children[0]
        assert isinstance(title, nodes.title)
        title.insert(0, nodes.Text(self.builder.numbered(node, "exercise")))

    def depart_exercise_enumerable_node(self, node: nodes.Element) -> None:
        """The quotation ends."""
        self._pop_context()

    def visit_solution_node(self, node: nodes.Element) -> None:
        """What follows folds, text and code, up to the end of the solution."""
        self.add(_MARK.format("solution"), prefix_eol=2, suffix_eol=2)
        node.children.pop(0)  # its title is on the fold

    def depart_solution_node(self, node: nodes.Element) -> None:
        """The solution ends."""
        self.add(_MARK.format("end"), prefix_eol=2, suffix_eol=2)

    def visit_title(self, node: nodes.Element) -> None:
        """A heading, or the bold first line of a quotation."""
        if isinstance(node.parent, nodes.section):
            super().visit_title(node)
            return
        context = NoLineBreakContext(params=SubContextParams(0, 2))
        self._push_context(context)
        self.add("**")

    def depart_title(self, node: nodes.Element) -> None:
        """The heading ends."""
        if not isinstance(node.parent, nodes.section):
            self.add("**")
        self._pop_context()

    def visit_section(self, node: nodes.Element) -> None:
        """The contents of exercises and solutions are sections without a title: they are no level of their own."""
        if isinstance(node.parent, exercise_node | exercise_enumerable_node | solution_node):
            self._push_status()
        else:
            super().visit_section(node)

    def depart_section(self, node: nodes.Element) -> None:
        """The section ends."""
        self._pop_status()


def _parents(node: nodes.Node) -> Iterator[nodes.Node]:
    while node.parent is not None:
        node = node.parent
        yield node
