"""What may be wrong with a single record, in words: keys, layouts, values and flags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dreamer_jax.types import SIGNAL_SPACES, SIGNALS, Record, Space


def is_set(record: Record, key: str) -> bool:
    """Return whether a flag is there and set, whatever an environment has put in its place."""
    return bool(np.any(record.get(key, False)))


def reset_problems(record: Record) -> Iterator[str]:
    """Yield what a reset record has wrong beyond what any record may."""
    if not np.any(record.get("is_first", True)):
        yield "is_first is not set on the reset record"
    for key in ("is_last", "is_terminal"):
        if is_set(record, key):
            yield f"{key} is set on the reset record"
    if np.any(record.get("reward", 0) != 0):
        yield f"the reset record has reward {record['reward']}, not 0"


def end_problems(record: Record, step: int, inner: bool) -> Iterator[str]:
    """Yield flags that contradict each other.

    Args:
        record: Of the episode.
        step: Its index there.
        inner: Whether `is_terminal` may come without `is_last`.
    """
    if is_set(record, "is_terminal") and not (inner or is_set(record, "is_last")):
        yield "is_terminal is set without is_last"
    if step > 0 and is_set(record, "is_first"):
        yield "is_first is set on a step"


def record_problems(record: Mapping[str, Any], spaces: dict[str, Space]) -> Iterator[str]:
    """Yield keys, types, shapes and values that the observation spaces rule out."""
    expected = spaces | SIGNAL_SPACES
    for key in sorted(expected.keys() - record.keys()):
        yield f"{key!r} is missing from a record"
    for key in sorted(record.keys() - expected.keys()):
        if not key.startswith("log/"):
            yield f"a record has {key!r}, which the spaces do not name"
        elif np.shape(record[key]) != ():
            yield f"{key!r} has shape {np.shape(record[key])}; log values are scalars"
    for key in sorted(expected.keys() & record.keys()):
        yield from _key_problems(key, record[key], expected[key])


def _key_problems(key: str, value: np.ndarray, space: Space) -> Iterator[str]:
    if not isinstance(value, np.ndarray | np.generic):
        yield f"{key!r} is a {type(value).__name__}, not a NumPy value"
        return
    if value.dtype != space.dtype:
        yield f"{key!r} is {value.dtype}; its space says {space.dtype}"
    if value.shape != space.shape:
        yield f"{key!r} has shape {value.shape}; its space says {space.shape}"
    if np.issubdtype(value.dtype, np.floating):
        # −inf marks a missing observation (docs/algorithm.md 1); a reward is never missing.
        wrong = ~np.isfinite(value) & (~np.isneginf(value) | (key in SIGNALS))
        if np.any(wrong):
            yield f"{key!r} holds values that are not finite"
    elif space.classes is not None and value.size and value.dtype.kind in "biu":
        lowest = -1 if np.issubdtype(value.dtype, np.signedinteger) else 0
        if value.min() < lowest or value.max() >= space.classes:
            yield (
                f"{key!r} holds {value.min()} … {value.max()}; it has classes "
                f"0 … {space.classes - 1}"
            )
