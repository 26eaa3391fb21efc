"""Publish the book on this machine: `python -m book.checks.rehearse` runs the steps of publish.yml one after the other.

What a step runs is read from the workflow. What it uses of its host has a stand-in here: a clone of the present commit
for the checkout, a bare repository for the remote, folders for artifacts, and a local web server for the published
pages. Nothing leaves the machine.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from book.toc import ROOT

WORKFLOW = Path(".github/workflows/publish.yml")
REPOSITORY = "someone/a-book"
_EXPRESSION = re.compile(r"\$\{\{\s*([\w.]+)\s*\}\}")


class StepFailed(Exception):
    """A step of the workflow came back with another code than 0, or needs what has no stand-in."""


@dataclass
class Host:
    """The stand-ins, all below one folder.

    Attributes:
        home: the folder.
        address: where the web server shows `home/served`.
        outputs: what expressions of the workflow stand for.
    """

    home: Path
    address: str
    outputs: dict[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """The environment of every step, as its host would set it."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))},
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_ACTOR": "someone",
        }

    def replaced(self) -> dict[str, str]:
        """Variables of steps that name a host which cannot be reached from here."""
        return {
            "REMOTE": (self.home / "remote.git").as_uri(),
            "NOTEBOOKS": f"{self.address}/raw",
            "SETTLE": "0",
        }


def rehearse(home: Path, root: Path = ROOT) -> None:
    """Run all jobs of the workflow in the order in which they need each other.

    Raises:
        StepFailed: when a step fails, or uses an action without a stand-in.
    """
    jobs = yaml.safe_load((root / WORKFLOW).read_text(encoding="utf-8"))["jobs"]
    served = home / "served"
    served.mkdir()
    subprocess.run(["git", "init", "--quiet", "--bare", str(home / "remote.git")], check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = Host(home, f"http://127.0.0.1:{server.server_port}")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True)
    host.outputs = {
        "github.event.workflow_run.head_sha": head.stdout.strip(),
        "github.repository": REPOSITORY,
        "github.token": "none",
        "steps.pages.outputs.base_url": "https://someone.github.io/a-book",
        "needs.build.outputs.pages": f"{host.address}/pages",
    }
    try:
        for name in _in_order(jobs):
            for step in jobs[name]["steps"]:
                said = step.get("name") or step.get("run", step.get("uses", "")).splitlines()[0]
                print(f"[{name}] {said}", flush=True)
                if "uses" in step:
                    _use(step, host, root)
                else:
                    _run(step, host)
            if name == "colab":  # what a host shows of a branch
                clone = ["git", "clone", "--quiet", "--branch=colab", str(home / "remote.git"), str(served / "raw")]
                subprocess.run(clone, check=True)
    finally:
        server.shutdown()
        server.server_close()


def _in_order(jobs: Mapping[str, Any]) -> list[str]:
    done: list[str] = []
    needs = {name: job.get("needs", []) for name, job in jobs.items()}
    needs = {name: [needed] if isinstance(needed, str) else needed for name, needed in needs.items()}
    while len(done) < len(jobs):
        ready = [name for name in jobs if name not in done and set(needs[name]) <= set(done)]
        if not ready:
            raise StepFailed(f"these jobs wait for each other: {sorted(set(jobs) - set(done))}")
        done.append(ready[0])
    return done


def _fill(text: Any, host: Host) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in host.outputs:
            raise StepFailed(f"no stand-in for the expression {found[0]}")
        return host.outputs[found[1]]

    return _EXPRESSION.sub(value, str(text))


def _run(step: Mapping[str, Any], host: Host) -> None:
    environment = {name: _fill(value, host) for name, value in step.get("env", {}).items()}
    environment |= {name: value for name, value in host.replaced().items() if name in environment}
    folder = host.home / "work" / step.get("working-directory", "")
    shell = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", _fill(step["run"], host)]
    done = subprocess.run(shell, cwd=folder, env=host.variables() | environment)
    if done.returncode:
        raise StepFailed(f"{step.get('name', step['run'])!r} came back with {done.returncode}")


def _use(step: Mapping[str, Any], host: Host, root: Path) -> None:
    action, given = step["uses"].partition("@")[0], {k: _fill(v, host) for k, v in step.get("with", {}).items()}
    work, store = host.home / "work", host.home / "artifacts"
    if action == "actions/checkout":
        if not (work / ".git").exists():  # later jobs find the environment of the first one, which saves minutes
            subprocess.run(["git", "clone", "--quiet", str(root), str(work)], check=True)
        subprocess.run(["git", "checkout", "--quiet", "--force", given["ref"]], cwd=work, check=True)
    elif action == "actions/upload-pages-artifact":
        shutil.copytree(work / given["path"], store / "pages")
    elif action == "actions/upload-artifact":
        shutil.copytree(work / given["path"], store / given["name"])
    elif action == "actions/download-artifact":
        shutil.copytree(store / given["name"], work / given["path"])
    elif action == "actions/deploy-pages":
        shutil.copytree(store / "pages", host.home / "served" / "pages")
    elif action not in {"actions/setup-python", "actions/configure-pages"}:
        raise StepFailed(f"no stand-in for {step['uses']}")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing: what matters of a request shows in the check."""


def main() -> int:
    """Rehearse in a folder of its own; 0 when every step passed."""
    with tempfile.TemporaryDirectory(prefix="physgrad-publish-") as home:
        try:
            rehearse(Path(home))
        except StepFailed as failure:
            print(f"\nFAILED: {failure}", file=sys.stderr)
            return 1
    print("\nEvery step of the workflow passed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
