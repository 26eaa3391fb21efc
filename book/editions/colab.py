"""Sphinx builder `colab`: every notebook of the book as one that Colab, JupyterLab and VS Code show well.

The text comes from the document that Sphinx has resolved, the code and its outputs from the chapter's notebook.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import matplotlib
import nbformat
import resvg_py
from docutils import nodes
from nbformat.v4 import new_code_cell, new_markdown_cell
from pybtex.plugin import find_plugin
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.util.typing import ExtensionMetadata
from sphinxcontrib.bibtex.domain import BibtexDomain

from book.address import pages_address
from book.editions.markdown import ColabTranslator, code_cell, pieces
from book.runs.execute import NOTEBOOK_METADATA
from book.runs.set_up import TAG, cell_source
from book.toc import ROOT, notebooks

SOLUTION_TITLE = "# @title Code of the solution"
SET_UP_TITLE = "# @title Set-up: find the package, import, fix the seeds"
PIXELS = 2.0  # of a picture, for one of the drawing


class ColabBuilder(Builder):
    """Writes one notebook for each notebook of the book, under the same path."""

    name = "colab"
    format = "markdown"
    epilog = "The notebooks for Colab are in %(outdir)s."
    default_translator_class = ColabTranslator
    allow_parallel = True

    current_doc_name: str
    fignumbers: dict[str, dict[str, tuple[int, ...]]]  # of the document, by kind and id, as HTML's builder has them

    def get_outdated_docs(self) -> Iterator[str]:
        """All of them: a chapter shows numbers and titles of others."""
        yield from self.env.found_docs

    def get_target_uri(self, docname: str, typ: str | None = None) -> str:
        """The published page; as long as there is none, the page's name, which `leads_somewhere` refuses."""
        return f"{pages_address() or ''}/{docname}.html"

    def get_relative_uri(self, from_: str, to: str, typ: str | None = None) -> str:
        """Notebooks are read far from the pages: every address is a full one."""
        return self.get_target_uri(to, typ)

    @staticmethod
    def leads_somewhere(address: str) -> bool:
        """Whether a reader of the notebook can follow the address."""
        return urlsplit(address).scheme in {"http", "https", "mailto"}

    def numbered(self, node: nodes.Element, kind: str) -> str:
        """What Sphinx calls a figure or an exercise, as in `Fig. 3`."""
        number = next(self.fignumbers[kind][name] for name in node["ids"] if name in self.fignumbers[kind])
        return str(self.config.numfig_format[kind]) % ".".join(map(str, number))

    def image_address(self, image: nodes.Element) -> str:
        """The picture itself, which shows without the published book and without a network.

        As PNG: VS Code and nbconvert take no other kind of drawing from inside of a text. On white, for dark pages.
        """
        path = Path(self.srcdir, image["uri"])
        drawn = path.read_bytes()
        if path.suffix == ".svg":
            fonts = str(Path(matplotlib.get_data_path(), "fonts/ttf"))  # the same on every machine
            drawn = bytes(
                resvg_py.svg_to_bytes(
                    svg_path=str(path),
                    background="#ffffff",
                    zoom=PIXELS,
                    skip_system_fonts=True,
                    font_dirs=[fonts],
                    font_family="DejaVu Sans",
                    sans_serif_family="DejaVu Sans",
                    serif_family="DejaVu Serif",
                )
            )
        return f"data:image/png;base64,{base64.b64encode(drawn).decode('ascii')}"

    def prepare_writing(self, docnames: set[str]) -> None:
        """What is written are the notebooks among the documents."""
        self.sources = {page.with_suffix("").as_posix(): page for page in notebooks(ROOT)}

    def write_doc(self, docname: str, doctree: nodes.document) -> None:
        """Write one notebook."""
        if docname not in self.sources:
            return
        self.current_doc_name = docname
        self.fignumbers = self.env.toc_fignumbers.get(docname, {})
        source = nbformat.read(ROOT / self.sources[docname], as_version=4)
        cited = self._cited(docname)
        for container in list(doctree.findall(nodes.container)):
            if container.get("nb_element") == "cell_code":
                container.replace_self(_mark(container))
        translator = cast(ColabTranslator, self.create_translator(doctree, self))
        doctree.walkabout(translator)
        notebook = nbformat.v4.new_notebook(metadata=nbformat.from_dict(NOTEBOOK_METADATA))
        notebook.cells = [self._head(docname), *self._cells(translator.astext(), source)]
        if cited:
            notebook.cells.append(new_markdown_cell("## References\n\n" + "\n".join(f"- {text}" for text in cited)))
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number}"
        target = Path(self.outdir, docname).with_suffix(".ipynb")
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)

    def _head(self, docname: str) -> nbformat.NotebookNode:
        book, page = self.config.html_title, self.get_target_uri(docname)
        link = f"[the book *{book}*]({page})" if self.leads_somewhere(page) else f"the book *{book}*"
        return new_markdown_cell(
            f"This notebook is a chapter of {link}. Its cells have the outputs that the book shows. To run them, begin "
            "with the first one; in Colab it fetches the book's package."
        )

    def _cells(self, markdown: str, source: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
        left = {i for i, cell in enumerate(source.cells) if cell.cell_type == "code"}
        for piece, folded in pieces(markdown):
            if isinstance(piece, str):
                yield new_markdown_cell(piece)
            else:
                left.remove(piece)
                yield _code(source.cells[piece], folded)
        if left:
            raise ValueError(f"{self.current_doc_name}: the code cells {sorted(left)} are not in the document")

    def _cited(self, docname: str) -> list[str]:
        """What the chapter cites, in the order of the bibliography."""
        domain = cast(BibtexDomain, self.env.get_domain("cite"))
        keys = {to.key for ref in domain.citation_refs if ref.docname == docname for to in ref.targets}
        markdown = find_plugin("pybtex.backends", "markdown")()
        cited = [c.formatted_entry.text.render(markdown) for c in domain.citations if c.key in keys]
        return [" ".join(text.split()) for text in cited]


def _mark(container: nodes.Element) -> list[nodes.Element]:
    """What stays of a code cell: a mark, and the captions of its figures."""
    captions = []
    for figure in container.findall(nodes.figure):
        kept = nodes.figure("", *figure.findall(nodes.caption), ids=figure["ids"])
        captions.append(kept)
    return [code_cell("", index=int(container["cell_index"])), *captions]


def _code(cell: nbformat.NotebookNode, folded: bool) -> nbformat.NotebookNode:
    """A code cell: Colab hides the code of a form, JupyterLab and VS Code that of a hidden source."""
    tags = cell.metadata.get("tags", [])
    metadata: dict[str, Any] = {"tags": tags} if tags else {}
    source, outputs, title = cell.source, cell.outputs, None
    if TAG in tags:
        source, title = cell_source(), SET_UP_TITLE
    elif folded:  # its outputs are part of the solution: they come when the reader runs the cell
        outputs, title = [], SOLUTION_TITLE
    if title:
        source = f"{title}\n{source}"
        metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    return new_code_cell(source, outputs=outputs, metadata=metadata)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the builder."""
    app.add_builder(ColabBuilder)
    # Read by the translator that ours extends.
    for name, default in (("markdown_http_base", ""), ("markdown_bullet", "-"), ("markdown_flavor", "")):
        app.add_config_value(name, default, "env")
    for name in ("markdown_anchor_sections", "markdown_anchor_signatures", "markdown_docinfo"):
        app.add_config_value(name, False, "env")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
