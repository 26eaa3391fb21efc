"""Other versions of Python, TensorFlow and their companions, each in a virtual environment of its own."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from book.toc import ROOT

HOME = Path("_build/versions")
#: What a kernel, the package's tests and the record of the machine need beside the package.
COMPANIONS = (
    "hypothesis>=6.100",
    "ipykernel>=6.29",
    "nbformat>=5.10",
    "pytest>=8.3",
    "pytest-xdist>=3.6",
    "scipy>=1.14",
    "sphinx-external-toc>=1.0",
)


@dataclass(frozen=True)
class Versions:
    """What is installed: the Python, how uv resolves, and requirements beyond those of pyproject.toml."""

    python: str
    resolution: str
    requirements: tuple[str, ...]


_SETS = {
    "oldest": Versions("3.11", "lowest-direct", ("tensorflow-cpu==2.19.*",)),
    "colab": Versions(
        "3.12", "highest", ("tensorflow-cpu==2.20.*", "keras==3.13.*", "numpy==2.0.*", "matplotlib==3.10.*")
    ),
    "newest": Versions("3.13", "highest", ("tensorflow-cpu",)),
}
#: Name and description of every set of versions.
VERSIONS = {
    "oldest": "the oldest versions that pyproject.toml allows",
    "colab": "the versions that Colab was last seen with",
    "newest": "the newest versions",
}


class NoPython(Exception):
    """A Python that a set of versions needs is not on this machine."""


def interpreter(name: str) -> str:
    """The interpreter of a set of versions; its environment is made when it is not there yet.

    Raises:
        NoPython: when the machine lacks the Python that the set needs.
    """
    home = ROOT / HOME / name
    python = home / "bin" / "python"
    if not (home / ".installed").exists():
        versions = _SETS[name]
        base = _find(versions.python)
        print(f"Installing {name}: {', '.join(versions.requirements)} for Python {versions.python} …", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([base, "-m", "venv", "--without-pip", str(home)], check=True)
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", str(python)]
        # Run in the project: its settings for uv replace `tensorflow` by the build for processors.
        subprocess.run(
            [*uv, "--resolution", versions.resolution, "-e", ".", *COMPANIONS, *versions.requirements],
            cwd=ROOT,
            check=True,
        )
        (home / ".installed").touch()
    return str(python)


def _find(version: str) -> str:
    candidates = [
        f"python{version}",
        *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True),
    ]
    for candidate in candidates:
        found = shutil.which(str(candidate))
        if found and subprocess.run([found, "-c", "import venv"], capture_output=True).returncode == 0:
            return found
    raise NoPython(f"Python {version} with venv is not on this machine; these versions cannot be run here.")
