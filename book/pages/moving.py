"""Sphinx extension: figures that a reader moves. `{moving}` is a figure like any other, with a still picture.

The directive names the script and the problem, as in `planes ball`. The picture lies in `book/figures/stills`; the
figure itself has drawn it (`make stills`). In the rendered book the script `book/figures/planes.js` takes its place, on
pages that have the figure and on no others. Without JavaScript, in print, in the PDF and in Colab the picture stays.

A figure may need numbers that a cell of its chapter has computed, such as the weights of a trained network. The cell
leaves them, as JSON, in the metadata of an output, which nbval and the reader pass over.
"""

import json
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.directives.patches import Figure
from sphinx.util.typing import ExtensionMetadata

from book.toc import ROOT, pages

FIGURES = ROOT / "book/figures"
MARK = "moving-of-"
SCRIPTS = ("jsxgraph/jsxgraphcore.js", "moving.js")
STYLE = "moving.css"
STORED = "physgrad_moving"  # in the metadata of an output: the figure's stem → what is stored for it, JSON as text


def stem(name: str, problem: str) -> str:
    """What the still picture of a figure is called, without its ending."""
    return f"{name}-{problem}"


def stored(name: str, problem: str) -> str | None:
    """What a cell of the book has stored for a figure, as JSON, or None where no cell has."""
    for page in pages(ROOT):
        text = (ROOT / page).read_text(encoding="utf-8")
        if page.suffix == ".ipynb" and STORED in text:
            for cell in json.loads(text)["cells"]:
                for output in cell.get("outputs", ()):
                    kept = output.get("metadata", {}).get(STORED, {})
                    if stem(name, problem) in kept:
                        return str(kept[stem(name, problem)])
    return None


def handed_over(name: str, problem: str) -> str | None:
    """The line of a page that gives a figure what is stored for it."""
    found = stored(name, problem)
    return found and f"(window.storedForFigures ??= {{}})[{json.dumps(stem(name, problem))}] = {found};"


class Moving(Figure):
    """The directive: `name problem`, options and caption as of a figure."""

    required_arguments = 2
    optional_arguments = 0
    final_argument_whitespace = False

    def run(self) -> list[nodes.Node]:
        """A figure with the still picture, marked for the script."""
        name, problem = self.arguments
        script, picture = FIGURES / f"{name}.js", FIGURES / "stills" / f"{stem(name, problem)}.svg"
        for path in (script, picture):
            if not path.is_file():
                raise self.error(f"moving: there is no {path.relative_to(ROOT)}.")
        if "frame.stored" in script.read_text(encoding="utf-8") and stored(name, problem) is None:
            raise self.error(f"moving: no output holds {STORED} for {stem(name, problem)}. Execute its chapter.")
        if not self.options.get("alt"):
            raise self.error("moving: the option alt is missing; it describes the still picture.")
        self.state.document.settings.env.note_dependency(str(script))
        self.arguments = [f"/{picture.relative_to(ROOT)}"]
        self.options["loading"] = "lazy"  # with scripts nobody sees it; the browser fetches it before it prints
        self.options["figclass"] = ["moving", f"{MARK}{name}--{problem}"]
        return super().run()


def load_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], document: nodes.document | None
) -> None:
    """Give the page the scripts of its figures, and the library that they draw with."""
    marks = {
        entry.removeprefix(MARK)
        for figure in (document.findall(nodes.figure) if document else ())
        for entry in figure["classes"]
        if entry.startswith(MARK)
    }
    if marks:
        app.add_css_file(STYLE)
        for script in (*SCRIPTS, *sorted({f"{mark.split('--')[0]}.js" for mark in marks})):
            app.add_js_file(script, loading_method="defer")
        for mark in sorted(marks):
            if line := handed_over(*mark.split("--")):
                app.add_js_file(None, body=line)


def say_that_it_moves(app: Sphinx, document: nodes.document, page: str) -> None:
    """Let the caption in a Colab notebook tell where the figure moves; on paper and without scripts the style does."""
    if app.builder.name != "colab":
        return
    for figure in document.findall(nodes.figure):
        if "moving" in figure["classes"]:
            next(figure.findall(nodes.caption)).append(nodes.Text(" (In the rendered book this figure moves.)"))


def in_the_book() -> list[tuple[str, str]]:
    """Name and problem of every figure that moves, in the order of the pages."""
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in pages(ROOT)]
    return [(name, problem) for text in texts for name, problem in re.findall(r"\{moving\} (\S+) ([a-z-]+)", text)]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive and the scripts."""
    app.add_directive("moving", Moving)
    app.connect("html-page-context", load_scripts)
    app.connect("doctree-resolved", say_that_it_moves)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
