"""What a Gauss-Newton step by products costs on fields: time, memory, and seconds to a given error.

    python -m book.runs.bench_products SIZE METHOD

prints the peak memory of a process that takes three steps.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from book.runs.bench_machines import status
from book.runs.fields import u_net
from book.runs.tables import Table
from physgrad_tf import simulators, training

N_PRODUCTS = 32
SIZES = (32, 64, 128)
RATES = (1e-3, 3e-3, 1e-2)
SEEDS = (0, 1, 2)
SECONDS = 60.0


def tables() -> Iterator[Table]:
    """The tables, in the order in which the book shows them."""
    yield over_the_size()
    yield race()
    yield a_million_weights()


def over_the_size() -> Table:
    """A step of 32 products over as many gradients, in time and memory."""
    rows = []
    for n in SIZES:
        print(f"Poisson {n} × {n} …", flush=True)
        fields = sources(n, 32, seed=0)
        step = seconds_of(fit_step(gauss_newton(u_net(n, fields), n), fields), 2)
        plain, compiled = (seconds_of(gradient(u_net(n, fields), n, fields, xla), 5) for xla in (False, True))
        adam_memory, memory = (peak_memory(n, method) for method in ("adam", "products"))
        vectors = 4 * N_PRODUCTS * (u_net(n, fields).count_params() + fields.size)
        rows.append(
            [
                f"{n} × {n}",
                f"{step:.2f} s",
                f"{1e3 * plain:.0f} ms, {1e3 * compiled:.0f} ms",
                f"{step / (N_PRODUCTS * plain):.2f}, {step / (N_PRODUCTS * compiled):.2f}",
                f"{memory / 2**20:.0f} MiB",
                f"{(memory - vectors) / adam_memory:.2f}",
            ]
        )
    return Table(
        "A Gauss-Newton step of 32 products on fields",
        "Poisson, a small U-Net, batch 32; the step in a plain graph. A step takes 32 products with J and 32 with its "
        "transpose. Memory: what a process holds at most over three steps, and, less 32 vectors of weights "
        "and of outputs, over that of Adam. The aims: at most 3 gradients for each of the 32, and 4 times the memory.",
        ["Field", "step", "gradient: plain, XLA", "step over 32 gradients: plain, XLA", "memory", "over Adam"],
        rows,
    )


def race() -> Table:
    """Seconds of training to the test error in x that Adam has after a minute."""
    n, rng = 32, np.random.default_rng(0)
    poisson = simulators.Poisson(n)
    x_train, x_test = poisson.smooth_sources(2048, rng), poisson.smooth_sources(64, rng)
    y_train, y_test = poisson(x_train).numpy(), poisson(x_test).numpy()

    def error(network: keras.Model) -> float:
        return float(np.mean(np.abs(network(y_test) - x_test)))

    def adam(rate: float, seed: int) -> float:
        model = training.DifferentiablePhysics(u_net(n, y_train, seed), poisson)
        n_steps = round(SECONDS / seconds_of(fit_step(compiled(model, keras.optimizers.Adam(0.0)), y_train[:32]), 20))
        model = training.DifferentiablePhysics(u_net(n, y_train, seed), poisson)
        compiled(model, keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, n_steps)))
        model.fit(batches(y_train).take(n_steps), verbose=0)
        return error(model.network)

    found = {rate: adam(rate, seed=0) for rate in RATES}
    rate = min(found, key=lambda rate: found[rate])
    rows = []
    for seed in SEEDS:
        print(f"seed {seed} …", flush=True)
        goal = found[rate] if seed == 0 else adam(rate, seed)
        network = u_net(n, y_train, seed)
        step = gauss_newton(network, n)
        spent, steps, now = 0.0, 0, np.inf
        one = tf.function(step.train_step, autograph=False)
        start = network.get_weights()
        data = iter(batches(y_train))
        one(next(data))  # traced
        network.set_weights(start)
        while now > goal and spent < SECONDS:
            batch = next(data)
            began = time.perf_counter()
            one(batch)["loss"].numpy()
            spent, steps = spent + time.perf_counter() - began, steps + 1
            now = error(network)
        rows.append([f"{seed}", f"{goal:.3f}", f"{steps}", f"{spent:.1f} s", f"{now:.3f}", f"{spent / SECONDS:.2f}"])
    return Table(
        "Seconds to the error in x that Adam has after a minute",
        f"Poisson 32 × 32, 2048 fields to train and 64 to test, batch 32. Adam with a cosine from {rate:g}, the best "
        f"of {', '.join(f'{r:g}' for r in RATES)} on seed 0, over as many steps as fit into {SECONDS:.0f} s. "
        "Gauss-Newton with 32 products and η = 1. Without tracing and testing. The aim is a fifth.",
        ["Seed", "Adam's mean |x − x*|", "steps", "seconds", "mean |x − x*| then", "part of the minute"],
        rows,
    )


def a_million_weights() -> Table:
    """A million weights and 4096 outputs per sample."""
    print("a million weights …", flush=True)
    fields = sources(64, 16, seed=0)
    network = u_net(64, fields, filters=72)
    step, n_weights = fit_step(gauss_newton(network, 64), fields), network.count_params()
    return Table(
        "A million weights and 64 × 64 outputs",
        "Poisson, a wider U-Net, batch 16, 32 products. J would have 65 536 rows.",
        ["Weights", "J in float32", "seconds of a step"],
        [[f"{n_weights}", f"{4 * 65_536 * n_weights / 1e9:.0f} GB", f"{seconds_of(step, 1):.0f}"]],
    )


def sources(n: int, n_fields: int, seed: int) -> np.ndarray:
    """Potentials of random smooth sources."""
    poisson = simulators.Poisson(n)
    return np.asarray(poisson(poisson.smooth_sources(n_fields, np.random.default_rng(seed))))


def batches(y: np.ndarray) -> tf.data.Dataset:
    """Batches of 32 without end, the inputs being the goals."""
    return tf.data.Dataset.from_tensor_slices((y, y)).shuffle(len(y), seed=0).batch(32).repeat()


def gauss_newton(network: keras.Model, n: int) -> training.SpectralModel:
    """A model that takes Gauss-Newton steps by products."""
    model = training.SpectralModel(
        network, simulators.Poisson(n), exponent=-1.0, jacobian="products", n_products=N_PRODUCTS
    )
    model.compile(loss=training.HalfSquaredError("sum"))
    return model


def compiled(model: training.PhysicsModel, optimizer: keras.optimizers.Optimizer) -> training.PhysicsModel:
    """The model, ready to train."""
    model.compile(optimizer, training.HalfSquaredError())
    return model


def fit_step(model: training.PhysicsModel, fields: np.ndarray) -> Callable[[], Any]:
    """One training step towards the fields that the network is given."""
    fields = tf.constant(fields)
    step = tf.function(lambda: model.train_step((fields, fields)), autograph=False)
    return lambda: step()["loss"].numpy()


def gradient(network: keras.Model, n: int, fields: np.ndarray, xla: bool) -> Callable[[], Any]:
    """One gradient of the loss of the equations, in a plain graph or compiled by XLA."""
    fields, poisson, loss = tf.constant(fields), simulators.Poisson(n), training.HalfSquaredError("sum")
    weights = [weight.value for weight in network.trainable_variables]

    def compute() -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(fields, poisson.simulate(network(fields)))
        return tf.add_n([tf.reduce_sum(part) for part in tape.gradient(value, weights)])

    run = tf.function(compute, jit_compile=xla, autograph=False)
    return lambda: run().numpy()


def seconds_of(run: Callable[[], Any], n_runs: int) -> float:
    """The median over `n_runs`, after a first one that traces."""
    run()
    spent = []
    for _ in range(n_runs):
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return float(np.median(spent))


def peak_memory(n: int, method: str) -> int:
    """What the third step of a process of its own holds beyond what was there before."""
    command = [sys.executable, "-m", "book.runs.bench_products", str(n), method]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def main(n: int, method: str) -> None:
    """Print the memory of a step."""
    fields = sources(n, 32, seed=0)
    network = u_net(n, fields)
    model: training.PhysicsModel = gauss_newton(network, n)
    if method == "adam":
        model = training.DifferentiablePhysics(network, simulators.Poisson(n))
        compiled(model, keras.optimizers.Adam(1e-4))
    run = fit_step(model, fields)
    before = status("VmRSS")
    for _ in range(3):
        run()
    print(status("VmHWM") - before)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
