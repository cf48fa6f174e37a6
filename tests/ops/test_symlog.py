"""Symmetric logarithm: hand-computed values and the properties that make it an encoding."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer_jax.ops.symlog import symexp, symlog

FLOATS = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0.0), (np.e - 1, 1.0), (1 - np.e**2, -2.0), (1.0, np.log(2.0)), (-99.0, -np.log(100.0))],
)
def test_symlog_values(value: float, expected: float) -> None:
    np.testing.assert_allclose(symlog(jnp.float32(value)), expected, rtol=1e-6)
    np.testing.assert_allclose(symexp(jnp.float32(expected)), value, rtol=1e-6)


@given(FLOATS)
def test_symexp_inverts_symlog(value: float) -> None:
    np.testing.assert_allclose(symexp(symlog(jnp.float32(value))), value, rtol=1e-5, atol=1e-30)


@given(FLOATS, FLOATS)
def test_symlog_is_odd_and_monotone(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert symlog(jnp.float32(low)) <= symlog(jnp.float32(high))
    assert symlog(jnp.float32(-a)) == -symlog(jnp.float32(a))


def test_small_values_keep_their_precision() -> None:
    """`log(1 + x)` instead of `log1p(x)` would return 0 here."""
    np.testing.assert_allclose(symlog(jnp.float32(1e-9)), 1e-9, rtol=1e-6)
