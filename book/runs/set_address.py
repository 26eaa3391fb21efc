"""Give the book its address: `python -m book.runs.set_address https://github.com/OWNER/NAME [--pages https://…]`.

It is written into `_config.yml` and into the set-up cells of the chapters; nothing is run. The workflow that publishes
does this with the repository it runs in, so that a fork needs no edit.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from book import address
from book.runs.set_up import write_cells


def set_address(repository: str, pages: str | None = None, root: Path = address.ROOT) -> None:
    """Write the addresses into `_config.yml`, as `address.write` does, and into every set-up cell."""
    address.write(repository, pages, root)
    write_cells(root)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the addresses given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m book.runs.set_address", description=__doc__.splitlines()[0])
    parser.add_argument("repository", help="https://github.com/OWNER/NAME")
    parser.add_argument("--pages", help="where the pages will lie; default: https://OWNER.github.io/NAME")
    asked = parser.parse_args(arguments)
    try:
        set_address(asked.repository, asked.pages.rstrip("/") if asked.pages else None)
    except ValueError as error:
        parser.error(str(error))
    print(f"The book's repository is {address.repository_address()}, its pages lie at {address.pages_address()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
