"""The pages of the book, in reading order, as `_toc.yml` lists them."""

import re
from pathlib import Path

import nbformat
from sphinx_external_toc.api import SiteMap
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[1]


def docnames(root: Path = ROOT) -> list[str]:
    """What `_toc.yml` lists, in reading order, whether the files are there or not."""
    site = parse_toc_yaml(root / "_toc.yml")
    return _reading_order(site, site.root.docname)


def pages(root: Path = ROOT) -> list[Path]:
    """Every page of the book, relative to `root`, in reading order.

    Raises:
        ValueError: when a page of `_toc.yml` is not there as exactly one `.ipynb` or `.md` file.
    """
    return [_source(root, docname) for docname in docnames(root)]


def notebooks(root: Path = ROOT) -> list[Path]:
    """The pages that are notebooks, relative to `root`, in reading order."""
    return [page for page in pages(root) if page.suffix == ".ipynb"]


def title(page: Path, root: Path = ROOT) -> str:
    """The text of the page's first heading."""
    text = (root / page).read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = "\n".join(c.source for c in nbformat.reads(text, as_version=4).cells if c.cell_type == "markdown")
    heading = re.search(r"^# +(.+?)\s*$", text, re.MULTILINE)
    if heading is None:
        raise ValueError(f"{page}: expected a heading of the first level, found none")
    return heading[1]


def _reading_order(site: SiteMap, docname: str) -> list[str]:
    document = site[docname]
    return [docname, *(name for child in document.child_files() for name in _reading_order(site, child))]


def _source(root: Path, docname: str) -> Path:
    # `_toc.yml` may name a page with or without its suffix.
    candidates = [Path(docname)] if Path(docname).suffix in {".ipynb", ".md"} else []
    candidates += [Path(docname + suffix) for suffix in (".ipynb", ".md")]
    found = [page for page in candidates if (root / page).is_file()]
    if len(found) != 1:
        raise ValueError(
            f"_toc.yml lists {docname!r}: expected one .ipynb or .md file, found {[str(p) for p in found]}"
        )
    return found[0]
