"""What a step takes of a machine: its memory against what `jacobian_size` told, and its time on two devices.

Each figure comes from a process of its own: memory that was once taken is not given back, and how many devices there
are is settled when TensorFlow starts.

    python -m book.runs.bench_machines memory CASE
    python -m book.runs.bench_machines devices CASE
"""

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from book.runs import bench_half_inverse
from book.runs.tables import Table
from physgrad_tf import simulators, training

OSCILLATORS = bench_half_inverse.OSCILLATORS
ROUNDS = 7
Case = tuple[Callable[[], keras.Model], Any, np.ndarray, dict[str, Any]]


def tables() -> Iterator[Table]:
    """The tables, in the order in which the book shows them."""
    yield memory()
    yield devices()


def memory() -> Table:
    """What a step holds at most, over what `jacobian_size` tells."""
    rows = []
    for name in memory_cases():
        told, taken, kind, route = measured("memory", name)
        rows.append([name, f"{kind}, {route}", f"{taken / 2**20:.0f} MiB", f"{told / taken:.2f}"])
    return Table(
        "The memory of a step, told and taken",
        "The second step of a process: the largest part of it in memory, less what was there before, with every freed "
        "block given back at once (MALLOC_MMAP_THRESHOLD_=65536). Ratios within 1.5 of one are the aim.",
        ["Step", "J by, decomposed", "taken", "told over taken"],
        rows,
    )


def devices() -> Table:
    """One step on two logical processors over one step on one, of the same batch."""
    rows = []
    for name in MODELS:
        one, two, low, middle, high = measured("devices", name)
        rows.append([name, f"{1e3 * one:.1f} ms", f"{1e3 * two:.1f} ms", f"{middle:.2f} ({low:.2f} to {high:.2f})"])
    return Table(
        "A step on one and on two logical devices",
        "The same batch of 256, whole on one logical CPU or half on each of two by MirroredStrategy, on the same two "
        "cores: this measures what the strategy costs, not what a second machine brings. Three hidden layers of 330, "
        f"the nonlinear oscillators. Medians of {ROUNDS} rounds in which both ran in turn.",
        ["Model", "one device", "two devices", "two over one"],
        rows,
    )


def measured(what: str, name: str) -> list[Any]:
    """What a process of its own prints."""
    print(f"{name} …", flush=True)
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "book.runs.bench_machines", what, name]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def memory_cases() -> dict[str, Case]:
    """Networks, simulators, inputs and options: the chapters' problems, one field, and every kind and route.

    The oscillators are compiled: TensorFlow breaks large loops in a plain graph (its issue 23780).
    """
    rng = np.random.default_rng(0)
    states = OSCILLATORS.random_states(512, rng)
    fields = rng.normal(size=(16, 32, 32, 1)).astype(np.float32)
    series = rng.normal(size=(128, 64, 2)).astype(np.float32)
    points = rng.normal(size=(64, 16)).astype(np.float32)
    laplacian = simulators.Laplacian(4)
    sources = laplacian.smooth_sources(128, rng, length=1.0)
    square = simulators.Square()
    hidden = lambda: bench_half_inverse.network(330)  # noqa: E731
    return {
        "oscillators, 512 samples": (hidden, OSCILLATORS, states, {}),
        "oscillators, 256 samples, layer by layer": (hidden, OSCILLATORS, states[:256], {"jacobian": "layerwise"}),
        "sixteen squares, 64 samples, row by row": (sixteen, square, points[:64], {"jacobian": "reverse"}),
        "sixteen squares, 64 samples, SVD": (sixteen, square, points[:64], {"rcond": 1e-9}),
        "Poisson 4 × 4, 128 samples": (fully_connected, laplacian, sources, {}),
        "U-Net on 32 × 32, 2 samples": (u_net, simulators.Laplacian(32), fields[:2], {"jacobian": "kernel"}),
        "U-Net on 32 × 32, 16 samples, 32 products": (u_net, simulators.Laplacian(32), fields, {}),
        "time series of 64, 128 samples": (time_series, square, series, {}),
    }


def fully_connected() -> keras.Model:
    """The network of the small Poisson problem."""
    ends = [keras.layers.Dense(16), keras.layers.Reshape((4, 4, 1))]
    hidden = [keras.layers.Dense(32, "tanh") for _ in range(2)]
    return keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), *hidden, *ends])


def sixteen() -> keras.Model:
    """From sixteen numbers to sixteen."""
    hidden = [keras.layers.Dense(64, "tanh") for _ in range(2)]
    return keras.Sequential([keras.Input((16,)), *hidden, keras.layers.Dense(16)])


def time_series() -> keras.Model:
    """Two convolutions over time."""
    hidden = [keras.layers.Conv1D(16, 5, padding="same", activation="tanh") for _ in range(2)]
    return keras.Sequential([keras.Input((64, 2)), *hidden, keras.layers.Flatten(), keras.layers.Dense(10)])


def u_net() -> keras.Model:
    """From field to field, over three sizes."""

    def convolve(filters: int, *fields: Any) -> Any:
        joined = keras.layers.Concatenate()(list(fields)) if len(fields) > 1 else fields[0]
        return keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(joined)

    start = keras.Input((32, 32, 1))
    fine = convolve(8, convolve(8, start))
    middle = convolve(16, convolve(16, keras.layers.MaxPooling2D()(fine)))
    coarse = convolve(16, convolve(16, keras.layers.MaxPooling2D()(middle)))
    middle = convolve(16, middle, keras.layers.UpSampling2D()(coarse))
    fine = convolve(8, fine, keras.layers.UpSampling2D()(middle))
    return keras.Model(start, keras.layers.Conv2D(1, 3, padding="same")(fine))


def measure_memory(name: str) -> list[Any]:
    """Bytes told and taken by a step, kind and route."""
    network, simulator, inputs, options = memory_cases()[name]
    model = training.SpectralModel(network(), simulator, **options)
    model.compile(jit_compile=simulator is OSCILLATORS)
    data = tf.data.Dataset.from_tensors((inputs, np.zeros_like(model(inputs))))
    model.fit(data, verbose=0, shuffle=False)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before = status("VmRSS")
    model.fit(data, verbose=0, shuffle=False)
    taken = status("VmHWM") - before
    size = model.jacobian_size(inputs)
    return [size.peak_bytes, taken, size.kind, size.route]


def status(entry: str) -> int:
    """An entry of this process's status, in bytes."""
    found = re.search(rf"{entry}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    if found is None:
        raise RuntimeError(f"no {entry} in /proc/self/status: memory is measured on Linux only.")
    return 1024 * int(found.group(1))


MODELS: dict[str, Callable[[keras.Model], training.PhysicsModel]] = {
    "gradient descent": lambda network: training.DifferentiablePhysics(network, OSCILLATORS),
    "scale-invariant, identity": lambda network: training.ScaleInvariantPhysics(
        network, lambda x: x, inverse=lambda y, x_guess: y
    ),
    "half-inverse": lambda network: training.SpectralModel(network, OSCILLATORS),
}


def measure_devices(name: str) -> list[float]:
    """Seconds of a step on one and on two devices, and smallest, middle and largest ratio of a round."""
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    x = OSCILLATORS.random_states(256, np.random.default_rng(0))
    n_steps = 10

    def timer(strategy: tf.distribute.Strategy) -> Callable[[], float]:
        with strategy.scope():
            model = MODELS[name](bench_half_inverse.network(330))
            model.compile(keras.optimizers.SGD(1e-6), jit_compile=True)
        y = np.zeros_like(model(x))
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(256, drop_remainder=True).cache().repeat()

        def run() -> float:
            start = time.perf_counter()
            model.fit(data, steps_per_epoch=n_steps, verbose=0, shuffle=False)
            return (time.perf_counter() - start) / n_steps

        run()
        return run

    one = timer(tf.distribute.OneDeviceStrategy("CPU:0"))
    two = timer(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    rounds = np.array([(one(), two()) for _ in range(ROUNDS)])
    ratios = rounds[:, 1] / rounds[:, 0]
    return [*map(float, np.median(rounds, axis=0)), float(ratios.min()), float(np.median(ratios)), float(ratios.max())]


if __name__ == "__main__":
    print(json.dumps({"memory": measure_memory, "devices": measure_devices}[sys.argv[1]](sys.argv[2])))
