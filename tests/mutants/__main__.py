"""Plant every fault of `faults.yml` in a copy of the package, one at a time, and run the tests until one fails.

    python -m tests.mutants [WORDS OF A FILE OR A FAULT]

First the tests that speak of the file, then all. A fault that passes them all survives and is named at the end.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
AT_ONCE = 2
FAULTS = Path(__file__).with_name("faults.yml")
#: Tests to begin with, by the start of the file's name.
NEAR = {
    "simulators/oscillator": "test_simulators test_options",
    "simulators/binding": "test_binding test_training",
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
    "training/spectral_model": "test_reports test_trust_region test_spectral_model test_saved_settings",
    "training/rows": "test_trust_region test_spectral_model",
    "training/trust_region": "test_trust_region",
    "training/closed_loop": "test_reports test_closed_loop",
    "training/replicas": "test_several_devices",
    "training/physics_model": "test_reports test_callbacks test_training test_precision test_several_tensors",
    "training/precision": "test_precision",
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


def survives(fault: dict[str, str]) -> bool:
    """Whether all tests of the package pass with the fault."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("physgrad_tf", "tests", "pyproject.toml"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(folder) / name)
        path = Path(folder) / "physgrad_tf" / fault["file"]
        path.write_text(path.read_text(encoding="utf-8").replace(fault["old"], fault["new"]), encoding="utf-8")
        near = next(tests for start, tests in NEAR.items() if fault["file"].startswith(start))
        near = [f"tests/package/{name.format(path.stem)}.py" for name in near.split()]
        return all(passes(folder, tests) for tests in (near, ["tests/package"]))


def passes(folder: str, tests: list[str]) -> bool:
    """Whether these tests pass; the first failure ends the run."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True).returncode == 0


def environment(folder: str) -> dict[str, str]:
    """That of this process, with the copy before an installed package."""
    return os.environ | {"PYTHONPATH": folder, "TF_CPP_MIN_LOG_LEVEL": "3"}


def main(words: list[str]) -> int:
    """Plant the faults that hold all `words`, and return how many survive without a reason."""
    faults = [fault for fault in read() if all(word in str(fault) for word in words)]
    survivors = []
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(survives, fault): fault for fault in faults}
        for number, done in enumerate(concurrent.futures.as_completed(running), start=1):
            fault = running[done]
            verdict = "SURVIVES" if done.result() else "noticed"
            print(
                f"[{number}/{len(faults)}] {verdict}: {fault['file']}: {fault['old']!r} → {fault['new']!r}", flush=True
            )
            if done.result():
                survivors.append(fault)
    for fault in survivors:
        print(f"{fault['file']}: {fault['old']!r} → {fault['new']!r}: {fault.get('equivalent', 'NO TEST NOTICES IT')}")
    print(f"{len(faults)} faults, {len(survivors)} survive.")
    return sum("equivalent" not in fault for fault in survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
