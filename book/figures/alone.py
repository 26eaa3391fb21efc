"""One figure on a page of its own: for its still picture, and for tests that compare it with the package."""

import html
from pathlib import Path

from book.pages.moving import FIGURES, MARK, SCRIPTS, STYLE, handed_over
from book.toc import ROOT

PAGE = """<!doctype html>
<html lang="en" data-theme="light">
<head><meta charset="utf-8"><title>{name}</title>{head}</head>
<body style="width: 830px; font-family: 'DejaVu Sans', sans-serif">
<figure class="moving {mark}" id="figure"><img alt="still"><figcaption>{name}</figcaption></figure>
</body>
</html>
"""


def write(folder: Path, name: str, problem: str) -> Path:
    """Write the page into `folder`, and return it.

    Args:
        folder: where the page goes.
        name: of the figure.
        problem: what it shows.
    """
    head = f'<link rel="stylesheet" href="{(FIGURES / STYLE).as_uri()}">'
    if line := handed_over(name, problem):
        head += f"<script>{line}</script>"
    for script in (*SCRIPTS, f"{name}.js"):
        path = next(path for path in (FIGURES / script, ROOT / "book/assets" / script) if path.is_file())
        head += f'<script src="{path.as_uri()}" defer></script>'
    page = folder / f"{name}-{problem}.html"
    page.write_text(PAGE.format(name=html.escape(name), mark=f"{MARK}{name}--{problem}", head=head), encoding="utf-8")
    return page
