"""Problems whose x and y are fields, and the U-Net that all of them train.

A sample is a field: n × n outputs. So the Jacobian of a batch of 32 has 32 n² rows, and nobody wants to store it.
"""

import dataclasses
from typing import Any

import keras
import numpy as np

from physgrad_tf import simulators

N_TRAIN, N_TEST = 2048, 64
#: Seeds of the fields and of the noise; those of the networks are 0, 1, 2 and, for the search, 3.
DATA_SEED = 10
NU_T = 2.0


@dataclasses.dataclass(frozen=True)
class Problem:
    """Fields to train with and fields held out.

    Attributes:
        simulator: maps x to y.
        x_train, y_train: sources, and what was measured of them [2048, n, n, 1].
        x_test, y_test: the same for fields that no network is trained with [64, n, n, 1].
    """

    simulator: Any
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def problem(name: str, n: int) -> Problem:
    """The problem "Poisson", "heat" or "heat with noise" on n × n points."""
    rng = np.random.default_rng(DATA_SEED)
    simulator: simulators.Poisson | simulators.Heat
    if name == "Poisson":
        noise, simulator = 0.0, simulators.Poisson(n)
        x_train, x_test = (simulator.smooth_sources(count, rng) for count in (N_TRAIN, N_TEST))
    else:
        noise = 0.01 if name == "heat with noise" else 0.0
        # For SIP: errors of y over a standard deviation of x of about 0.2; 1e-6 stands for the rounding of float32.
        simulator = simulators.Heat(NU_T, noise=max(noise / 0.2, 1e-6))
        x_train, x_test = (simulators.soft_rectangles(count, n, rng).astype(np.float32) for count in (N_TRAIN, N_TEST))

    def measure(x: np.ndarray) -> np.ndarray:
        return np.asarray(simulator(x).numpy() + noise * rng.standard_normal(x.shape), np.float32)

    return Problem(simulator, x_train, measure(x_train), x_test, measure(x_test))


def u_net(n: int, fields: np.ndarray, seed: int = 0, filters: int = 8) -> keras.Model:
    """A U-Net with tanh and means of four; `filters` on the finest of three grids."""
    keras.utils.set_random_seed(seed)

    def convolve(filters: int, *fields: Any) -> Any:
        joined = keras.layers.Concatenate()(list(fields)) if len(fields) > 1 else fields[0]
        return keras.layers.Conv2D(filters, 3, padding="same", activation="tanh")(joined)

    start = keras.Input((n, n, 1))
    fine = convolve(filters, convolve(filters, keras.layers.Rescaling(1.0 / float(np.std(fields)))(start)))
    half = convolve(2 * filters, convolve(2 * filters, keras.layers.AveragePooling2D(2)(fine)))
    quarter = convolve(2 * filters, convolve(2 * filters, keras.layers.AveragePooling2D(2)(half)))
    half = convolve(2 * filters, half, keras.layers.UpSampling2D(2)(quarter))
    fine = convolve(filters, fine, keras.layers.UpSampling2D(2)(half))
    return keras.Model(start, keras.layers.Conv2D(1, 3, padding="same")(fine))
