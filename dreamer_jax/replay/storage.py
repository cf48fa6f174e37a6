"""Preallocated ring columns: one array `[streams, capacity, ...]` per key.

Every record of a stream has an absolute index that only grows; it lies in slot `index mod
capacity` until the record `capacity` indices later overwrites it. The slot's generation is the
absolute index that it holds, so the caller, who knows how many records a stream has seen, can tell
a live index from an overwritten one. This file only moves values; which indices are live is
decided in `sampling.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from dreamer_jax.types import Space


def bytes_per_record(spaces: Mapping[str, Space]) -> int:
    """Return the bytes that one record occupies in columns of these spaces."""
    return sum(np.dtype(s.dtype).itemsize * math.prod(s.shape) for s in spaces.values())


class Ring:
    """Columns of equal length for all streams.

    Args:
        spaces: dtype and shape of one record's value, per key.
        streams: Number of independent streams.
        capacity: Records per stream.
    """

    def __init__(self, spaces: Mapping[str, Space], streams: int, capacity: int) -> None:
        self.spaces = {
            key: Space(np.dtype(space.dtype), tuple(space.shape)) for key, space in spaces.items()
        }
        self.capacity = capacity
        self._stream_ids = np.arange(streams)
        # Untouched pages of an empty array cost no memory, so a large ring fills as it is used.
        self.columns = {
            key: np.empty((streams, capacity, *space.shape), space.dtype)
            for key, space in self.spaces.items()
        }

    @property
    def nbytes(self) -> int:
        """Bytes of all columns when every page is in use."""
        return sum(column.nbytes for column in self.columns.values())

    def check(self, values: Mapping[str, np.ndarray], leading: tuple[int, ...]) -> None:
        """Raise ValueError unless `values` has every key, with exact dtype and shape.

        Casting silently would wrap integers, so nothing is cast.
        """
        if values.keys() != self.spaces.keys():
            raise ValueError(
                f"records must have the keys {sorted(self.spaces)}, got {sorted(values)}"
            )
        for key, (dtype, shape, _) in self.spaces.items():
            value = values[key]
            if value.dtype != dtype or value.shape != (*leading, *shape):
                raise ValueError(
                    f"{key!r} must be {dtype} of shape {(*leading, *shape)}, "
                    f"got {value.dtype} of shape {value.shape}"
                )

    def append(self, indices: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Copy one record per stream, `values[key] [E, ...]`, to absolute `indices [E]`.

        Or K of them, `[K, E, ...]` to `[K, E]`, no two to one slot.
        """
        slots = indices % self.capacity
        for key, column in self.columns.items():
            column[self._stream_ids, slots] = values[key]

    def gather(self, streams: np.ndarray, starts: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """Return fresh copies `[B, length, ...]` of the runs that begin at `starts [B]`."""
        # Runs are contiguous in memory: a copy per run is faster than an index per record.
        runs = [
            (row, stream, slots, offsets)
            for row, (stream, start) in enumerate(
                zip(streams.tolist(), starts.tolist(), strict=True)
            )
            for slots, offsets in self._pieces(start, length)
        ]
        batch = {}
        for key, column in self.columns.items():
            out = np.empty((len(streams), length, *column.shape[2:]), column.dtype)
            for row, stream, slots, offsets in runs:
                out[row, offsets] = column[stream, slots]
            batch[key] = out
        return batch

    def read(self, stream: int, start: int, length: int) -> dict[str, np.ndarray]:
        """Return fresh copies `[length, ...]` of one run."""
        run = self.gather(np.array([stream]), np.array([start]), length)
        return {key: values[0] for key, values in run.items()}

    def write(self, stream: int, start: int, values: Mapping[str, np.ndarray]) -> None:
        """Copy `values[key] [n, ...]` to the run of `n` records that begins at `start`."""
        for key, column in self.columns.items():
            for slots, offsets in self._pieces(start, len(values[key])):
                column[stream, slots] = values[key][offsets]

    def _pieces(self, start: int, length: int) -> Iterator[tuple[slice, slice]]:
        """Yield the slots of a run, cut where the ring wraps, and their offsets in the run."""
        slot = start % self.capacity
        head = min(length, self.capacity - slot)
        yield slice(slot, slot + head), slice(0, head)
        if head < length:
            yield slice(0, length - head), slice(head, length)
