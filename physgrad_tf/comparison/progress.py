"""One line that tells how far a comparison is, where a person waits for it."""

from __future__ import annotations

import os
import sys

#: Set for a kernel by a notebook's server, and by Colab; who executes a notebook without looking sets neither.
WATCHED = ("JPY_SESSION_NAME", "COLAB_RELEASE_TAG")


class Progress:
    """A line on the standard error, written over by the next one, and wiped out at the end.

    Args:
        n_trainings: how many trainings there are to be done, as far as known.
    """

    def __init__(self, n_trainings: int) -> None:
        """Write nothing yet."""
        self.n_trainings = n_trainings
        self.n_done = 0
        self.shown = sys.stderr.isatty() or any(name in os.environ for name in WATCHED)

    def begin(self, what: str) -> None:
        """Say which training begins."""
        self.n_done += 1
        self.n_trainings = max(self.n_trainings, self.n_done)
        self._write(f"training {self.n_done} of {self.n_trainings}: {what}")

    def end(self) -> None:
        """Wipe the line out."""
        self._write("")

    def _write(self, text: str) -> None:
        if self.shown:
            print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)
