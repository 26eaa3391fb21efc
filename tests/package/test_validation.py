"""Numbers are numbers, of Python and of NumPy; what is none is refused by name."""

import dataclasses
import fractions
import inspect
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import physgrad_tf
from physgrad_tf import simulators, training, updates, validation

REALS = [2, 2.0, np.float32(2.0), np.float64(2.0), np.float16(2.0), np.int64(2), np.uint8(2), fractions.Fraction(2)]


@pytest.mark.parametrize("value", REALS, ids=lambda value: type(value).__name__)
def test_real_numbers(value):
    assert validation.real("eta", value) == 2.0
    assert type(validation.real("eta", value)) is float
    reference = tf.zeros([3, 2], tf.float64)
    np.testing.assert_array_equal(validation.like("delta_y", value, reference, "y"), np.full((3, 2), 2.0))


@pytest.mark.parametrize(
    "value", [3, np.int64(3), np.int32(3), np.arange(5)[3]], ids=lambda value: type(value).__name__
)
def test_counts(value):
    assert validation.count("n_steps", value, minimum=1) == 3
    assert type(validation.count("n_steps", value, minimum=1)) is int
    assert validation.count("n_steps", value, minimum=3) == 3
    with pytest.raises(ValueError, match="n_steps must be at least 4, got 3"):
        validation.count("n_steps", value, minimum=4)


@pytest.mark.parametrize("value", [True, np.True_, "2", None, np.array([2.0]), tf.constant(2.0), 2.0 + 0.0j])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match="eta must be a number"):
        validation.real("eta", value)
    with pytest.raises(TypeError, match="n_steps must be an integer"):
        validation.count("n_steps", value, minimum=1)


def test_a_number_with_a_fraction_is_no_count():
    for value in (2.0, np.float32(2.0)):
        with pytest.raises(TypeError, match="n_steps must be an integer"):
            validation.count("n_steps", value, minimum=1)


def test_a_step_with_a_number_of_numpy():
    x = tf.constant([[3.0, 3.0]], tf.float64)
    simulator = simulators.QuadraticComposite()
    one, other = (updates.physical_gradient(simulator, x, eta) for eta in (-0.25, np.float32(-0.25)))
    np.testing.assert_array_equal(one, other)


def test_what_was_made_with_numbers_of_numpy_is_saved(tmp_path):
    oscillators = simulators.CoupledOscillators(np.int64(4), np.float32(0.5), cubic=np.float32(0.25))
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model = training.SpectralModel(network, oscillators, exponent=np.float32(-0.5), rcond=np.float64(1e-6))
    data = np.ones((2, 4), "float32")
    model.compile()
    model.predict(data, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert dataclasses.asdict(loaded.simulator) == dataclasses.asdict(oscillators)
    np.testing.assert_array_equal(loaded.predict(data, verbose=0), model.predict(data, verbose=0))


def test_another_backend_of_keras_is_refused_by_name():
    """In a process of its own: Keras takes its backend when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", "import physgrad_tf"],
        env=os.environ | {"KERAS_BACKEND": "numpy", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "ImportError: physgrad_tf needs Keras on TensorFlow, got numpy" in done.stderr


def test_figures_are_an_extra():
    """Without matplotlib and IPython all but `plotting` works."""
    code = (
        "import sys; sys.modules.update(matplotlib=None, cycler=None, IPython=None)\n"
        "import physgrad_tf as pg\n"
        "pg.claims.below(1.0, 2.0)\n"
        "try:\n    pg.plotting\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True
    )
    assert done.stdout == 'physgrad_tf.plotting needs matplotlib: pip install "physgrad-tf[plotting]"\n', done.stderr
    with pytest.raises(AttributeError, match="no attribute 'plots'"):
        _ = physgrad_tf.plots


@pytest.mark.parametrize("name", training.__all__)
def test_help_shows_every_argument_and_default(name):
    found = getattr(training, name)
    if inspect.isclass(found) and not dataclasses.is_dataclass(found):
        own = list(inspect.signature(found.__init__).parameters.values())[1:]
        assert list(inspect.signature(found).parameters.values()) == own
        assert "args" not in inspect.signature(found).parameters
