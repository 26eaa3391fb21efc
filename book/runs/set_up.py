"""The set-up cell: the first code cell of every notebook, the same everywhere, with the address from `_config.yml`."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CONFIG = Path(__file__).resolve().parents[2] / "_config.yml"
TAG = "set-up"
UNSET_OWNER = "set--me"  # GitHub allows no two hyphens in a row: nobody can register it

_TEMPLATE = Template("""\
# Find physgrad_tf: installed, in a folder above this one, or in a clone made here (Colab).
# Nothing is installed. Then import what the chapter uses, fix the random seeds, set a style.
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("physgrad_tf") is None:
    folders = [Path.cwd(), *Path.cwd().parents]
    above = (folder for folder in folders if (folder / "physgrad_tf/__init__.py").is_file())
    home = next(above, Path("physgrad-tf").resolve())
    if not (home / "physgrad_tf").is_dir():
        book = "$address"
        address = os.environ.get("PHYSGRAD_REPOSITORY", book)
        clone = ["git", "clone", "--quiet", "--depth=1", address, str(home)]
        ask_nothing = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        done = subprocess.run(clone, env=ask_nothing, capture_output=True, text=True)
        if done.returncode != 0:
            advice = "Set PHYSGRAD_REPOSITORY, a variable of the environment, and run again."
            said = done.stderr.strip()
            raise RuntimeError(f"Could not clone {address}. {advice} Git said: {said}")
    sys.path.insert(0, str(home))

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import physgrad_tf as pg
from physgrad_tf.claims import above, below, claim, near

keras.utils.set_random_seed(0)
pg.plotting.use_style()""")


def repository_address() -> str:
    """Returns the repository's address as `_config.yml` has it.

    Raises:
        ValueError: If it is no plain `https://` address: a `.git` or `/` at its end would break the links to Colab.
    """
    address = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["repository"]["url"]
    if not address.startswith("https://") or address.endswith((".git", "/")) or set(address) & set("\"'\\ {}"):
        raise ValueError(
            f"repository.url in {CONFIG.name} is {address!r}; expected an https:// address without .git or / at its end"
        )
    return address


def cell_source() -> str:
    """Returns the source of the set-up cell."""
    return _TEMPLATE.substitute(address=repository_address())


def setup(app: Sphinx) -> dict[str, bool]:
    """Lets the build say at its end that the repository's address is unset."""
    from sphinx.util import logging  # the notebooks' runner needs the cell, not Sphinx

    def say_if_unset(app: Sphinx, exception: Exception | None) -> None:
        if f"/{UNSET_OWNER}/" in repository_address():
            logging.getLogger(__name__).info(
                "The repository's address is not set: Colab and source links lead nowhere until repository.url in "
                "%s names it. Then run `make execute` and `make book`.",
                CONFIG.name,
                color="yellow",
            )

    app.connect("build-finished", say_if_unset)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
