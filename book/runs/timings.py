"""The record of what was run: seconds per chapter, and the versions and the machine that each was run with."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path

from book.toc import ROOT, docnames

TIMINGS = Path("chapters/closing/timings.json")
PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "matplotlib")


@dataclass(frozen=True)
class Environment:
    """Everything but the chapter that its seconds and its last digits depend on."""

    machine: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True)
class Run:
    """One execution of one chapter from scratch, kernel start and imports included; the digest is that of its code.

    Attributes:
        seconds: that it took.
        date: when.
        environment: with what.
        digest: of the chapter's code.
        slowness: by how many times the machine was slower than a quiet one; older records took it for quiet.
    """

    seconds: float
    date: str
    environment: Environment
    digest: str
    slowness: float = 1.0

    @property
    def quiet_seconds(self) -> float:
        """What it would have taken on a quiet machine."""
        return self.seconds / self.slowness


def here() -> Environment:
    """The environment of this process."""
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
    }
    return Environment(machine, {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES})


def read(root: Path = ROOT) -> dict[str, Run]:
    """The last run of every chapter, by its path; empty when nothing was run yet."""
    path = root / TIMINGS
    if not path.exists():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    environments = [Environment(**entry) for entry in stored["environments"]]
    return {
        chapter: Run(**entry | {"environment": environments[entry["environment"]]})
        for chapter, entry in stored["chapters"].items()
    }


def distinct(runs: dict[str, Run]) -> list[Environment]:
    """The environments of the runs, each once, in the order of the runs."""
    environments: list[Environment] = []
    for run in runs.values():
        if run.environment not in environments:
            environments.append(run.environment)
    return environments


def write(runs: dict[str, Run], root: Path = ROOT) -> None:
    """Store the runs of the chapters that `_toc.yml` still lists, in its order; environments stand there once."""
    chapters = [f"{docname}.ipynb" for docname in docnames(root)]
    listed = {chapter: runs[chapter] for chapter in chapters if chapter in runs}
    environments = distinct(listed)
    stored = {
        "environments": [asdict(environment) for environment in environments],
        "chapters": {
            chapter: asdict(run) | {"environment": environments.index(run.environment)}
            for chapter, run in listed.items()
        },
    }
    (root / TIMINGS).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def _version(package: str) -> str:
    # By the module, not by the distribution: TensorFlow comes from `tensorflow` or from `tensorflow-cpu`.
    return version(packages_distributions()[package][0])


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
