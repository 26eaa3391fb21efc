"""The outer walls: commands, lock, licences, README and CI say the same, and work."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from packaging.markers import Environment, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import physgrad_tf
from book import browser
from book.address import repository_address
from book.runs.set_up import TAG

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MADE = {".git", ".venv", "_build", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}


def files() -> Iterator[Path]:
    """The project's files, without what is made from them."""
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name not in MADE and not name.endswith(".egg-info")]
        yield from (Path(folder) / name for name in names)


# --- commands --------------------------------------------------------------------------------------------------------


def make_dry(*arguments: str) -> str:
    """What make would run, with the virtual environment taken as installed."""
    command = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/.installed", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.replace("\\\n", " ")


def documented_commands() -> set[str]:
    documents = ["README.md", "CONTRIBUTING.md", ".ci/run", *(str(path) for path in WORKFLOWS)]
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in documents)
    commands = re.findall(r"(?:`|^|run: |exec )make ([a-z][a-z-]*)", text, flags=re.MULTILINE)
    return set(commands)


def test_the_documents_name_the_two_commands() -> None:
    for command in ("make book", "make test"):
        assert re.search(rf"^{command} ", README, flags=re.MULTILINE), f"README.md does not show `{command}`"
    assert {"book", "test", "execute", "lock"} <= documented_commands()


@pytest.mark.parametrize("command", sorted(documented_commands()))
def test_a_documented_command_exists_and_make_help_lists_it(command: str) -> None:
    make_dry(command)  # raises where there is no such target
    assert command == "help" or re.search(rf'"make {command} ', MAKEFILE)


def test_make_book_builds_all_pages_with_warnings_as_errors() -> None:
    assert re.search(r"jupyter-book build -W -n --keep-going --all \.$", make_dry("book"), flags=re.MULTILINE)


def test_make_test_runs_every_check() -> None:
    commands = make_dry("test")
    for check in (
        r"ruff check \.$",
        r"ruff format --check \.$",
        r"mypy$",
        r"pytest -n 2 tests/package$",
        r"jupyter-book build -W .*\n(.*\n)*.*pytest -n 2 tests/book$",
        r"pytest --nbval --nbval-current-env .* -p book\.checks\.nbval_tolerance .* chapters/$",
    ):
        assert re.search(check, commands, flags=re.MULTILINE), f"`make test` does not run {check}"
    assert not re.search(r"^\t-|\|\| true|--ignore|--deselect|--exit-zero", MAKEFILE, flags=re.MULTILINE), (
        "a failure unseen"
    )


def test_ci_runs_make_test_and_publishes_both_editions() -> None:
    steps = {
        path.stem: [
            step.get("run", "") for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]
        ]
        for path in WORKFLOWS
    }
    assert ".ci/run" in steps["test"]
    assert "make book colab" in steps["publish"]


def choose_python(folder: Path, version: str, hidden: str) -> tuple[str, bool]:
    """Lets make choose a stand-in for a Python of some version; returns what it said and whether it took it."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    pretend = f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0); sys.modules.update({hidden}); "
    python, taken = folder / "some-python", folder / "taken"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -m ] && touch {taken} && exit 1\n'  # taken; nothing needs to be made here
        f'exec {sys.executable} -c "{pretend} exec(sys.argv[1])" "$2"\n'
    )
    python.chmod(0o755)
    made = subprocess.run(["make", "book", f"PYTHON={python}"], cwd=folder, capture_output=True, text=True)
    assert made.returncode != 0
    return made.stderr, taken.exists()


@pytest.mark.parametrize(("version", "hidden"), [("2.7", ""), ("3.10", ""), ("3.14", ""), ("3.11", "ensurepip=None")])
def test_make_refuses_a_python_that_does_not_suit(version: str, hidden: str, tmp_path: Path) -> None:
    said, taken = choose_python(tmp_path, version, hidden)
    assert not taken
    assert "No suitable Python: need 3.11, 3.12 or 3.13" in said


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_make_takes_a_python_that_suits(version: str, tmp_path: Path) -> None:
    said, taken = choose_python(tmp_path, version, "")
    assert taken, said


# --- continuous integration ------------------------------------------------------------------------------------------


def run_ci(folder: Path, *, ci: bool, user: int, program: str | None, apt_gives: str | None) -> tuple[int, list[str]]:
    """Runs a copy of .ci/run with stand-ins for what it calls; returns its exit code and the calls."""
    commands, home = folder / "commands", folder / "home"
    commands.mkdir()
    (home / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", home / ".ci" / "run")
    for tool in ("bash", "dirname", "env", "chmod"):
        (commands / tool).symlink_to(str(shutil.which(tool)))
    give = f'[ "$1" = install ] && echo "#!/bin/sh" > {commands}/{apt_gives} && chmod +x {commands}/{apt_gives}'
    scripts = {
        "id": f"echo {user}",
        "make": f'echo "make $* in $PWD, browser required: $PHYSGRAD_REQUIRE_BROWSER" >> {folder}/calls',
        "apt-get": f'echo "apt-get $*" >> {folder}/calls\n{give if apt_gives else ""}\ntrue',
    }
    if program:
        scripts[program] = "true"
    for name, script in scripts.items():
        (commands / name).write_text(f"#!{shutil.which('sh')}\n{script}\n")
        (commands / name).chmod(0o755)
    environment = {"PATH": str(commands), **({"CI": "true"} if ci else {})}
    done = subprocess.run([str(home / ".ci" / "run")], env=environment, cwd="/", capture_output=True, text=True)
    calls = folder / "calls"
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


def test_on_a_users_machine_ci_runs_without_a_browser(tmp_path: Path) -> None:
    code, calls = run_ci(tmp_path, ci=False, user=1000, program=None, apt_gives=None)
    assert (code, calls) == (0, [f"make test in {tmp_path}/home, browser required: "])


@pytest.mark.parametrize("name", browser.NAMES)
def test_under_ci_a_browser_that_is_there_is_required(name: str, tmp_path: Path) -> None:
    code, calls = run_ci(tmp_path, ci=True, user=1000, program=name, apt_gives=None)
    assert (code, calls) == (0, [f"make test in {tmp_path}/home, browser required: 1"])


def test_ci_and_the_checks_look_for_the_same_browsers() -> None:
    looked_for = re.search(r"for name in (.*); do", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert looked_for and tuple(looked_for[1].split()) == browser.NAMES


def test_under_ci_root_installs_a_missing_browser(tmp_path: Path) -> None:
    code, calls = run_ci(tmp_path, ci=True, user=0, program=None, apt_gives="chromium")
    assert code == 0
    assert calls == [
        "apt-get update",
        "apt-get install --yes --no-install-recommends chromium",
        f"make test in {tmp_path}/home, browser required: 1",
    ]


@pytest.mark.parametrize("user", [0, 1000])
def test_under_ci_without_any_browser_the_run_fails(user: int, tmp_path: Path) -> None:
    code, calls = run_ci(tmp_path, ci=True, user=user, program=None, apt_gives=None)
    assert code != 0
    assert not any(call.startswith("make") for call in calls)


# --- the lock --------------------------------------------------------------------------------------------------------

LOCK_LINES = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
LOCK = [Requirement(line) for line in LOCK_LINES if line[:1].isalnum()]
OURSELVES = canonicalize_name(PYPROJECT["project"]["name"])
DIRECT = [
    Requirement(text)
    for group in (PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"].values())
    for text in group
]
INSTEAD = [  # what the lock takes in place of a requirement of the same name, and what it adds
    *(Requirement(text) for text in PYPROJECT["tool"]["uv"]["override-dependencies"]),
    *(Requirement(text) for text in PYPROJECT["dependency-groups"]["lock"]),
]


def applies(
    requirement: Requirement, environment: Environment | None = None, extras: frozenset[str] = frozenset()
) -> bool:
    """Whether a requirement's marker holds here, for any of the extras that are wanted."""
    values = dict(environment or default_environment())
    return requirement.marker is None or any(
        requirement.marker.evaluate({**values, "extra": extra}) for extra in extras | {""}
    )


def pins(environment: Environment | None = None) -> dict[str, str]:
    """The locked version of every package that the environment takes."""
    locked: dict[str, str] = {}
    for requirement in LOCK:
        if applies(requirement, environment):
            name = canonicalize_name(requirement.name)
            assert name not in locked, f"{name} is locked twice"
            locked[name] = next(iter(requirement.specifier)).version
    return locked


def needed() -> dict[str, list[Requirement]]:
    """Every requirement that follows from pyproject.toml here, by package, read from the installed packages."""
    replaced = {canonicalize_name(requirement.name) for requirement in INSTEAD}
    follow = [r for r in DIRECT if canonicalize_name(r.name) not in replaced] + [r for r in INSTEAD if applies(r)]
    found: dict[str, list[Requirement]] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while follow:
        requirement = follow.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        found.setdefault(name, []).append(requirement)
        if (name, extras) not in seen:
            seen.add((name, extras))
            children = [Requirement(text) for text in metadata.requires(name) or []]
            follow += [c for c in children if applies(c, extras=extras) and canonicalize_name(c.name) not in replaced]
    found.pop(
        canonicalize_name(PYPROJECT["project"]["name"]), None
    )  # an extra that takes another one names the project
    return found


def environment_of(python: str, platform: str, machine: str) -> Environment:
    environment = default_environment()
    environment.update(
        {
            "python_version": ".".join(python.split(".")[:2]),
            "python_full_version": python,
            "sys_platform": platform,
            "platform_machine": machine,
            "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[platform],
        }
    )
    return environment


def test_the_lock_pins_every_line_and_names_no_machine() -> None:
    assert LOCK
    for requirement in LOCK:
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), f"{requirement} is not pinned"
        assert requirement.url is None, f"{requirement} is tied to an address"
    text = "\n".join(LOCK_LINES)
    assert not re.search(r"://|^-|--(?!override)|(^|\s)[/~]", text, flags=re.MULTILINE), "an option, address or path"
    assert "make lock" in LOCK_LINES[1], "the lock says which command writes it"


def test_the_lock_is_what_pyproject_needs_and_nothing_else() -> None:
    locked, required = pins(), needed()
    assert not required.keys() - locked.keys(), "missing in requirements.txt: run `make lock`"
    assert not locked.keys() - required.keys(), "no longer needed: run `make lock`"
    for name, requirements in required.items():
        for requirement in requirements:
            assert requirement.specifier.contains(locked[name], prereleases=True), (
                f"{name} {locked[name]}: {requirement}"
            )


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="this is not the environment that `make` installs")
def test_the_environment_is_the_lock() -> None:
    assert {name: metadata.version(name) for name in pins()} == pins()


@pytest.mark.parametrize("python", ["3.11.9", "3.12.0", "3.13.0"])
@pytest.mark.parametrize(
    ("platform", "machine", "build"),
    [
        ("linux", "x86_64", "tensorflow-cpu"),
        ("linux", "aarch64", "tensorflow"),
        ("darwin", "arm64", "tensorflow"),
        ("win32", "AMD64", "tensorflow"),
    ],
)
def test_every_platform_takes_one_tensorflow(python: str, platform: str, machine: str, build: str) -> None:
    locked = pins(environment_of(python, platform, machine))
    assert {"tensorflow", "tensorflow-cpu"} & locked.keys() == {build}
    for requirement in DIRECT:
        name = canonicalize_name(requirement.name)
        if name == OURSELVES:
            continue
        assert name == "tensorflow" or requirement.specifier.contains(locked[name]), requirement


def imported(path: Path) -> set[str]:
    """The top-level modules that a Python file or a notebook imports."""
    if path.suffix == ".ipynb":
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        source = "\n".join(cells)
    else:
        source = path.read_text(encoding="utf-8")
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(str(node.module))
    return {module.split(".")[0] for module in modules}


@pytest.mark.parametrize("folder", ["physgrad_tf", "book", "chapters", "tests"])
def test_what_is_imported_is_asked_for(folder: str) -> None:
    extra = PYPROJECT["project"]["optional-dependencies"][
        "plotting"
    ]  # taken by `plotting` alone, and by claims it shows
    package_only = [Requirement(text) for text in [*PYPROJECT["project"]["dependencies"], *extra]]
    asked = {canonicalize_name(r.name) for r in (package_only if folder == "physgrad_tf" else DIRECT)} | {
        "tensorflow-cpu"
    }
    holders = metadata.packages_distributions()
    paths = [path for path in files() if path.is_relative_to(ROOT / folder) and path.suffix in {".py", ".ipynb"}]
    assert paths
    unasked = {
        (str(path.relative_to(ROOT)), module)
        for path in paths
        for module in imported(path) - sys.stdlib_module_names - {"physgrad_tf", "book", "tests"}
        if not {canonicalize_name(name) for name in holders[module]} & asked
    }
    assert not unasked, "name what provides these in pyproject.toml, then `make lock`"


def test_the_package_has_lower_bounds_only() -> None:
    for text in PYPROJECT["project"]["dependencies"]:
        assert {clause.operator for clause in Requirement(text).specifier} == {">="}, (
            f"{text} would replace Colab's own"
        )


# --- texts -----------------------------------------------------------------------------------------------------------


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PYPROJECT["project"]["version"] == physgrad_tf.__version__


def test_the_address_stands_in_one_place() -> None:
    address = repository_address().removeprefix("https://").encode()
    holders = {path.relative_to(ROOT) for path in files() if path.suffix != ".ipynb" and address in path.read_bytes()}
    assert holders == {Path("_config.yml")}


OF_A_COPY = re.compile(
    r"\b(?!OWNER)[\w-]+\.github\.io/\w|github(?:usercontent)?\.com/[\w-]+/physgrad|colab\.[\w.]+/github/\w"
)


def hard_coded(path: Path) -> list[str]:
    """Addresses of one copy of the book; the set-up cell may hold one, `make execute` and the workflow write it."""
    text = path.read_text(encoding="utf-8", errors="ignore")
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if TAG not in cell.metadata.get("tags", []))
    return OF_A_COPY.findall(text)


def test_no_file_holds_the_address_of_one_copy() -> None:
    for path in files():
        if path.relative_to(ROOT).parts[0] != "tests" and path.name not in {"_config.yml", "rehearse.py"}:
            assert hard_coded(path) == [], path


@pytest.mark.parametrize(
    "address",
    [
        "https://someone.github.io/physgrad-tf/",
        "https://github.com/some-one/physgrad-tf",
        "https://colab.research.google.com/github/a/b/blob/main/c.ipynb",
        "https://raw.githubusercontent.com/some-one/physgrad-tf/main/a.png",
    ],
)
def test_a_hard_coded_address_is_seen(tmp_path: Path, address: str) -> None:
    set_up = new_code_cell(f'book = "{address}"', metadata={"tags": [TAG]})
    nbformat.write(new_notebook(cells=[set_up]), tmp_path / "a.ipynb")
    assert hard_coded(tmp_path / "a.ipynb") == []
    nbformat.write(new_notebook(cells=[set_up, new_markdown_cell(f"See [here]({address}).")]), tmp_path / "a.ipynb")
    assert len(hard_coded(tmp_path / "a.ipynb")) == 1
    (tmp_path / "a.md").write_text(f"See <{address}>.", encoding="utf-8")
    assert len(hard_coded(tmp_path / "a.md")) == 1


def test_the_readme_says_what_its_code_prints() -> None:
    blocks = re.findall(r"^```(python|text)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "text"] * 2
    for (_, code), (_, printed) in zip(blocks[::2], blocks[1::2], strict=True):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout == printed


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
        assert (ROOT / target).is_file(), f"{name} links to {target}, which is not there"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "LICENSE-text", "Makefile"])
def test_lines_are_at_most_120_characters(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if len(line) > 120]


@pytest.mark.parametrize("what", ["chapter", "claim", "simulator"])
def test_contributing_says_it_in_ten_points(what: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = re.search(rf"^## Add a {what}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert section
    assert 1 <= len(re.findall(r"^\d+\. ", section[1], flags=re.MULTILINE)) <= 10


def test_no_file_is_called_utils() -> None:
    assert not [path for path in files() if path.stem == "utils"]
