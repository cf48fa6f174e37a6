"""Ring columns: size, laziness, strictness, wrapping runs."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from dreamer_jax.replay.storage import Ring, bytes_per_record
from dreamer_jax.types import Space

Values = dict[str, np.ndarray]
SPACES = {"a": Space(np.dtype(np.float32), (3,)), "b": Space(np.dtype(np.uint8), ())}


def test_run_across_the_wrap_is_read_back_as_written() -> None:
    ring = Ring(SPACES, streams=2, capacity=7)
    a, b = np.arange(15, dtype=np.float32), np.arange(5, dtype=np.uint8)
    values: Values = {"a": a.reshape(5, 3), "b": b}
    ring.write(1, 12, values)  # slots 5 6 0 1 2
    np.testing.assert_array_equal(ring.columns["b"][1, [5, 6, 0, 1, 2]], values["b"])
    for key, read in ring.read(1, 12, 5).items():
        np.testing.assert_array_equal(read, values[key])


def test_gather_returns_copies() -> None:
    """The device may still be reading a batch when its records are overwritten."""
    ring = Ring(SPACES, streams=2, capacity=7)
    for column in ring.columns.values():
        column[:] = 1
    batch = ring.gather(np.array([0, 1]), np.array([2, 3]), 3)
    again = ring.gather(np.array([0, 1]), np.array([2, 3]), 3)
    for key, values in batch.items():
        assert values.flags.owndata
        assert not np.shares_memory(values, ring.columns[key])
        assert not np.shares_memory(values, again[key])
    for key, values in ring.read(1, 3, 2).items():
        assert not np.shares_memory(values, ring.columns[key])


def test_ring_holds_raw_bytes_and_no_more() -> None:
    ring = Ring(SPACES, streams=2, capacity=7)
    assert bytes_per_record(SPACES) == 13
    assert ring.nbytes == 2 * 7 * 13


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_unused_capacity_occupies_no_memory() -> None:
    def resident() -> int:
        status = Path("/proc/self/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match
        return int(match[1]) * 1024

    before = resident()
    ring = Ring({"a": Space(np.dtype(np.uint8), (1024,))}, streams=1, capacity=2**20)
    ring.append(np.array([0]), {"a": np.ones((1, 1024), np.uint8)})
    assert ring.nbytes == 2**30
    assert resident() - before < 2**26


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": np.zeros((2, 3))}, "'a' must be float32 .* got float64"),
        ({"a": np.zeros((2, 4), np.float32)}, r"'a' must be .* \(2, 3\), got .* \(2, 4\)"),
        ({"b": np.zeros(2, np.int64)}, "'b' must be uint8 .* got int64"),
        ({"c": np.zeros(2)}, r"keys \['a', 'b'\], got \['a', 'b', 'c'\]"),
    ],
)
def test_wrong_record_is_named_and_not_cast(change: Values, message: str) -> None:
    """A silent cast would wrap 256 to 0."""
    ring = Ring(SPACES, streams=2, capacity=7)
    right: Values = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(2, np.uint8)}
    ring.check(right, (2,))
    with pytest.raises(ValueError, match=message):
        ring.check(right | change, (2,))
