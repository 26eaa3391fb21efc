"""Trainings that do not depend on each other: two at a time, and what has been trained is kept.

Each runs in a fresh process on one thread; that is faster than one after the other on two. A long command can so be
broken off and called again.
"""

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from book import digests
from book.toc import ROOT

KEPT = Path("_build/trainings")


def trained(work: Callable[[Any], Any], tasks: Sequence[Any], modules: Sequence[str]) -> list[Any]:
    """The results of all tasks, in their order, from where they are kept or from now.

    Args:
        work: maps a task to what JSON can hold; a function of a module, so that another process finds it.
        tasks: dataclasses, whose `repr` tells all that a result depends on.
        modules: files of `book/runs` that the results depend on beside the package. A result is kept for the code as it
            was; when that changes, there is another place.
    """
    code = [*(ROOT / "physgrad_tf").rglob("*.py"), *(ROOT / "book/runs" / name for name in modules)]
    folder = ROOT / KEPT / digests.of_modules(code)
    folder.mkdir(parents=True, exist_ok=True)
    places = {task: folder / f"{hashlib.sha256(repr(task).encode()).hexdigest()[:12]}.json" for task in tasks}
    todo = [task for task, place in places.items() if not place.exists()]
    if todo:
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, spawn, initializer=_one_thread, max_tasks_per_child=1) as pool:
            futures = {pool.submit(work, task): task for task in todo}
            for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
                task = futures[future]
                unfinished = places[task].with_suffix(".unfinished")
                unfinished.write_text(json.dumps(future.result()), encoding="utf-8")
                os.replace(unfinished, places[task])
                print(f"[{number}/{len(todo)}] {task}", flush=True)
    return [json.loads(places[task].read_text(encoding="utf-8")) for task in tasks]


def _one_thread() -> None:
    """TensorFlow reads this when it makes its threads; here it is not even imported yet, and some tasks need none."""
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
