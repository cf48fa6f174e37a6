"""Where the arrays of records and actions lie in memory that processes share."""

from __future__ import annotations

from collections.abc import Mapping
from multiprocessing.shared_memory import SharedMemory
from typing import NamedTuple

import numpy as np

from dreamer_jax.types import Space

_ALIGNMENT = 64  # bytes; a cache line, so that no two arrays share one


class Layout(NamedTuple):
    """Where each array lies in the shared memory."""

    size: int  # bytes
    fields: tuple[tuple[str, str, np.dtype, tuple[int, ...], int], ...]

    def views(self, memory: SharedMemory) -> dict[str, dict[str, np.ndarray]]:
        """Return the arrays: `records` and `actions` by key, `[number, ...]` each."""
        arrays: dict[str, dict[str, np.ndarray]] = {"records": {}, "actions": {}}
        for side, key, dtype, shape, offset in self.fields:
            arrays[side][key] = np.ndarray(shape, dtype, memory.buf, offset)
        return arrays


def lay_out(records: Mapping[str, Space], actions: Mapping[str, Space], number: int) -> Layout:
    """Place one array `[number, *shape]` per key of the records and of the actions."""
    fields, offset = [], 0
    for side, spaces in (("records", records), ("actions", actions)):
        for key, space in spaces.items():
            shape = (number, *space.shape)
            fields.append((side, key, space.dtype, shape, offset))
            size = int(np.prod(shape)) * space.dtype.itemsize
            offset += -(-size // _ALIGNMENT) * _ALIGNMENT
    return Layout(offset, tuple(fields))
