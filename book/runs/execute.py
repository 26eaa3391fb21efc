"""Execute chapters from scratch and store their outputs: `python -m book.runs.execute [NOTEBOOK …]`, by default all.

What is written depends on the sources and the outputs only, so that two runs with equal outputs give equal bytes. A
chapter that fails is left as it was.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from book import digests
from book.runs.pace import Pace
from book.runs.pictures import shrink_pictures
from book.runs.set_up import TAG, cell_source
from book.runs.timings import Run, here, read, write
from book.toc import ROOT, docnames, notebooks

CELL_TIMEOUT = 300  # seconds; the budget of a whole chapter is 120
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}


class CellsFailed(Exception):
    """The cells of a notebook did not run to their end."""


class ChapterFailed(Exception):
    """A chapter did not run to its end; the message says which, where and why."""


def prepare(notebook: NotebookNode, set_up: str) -> NotebookNode:
    """The notebook as it goes into the kernel: current set-up cell, no outputs, ids that depend on the content alone.

    Raises:
        ValueError: when the first code cell, and no other, does not carry the tag `set-up`.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if TAG in cell.metadata.get("tags", [])]
    if len(tagged) != 1 or tagged[0] is not code[0]:
        raise ValueError(f"expected the tag {TAG!r} on the first code cell and on no other, found {len(tagged)}")
    tagged[0].source = set_up
    tagged[0].metadata.tags = [TAG, "hide-input"]  # the pages fold it: its text is the same in every chapter
    for cell in code:
        cell.outputs = []
        cell.execution_count = None
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    set_ids(notebook)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def set_ids(notebook: NotebookNode) -> None:
    """Give every cell an id that depends on its content alone."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        content = f"{cell.cell_type}\n{cell.source}"
        repeat = seen[content] = seen.get(content, 0) + 1
        cell.id = hashlib.sha256(f"{repeat}\n{content}".encode()).hexdigest()[:12]


def run(notebook: NotebookNode, folder: Path, python: str = sys.executable, **options: Any) -> None:
    """Run all cells in a fresh kernel that works in `folder`, and store their outputs in the notebook.

    Args:
        notebook: what to run; it receives the outputs.
        folder: the working directory of the kernel.
        python: the interpreter of the kernel.
        options: of `NotebookClient`; `env` adds to this process's environment.

    Raises:
        CellsFailed: when a cell raises or takes too long, or the kernel dies; the message has the kernel's own log.
    """
    # With this variable set ipykernel leaves file descriptor 2 alone: TensorFlow's C++ log lines, which carry the time
    # of day, stay out of the outputs. The check of the outputs runs its kernels the same way.
    environment = os.environ | {"PYTEST_CURRENT_TEST": "x", "OPENBLAS_NUM_THREADS": "1"} | options.pop("env", {})

    class Manager(AsyncKernelManager):  # type: ignore[misc]
        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            return [python, *super().format_kernel_cmd(extra_arguments)[1:]]

    client = NotebookClient(
        notebook,
        kernel_manager_class=Manager,
        kernel_name="python3",
        timeout=CELL_TIMEOUT,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
        shutdown_kernel="immediate",  # all outputs are here; TensorFlow takes two seconds to take itself down
        **options,
    )
    with tempfile.TemporaryFile() as log:
        try:
            client.execute(env=environment, stderr=log)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            log.seek(0)
            said = log.read().decode(errors="replace")
            raise CellsFailed(f"{error}\nThe kernel's own log:\n{said}") from error


def execute(path: Path, set_up: str, progress: str = "") -> None:
    """Run one notebook from scratch in a fresh kernel, in its own folder, and replace the file when it succeeded.

    Raises:
        ChapterFailed: when a cell raises or takes too long, or the kernel dies. The file is left as it was.
    """
    notebook = prepare(nbformat.read(path, as_version=4), set_up)
    n_cells = len(notebook.cells)
    position = 0

    def show(cell: NotebookNode, cell_index: int) -> None:
        nonlocal position
        position = cell_index
        if sys.stdout.isatty():
            print(f"\r{progress} … cell {cell_index + 1} of {n_cells}\033[K", end="", flush=True)

    try:
        run(notebook, path.parent, on_cell_start=show)
    except CellsFailed as failure:
        source = notebook.cells[position].source
        raise ChapterFailed(f"{path}, cell {position} (counted from 0):\n\n{source}\n\n{failure}") from failure
    # Set at the end, since the kernel adds its version; whatever an editor left there goes.
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    shrink_pictures(notebook)
    # Written next to it and moved: an interrupted run never leaves half a chapter.
    unfinished = path.with_suffix(".unfinished")
    nbformat.write(notebook, unfinished)
    os.replace(unfinished, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute the chapters named on the command line, or all; 0 when all of them ran."""
    parser = argparse.ArgumentParser(prog="python -m book.runs.execute", description=__doc__.splitlines()[0])
    parser.add_argument(
        "notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="default: every notebook of _toc.yml"
    )
    asked = [path.resolve() for path in parser.parse_args(arguments).notebooks]
    # A chapter can be executed while others of `_toc.yml` are still to be written.
    listed = [ROOT / f"{docname}.ipynb" for docname in docnames(ROOT)]
    for path in asked:
        if path not in listed or not path.is_file():
            parser.error(f"{path} is not a notebook of _toc.yml")
    chosen = [path.relative_to(ROOT) for path in listed if path in asked] if asked else notebooks(ROOT)
    set_up = cell_source()
    for number, page in enumerate(chosen, start=1):
        progress = f"[{number}/{len(chosen)}] {page}"
        print(progress, end="", flush=True)
        start = time.monotonic()
        try:
            with Pace() as pace:
                execute(ROOT / page, set_up, progress)
        except (ChapterFailed, ValueError) as error:
            print(f"\n\nFAILED {page}; its file is left as it was.\n{error}", file=sys.stderr)
            return 1
        seconds = time.monotonic() - start
        took = f": {seconds:.1f} s, on a machine {pace.slowness:.2f} times as slow as a quiet one"
        print(f"\r{progress}{took}" if sys.stdout.isatty() else took, flush=True)
        digest = digests.of_chapter(nbformat.read(ROOT / page, as_version=4))
        today = datetime.now(UTC).date().isoformat()
        ran = Run(round(seconds, 1), today, here(), digest, round(pace.slowness, 2))
        write(read(ROOT) | {page.as_posix(): ran}, ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
