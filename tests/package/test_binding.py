"""What a reader brings is called with what it asks for, and with nothing else."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import simulators
from physgrad_tf.simulators.binding import inverse_map, simulator_map

X = tf.constant([[1.0], [2.0], [3.0]])
GIVEN = tf.constant([[10.0], [20.0], [30.0]])


class Bare:
    def simulate(self, x):
        return 2.0 * x


class WithInputs:
    def simulate(self, x, inputs):
        return 2.0 * x + inputs


class Optional:
    def simulate(self, x, inputs=None, k=2.0):
        return k * x + (0.0 if inputs is None else inputs)


class Called:
    def __call__(self, x, stiffness=2.0):
        return stiffness * x


def drag(x, k=2.0):
    return k * x


def both(x, start):
    return 2.0 * x + start


ALONE = {
    "one parameter": lambda x: 2.0 * x,
    "a parameter with a default": drag,
    "a captured number": lambda x, k=2.0: k * x,
    "several defaults": lambda x, k=2.0, n=0: k * x + n,
    "tf.function": tf.function(lambda x: 2.0 * x),
    "tf.function with a default": tf.function(drag),
    "partial": functools.partial(drag, k=2.0),
    "partial of inputs": functools.partial(lambda x, inputs: 2.0 * x + inputs, inputs=0.0),
    "an object that is called": Called(),
    "an object with simulate": Bare(),
    "any number": lambda *points: 2.0 * points[0],
    "any option": lambda x, **options: 2.0 * x if not options else None,
    "its only parameter is named inputs": lambda inputs: 2.0 * inputs,
    "a layer": keras.layers.Rescaling(2.0),
    "an operation": functools.partial(tf.add, X),
}


class Layer(keras.layers.Layer):
    def call(self, x, training=False, inputs=None):
        assert not training
        return 2.0 * x + inputs


class Required(keras.layers.Layer):
    def call(self, x, start, mask=None):
        return 2.0 * x + start


ASKED = {
    "a layer": Layer(),
    "a layer that needs them": Required(),
    "two parameters": both,
    "tf.function": tf.function(both),
    "named, with a default": lambda x, k=2.0, inputs=None: k * x + inputs,
    "by keyword alone": lambda x, *, inputs: 2.0 * x + inputs,
    "partial": functools.partial(lambda k, x, start: k * x + start, 2.0),
    "an object with simulate": WithInputs(),
    "an object that can do without": Optional(),
}


@pytest.mark.parametrize("simulator", ALONE.values(), ids=ALONE)
def test_inputs_go_only_where_they_are_asked_for(simulator):
    np.testing.assert_array_equal(simulator_map(simulator)(X, GIVEN), 2.0 * X)


@pytest.mark.parametrize("simulator", ASKED.values(), ids=ASKED)
def test_what_asks_for_inputs_gets_them(simulator):
    np.testing.assert_array_equal(simulator_map(simulator)(X, GIVEN), 2.0 * X + GIVEN)


def test_a_learned_emulator_does_not_learn():
    emulator = keras.Sequential([keras.Input((1,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    once, twice = (simulator_map(emulator)(X, GIVEN) for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    np.testing.assert_array_equal(once, emulator.layers[-1](X))


def test_inverses():
    assert inverse_map("inverse", lambda y, x_guess: (y, x_guess))(1, 2, 3) == (1, 2)
    assert inverse_map("inverse", lambda y, x_guess, k=5: (y, x_guess, k))(1, 2, 3) == (1, 2, 5)
    assert inverse_map("inverse", lambda y, x_guess, start: (y, x_guess, start))(1, 2, 3) == (1, 2, 3)
    assert inverse_map("inverse", lambda y, x, k=5, inputs=None: (y, x, k, inputs))(1, 2, 3) == (1, 2, 5, 3)
    assert inverse_map("inverse", tf.add)(1, 2, 3) == 3


@pytest.mark.parametrize(
    ("bind", "wrong", "message"),
    [
        (simulator_map, 3.0, "simulator must be a function, got float"),
        (simulator_map, lambda: 1.0, r"simulator must be a function of x, or of x and inputs, got one of \(\)"),
        (simulator_map, simulators.Square, "got the class Square: make an object"),
        (simulator_map, lambda x, a, b: x, r"got one of \(x, a, b\)"),
        (simulator_map, lambda x, *, k: x, r"got one of \(x, \*, k\)|got one of \(x, k\)"),
        (
            functools.partial(inverse_map, "inverse"),
            lambda y: y,
            "inverse must be a function of y and x_guess, or of y, x_guess and inputs",
        ),
        (
            functools.partial(inverse_map, "inverse"),
            lambda simulate, y, x, inputs: y,
            r"got one of \(simulate, y, x, inputs\)",
        ),
    ],
)
def test_what_asks_for_something_else_is_refused(bind, wrong, message):
    with pytest.raises(TypeError, match=message):
        bind(wrong)
