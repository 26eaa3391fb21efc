"""One training on fields with a stated amount of work: what `long_fields` compares.

Work is counted in products with J. One product with J and one with its transpose took as long as 1.4 steps of Adam on
Poisson and on heat, on one thread and on two, and a step of SIP and of supervised training as long as one of Adam. So
numbers of steps are fixed, and no result depends on the speed of the machine.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from book.runs.fields import Problem, problem, u_net
from physgrad_tf import simulators, training

BATCH = 32
#: Products with J, and as many with its transpose, in every training.
N_PRODUCTS = 1280
ADAM_STEPS_PER_PRODUCT = 1.4
N_RECORDS = 8
#: Edges of the bands of wave numbers, in radians per point.
BANDS = (0.0, 0.6, 1.2, 1.8, 4.5)
#: The rate of SIP where its setting is the noise of the inverse.
SIP_RATE = 3e-3


@dataclasses.dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        problem: as in `fields.problem`.
        n: points along a side.
        method: "Adam" on the loss in y, "SIP", "supervised", "Gauss-Newton" or "half-inverse".
        setting: of the last two, products per step; of SIP on noisy heat, the σ of its inverse; else the learning rate
            at the start of a cosine.
        seed: of the weights and of the order of the batches.
    """

    problem: str
    n: int
    method: str
    setting: float
    seed: int

    @property
    def what(self) -> str:
        """What the setting is."""
        if self.by_products:
            return "products"
        return "σ" if self.method == "SIP" and self.problem == "heat with noise" else "rate"

    @property
    def by_products(self) -> bool:
        """Whether the setting is a number of products per step."""
        return self.method in ("Gauss-Newton", "half-inverse")

    @property
    def n_steps(self) -> int:
        """As many as the work allows."""
        return round(N_PRODUCTS / self.setting if self.by_products else N_PRODUCTS * ADAM_STEPS_PER_PRODUCT)


def train_one(run: Training) -> dict[str, Any]:
    """Errors on the held-out fields: in x and in y over the work, and in bands of wave numbers at the end."""
    fields = problem(run.problem, run.n)
    model, goals = model_of(run, fields)
    return followed(model, goals, fields, run.n_steps, run.seed)


def followed(
    model: training.PhysicsModel, goals: np.ndarray, fields: Problem, n_steps: int, seed: int
) -> dict[str, Any]:
    """What `train_one` returns, of any compiled model: `goals` are what it is to reach, `seed` orders the batches."""
    order = tf.data.Dataset.from_tensor_slices((fields.y_train, goals)).shuffle(len(goals), seed=seed)
    batches = iter(order.batch(BATCH, drop_remainder=True).repeat())
    step = tf.function(model.train_step, autograph=False)
    marks = set(np.linspace(0, n_steps, N_RECORDS + 1).astype(int).tolist())
    found: dict[str, list[Any]] = {"x": [], "y": []}
    for number in range(1, n_steps + 1):
        step(next(batches))
        if number in marks:
            errors = measured(fields, model.network(fields.y_test))
            found["x"].append(errors["x"])
            found["y"].append(errors["y"])
    found["bands"] = errors["bands"]
    return found


def model_of(run: Training, fields: Problem) -> tuple[training.PhysicsModel, np.ndarray]:
    """The compiled model of a method, and what it is to reach."""
    network = u_net(run.n, fields.y_train, run.seed)
    if run.by_products:
        half = run.method == "half-inverse"
        model: training.PhysicsModel = training.SpectralModel(
            network,
            fields.simulator,
            exponent=-0.5 if half else -1.0,
            jacobian="products",
            n_products=int(run.setting),
            trust_region=half,
        )
        model.compile(loss=training.HalfSquaredError("sum"))
        return model, fields.y_train
    rate = run.setting if run.what == "rate" else SIP_RATE
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, run.n_steps))
    if run.method == "SIP":
        simulator = fields.simulator
        if run.what == "σ":
            simulator = simulators.Heat(simulator.nu_t, noise=run.setting)
        model = training.ScaleInvariantPhysics(network, simulator)
    else:
        # Supervised training has no physics: y is x, and the loss compares x with x*.
        model = training.DifferentiablePhysics(network, fields.simulator if run.method == "Adam" else lambda x: x)
    model.compile(optimizer, training.HalfSquaredError())
    return model, fields.x_train if run.method == "supervised" else fields.y_train


def measured(fields: Problem, x: Any) -> dict[str, Any]:
    """Errors of x [64, n, n, 1] on the held-out fields; that in y against what would be measured without noise."""
    error = np.asarray(x, np.float64) - fields.x_test
    in_y = np.asarray(fields.simulator(np.float64(fields.x_test) + error) - fields.simulator(np.float64(fields.x_test)))
    n = error.shape[1]
    waves = np.abs(np.fft.fft2(error[..., 0]) / n**2) ** 2  # as if it continued periodically
    k = 2.0 * np.pi * np.fft.fftfreq(n)
    band = np.digitize(np.sqrt(k[:, np.newaxis] ** 2 + k**2), BANDS) - 1
    return {
        "x": float(np.mean(np.abs(error))),
        "y": float(np.mean(np.sum(in_y**2, axis=(1, 2, 3)) / 2.0)),
        "bands": np.sqrt(np.bincount(band.ravel(), waves.mean(axis=0).ravel())).tolist(),
    }
