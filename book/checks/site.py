"""Does a published book hold what it should? `python -m book.checks.site ADDRESS [--notebook ADDRESS]`.

The address may be that of a folder, `file://…`: then it is looked at before it is published.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

import nbformat
from bs4 import BeautifulSoup

from book.address import COLAB_BRANCH, UNSET_OWNER, repository_address
from book.toc import ROOT, pages, title

TIMEOUT = 30  # seconds for one file


def faults(address: str, notebook: str | None = None, root: Path = ROOT) -> Iterator[str]:
    """What is wrong with a published book, one line each.

    Args:
        address: of the folder that holds `index.html`, with a scheme.
        notebook: of one notebook of the Colab edition, if it is to be looked at.
        root: the sources, which say what there must be.

    Yields:
        What is missing, empty or leads nowhere.
    """
    base, seen = address.rstrip("/") + "/", set[str]()
    index = _read(base + "searchindex.js")
    if not index.startswith("Search.setIndex("):
        yield "searchindex.js: no search"
    for name in ["index.html", *(page.with_suffix(".html").as_posix() for page in pages(root))]:
        text = _read(base + name)
        if not text:
            yield f"{name}: not there"
            continue
        if UNSET_OWNER in text:
            yield f"{name}: has the address of a copy that is not published"
        soup = BeautifulSoup(text, "html.parser")
        for image in soup.select("img[src]"):
            source = urljoin(base + name, str(image["src"]))
            if source.startswith(base) and source not in seen:
                seen.add(source)
                if not _read(source):
                    yield f"{name}: no picture {image['src']}"
    for page in pages(root):
        docname = page.with_suffix("").as_posix()
        text = _read(base + docname + ".html")
        heading = BeautifulSoup(text, "html.parser").select_one("main h1, article h1")
        if text and (heading is None or title(page, root) not in " ".join(heading.get_text().split())):
            yield f"{docname}.html: not the page {title(page, root)!r}"
        if f'"{docname}"' not in index:
            yield f"searchindex.js: {docname} is not found"
        if text and page.suffix == ".ipynb" and f"/blob/{COLAB_BRANCH}/{docname}.ipynb" not in text:
            yield f"{docname}.html: no button for Colab"
    if notebook is not None:
        yield from _faults_of_notebook(notebook, base, root)


def _faults_of_notebook(notebook: str, base: str, root: Path) -> Iterator[str]:
    try:
        cells = nbformat.reads(_read(notebook), as_version=4).cells
    except (ValueError, nbformat.reader.NotJSONError) as error:
        yield f"{notebook}: no notebook ({error})"
        return
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    if not code or f'"{repository_address(root)}"' not in code[0]:
        yield f"{notebook}: its first cell does not fetch {repository_address(root)}"
    published = [link for link in re.findall(r"\]\((https?://[^)\s]+)\)", text) if "/chapters/" in link]
    if not published:
        yield f"{notebook}: no link to the pages"
    for link in published:
        # Looked up where the pages are now: they may not lie at their address yet.
        place = base + "chapters/" + link.partition("/chapters/")[2]
        _, _, fragment = place.partition("#")
        found = _read(place.partition("#")[0])
        if not found or (fragment and f'id="{fragment}"' not in found):
            yield f"{notebook}: {link} leads nowhere"


def _read(address: str) -> str:
    """The text behind an address; empty where there is none."""
    if urlsplit(address).scheme not in {"http", "https", "file"}:
        raise ValueError(f"address is {address!r}; expected one that begins with http://, https:// or file://")
    try:
        with urlopen(address, timeout=TIMEOUT) as answer:
            return bytes(answer.read()).decode("utf-8", errors="replace")
    except (URLError, HTTPException, OSError):
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the faults; 0 when there are none."""
    parser = argparse.ArgumentParser(prog="python -m book.checks.site", description=__doc__.splitlines()[0])
    parser.add_argument("address", help="https://… or file://…, of the folder that holds index.html")
    parser.add_argument("--notebook", help="the address of one notebook of the Colab edition")
    asked = parser.parse_args(arguments)
    found = list(faults(asked.address, asked.notebook))
    print(*found, sep="\n", file=sys.stderr)
    print(f"{asked.address}: {len(found)} faults" if found else f"{asked.address}: everything is there")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
