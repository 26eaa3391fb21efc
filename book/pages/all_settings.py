"""Sphinx extension: the directive `settings`, what each setting changes, and on what it ran last."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from book.pages.tables import grid
from book.runs.settings import RECORD, SETTINGS, Record, package_digest, read

HEAD = ["Setting", "What it changes", "Python, TensorFlow, numpy", "Processor", "Chapters", "Tests of the package"]


def rows(record: Record, package: str) -> list[list[str]]:
    """One row for every setting of the record; where its runs differ in versions or processor, all are named.

    Args:
        record: what `make settings` has found.
        package: the digest of the package and its tests as they are now.
    """
    found = []
    for name, setting in SETTINGS.items():
        runs = [by_setting[name] for by_setting in record.runs.values() if name in by_setting]
        tests = [record.package[name]] if name in record.package else []
        if not runs and not tests:
            continue
        environments = [run.environment for run in runs] + [run.environment for run in tests]
        versions = [
            ", ".join(environment.versions[part] for part in ("python", "tensorflow", "numpy"))
            for environment in environments
        ]
        processors = [environment.machine["processor"] for environment in environments]
        where = ["; ".join(dict.fromkeys(versions)), "; ".join(dict.fromkeys(processors))]
        passed = f"{tests[0].passed}" if tests else "none"
        if tests and tests[0].digest != package:
            passed += f", of the package as it was on {tests[0].date}"
        found.append([name, setting.about, *where, str(len(runs)), passed])
    return found


class SettingsTable(SphinxDirective):
    """`{settings}`: the settings of `make settings`, from its record."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        self.env.note_dependency(str(root / RECORD))
        return [grid(HEAD, rows(read(root), package_digest(root)))]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("settings", SettingsTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
