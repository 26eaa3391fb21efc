"""The set-up cell: the first code cell of every notebook, the same everywhere, with the address from `_config.yml`."""

from pathlib import Path
from string import Template

import nbformat

from book.address import ROOT, repository_address
from book.toc import notebooks

TAG = "set-up"

_TEMPLATE = Template("""\
# Find physgrad_tf: installed, in a folder above this one, or in a clone made here (Colab).
# Nothing is installed. Then import what the chapter uses, fix the random seeds, set a style.
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def fetch(home):  # clones the book's repository to home; what was begun there is set aside
    book = "$address"
    address = os.environ.get("PHYSGRAD_REPOSITORY", book)
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        clone = ["git", "clone", "--quiet", "--depth=1", address, f"{folder}/clone"]
        ask_nothing = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        try:
            done = subprocess.run(clone, env=ask_nothing, capture_output=True, text=True)
            said = done.stderr.strip() if done.returncode else ""
        except FileNotFoundError:
            said = "there is no git on this machine"
        if said:
            advice = "Is there a network? Another address can be set as PHYSGRAD_REPOSITORY, a"
            advice += " variable of the environment. Then run this cell again."
            raise RuntimeError(f"Could not clone {address}. {advice} Git said: {said}")
        if home.exists():
            home.rename(tempfile.mkdtemp(prefix="physgrad-tf-incomplete-", dir=home.parent))
        os.rename(f"{folder}/clone", home)


found = importlib.util.find_spec("physgrad_tf")
if found is None or found.origin is None:
    folders = [Path.cwd(), *Path.cwd().parents, Path("physgrad-tf").resolve()]
    whole = [folder for folder in folders if (folder / "physgrad_tf/__init__.py").is_file()]
    if not whole:
        fetch(folders[-1])
    sys.path.insert(0, str([*whole, folders[-1]][0]))

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import physgrad_tf as pg
from physgrad_tf.claims import above, below, claim, near

# On a GPU: products with all digits of float32.
tf.config.experimental.enable_tensor_float_32_execution(False)
keras.utils.set_random_seed(0)
pg.plotting.use_style()""")


def cell_source(root: Path = ROOT) -> str:
    """Returns the source of the set-up cell."""
    return _TEMPLATE.substitute(address=repository_address(root))


def write_cells(root: Path = ROOT) -> None:
    """Writes the set-up cell, as it is now, into every notebook; nothing is run."""
    from book.runs.execute import set_ids  # the runner reads this module

    for page in notebooks(root):
        notebook = nbformat.read(root / page, as_version=4)
        cell = next(cell for cell in notebook.cells if TAG in cell.metadata.get("tags", []))
        if cell.source != cell_source(root):
            cell.source = cell_source(root)
            set_ids(notebook)
            nbformat.write(notebook, root / page)
