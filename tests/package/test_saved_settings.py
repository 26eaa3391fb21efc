"""Every setting of everything that Keras saves: moved from its default, saved, loaded, and still moved."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from physgrad_tf import simulators, training


@keras.saving.register_keras_serializable("tests")
def step(state, u):
    return state + u


def dense(n_in, n_out):
    return keras.Sequential([keras.Input((n_in,)), keras.layers.Dense(n_out)])


SOLVER = training.GaussNewtonSolver(n_steps=3, rcond=0.01)
#: Of every class: objects with settings that are no defaults, all of them in one object or spread over several.
MOVED = {
    simulators.CoupledOscillators: [
        {"n_steps": 5, "dt": 0.2, "n_masses": 3, "spring": 0.5, "cubic": 2.0, "control_weight": 1.5}
    ],
    simulators.Diffusion: [{"nu_t": 0.3}],
    simulators.EulerOscillator: [{"n_steps": 5, "dt": 0.2, "stiffness": 2.0, "cubic": 0.5}],
    simulators.Exponential: [{}],
    simulators.Heat: [{"nu_t": 0.3, "inverse": "cutoff", "noise": 1e-3}],
    simulators.Laplacian: [{"n": 5}],
    simulators.LeapfrogOscillator: [{"n_steps": 5, "dt": 0.2, "stiffness": 2.0, "cubic": 0.5}],
    simulators.Poisson: [{"n": 8}],
    simulators.PushedPendulum: [{"dt": 0.2, "gravity": 2.0}],
    simulators.QuadraticComposite: [{}],
    simulators.QuantumDipole: [{"n_points": 9, "n_steps": 12, "dt": 0.1}],
    simulators.Sine: [{"xi": 2.0, "phi": 0.5, "gamma": 5.0, "inside": False}],
    simulators.Square: [{}],
    simulators.Swirl: [{"kappa": 2.0}],
    training.ClosedLoop: [{"controller": dense(3, 2), "step": step, "n_steps": 2, "n_state": 2}],
    training.DifferentiablePhysics: [{"network": dense(2, 2), "simulator": simulators.Swirl(2.0)}],
    training.GaussNewtonSolver: [{"n_steps": 3, "rcond": 0.01}],
    training.HalfSquaredError: [{"reduction": "sum"}],
    training.SaddleFreeNewtonSolver: [{"limit": 0.3, "n_steps": 3}],
    training.ScaleInvariantPhysics: [
        {
            "network": dense(2, 2),
            "simulator": simulators.Swirl(2.0),
            "eta": 0.5,
            "proxy": "l1",
            "updates_per_solve": 2,
            "inverse": SOLVER,
        }
    ],
    training.SpectralModel: [
        {
            "network": dense(2, 2),
            "simulator": simulators.Swirl(2.0),
            "exponent": -1.0,
            "rcond": 0.01,
            "mode": "clamp",
            "jacobian": "layerwise",
            "max_jacobian_bytes": 1e6,
            "samples_at_once": 3,
        },
        {"network": dense(2, 2), "simulator": simulators.Swirl(2.0), "samples_at_once": "auto"},
        {"network": dense(2, 2), "simulator": simulators.Swirl(2.0), "jacobian": "products", "n_products": 5},
        {"network": dense(2, 2), "simulator": simulators.Swirl(2.0), "trust_region": True},
        {"network": dense(2, 2), "simulator": simulators.Swirl(2.0), "max_jacobian_bytes": None},
    ],
}
CASES = [(kind, settings) for kind, several in MOVED.items() for settings in several]


def parameters(kind):
    return {
        name: parameter.default
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }


def test_every_class_and_every_setting_is_here():
    rooms = [getattr(room, name) for room in (simulators, training) for name in room.__all__]
    assert {
        kind
        for kind in rooms
        if inspect.isclass(kind) and hasattr(kind, "get_config") and kind is not simulators.SavedByFields
    } == {
        *MOVED,
        training.PhysicsModel,
    }  # the base
    for kind, several in MOVED.items():
        moved = {
            name for settings in several for name, value in settings.items() if value is not parameters(kind)[name]
        }
        assert moved == set(parameters(kind)), kind
        assert all(settings[name] != parameters(kind)[name] for settings in several for name in settings)


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_setting_is_saved_and_loaded(kind, settings):
    made = kind(**settings)
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert type(loaded) is kind
    for name, value in settings.items():
        for thing in (made, loaded):
            held = getattr(thing, name)
            if isinstance(value, keras.Layer):
                assert held.get_config()["layers"] == value.get_config()["layers"]
            else:
                assert held == value, name
    if kind.__module__.startswith("physgrad_tf.simulators"):
        assert made == loaded


@pytest.mark.parametrize(
    "kind", [kind for kind in MOVED if kind.__name__ in simulators.__all__], ids=lambda kind: kind.__name__
)
def test_what_is_loaded_computes_the_same(kind):
    """And not what the defaults compute, where there are any."""
    (settings,) = MOVED[kind]
    made = kind(**settings)
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    required = {
        name: settings[name] for name, default in parameters(kind).items() if default is inspect.Parameter.empty
    }
    rng = np.random.default_rng(0)
    x, inputs = points_for(made, rng)
    answer = np.asarray(made.simulate(x, inputs))
    np.testing.assert_array_equal(loaded.simulate(x, inputs), answer)
    if required != settings and kind not in (simulators.Heat, simulators.QuantumDipole, simulators.CoupledOscillators):
        assert np.abs(np.asarray(kind(**required).simulate(x, inputs)) - answer).max() > 1e-3


def points_for(simulator, rng):
    """x and inputs as the simulator takes them."""
    shape, inputs = (3, 2), None
    if isinstance(simulator, simulators.Exponential):
        shape = (3, 1)
    if isinstance(simulator, simulators.Laplacian | simulators.Poisson | simulators.Heat):
        n = getattr(simulator, "n", 8)
        shape = (3, n, n, 1)
    if isinstance(simulator, simulators.CoupledOscillators):
        shape, inputs = (3, simulator.n_steps), tf.constant(rng.normal(size=(3, 2 * simulator.n_masses)))
    if isinstance(simulator, simulators.PushedPendulum):
        shape, inputs = (3, 4), tf.constant(rng.normal(size=(3, 2)))
    if isinstance(simulator, simulators.QuantumDipole):
        shape = (3, simulator.n_steps)
    return tf.constant(rng.uniform(0.1, 1.0, shape)), inputs
