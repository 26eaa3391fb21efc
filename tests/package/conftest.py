"""Fixtures of the package tests: random numbers from one fixed seed, the tolerance of a dtype."""

import hypothesis
import numpy as np
import pytest

# The first example of a test pays for TensorFlow's tracing; a deadline per example would measure that.
hypothesis.settings.register_profile("physgrad", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("physgrad")


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)
