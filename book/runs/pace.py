"""How slow the machine was while something ran: on a shared one the same work takes twice as long a minute later."""

import statistics
import threading
import time
from types import TracebackType

#: Processor seconds that `work` takes on the machine of the records while nobody else uses it: the least that was seen.
QUIET = 0.0166
EVERY = 3.0  # seconds between two samples, each of which takes a hundredth of that


def work() -> float:
    """Processor seconds that a fixed loop takes now; waiting for a processor does not count."""
    start = time.thread_time()
    total = 0
    for number in range(300_000):
        total += number * number
    return time.thread_time() - start


class Pace:
    """In a `with` statement: samples the pace of the machine beside what runs, in a process that waits.

    Attributes:
        samples: processor seconds of `work`, one at the beginning at least.
    """

    samples: list[float]

    def __enter__(self) -> "Pace":
        self.samples = [work()]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(EVERY):
            self.samples.append(work())

    @property
    def slowness(self) -> float:
        """By how many times the machine was slower than a quiet one: the mean of the samples over `QUIET`."""
        return statistics.fmean(self.samples) / QUIET
