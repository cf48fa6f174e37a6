"""Runs random cases through a function that must return or refuse, for the fuzz tests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Target = Callable[[st.DataObject, Path], None]

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from([-1, 0, 1, 2**31, 2**63, 10**400]),
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=9,
)
DTYPES = st.sampled_from(["float32", "float64", "int32", "int64", "uint8", "bool", "float16"])
SHAPES = st.lists(st.integers(1, 5), max_size=3).map(tuple)


def fuzz(*targets: Target, fast: int = 25, full: int = 250) -> Callable[[], None]:
    """Return the tests of some targets: a few cases each by default, many more marked slow.

    The few are always the same, so that they judge a change and not the day; the many are new.

    Args:
        *targets: Take a source of random values and an empty folder, and assert what must hold.
        fast: Cases of a default test.
        full: Cases of a slow one.
    """

    @pytest.mark.parametrize("cases", [fast, pytest.param(full, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("target", targets, ids=lambda target: target.__name__)
    def test(target: Target, cases: int) -> None:
        def once(data: st.DataObject) -> None:
            with tempfile.TemporaryDirectory() as folder:
                target(data, Path(folder))

        checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
        limits = settings(
            max_examples=cases,
            suppress_health_check=checks,
            database=None,
            derandomize=cases == fast,
        )
        limits(given(st.data())(once))()

    return test
