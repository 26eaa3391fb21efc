"""`make settings`: run the chapters as another machine, another draw or other versions would; record what came out.

Every setting reaches the kernel from outside, by environment variables, by a start-up file or by another interpreter,
so that a chapter runs as it stands. The record keeps, for every chapter and setting, what each claim measured, by
which margin it held, and every printed number of the cells that printed another one than the notebook stores. It is
written after every chapter: a run that was broken off goes on where it stopped.
"""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
from nbformat import NotebookNode

from book import digests, outputs
from book.runs import elsewhere, timings
from book.runs.execute import CellsFailed, prepare, run
from book.runs.set_up import cell_source
from book.runs.versions import VERSIONS, interpreter
from book.toc import ROOT, notebooks

RECORD = Path("chapters/closing/settings.json")
START_UP = Path(__file__).with_name("start_up.py")
PROBE = Path(__file__).with_name("probe.py")
AT_A_TIME = 2
PACKAGE = "package"


@dataclass(frozen=True)
class Setting:
    """One way to run the chapters.

    Attributes:
        name: how it is called on the command line and in the record.
        kind: processors, disturbed, seeds or versions.
        about: what it changes, in words.
        environment: what the kernel finds in its environment.
        where: the flag that a processor has, or with a leading "!" lacks, where the setting makes a difference.
        as_colab: whether the notebook is that of the Colab edition, in an empty folder, without the package.
    """

    name: str
    kind: str
    about: str
    environment: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    as_colab: bool = False


def _processor(name: str, limits: tuple[str, str, str], where: str = "") -> Setting:
    names = ("XLA_FLAGS", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE")
    environment = dict(zip(names, (f"--xla_cpu_max_isa={limits[0]}", *limits[1:]), strict=True))
    return Setting(name, "processors", f"XLA, oneDNN and OpenBLAS limited to {name.upper()}", environment, where)


def _onednn(name: str, value: str, where: str) -> Setting:
    return Setting(f"onednn-{name}", "processors", f"oneDNN {name}", {"TF_ENABLE_ONEDNN_OPTS": value}, where)


#: No limit is as another processor is: this one changes the machine and nothing else.
AS_IT_IS = "as-it-is"
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(AS_IT_IS, "processors", "nothing: another processor than that of the stored outputs"),
        _processor("avx2", ("AVX2", "AVX2", "Haswell"), where="avx512f"),
        _processor("avx", ("AVX", "AVX", "Sandybridge")),
        _processor("sse4.2", ("SSE4_2", "SSE41", "Nehalem")),
        # TensorFlow takes oneDNN of itself where the processor has instructions for neural networks.
        _onednn("off", "0", where="avx512_vnni"),
        _onednn("on", "1", where="!avx512_vnni"),
        Setting(
            "one-thread",
            "processors",
            "one core, one thread",
            {"PHYSGRAD_CORE": "0"}
            | dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1"),
        ),
        *(
            Setting(f"disturbed-{n}", "disturbed", "starting weights times 1 + 1e-6 ε", {"PHYSGRAD_DISTURB": str(n)})
            for n in (1, 2, 3)
        ),
        *(
            Setting(f"seeds-{n}", "seeds", f"every seed plus {shift}", {"PHYSGRAD_SEED_SHIFT": str(shift)})
            for n, shift in ((1, 1001), (2, 2002), (3, 3003))
        ),
        *(
            Setting(name, "versions", versions.about, as_colab=not versions.package)
            for name, versions in VERSIONS.items()
        ),
    )
}
BASE = Setting("base", "base", "nothing: this machine as it is")
KINDS = tuple(dict.fromkeys(setting.kind for setting in SETTINGS.values()))
#: Kinds in which a chapter computes the same numbers up to rounding; other seeds compute others.
SAME_NUMBERS = frozenset({"processors", "disturbed", "versions"})


@dataclass(frozen=True)
class ClaimRun:
    """What one claim gave in one run, in the order of the chapter; `margin` is None where every check is exact."""

    id: str
    margin: float | None
    measured: dict[str, float]


@dataclass(frozen=True)
class Run:
    """One chapter under one setting.

    Attributes:
        date: the day of the run.
        seconds: how long it took, with another chapter beside it.
        digest: of the chapter's code when it ran.
        environment: versions and machine.
        claims: what they gave.
        failed: what was raised, by the id of the cell.
        seen: the numbers a cell printed, by its id, where any differs from the notebook's; None where its words do.
            Empty for other seeds.
    """

    date: str
    seconds: float
    digest: str
    environment: timings.Environment
    claims: list[ClaimRun]
    failed: dict[str, str]
    seen: dict[str, list[str] | None]


Runs = dict[str, dict[str, Run]]  # by chapter and setting


@dataclass(frozen=True)
class PackageRun:
    """The package's tests under one setting: like `Run`, with how many passed and the names of those that failed."""

    date: str
    seconds: float
    digest: str
    environment: timings.Environment
    passed: int
    failed: list[str]


class NoEffect(Exception):
    """A setting changes nothing, not even a last digit."""


@dataclass
class Record:
    """All that `make settings` has found.

    Attributes:
        runs: every chapter's last run under every setting.
        package: the last run of the package's tests under every setting.
        probes: what the probe printed under every setting, by the processor's name.
    """

    runs: Runs = field(default_factory=dict)
    package: dict[str, PackageRun] = field(default_factory=dict)
    probes: dict[str, dict[str, str]] = field(default_factory=dict)


def digest_of(page: Path, root: Path = ROOT) -> str:
    """The digest of a chapter as it is stored."""
    return digests.of_chapter(nbformat.read(root / page, as_version=4))


def read(root: Path = ROOT) -> Record:
    """The record, without settings that no longer exist; empty when nothing was run yet."""
    path = root / RECORD
    if not path.exists():
        return Record()
    stored = json.loads(path.read_text(encoding="utf-8"))
    environments = [timings.Environment(**entry) for entry in stored["environments"]]
    runs = {
        chapter: {
            name: Run(**run | {"environment": environments[run["environment"]], "claims": _claim_runs(run["claims"])})
            for name, run in by_setting.items()
            if name in SETTINGS
        }
        for chapter, by_setting in stored["chapters"].items()
    }
    package = {
        name: PackageRun(**run | {"environment": environments[run["environment"]]})
        for name, run in stored["package"].items()
        if name in SETTINGS
    }
    return Record(runs, package, stored["probes"])


def _claim_runs(stored: Iterable[Sequence[Any]]) -> list[ClaimRun]:
    return [ClaimRun(*claim) for claim in stored]


def write(record: Record, root: Path = ROOT) -> None:
    """Store the record, in the order of the book and of the settings; one line for every claim and cell."""
    pages = [page.as_posix() for page in notebooks(root)]
    runs = record.runs
    kept = {page: {name: runs[page][name] for name in SETTINGS if name in runs[page]} for page in pages if page in runs}
    environments: list[timings.Environment] = []
    chapters: dict[str, Any] = {}
    for page, by_setting in kept.items():
        for name, ran in by_setting.items():
            if ran.environment not in environments:
                environments.append(ran.environment)
            entry = asdict(ran) | {
                "environment": environments.index(ran.environment),
                "claims": [[claim.id, claim.margin, claim.measured] for claim in ran.claims],
            }
            chapters.setdefault(page, {})[name] = entry
    package = {}
    for name in SETTINGS:
        if name in record.package:
            if record.package[name].environment not in environments:
                environments.append(record.package[name].environment)
            number = environments.index(record.package[name].environment)
            package[name] = asdict(record.package[name]) | {"environment": number}
    stored = {
        "environments": [asdict(environment) for environment in environments],
        "package": package,
        "probes": record.probes,
        "chapters": chapters,
    }
    stored = {"checksum": digests.of_record(stored), **stored}
    unfinished = (root / RECORD).with_suffix(".unfinished")
    unfinished.write_text("\n".join(_lines(stored, depth=5)) + "\n", encoding="utf-8")
    os.replace(unfinished, root / RECORD)


@contextmanager
def changed(root: Path = ROOT) -> Iterator[Record]:
    """The record, to be changed and then stored; of several commands that do it at a time each has its turn."""
    with (root / RECORD).with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = read(root)
        yield record
        write(record, root)


def _lines(value: Any, depth: int, indent: int = 0) -> Iterator[str]:
    """JSON with a line for every entry down to `depth`, and deeper ones within the line."""
    if depth == 0 or not value or not isinstance(value, (dict, list)):
        yield json.dumps(value, ensure_ascii=False)
        return
    brackets = "{}" if isinstance(value, dict) else "[]"
    yield brackets[0]
    entries = value.items() if isinstance(value, dict) else (("", entry) for entry in value)
    for number, (key, entry) in enumerate(entries, start=1):
        lines = list(_lines(entry, depth - 1, indent + 1))
        lines[0] = (json.dumps(key, ensure_ascii=False) + ": " if isinstance(value, dict) else "") + lines[0]
        lines[-1] += "," * (number < len(value))
        yield from (" " + line for line in lines)
    yield brackets[1]


def run_chapter(page: Path, setting: Setting, root: Path = ROOT) -> Run:
    """Run one chapter under one setting; cells that raise are recorded, and the others run all the same."""
    stored = nbformat.read(root / page, as_version=4)
    # By position: the ids of the cells that ran are made anew, and those of the notebook stay.
    if setting.as_colab:
        ran = elsewhere.edition(page, root)
    else:
        ran = prepare(nbformat.read(root / page, as_version=4), cell_source())
    start = time.monotonic()
    try:
        if setting.as_colab:
            python = interpreter(setting.name)
            with elsewhere.nowhere(python, root) as (empty, address):
                run(ran, empty, python, env={"PHYSGRAD_REPOSITORY": address}, allow_errors=True)
        else:
            _run_under(setting, ran, (root / page).parent, allow_errors=True)
    except CellsFailed as error:
        failed = {"": str(error).splitlines()[0]}
    else:
        failed = {}
    claims: list[ClaimRun] = []
    seen: dict[str, list[str] | None] = {}
    for old, new in zip(_code(stored), _code(ran), strict=True):
        errors = [f"{o.ename}: {o.evalue}" for o in new.outputs if o.output_type == "error"]
        if errors:
            failed[old.id] = errors[0][:300]
        claims += [ClaimRun(c["id"], c.get("margin"), c["measured"]) for c in outputs.claims(new.outputs)]
        if setting.kind in SAME_NUMBERS:
            numbers = outputs.numbers(new.outputs)
            if outputs.words(new.outputs) != outputs.words(old.outputs):
                seen[old.id] = None
            elif numbers != outputs.numbers(old.outputs):
                seen[old.id] = numbers
    return Run(
        date=datetime.now(UTC).date().isoformat(),
        seconds=round(time.monotonic() - start, 1),
        digest=digests.of_chapter(stored),
        environment=_environment(setting),
        claims=claims,
        failed=failed,
        seen=seen,
    )


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def package_digest(root: Path = ROOT) -> str:
    """What the package and its tests compute: their code without comments and layout."""
    return digests.of_modules([*(root / "physgrad_tf").rglob("*.py"), *(root / "tests" / "package").rglob("*.py")])


def run_package(setting: Setting) -> PackageRun:
    """Run the tests of the package under one setting."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="physgrad-pytest-") as folder:
        report = Path(folder) / "report.xml"
        command = [_python(setting), "-m", "pytest", "-q", "-n", "2", "-p", "book.runs.start_up"]
        command.append(f"--junitxml={report}")
        # Old libraries on newer ones: their deprecation warnings are theirs.
        command += ["-W", "default::DeprecationWarning"] if setting.kind == "versions" else []
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", **setting.environment}
        done = subprocess.run([*command, "tests/package"], cwd=ROOT, env=environment, capture_output=True, text=True)
        if not report.exists():
            raise RuntimeError(f"The package's tests did not run under {setting.name}:\n{done.stdout}\n{done.stderr}")
        cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    failed = [f"{case.get('classname')}::{case.get('name')}" for case in bad]
    return PackageRun(
        date=datetime.now(UTC).date().isoformat(),
        seconds=round(time.monotonic() - start, 1),
        digest=package_digest(),
        environment=_environment(setting),
        passed=len(cases) - len(failed),
        failed=failed,
    )


def probe(setting: Setting) -> str:
    """What the probe prints under a setting."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PROBE.read_text(encoding="utf-8"))])
    _run_under(setting, notebook, ROOT)
    return "".join(outputs.texts(notebook.cells[0].outputs)).strip()


def difference(setting: Setting, here: str, base: str) -> bool:
    """Whether a setting makes a difference on this machine.

    Args:
        setting: the setting.
        here: what the probe prints under it.
        base: what the probe prints without any.

    Returns:
        True when a digit differs; False when none does and the setting is for other processors.

    Raises:
        NoEffect: when it should make a difference here and does not.
    """
    if here != base:
        return True
    flags = _flags()
    for_others = setting.where and (setting.where.removeprefix("!") in flags) == setting.where.startswith("!")
    if not for_others:
        raise NoEffect(f"the setting {setting.name} changes no digit of the probe: it does nothing")
    return False


def _run_under(setting: Setting, notebook: NotebookNode, folder: Path, **options: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="physgrad-ipython-") as ipython:
        start_up = Path(ipython) / "profile_default" / "startup"
        start_up.mkdir(parents=True)
        shutil.copy(START_UP, start_up)
        environment = {"IPYTHONDIR": ipython, **setting.environment}
        run(notebook, folder, _python(setting), env=environment, **options)


def _python(setting: Setting) -> str:
    return interpreter(setting.name) if setting.kind == "versions" else sys.executable


def _environment(setting: Setting) -> timings.Environment:
    if setting.kind != "versions":
        return timings.here()
    code = (
        "import dataclasses, json; from book.runs import timings; print(json.dumps(dataclasses.asdict(timings.here())))"
    )
    said = subprocess.run([_python(setting), "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return timings.Environment(**json.loads(said.stdout))


def _flags() -> set[str]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return {flag for line in lines if line.startswith("flags") for flag in line.partition(":")[2].split()}


def wanted(names: Iterable[str], pages: Iterable[Path], runs: Runs, again: bool) -> list[tuple[Path, Setting]]:
    """What is to be run: what has no record for the chapter's present code, or everything when asked `again`."""
    todo = []
    stored, here = timings.read(), timings.here().machine["processor"]
    for page in pages:
        current = digest_of(page)
        taken = stored.get(page.as_posix())
        for name in names:
            if name == AS_IT_IS and taken is not None and taken.environment.machine["processor"] == here:
                continue  # the outputs are from this very processor
            ran = runs.get(page.as_posix(), {}).get(name)
            if again or ran is None or ran.digest != current:
                todo.append((page, SETTINGS[name]))
    return todo


def put(record: Record, page: Path, name: str, run: Run) -> None:
    """Record a run of a chapter; runs of other code go, also those of settings that change nothing on this machine."""
    runs = record.runs.get(page.as_posix(), {})
    record.runs[page.as_posix()] = {key: one for key, one in runs.items() if one.digest == run.digest} | {name: run}


def chosen(names: Sequence[str]) -> list[str]:
    """Settings by their names or kinds; without any, all but the other versions.

    Raises:
        ValueError: when there is no setting and no kind of that name.
    """
    if not names:
        return [name for name, setting in SETTINGS.items() if setting.kind != "versions"]
    unknown = [name for name in names if name not in SETTINGS and name not in KINDS]
    if unknown:
        raise ValueError(f"no such setting: {', '.join(unknown)}. There are {', '.join(SETTINGS)}; {', '.join(KINDS)}")
    return [name for name, setting in SETTINGS.items() if {name, setting.kind} & set(names)]


def chapters(names: Sequence[str]) -> list[Path]:
    """Notebooks by path, by docname or by stem; without any, all of them.

    Raises:
        ValueError: when there is no chapter of that name.
    """
    pages = notebooks(ROOT)
    if not names:
        return pages
    found = []
    for name in names:
        fitting = [page for page in pages if name in (page.as_posix(), page.with_suffix("").as_posix(), page.stem)]
        if not fitting:
            raise ValueError(f"no such chapter: {name}")
        found += fitting
    return [page for page in pages if page in found]


def _with_effect(names: Sequence[str]) -> list[str]:
    """The settings that make a difference on this machine; the probes go into the record."""
    processor, kept = timings.here().machine["processor"], []
    base = probe(BASE)
    known = read().probes.get(processor, {})
    if known.get("base") != base:
        known = {}  # of other versions, or of another probe
    for name in names:
        if name == AS_IT_IS:  # the same as the base here; `wanted` knows for which chapters it is another machine
            kept.append(name)
            continue
        said = known[name] if name in known else probe(SETTINGS[name])
        with changed() as record:
            record.probes[processor] = (record.probes.get(processor, {}) if known else {}) | {"base": base, name: said}
            known = record.probes[processor]
        if difference(SETTINGS[name], said, base):
            kept.append(name)
        else:
            print(f"{name} is this machine as it is ({SETTINGS[name].about}): nothing to run.", flush=True)
    return kept


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is wanted, two notebooks at a time; 0 when every cell of every run passed."""
    parser = argparse.ArgumentParser(prog="python -m book.runs.settings", description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="*", default=[], help="names or kinds; default: all but versions")
    parser.add_argument("--chapters", nargs="*", default=[], help=f"paths or names; {PACKAGE}: its tests; default: all")
    parser.add_argument("--again", action="store_true", help="also what the record has for the present code")
    asked = parser.parse_args(arguments)
    try:
        names = chosen(asked.settings)
        with_package = not asked.chapters or PACKAGE in asked.chapters
        notebooks_named = [name for name in asked.chapters if name != PACKAGE]
        pages = chapters(notebooks_named) if notebooks_named or not asked.chapters else []
    except ValueError as error:
        parser.error(str(error))
    names = _with_effect(names)
    taken = timings.read()
    todo = wanted(names, pages, read().runs, asked.again)
    try:
        for page, setting in todo:
            if setting.as_colab:
                elsewhere.edition(page)
    except elsewhere.NotThere as missing:
        print(missing, file=sys.stderr)
        return 1
    # The longest first, so that nobody waits for one at the end.
    todo.sort(key=lambda work: -taken[work[0].as_posix()].seconds if work[0].as_posix() in taken else 0.0)
    print(f"{len(todo)} runs; what else was asked for is in {RECORD}.", flush=True)
    passed, start = True, time.monotonic()
    with ProcessPoolExecutor(AT_A_TIME, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[Run], tuple[Path, Setting]] = {pool.submit(run_chapter, *work): work for work in todo}
        for done, future in enumerate(as_completed(waiting), start=1):
            page, setting = waiting[future]
            ran = future.result()
            with changed() as record:
                put(record, page, setting.name, ran)
            left = (time.monotonic() - start) / done * (len(todo) - done)
            said = "; ".join(dict.fromkeys(ran.failed.values()))
            passed &= not ran.failed
            print(
                f"[{done}/{len(todo)}, {left / 60:.0f} min left] {page.stem} {setting.name}: {ran.seconds:.0f} s"
                + (f", FAILED: {said}" if said else ""),
                flush=True,
            )
    if with_package:
        passed &= _run_packages(names, asked.again)
    return 0 if passed else 1


def _run_packages(names: Iterable[str], again: bool) -> bool:
    passed = True
    for name in names:
        known = read().package.get(name)
        if again or known is None or known.digest != package_digest():
            print(f"tests/package under {name} …", flush=True)
            ran = run_package(SETTINGS[name])
            with changed() as record:
                record.package[name] = ran
            passed &= not ran.failed
            print(f"tests/package {name}: {ran.passed} passed in {ran.seconds:.0f} s, failed: {ran.failed}", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
