"""A headless Chromium to look at the built pages with: what they load, what they complain about, what they show."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
START_SECONDS = 30.0
ANSWER_SECONDS = 60.0
# Resolves when the page is loaded, its fonts are there and its formulas are drawn.
SETTLED = """(async () => {
  if (document.readyState !== "complete") await new Promise(done => addEventListener("load", done));
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

    theme: str = "light"
    width: int = 1200
    height: int = 900


class Browser:
    """One Chromium with a profile of its own, driven over its debugging port. Use it in a `with` statement.

    Attributes:
        requests: addresses that the current page asked for, itself included.
        complaints: errors in the current page's console.
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
        self._loop = asyncio.new_event_loop()
        self._last_id = 0

    def __enter__(self) -> "Browser":
        self._profile = tempfile.TemporaryDirectory(prefix="physgrad-browser-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [self._executable, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._run(self._connect())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._end()

    def open(self, url: str, view: View) -> None:
        """Load a page and wait until it has settled.

        Raises:
            PageFailed: when it does not load.
        """
        self.requests, self.complaints = [], []
        screen = {"width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": False}
        self._command("Emulation.setDeviceMetricsOverride", **screen)
        theme = [{"name": "prefers-color-scheme", "value": view.theme}]
        self._command("Emulation.setEmulatedMedia", features=theme)
        answer = self._command("Page.navigate", url=url)
        if "errorText" in answer:
            raise PageFailed(f"{url}: {answer['errorText']}")
        self.evaluate(SETTLED)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is awaited.

        Raises:
            PageFailed: when the expression raises.
        """
        answer = self._command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise PageFailed(json.dumps(answer["exceptionDetails"].get("exception", answer["exceptionDetails"])))
        return answer["result"].get("value")

    async def _connect(self) -> None:
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        deadline = time.monotonic() + START_SECONDS
        while not (port_file.exists() and port_file.read_text().count("\n")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise PageFailed(f"{self._executable} did not start (exit code {self._process.poll()})")
            await asyncio.sleep(0.05)
        port, path = port_file.read_text().splitlines()[:2]
        self._connection: WebSocketClientConnection = await websocket_connect(
            f"ws://127.0.0.1:{port}{path}", max_message_size=2**28
        )
        self._session = None
        target = await self._ask("Target.createTarget", {"url": "about:blank"})
        attached = await self._ask("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self._ask(f"{domain}.enable", {})

    def _command(self, method: str, **parameters: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._run(self._ask(method, parameters))
        return answer

    async def _ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        await self._connection.write_message(json.dumps(message))
        while True:
            text = await asyncio.wait_for(self._connection.read_message(), ANSWER_SECONDS)
            if text is None:
                raise PageFailed("the browser closed the connection")
            answer = json.loads(text)
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise PageFailed(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        method, details = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(details["exceptionDetails"].get("exception", {}).get("description", details)))
        elif method == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.complaints.append(f"{details['entry']['text']} {details['entry'].get('url', '')}")

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._loop.close()
        self._profile.cleanup()
