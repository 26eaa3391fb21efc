"""When two arrays agree: every entry up to a part of the largest one.

A purely relative tolerance asks for digits that rounding has taken: an entry near zero is the difference of large ones,
and its error is theirs. So the tolerance is `rtol` times the largest entry of what is expected, for all entries alike.
"""

from typing import Any

import numpy as np


def assert_close(found: Any, expected: Any, rtol: float = 1e-7) -> None:
    """Raise unless |found − expected| ≤ rtol · max |expected|, in every entry of arrays of equal shape."""
    found, expected = np.broadcast_arrays(np.asarray(found), np.asarray(expected))
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=rtol * np.max(np.abs(expected), initial=0.0))
