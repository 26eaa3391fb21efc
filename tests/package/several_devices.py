"""Train every model on one device, on two of this process, or as one of two processes, and write down what came out.

Run by `test_several_devices.py`, in processes of its own: how many devices there are is settled when TensorFlow starts.

    python -m tests.package.several_devices KIND FILE
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from physgrad_tf import simulators, training
from tests.package.tracing import SIZE_UNASKED

N, BATCH = 11, 4  # three steps; the last batch is smaller, and of another size on every device
LONE = 9  # the last batch is a single sample: one device gets none


def network(regularizer=None):
    keras.utils.set_random_seed(1)
    hidden = layers.Dense(8, "tanh", kernel_regularizer=regularizer)
    return keras.Sequential([keras.Input((2,)), hidden, layers.Dense(2, bias_initializer="ones")])


def closed_loop():
    keras.utils.set_random_seed(1)
    controller = keras.Sequential([keras.Input((3,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    step = lambda state, u: tf.stack([state[:, 1], tf.sin(state[:, 0]) + u[:, 0]], axis=1)  # noqa: E731
    return training.ClosedLoop(controller, step, n_steps=2, n_state=2)


SQUARE = simulators.Square()
GAUSS_NEWTON = training.GaussNewtonSolver()
UNASKED = {"rcond": 1e-3} | SIZE_UNASKED
MODELS = {
    "gradient": lambda: training.DifferentiablePhysics(network("l2"), SQUARE),
    "gradient, closed loop": lambda: training.DifferentiablePhysics(closed_loop(), SQUARE),
    "scale-invariant": lambda: training.ScaleInvariantPhysics(network("l2"), SQUARE, updates_per_solve=2),
    "scale-invariant, solver": lambda: training.ScaleInvariantPhysics(network(), SQUARE, inverse=GAUSS_NEWTON),
    "scale-invariant, closed loop": lambda: training.ScaleInvariantPhysics(closed_loop(), SQUARE),
    "half-inverse": lambda: training.SpectralModel(network(), SQUARE, rcond=1e-3),
    "half-inverse, layer by layer": lambda: training.SpectralModel(
        network(), SQUARE, jacobian="layerwise", samples_at_once=2, **UNASKED
    ),
    "half-inverse, row by row": lambda: training.SpectralModel(network(), SQUARE, jacobian="reverse", **UNASKED),
    "half-inverse, decomposed": lambda: training.SpectralModel(network(), SQUARE, **UNASKED | {"rcond": 1e-8}),
    "half-inverse, products": lambda: training.SpectralModel(
        network(), SQUARE, rcond=1e-3, jacobian="products", n_products=3
    ),
    "Gauss-Newton, products of J Jᵀ": lambda: training.SpectralModel(network(), SQUARE, -1.0, n_products=3, **UNASKED),
    "half-inverse, closed loop": lambda: training.SpectralModel(closed_loop(), SQUARE, **UNASKED),
}
LOSSES = {
    "mean": training.HalfSquaredError,
    "sum": lambda: training.HalfSquaredError("sum"),
    "weighted mean": lambda: keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
}
#: model, loss, compiled by XLA, weights of samples, how many samples
CASES = [(name, "mean", False, False, N) for name in MODELS]
CASES += [(name, "mean", True, True, N) for name in ("gradient", "scale-invariant", "half-inverse, closed loop")]
CASES += [(name, loss, False, True, N) for name in ("gradient", "half-inverse") for loss in ("sum", "weighted mean")]
CASES += [("half-inverse, products", "weighted mean", False, True, N)]
CASES += [("half-inverse, layer by layer", "mean", True, False, LONE)]
#: What differs between processes is how they meet; each way to a step that lets them meet runs in processes, too.
MEETING = ("gradient", "scale-invariant", "half-inverse", "half-inverse, decomposed", "half-inverse, products")
CASES_OF_PROCESSES = [case for case in CASES[: len(MODELS)] if case[0] in (*MEETING, "Gauss-Newton, products of J Jᵀ")]
CASES_OF_PROCESSES += [("half-inverse", "sum", False, True, N)]


def train(strategy, name, loss, xla, weighted, n):
    """The weights after two epochs of three steps, and all that the second reports, of training and of validation."""
    rng = np.random.default_rng(3)
    x, weights = rng.uniform(0.5, 2.0, (n, 2)), rng.uniform(0.0, 2.0, n)
    with strategy.scope():
        model = MODELS[name]()
        metrics = [keras.metrics.MeanAbsoluteError("mae")]  # by name, it would be made while tracing: another tracing
        eager = strategy.num_replicas_in_sync == 1 and not xla  # what is compared with them needs no tracing
        optimizer = keras.optimizers.SGD(0.02, momentum=0.5)
        model.compile(optimizer, LOSSES[loss](), metrics=metrics, jit_compile=xla, run_eagerly=eager)
    data = (x, {"y": x**2 + 0.1, "x": x}, *([weights] if weighted else []))
    reported = (by_hand if is_of_processes(strategy) else by_keras)(strategy, model, data)
    return np.concatenate([weight.ravel() for weight in model.get_weights()]).tolist(), reported


def is_of_processes(strategy):
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def by_keras(strategy, model, data):
    inputs, targets, *weights = data
    options = {"batch_size": BATCH, "verbose": 0, "sample_weight": weights[0] if weights else None}
    history = model.fit(
        inputs, targets, shuffle=False, epochs=2, validation_data=data, validation_batch_size=BATCH, **options
    )
    return {key: values[-1] for key, values in history.history.items()}


def by_hand(strategy, model, data):
    """What `fit` and `evaluate` do, which Keras 3 does not do in several processes."""
    with strategy.scope():
        model.optimizer.build(model.trainable_variables)
    batches = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(data).batch(BATCH))
    reported = {}
    # As in Keras: AutoGraph would convert the step anew in every trace, which takes most of its time.
    runs = {
        prefix: tf.function(
            lambda batch, step=step: strategy.run(step, args=(batch,)), [batches.element_spec], autograph=False
        )
        for prefix, step in (("", model.train_step), ("val_", model.test_step))
    }
    for _ in range(2):
        for prefix, run in runs.items():
            model.reset_metrics()
            for batch in batches:
                logs = run(batch)
            results = model._get_metrics_result_or_logs(logs)
            reported |= {prefix + key: float(value) for key, value in results.items()}
    return reported


def main(kind, path):
    if kind == "two devices":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    elif kind == "two processes":  # TF_CONFIG says which of them this is
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        strategy = tf.distribute.get_strategy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    cases = CASES_OF_PROCESSES if kind == "two processes" else CASES
    found = [train(strategy, *case) for case in cases]
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"replicas": strategy.num_replicas_in_sync, "found": found}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
