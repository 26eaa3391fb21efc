"""A headless Chromium to look at the built pages with: what they load, what they complain about, what they show."""

import shutil
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from playwright.sync_api import ConsoleMessage, Error, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# What the theme says in the console to every reader who comes for the first time.
GREETING = "Got invalid theme mode: . Resetting to auto."
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
)
# Resolves when the page's fonts are there and its formulas are drawn.
SETTLED = """(async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  await document.fonts.ready;
  await new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)));
})()"""


class BrowserMissing(Exception):
    """No Chromium on this machine."""


class PageFailed(Exception):
    """A page could not be opened, or a script in it failed."""


@dataclass(frozen=True)
class View:
    """What the browser was told to be when it opened a page."""

    theme: Literal["light", "dark"] = "light"
    width: int = 1200
    height: int = 900
    scripts: bool = True  # whether the pages may run any
    touch: bool = False  # whether there is a finger instead of a mouse
    formulas: bool = True  # whether they are drawn, which takes half of the time that a long page takes


class Browser:
    """The machine's own Chromium, driven by Playwright. Use it in a `with` statement.

    Attributes:
        requests: addresses that the current page asked for, itself included.
        complaints: what the current page's scripts threw, and errors in its console.
    """

    requests: list[str]
    complaints: list[str]

    def __init__(self) -> None:
        found = next(filter(None, map(shutil.which, NAMES)), None)
        if found is None:
            raise BrowserMissing(
                f"no browser found (looked for {', '.join(NAMES)}). On Debian and Ubuntu: apt-get install chromium"
            )
        self._executable = found
        self._page: Page | None = None

    def __enter__(self) -> "Browser":
        self._playwright = sync_playwright().start()
        try:
            self._chromium = self._playwright.chromium.launch(executable_path=self._executable, args=list(FLAGS))
        except BaseException:
            self._playwright.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._chromium.close()
        self._playwright.stop()

    def open(self, url: str, view: View) -> Page:
        """Load a page in a fresh window and wait until it has settled.

        Raises:
            PageFailed: when it does not load.
        """
        if self._page is not None:
            self._page.context.close()
        self.requests, self.complaints = [], []
        context = self._chromium.new_context(
            color_scheme=view.theme,
            viewport={"width": view.width, "height": view.height},
            java_script_enabled=view.scripts,
            has_touch=view.touch,
        )
        if not view.formulas:
            context.route("**/mathjax/**", lambda route: route.abort())
        page = context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._listen)
        self._page = page
        try:
            page.goto(url, wait_until="load")
        except Error as error:
            raise PageFailed(f"{url}: {error}") from error
        if view.scripts:
            self.settle()
        return page

    @property
    def address(self) -> str | None:
        """Where the current page came from; None before the first."""
        return None if self._page is None else self._page.url

    def settle(self) -> None:
        """Wait until the page has its fonts and formulas, and has been drawn."""
        self.evaluate(SETTLED)

    def _listen(self, said: ConsoleMessage) -> None:
        if said.type == "error" and said.text != GREETING:
            self.complaints.append(said.text)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is awaited.

        Raises:
            PageFailed: when no page is open, or the expression raises.
        """
        if self._page is None:
            raise PageFailed("no page is open")
        try:
            return self._page.evaluate(script)
        except Error as error:
            raise PageFailed(str(error)) from error
