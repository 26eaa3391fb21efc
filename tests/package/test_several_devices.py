"""Six steps on two devices and in two processes: the weights and all that is reported are those of one device."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np

from tests.package import several_devices

ROOT = pathlib.Path(__file__).parents[2]


def start(kind, path, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.package.several_devices", kind, path],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def result(process, path):
    output = process.communicate(timeout=1800)[0]  # a busy machine takes long; all four stop when one has failed
    assert process.returncode == 0, output[-3000:]
    return json.loads(path.read_text(encoding="utf-8"))


def free_ports(n):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run_all(folder):
    """What came out of one device, two devices, and each of two processes; all at once, as they wait for each other."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    tasks = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": i}} for i in range(2)]
    starts = {
        "one": ("one", {}),
        "two devices": ("two devices", {}),
        "first process": ("two processes", {"TF_CONFIG": json.dumps(tasks[0])}),
        "second process": ("two processes", {"TF_CONFIG": json.dumps(tasks[1])}),
    }
    paths = {name: folder / f"{name}.json" for name in starts}
    running = {name: start(kind, paths[name], **environment) for name, (kind, environment) in starts.items()}
    try:
        return {name: result(process, paths[name]) for name, process in running.items()}
    finally:  # when one has failed, another may wait for it
        for process in running.values():
            process.kill()
            process.communicate()


def test_weights_and_reports_are_those_of_one_device(tmp_path):
    found = run_all(tmp_path)
    assert {kind: each["replicas"] for kind, each in found.items()} == {
        "one": 1,
        "two devices": 2,
        "first process": 2,
        "second process": 2,
    }
    on_one = dict(zip(several_devices.CASES, found["one"]["found"], strict=True))
    wrong = []
    for kind, cases in (
        ("two devices", several_devices.CASES),
        ("first process", several_devices.CASES_OF_PROCESSES),
        ("second process", several_devices.CASES_OF_PROCESSES),
    ):
        for case, other in zip(cases, found[kind]["found"], strict=True):
            one = on_one[case]
            weights = np.max(np.abs(np.subtract(one[0], other[0])))
            # Relative to the value: an error or a length, far from zero, or zero on every device. The smallest kept
            # singular value carries the rounding of the largest, which is 1/rcond times as large.
            reported = {key: abs(other[1].get(key, np.nan) - v) / (abs(v) or 1.0) for key, v in one[1].items()}
            if not (
                weights < 1e-10
                and all(error < 1e-9 for error in reported.values())
                and one[1].keys() == other[1].keys()
            ):
                wrong.append((kind, case, weights, reported))
    assert not wrong
