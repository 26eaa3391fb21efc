"""What half-inverse gradients cost without the Jacobian: time, memory, precision, and seconds to a given loss.

The rival is the textbook step: the integrator unrolled in Python, one reverse pass per row by `tape.jacobian`, and
`tf.linalg.svd` of the matrix in float32, in a plain graph.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from book.runs.tables import Table
from physgrad_tf import jacobians, simulators, spectral, training

OSCILLATORS = simulators.CoupledOscillators(n_steps=96, dt=0.125)
RCOND = 1e-6
#: Units of each of the three hidden layers: 3 thousand to 2 million weights.
WIDTHS = (20, 100, 330, 1000)
SEEDS = (0, 1, 2)
PATIENCE = 12.0  # seconds
#: Of the mean over test samples of ½|y − y*|², for the race; all set before it was run.
GOALS = (1e-2, 1e-3, 1e-4)


def tables() -> Iterator[Table]:
    """The tables, in the order in which the book shows them."""
    yield against_the_textbook()
    yield over_the_size()
    yield few_products()
    yield precision()
    yield race()


def against_the_textbook() -> Table:
    """One step without J over one textbook step, and the first steps with their tracing."""
    rows = []
    for n_samples in (32, 128):
        start = tf.constant(OSCILLATORS.random_states(n_samples, np.random.default_rng(0)))
        first_textbook, textbook = first_and_later(textbook_step(network(20), start), 3)
        for name, n_products in (("kernel", None), ("kernel, 32 products", 32)):
            first_ours, ours = first_and_later(fit_step(half_inverse(network(20), n_products=n_products), start), 20)
            rows.append(
                [
                    f"{n_samples}",
                    name,
                    f"{1e3 * textbook:.0f} ms",
                    f"{1e3 * ours:.1f} ms",
                    f"{textbook / ours:.0f}",
                    f"{first_textbook:.0f} s",
                    f"{first_ours:.1f} s",
                    f"{first_textbook / first_ours:.0f}",
                ]
            )
    return Table(
        "Half-inverse gradients without the Jacobian, against the textbook step",
        "Nonlinear oscillators as published: 96 steps, network 4-20-20-20-96 with ReLU, 2956 weights and four rows of "
        "J a sample, τ = 1e-6. The aims are ratios of at least 20, and of 80 for 32 products at batch 128.",
        ["Batch", "J by", "textbook", "ours", "ratio", "textbook, first step", "ours, first step", "ratio"],
        rows,
    )


def over_the_size() -> Table:
    """Time and memory from 3 thousand to 2 million weights."""
    start = tf.constant(OSCILLATORS.random_states(32, np.random.default_rng(0)))
    rows, times = [], []
    for width in WIDTHS:
        hig = first_and_later(fit_step(half_inverse(network(width)), start), 15)[1]
        adam_model = training.DifferentiablePhysics(network(width), OSCILLATORS)
        adam_model.compile(keras.optimizers.Adam(1e-4), training.HalfSquaredError(), jit_compile=True)
        adam = first_and_later(fit_step(adam_model, start), 15)[1]
        times.append(hig)
        n_weights = network(width).count_params()
        j_bytes = 4 * 512 * n_weights
        grown = peak_memory(width) - peak_memory(WIDTHS[0]) if width != WIDTHS[0] else 0
        rows.append(
            [
                f"{n_weights}",
                f"{1e3 * hig:.1f} ms",
                f"{1e3 * adam:.1f} ms",
                f"{hig / adam:.1f}",
                f"{hig / times[0]:.1f}",
                f"{j_bytes / 1e6:.0f} MB",
                f"{grown / 1e6:.0f} MB",
                f"{grown / j_bytes:.3f}",
            ]
        )
    return Table(
        "From three thousand to two million weights",
        "Nonlinear oscillators, three hidden layers of equal width, batch 32 for time; both steps compiled by XLA, the "
        "eigendecomposition beside it. Memory at batch 128: J in float32, and by how much the peak of the whole "
        "process exceeds that of the smallest network. The aims: at most 5 times Adam, growth below 8, memory below a "
        "tenth of J.",
        ["Weights", "HIG", "Adam", "HIG over Adam", "over the smallest", "J", "peak memory, more", "over J"],
        rows,
    )


def few_products() -> Table:
    """Time of a step of 32 products from 3 thousand to 2 million weights."""
    start = tf.constant(OSCILLATORS.random_states(128, np.random.default_rng(0)))
    rows = []
    for width in WIDTHS:
        whole, products, squared = (
            first_and_later(fit_step(half_inverse(network(width), rcond=rcond, n_products=k), start), 15)[1]
            for k, rcond in ((None, RCOND), (32, RCOND), (32, 1e-3))
        )
        adam_model = training.DifferentiablePhysics(network(width), OSCILLATORS)
        adam_model.compile(keras.optimizers.Adam(1e-4), training.HalfSquaredError(), jit_compile=True)
        adam = first_and_later(fit_step(adam_model, start), 15)[1]
        times = [f"{1e3 * seconds:.1f} ms" for seconds in (whole, products, squared, adam)]
        ratios = [f"{seconds / adam:.1f}" for seconds in (whole, products, squared)]
        rows.append([f"{network(width).count_params()}", *times, ", ".join(ratios)])
    return Table(
        "With 32 products in place of the eigenvalues",
        "The same at batch 128, with 512 rows of J; all compiled by XLA but the decompositions. For "
        "τ = 1e-6 the products do not spare the eigenvalues. The aim: at most 3 times Adam.",
        ["Weights", "HIG", "products, τ = 1e-6", "products, τ = 1e-3", "Adam", "the three over Adam"],
        rows,
    )


def precision() -> Table:
    """Relative error of the step, without J and by the textbook, against a float64 SVD of the float64 Jacobian."""
    rows = []
    for problem in problems():
        exact = dense_step(in_float64(problem)).numpy()
        errors = []
        for step in (kernel_step, dense_step):
            found = step(problem).numpy().astype(np.float64)
            errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
        rows.append([problem.name, f"{problem.rcond:g}", *(f"{error:.1e}" for error in errors)])
    return Table(
        "Relative error of a half-inverse step in float32 networks",
        "The first step of a fresh network, against the SVD in float64 of the Jacobian in float64.",
        ["Set-up", "τ", "kernel", "textbook, float32 SVD"],
        rows,
    )


def race() -> Table:
    """Seconds to a given test loss on the nonlinear oscillators."""
    contestants: dict[str, tuple[int, Callable[[], training.PhysicsModel]]] = {
        "HIG, τ = 1e-6": (32, lambda: half_inverse(network(20))),
        "GN, τ = 1e-3": (32, lambda: half_inverse(network(20), exponent=-1.0, rcond=1e-3)),
        "Adam, rate 1e-3": (256, lambda: adam(1e-3)),
        "Adam, rate 3e-3": (256, lambda: adam(3e-3)),
    }
    rows = []
    for name, (n_samples, make) in contestants.items():
        for seed in SEEDS:
            found = seconds_to_goals(make, n_samples, seed)
            rows.append([name, f"{n_samples}", f"{seed}", *("never" if s is None else f"{s:.1f} s" for s in found)])
    return Table(
        "Seconds to a test loss",
        f"Nonlinear oscillators, 4096 start states to train and 1024 to test, network 4-20-20-20-96. Without tracing "
        f"and without testing; the test loss is taken every 20 steps. Given up after {PATIENCE:g} seconds of training.",
        ["Method", "Batch", "Seed", *(f"to {goal:g}" for goal in GOALS)],
        rows,
    )


def network(width: int, seed: int = 0) -> keras.Sequential:
    """The network of the nonlinear oscillators, with hidden layers of `width`."""
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(width, "relu") for _ in range(3)]
    return keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(OSCILLATORS.n_steps)])


def half_inverse(
    net: keras.Sequential, exponent: float = -0.5, rcond: float = RCOND, n_products: int | None = None
) -> training.SpectralModel:
    """A compiled model without J."""
    model = training.SpectralModel(
        net, OSCILLATORS, exponent=exponent, rcond=rcond, jacobian="kernel", n_products=n_products
    )
    model.compile(loss=training.HalfSquaredError(), jit_compile=True)
    return model


def adam(rate: float) -> training.DifferentiablePhysics:
    """A compiled model with Adam on the same loss."""
    model = training.DifferentiablePhysics(network(20), OSCILLATORS)
    model.compile(keras.optimizers.Adam(rate), training.HalfSquaredError(), jit_compile=True)
    return model


def fit_step(model: training.PhysicsModel, start: tf.Tensor) -> Callable[[], tf.Tensor]:
    """One training step towards the start states, as `fit` takes it."""
    step = tf.function(lambda: model.train_step((start, start)), autograph=False)
    return lambda: step()["loss"]


def textbook_step(net: keras.Sequential, start: tf.Tensor) -> Callable[[], tf.Tensor]:
    """One textbook step: rows of J by reverse passes through the unrolled integrator, SVD in float32."""
    weights = [weight.value for weight in net.trainable_variables]

    def unrolled() -> tf.Tensor:
        controls, state = net(start), start
        for k in range(OSCILLATORS.n_steps):
            state = OSCILLATORS.runge_kutta(state, controls[:, k : k + 1])
        return state

    def step() -> tf.Tensor:
        y = unrolled()
        stacked = jacobians.StackedJacobian.reverse(unrolled, net.trainable_variables)
        delta = spectral.apply_spectral_power(stacked.to_dense(), tf.reshape(y - start, [-1]), -0.5, rcond=RCOND)
        for weight, part in zip(weights, jacobians.unflatten_weights(delta, weights), strict=True):
            weight.assign_sub(1e-3 * part)
        return tf.reduce_sum((y - start) ** 2)

    return tf.function(step, autograph=False)


def first_and_later(step: Callable[[], tf.Tensor], n_steps: int) -> tuple[float, float]:
    """Seconds of the first step, tracing included, and the median of later ones."""
    seconds = []
    for _ in range(n_steps + 1):
        began = time.perf_counter()
        step().numpy()
        seconds.append(time.perf_counter() - began)
    return seconds[0], float(np.median(seconds[1:]))


def peak_memory(width: int) -> int:
    """Peak resident bytes of a fresh process that takes three steps at batch 128; on Linux."""
    command = [sys.executable, "-m", "book.runs.bench_half_inverse", str(width)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


@dataclass(frozen=True)
class Problem:
    """One set-up of the book: the map (x, inputs) → y, a fresh network, a batch, and τ."""

    name: str
    simulate: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    network: keras.Sequential
    inputs: tf.Tensor
    goals: tf.Tensor
    rcond: float

    def outputs(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return y of the inputs."""
        return self.simulate(self.network(inputs), inputs)

    def gradient(self) -> tf.Tensor:
        """∂L/∂y of ½|y − y*|², as one vector."""
        return tf.reshape(self.outputs(self.inputs) - self.goals, [-1])


def problems() -> Iterator[Problem]:
    """The set-ups of the book."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.uniform(-1.0, 1.0, (16, 1)), tf.float32)
    wave = tf.concat([tf.sin(6.0 * x), tf.cos(9.0 * x)], axis=1)
    yield Problem("toy, λ = 0.01, b = 16", scale_second, perceptron(1, (7,), 2), x, wave, 1e-4)
    linear = simulators.CoupledOscillators(n_steps=24, dt=0.5, spring=0.2, cubic=0.0, control_weight=1.0)
    start = tf.constant(linear.random_states(32, rng))
    yield Problem("linear oscillators, b = 32", linear.simulate, perceptron(4, (20, 20, 20), 24), start, start, RCOND)
    yield Problem("nonlinear oscillators, b = 32", OSCILLATORS.simulate, network(20), start, start, RCOND)
    dipole = simulators.QuantumDipole(n_points=6, n_steps=48, dt=0.1)
    targets = tf.constant(dipole.random_targets(16, rng))
    yield Problem("quantum dipole, b = 16", dipole.simulate, perceptron(12, (20, 20, 20), 48), targets, targets, 1e-2)


def perceptron(n_in: int, widths: tuple[int, ...], n_out: int) -> keras.Sequential:
    """A fresh network with tanh."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(width, "tanh") for width in widths]
    return keras.Sequential([keras.Input((n_in,)), *hidden, keras.layers.Dense(n_out)])


def scale_second(x: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """Y = (x₁, 0.01·x₂), the physics of the toy."""
    return x * tf.constant([1.0, 0.01], x.dtype)


def kernel_step(problem: Problem) -> tf.Tensor:
    """The step without J."""
    stacked = jacobians.StackedJacobian.kernel(problem.network, problem.outputs, problem.inputs)
    return spectral.spectral_step(stacked, problem.gradient(), -0.5, rcond=problem.rcond).step


def dense_step(problem: Problem) -> tf.Tensor:
    """The textbook step, in the dtype of the network."""

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step() -> tf.Tensor:
        weights = problem.network.trainable_variables
        stacked = jacobians.StackedJacobian.reverse(lambda: problem.outputs(problem.inputs), weights)
        return spectral.apply_spectral_power(stacked.to_dense(), problem.gradient(), -0.5, rcond=problem.rcond)

    return step()


def in_float64(problem: Problem) -> Problem:
    """The same problem with the same weights in float64."""
    double = keras.Sequential([keras.Input(problem.network.input_shape[1:], dtype="float64")])
    for layer in problem.network.layers:
        double.add(keras.layers.Dense(layer.units, layer.activation, dtype="float64"))
    double.set_weights(problem.network.get_weights())
    inputs, goals = (tf.cast(tensor, tf.float64) for tensor in (problem.inputs, problem.goals))
    return replace(problem, network=double, inputs=inputs, goals=goals)


def seconds_to_goals(make: Callable[[], training.PhysicsModel], n_samples: int, seed: int) -> list[float | None]:
    """Seconds of training steps until the test loss is below each goal, or None where it did not get there in time."""
    model = make()
    rng = np.random.default_rng(seed)
    states, test = OSCILLATORS.random_states(4096, rng), tf.constant(OSCILLATORS.random_states(1024, rng))

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(start: tf.Tensor) -> tf.Tensor:
        return model.train_step((start, start))["loss"]

    @tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
    def test_loss() -> tf.Tensor:
        return tf.reduce_mean(tf.reduce_sum((model(test) - test) ** 2, axis=1)) / 2.0

    step(tf.constant(states[:n_samples]))  # traces, and takes a step that the next lines undo
    for variable in model.optimizer.variables:
        if variable is not model.optimizer.learning_rate:
            variable.assign(keras.ops.zeros_like(variable))
    model.network.set_weights(network(20, seed).get_weights())
    reached: list[float | None] = [None] * len(GOALS)
    spent = 0.0
    while spent < PATIENCE and None in reached:
        batches = [tf.constant(rng.choice(states, n_samples, replace=False)) for _ in range(20)]
        began = time.perf_counter()
        for batch in batches:
            step(batch).numpy()
        spent += time.perf_counter() - began
        loss = test_loss().numpy()
        reached = [spent if s is None and loss < goal else s for s, goal in zip(reached, GOALS, strict=True)]
    return reached


if __name__ == "__main__":
    run = fit_step(
        half_inverse(network(int(sys.argv[1]))),
        tf.constant(OSCILLATORS.random_states(128, np.random.default_rng(0))),
    )
    for _ in range(3):
        run().numpy()
    # Not ru_maxrss: a process inherits that of its parent.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    print(1024 * int(status["VmHWM"].split()[0]))
