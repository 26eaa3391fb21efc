"""Fixtures of the package tests: random numbers from one fixed seed, and nothing that depends on the machine."""

import gc

import hypothesis
import numpy as np
import pytest

# The first example of a test pays for TensorFlow's tracing; a deadline per example would measure that.
hypothesis.settings.register_profile("physgrad", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("physgrad")


def pytest_collection_finish():
    """The modules stay to the end: the collector of garbage need not look at them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


@pytest.fixture(autouse=True)
def _however_slow_the_machine(monkeypatch):
    """No test fails because tracing took long."""
    monkeypatch.setattr("physgrad_tf.training.physics_model.LONG_TRACING", float("inf"))
