"""Several inputs and outputs of networks and simulators, in lists and dictionaries: the step is that of one tensor."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from physgrad_tf import training
from tests.package.agreement import assert_close
from tests.package.tracing import SIZE_UNASKED


@keras.saving.register_keras_serializable("tests")
class Halves:
    """A simulator of two vectors, u ↦ u², v ↦ u·v, in lists, dictionaries or side by side in one tensor."""

    def __init__(self, form):
        self.form = form

    def get_config(self):
        return {"form": self.form}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def parts(self, x):
        if self.form == "dict":
            return x["u"], x["v"]
        return tuple(x) if self.form == "list" else (x[:, :2], x[:, 2:])

    def whole(self, u, v):
        return {"dict": {"u": u, "v": v}, "list": [u, v], "one": tf.concat([u, v], axis=1)}[self.form]

    def simulate(self, x):
        u, v = self.parts(x)
        return self.whole(u**2, u * v)

    def local_inverse(self, y, x_guess):
        squares, products = self.parts(y)
        u = tf.sqrt(squares)
        return self.whole(u, products / u)


def network(form):
    """Two inputs, a shared hidden layer, two outputs; always with the same start weights."""
    keras.utils.set_random_seed(1)
    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    hidden = layers.Dense(8, "tanh")(layers.Concatenate()([a, b]))
    outputs = [layers.Dense(2, bias_initializer="ones", name=name)(hidden) for name in "uv"]
    if form == "one":
        return keras.Model([a, b], layers.Concatenate()(outputs))
    return keras.Model([a, b], dict(zip("uv", outputs, strict=True)) if form == "dict" else outputs)


UNASKED = {"rcond": 1e-3} | SIZE_UNASKED
MODELS = {
    "gradient": training.DifferentiablePhysics,
    "scale-invariant": training.ScaleInvariantPhysics,
    "half-inverse": lambda *parts: training.SpectralModel(*parts, rcond=1e-3),
    "half-inverse, row by row": lambda *parts: training.SpectralModel(*parts, jacobian="reverse", **UNASKED),
    "half-inverse, a few at a time": lambda *parts: training.SpectralModel(*parts, samples_at_once=2, **UNASKED),
}


def shaped(form, u, v):
    return {"dict": {"u": u, "v": v}, "list": [u, v], "one": np.concatenate([u, v], axis=1)}[form]


def trained(kind, form, xla=False, weighted=False, path=None, with_solution=True, **options):
    rng = np.random.default_rng(3)
    inputs = [rng.uniform(0.5, 2.0, (6, n)).astype("float32") for n in (2, 1)]
    u, v = rng.uniform(0.5, 2.0, (2, 6, 2)).astype("float32")
    model = MODELS[kind](network(form), Halves(form))
    model.compile(keras.optimizers.SGD(0.05), training.HalfSquaredError(), jit_compile=xla, **options)
    targets = shaped(form, u**2, u * v)
    weights = np.linspace(0.0, 2.0, 6).astype("float32") if weighted else None
    history = model.fit(
        inputs,
        {"y": targets, "x": shaped(form, u, v)} if with_solution else targets,
        epochs=2,
        shuffle=False,
        verbose=0,
        sample_weight=weights,
    ).history
    model.fit(inputs, targets, epochs=1, shuffle=False, verbose=0, sample_weight=weights)
    if path:
        model.save(path)
        model = keras.saving.load_model(path)
    found = model.evaluate(inputs, targets, verbose=0, return_dict=True, sample_weight=weights)
    return np.concatenate([weight.ravel() for weight in model.get_weights()]), history, found["loss"]


@functools.cache
def trained_as_one(kind, xla=False, weighted=False):
    """What all forms are compared with: eager where XLA does not compile it, which saves the tracing."""
    return trained(kind, "one", xla, weighted, run_eagerly=not xla)


CASES = [(kind, form, False) for kind in MODELS for form in ("list", "dict")]
CASES += [(kind, "dict", True) for kind in ("gradient", "scale-invariant", "half-inverse")]


@pytest.mark.parametrize(("kind", "form", "xla"), CASES)
def test_the_form_changes_nothing(kind, form, xla, tmp_path):
    weights, history, loss = trained_as_one(kind, xla)
    path = tmp_path / "model.keras"
    other, other_history, other_loss = trained(kind, form, xla, path=path)
    assert_close(other, weights, rtol=1e-4)
    assert other_loss == pytest.approx(loss, rel=1e-4)
    assert set(history) <= set(other_history)
    for name, values in history.items():
        assert other_history[name] == pytest.approx(values, rel=1e-3), name


@pytest.mark.parametrize("kind", ["gradient", "scale-invariant", "half-inverse"])
def test_a_step_is_traced_once(kind, monkeypatch):
    """Though Keras makes a mean of the loss for every output."""
    traced, update = [], training.PhysicsModel.train_step
    monkeypatch.setattr(training.PhysicsModel, "train_step", lambda *args: traced.append("once") or update(*args))
    trained(kind, "dict", with_solution=False)
    assert traced == ["once"]


@pytest.mark.parametrize("form", ["list", "dict"])
@pytest.mark.parametrize("kind", ["gradient", "half-inverse"])
def test_weights_count_for_every_output(kind, form):
    weights, _, loss = trained_as_one(kind, weighted=True)
    other, _, other_loss = trained(kind, form, weighted=True, run_eagerly=form == "list")
    assert_close(other, weights, rtol=1e-4)
    assert other_loss == pytest.approx(loss, rel=1e-4)


def test_weights_of_outputs_are_refused_where_there_is_one_for_x():
    with pytest.raises(ValueError, match="ScaleInvariantPhysics weights whole samples in x"):
        trained("scale-invariant", "dict", weighted=True)


def named(x):
    """Two outputs that have the names of a target and its solution."""
    return {"x": x["u"] ** 2, "y": x["u"] * x["v"]}


@pytest.mark.parametrize("kind", ["gradient", "half-inverse"])
def test_outputs_may_be_called_x_and_y(kind):
    """As Halves, whose outputs have other names; weighted, with metrics, and with a solution beside them or without."""
    rng = np.random.default_rng(3)
    inputs = [rng.uniform(0.5, 2.0, (6, n)).astype("float32") for n in (2, 1)]
    u, v = rng.uniform(0.5, 2.0, (2, 6, 2)).astype("float32")
    found = []
    for simulator, names in ((Halves("dict"), "uv"), (named, "xy")):
        y = dict(zip(names, (u**2, u * v), strict=True))
        for targets in ({"y": y, "x": {"u": u, "v": v}}, {"y": y}):
            model = MODELS[kind](network("dict"), simulator)
            options = {"metrics": dict.fromkeys(names, "mae"), "run_eagerly": names == "uv"}
            model.compile(keras.optimizers.SGD(0.05), training.HalfSquaredError(), **options)
            logs = model.fit(inputs, targets, epochs=2, shuffle=False, verbose=0).history
            found.append(
                [*logs["loss"], *logs[f"{names[0]}_mae"], *np.concatenate([w.ravel() for w in model.get_weights()])]
            )
    for other in found[1:]:
        assert_close(other, found[0], rtol=1e-6)


def test_outputs_called_x_and_y_are_asked_for_by_name():
    model = MODELS["gradient"](network("dict"), named)
    model.compile(loss="mse")
    one = np.ones((6, 2), "float32")
    with pytest.raises(ValueError, match=r'Where y itself has these names, give {"y": y\*}'):
        model.train_on_batch([one, one[:, :1]], {"x": one, "y": one})


class Trajectory:
    """x is a dictionary, y a trajectory [batch, 3, 2]."""

    def simulate(self, x):
        return tf.stack([x["u"], x["u"] * x["v"], x["v"] ** 2], axis=1)


@pytest.mark.parametrize("solver", [training.GaussNewtonSolver(2), training.SaddleFreeNewtonSolver()])
@pytest.mark.parametrize("xla", [False, True])
def test_a_solver_sees_any_x_and_y_in_rows(solver, xla):
    """As with x and y laid out in rows by hand."""
    rng = np.random.default_rng(3)
    inputs = [rng.uniform(0.5, 2.0, (6, n)).astype("float32") for n in (2, 1)]
    y = rng.uniform(0.5, 2.0, (6, 3, 2)).astype("float32")

    def in_rows(x):
        return tf.reshape(Trajectory().simulate({"u": x[:, :2], "v": x[:, 2:]}), [-1, 6])

    weights = []
    for form, simulator, targets in (("dict", Trajectory(), y), ("one", in_rows, y.reshape(6, 6))):
        model = training.ScaleInvariantPhysics(network(form), simulator, inverse=solver)
        model.compile(keras.optimizers.SGD(0.05), jit_compile=xla, run_eagerly=form == "one" and not xla)
        model.fit(inputs, targets, batch_size=4, shuffle=False, verbose=0)
        weights.append(np.concatenate([weight.ravel() for weight in model.get_weights()]))
    np.testing.assert_allclose(weights[0], weights[1], rtol=0.0, atol=1e-6)
