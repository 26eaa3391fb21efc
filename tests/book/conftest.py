"""What the checks of the book share: its pages, its notebooks, the built HTML, one browser."""

import functools
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from book.browser import Browser, BrowserMissing
from book.toc import ROOT

HTML = ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def html() -> Path:
    if not (HTML / "index.html").is_file():
        pytest.fail(f"{HTML} holds no built book. Run `make book` first (`make test` does).", pytrace=False)
    return HTML


@pytest.fixture(scope="session")
def browser(html: Path) -> Iterator[Browser]:
    try:
        chromium = Browser()
    except BrowserMissing as error:
        message = f"The pages were not looked at in a browser: {error}."
        if os.environ.get("PHYSGRAD_REQUIRE_BROWSER") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    with chromium:
        yield chromium


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing: what matters of a request shows in the browser."""


@pytest.fixture(scope="session")
def address(html: Path) -> Iterator[str]:
    """The address at which the built book is served, on this machine only."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(html)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()
