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
    """What is installed.

    Attributes:
        about: what this is, in words.
        python: the version of Python.
        resolution: which versions uv chooses among those that are allowed.
        requirements: what is installed; beside the package, what goes beyond pyproject.toml.
        package: whether the package is installed with what it requires.
    """

    about: str
    python: str
    resolution: str
    requirements: tuple[str, ...]
    package: bool = True


def _colab(python: str, tensorflow: str, keras: str, numpy: str) -> Versions:
    # Colab has all of these, and no physgrad_tf. Its IPython is of 2022.
    pinned = (f"tensorflow-cpu=={tensorflow}.*", f"keras=={keras}.*", f"numpy=={numpy}.*", "matplotlib==3.10.*")
    beside = ("ipython==7.34.0", "cycler>=0.12", "pyyaml>=6.0", "threadpoolctl>=3.2")
    about = f"Colab: its edition in an empty folder, Python {python}, TensorFlow {tensorflow}, numpy {numpy}"
    return Versions(about, python, "highest", (*pinned, *beside), package=False)


#: Every set of versions by its name.
VERSIONS = {
    "oldest": Versions(
        "the oldest versions that pyproject.toml allows", "3.11", "lowest-direct", ("tensorflow-cpu==2.19.*",)
    ),
    "colab-3.12": _colab("3.12", "2.19", "3.10", "2.0"),
    "colab-3.13": _colab("3.13", "2.20", "3.13", "2.1"),
    "newest": Versions("the newest versions", "3.13", "highest", ("tensorflow-cpu",)),
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
    versions = VERSIONS[name]
    wanted = f"{versions}\n{(ROOT / 'pyproject.toml').read_text(encoding='utf-8')}"
    stamp = home / ".installed"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        base = _find(versions.python)
        print(f"Installing {name}: {', '.join(versions.requirements)} for Python {versions.python} …", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([base, "-m", "venv", "--without-pip", str(home)], check=True)
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", str(python)]
        # Run in the project: its settings for uv replace `tensorflow` by the build for processors.
        package = ["-e", ".[plotting]"] if versions.package else []
        subprocess.run(
            [*uv, "--resolution", versions.resolution, *package, *COMPANIONS, *versions.requirements],
            cwd=ROOT,
            check=True,
        )
        stamp.write_text(wanted, encoding="utf-8")
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
