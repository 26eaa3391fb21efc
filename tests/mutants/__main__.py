"""Plant every fault of `faults.yml` in a copy of the package, one at a time, and run the tests until one fails.

    python -m tests.mutants [WORDS OF A FILE OR A FAULT]

Every fault first meets the test that noticed it last time and those that speak of its file. What passes these meets
all tests, once every fault has been planted; what passes them all survives and is named at the end. `record.json` keeps
what came out: a run that was broken off goes on, and one on another package or other tests plants every fault anew.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
import yaml

from book.runs.settings import package_digest

ROOT = Path(__file__).parents[2]
AT_ONCE = 2
FAULTS = Path(__file__).with_name("faults.yml")
RECORD = Path(__file__).with_name("record.json")
#: Tests to begin with, by the start of the file's name.
NEAR = {
    "simulators/oscillator": "test_simulators test_options",
    "simulators/binding": "test_binding test_training",
    "simulators/protocol": "test_simulators test_saved_settings",
    "simulators/": "test_options test_{}",
    "jacobians/pointwise": "test_jacobians",
    "jacobians/samples": "test_samples",
    "jacobians/kind": "test_layerwise test_samples",
    "jacobians/products": "test_products",
    "jacobians/": "test_layerwise test_samples test_stacked_jacobian test_products",
    "spectral/derivative": "test_spectral_derivative",
    "spectral/bidiagonal": "test_bidiagonal",
    "spectral/": "test_options test_spectral test_spectral_step test_spectral_derivative test_bidiagonal",
    "updates/": "test_options test_updates test_spectral_derivative",
    "training/solvers": "test_options test_training",
    "training/spectral_model": "test_saved_settings test_reports test_precision test_spectral_model test_trust_region "
    "test_samples",
    "training/scale_invariant_physics": "test_saved_settings test_reports test_training test_precision "
    "test_several_tensors",
    "training/rows": "test_trust_region test_spectral_model",
    "training/trust_region": "test_trust_region",
    "training/closed_loop": "test_reports test_closed_loop",
    "training/replicas": "test_several_devices",
    "training/physics_model": "test_reports test_callbacks test_training test_precision test_several_tensors",
    "training/precision": "test_precision",
    "training/network_stack": "test_network_stack",
    "training/structure": "test_training test_several_tensors",
    "training/traced_cost": "test_traced_cost",
    "training/jacobian_size": "test_traced_cost test_spectral_model",
    "training/": "test_reports test_training test_precision test_several_tensors",
    "comparison/": "test_comparison",
    "validation": "test_validation",
}


def read() -> list[dict[str, str]]:
    """All faults.

    Raises:
        ValueError: if the text of a fault does not stand in its file exactly once.
    """
    faults = yaml.safe_load(FAULTS.read_text(encoding="utf-8"))
    for fault in faults:
        found = (ROOT / "physgrad_tf" / fault["file"]).read_text(encoding="utf-8").count(fault["old"])
        if found != 1:
            raise ValueError(f"{fault['file']} must hold {fault['old']!r} once, found {found} times.")
    return faults


@dataclass
class Record:
    """What came out.

    Attributes:
        digest: of the package and its tests as they were.
        noticed_by: the test that noticed a fault, empty where none did.
        before: the same, of an earlier package or earlier tests: where to look first.
    """

    digest: str
    noticed_by: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)


def kept() -> Record:
    """The record for the package and the tests of now."""
    now = package_digest()
    if not RECORD.exists():
        return Record(now)
    stored = Record(**json.loads(RECORD.read_text(encoding="utf-8")))
    return stored if stored.digest == now else Record(now, before=stored.before | stored.noticed_by)


def keep(record: Record, faults: list[dict[str, str]]) -> None:
    """Store what came out, in the order of `faults`; what was tried again is no longer needed from before."""
    names = [name_of(fault) for fault in faults]
    record.noticed_by = {name: record.noticed_by[name] for name in names if name in record.noticed_by}
    record.before = {name: test for name, test in record.before.items() if name in set(names) - set(record.noticed_by)}
    RECORD.write_text(json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def name_of(fault: dict[str, str]) -> str:
    """The fault in one line."""
    return f"{fault['file']}: {fault['old']!r} → {fault['new']!r}"


def near(fault: dict[str, str], before: str = "") -> list[list[str]]:
    """The test `before`, which noticed the fault last time, then those that speak of its file."""
    names = next(tests for start, tests in NEAR.items() if fault["file"].startswith(start)).split()
    tests = [f"tests/package/{name.format(Path(fault['file']).stem)}.py" for name in names]
    return [[before], tests] if before else [tests]


def noticed(fault: dict[str, str], tries: list[list[str]]) -> str:
    """The test that fails with the fault, one set of `tries` after the other; empty if all pass."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("physgrad_tf", "tests", "pyproject.toml"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(folder) / name)
        path = Path(folder) / "physgrad_tf" / fault["file"]
        path.write_text(path.read_text(encoding="utf-8").replace(fault["old"], fault["new"]), encoding="utf-8")
        return next(filter(None, (first_failure(folder, tests) for tests in tries)), "")


def first_failure(folder: str, tests: list[str]) -> str:
    """The first of these tests that fails, where the run ends; empty if all pass, or if there is no such test any more.

    Raises:
        RuntimeError: if pytest ended otherwise, for instance out of memory.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    if run.returncode in (pytest.ExitCode.OK, pytest.ExitCode.USAGE_ERROR):
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", run.stdout, re.MULTILINE)
    if not failed:
        raise RuntimeError(f"pytest must end with a verdict, came to {run.returncode}:\n{run.stdout}{run.stderr}")
    return failed.group(1)


def environment(folder: str) -> dict[str, str]:
    """That of this process, with the copy before an installed package."""
    return os.environ | {"PYTHONPATH": folder, "TF_CPP_MIN_LOG_LEVEL": "3"}


def plant(faults: list[dict[str, str]], tries: list[list[list[str]]]) -> Iterator[tuple[dict[str, str], str]]:
    """Every fault with the test that noticed it among its `tries`, empty if none did, as they come in."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(noticed, fault, its): fault for fault, its in zip(faults, tries, strict=True)}
        try:
            for number, done in enumerate(concurrent.futures.as_completed(running), start=1):
                fault, test = running[done], done.result()
                print(f"[{number}/{len(faults)}] {name_of(fault)}: {test or 'not noticed'}", flush=True)
                yield fault, test
        finally:
            pool.shutdown(cancel_futures=True)


def main(words: list[str]) -> int:
    """Plant the faults that hold all `words`, and return how many survive without a reason."""
    every = read()
    faults = [fault for fault in every if all(word in str(fault) for word in words)]
    record = kept()
    todo = [fault for fault in faults if name_of(fault) not in record.noticed_by]
    left = []
    for fault, test in plant(todo, [near(fault, record.before.get(name_of(fault), "")) for fault in todo]):
        if test:
            record.noticed_by[name_of(fault)] = test
            keep(record, every)
        else:
            left.append(fault)
    for fault, test in plant(left, [[["tests/package"]]] * len(left)):
        record.noticed_by[name_of(fault)] = test
        keep(record, every)
    survivors = [fault for fault in faults if not record.noticed_by[name_of(fault)]]
    for fault in survivors:
        print(f"{name_of(fault)}: {fault.get('equivalent', 'NO TEST NOTICES IT')}")
    print(f"{len(faults)} faults, {len(survivors)} survive.")
    return sum("equivalent" not in fault for fault in survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
