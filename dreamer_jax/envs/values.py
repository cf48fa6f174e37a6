"""Whether records hold what their spaces say: each one's layout, and all values of a vector step.

Nothing wrong is ever recorded silently. Layouts are compared record by record, where a value is
still what the environment made it; values are checked on the stacked arrays, one pass per key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.envs.faults import Fault
from dreamer_jax.errors import InvalidValueError, RecordError, UserError
from dreamer_jax.types import SIGNALS, Record, Space, Spaces

# Key, where its values go, and what they must be.
Field = tuple[str, np.ndarray, np.dtype, tuple[int, ...]]


def fields(spaces: Mapping[str, Space], arrays: Mapping[str, np.ndarray]) -> list[Field]:
    """Return what `store` needs of stacked arrays `[number, *shape]`."""
    return [(key, arrays[key], space.dtype, space.shape) for key, space in spaces.items()]


def store(record: Record, index: int, layout: list[Field]) -> None:
    """Copy a record into row `index` of stacked arrays.

    Raises:
        RecordError: If a key is missing, or has another shape or a type that cannot be converted.
        InvalidValueError: If an integer does not fit.
    """
    for key, array, dtype, shape in layout:
        value: Any = record.get(key)
        try:
            if value.dtype == dtype and value.shape == shape:
                array[index] = value
                continue
        except AttributeError:  # no NumPy value
            pass
        array[index] = _converted(key, value, dtype, shape)


def _converted(key: str, value: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return a value in its space's type where nothing is lost but digits."""
    if value is None:
        raise RecordError(f"a record lacks {key!r}")
    found = np.asarray(value)
    if found.shape != shape:
        raise RecordError(f"{key!r} has shape {found.shape}; its space says {shape}")
    if not np.can_cast(found.dtype, dtype, "same_kind"):
        raise RecordError(f"{key!r} is {found.dtype}; its space says {dtype}")
    cast = found.astype(dtype)
    if dtype.kind in "iu" and (cast != found).any():
        raise InvalidValueError(f"{key!r} holds {found.min()} … {found.max()}, not all {dtype}")
    return cast


def check_same_spaces(expected: Spaces, found: Spaces) -> None:
    """Check that a further environment of a task is like the first one.

    Raises:
        UserError: Names the keys that differ.
    """
    if found == expected:
        return
    ours, theirs = expected.obs | expected.action, found.obs | found.action
    keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    raise UserError(
        f"two environments of one task have different spaces ({', '.join(keys)}); a constructor "
        "returns the same spaces every time"
    )


class Limits(NamedTuple):
    """Which values of a key an environment may report: `least ≤ value < below`. NaN never is."""

    least: float
    below: float


def limits(spaces: Mapping[str, Space]) -> dict[str, Limits]:
    """Return the limits of every key that has any.

    Floats are finite, except that −inf marks a missing observation; classes are below their count
    and not negative, except that −1 marks a missing one (SPEC 1).

    Args:
        spaces: Of a whole record, signals included.
    """
    found = {}
    for key, space in spaces.items():
        if 0 in space.shape or space.dtype.kind == "b":
            continue
        if space.classes is not None:
            found[key] = Limits(-1 if space.dtype.kind == "i" else -np.inf, space.classes)
        elif space.dtype.kind == "f":
            finite = float(np.finfo(np.float32).min)
            found[key] = Limits(finite if key in SIGNALS else -np.inf, np.inf)
    return found


class ValueCheck:
    """Finds values that no environment may report; see `limits`.

    Args:
        spaces: Of a whole record, as `group.record_spaces` returns them.
    """

    def __init__(self, spaces: Mapping[str, Space]) -> None:
        self._limits = limits(spaces)
        # Comparisons with NaN fail, so one maximum finds NaN and infinity at once.
        self._below = [(key, below) for key, (_, below) in self._limits.items()]
        self._least = [(k, least) for k, (least, _) in self._limits.items() if least > -np.inf]

    def __call__(self, records: Mapping[str, np.ndarray]) -> list[Fault]:
        """Return a fault for each environment whose row holds such a value."""
        wrong = [key for key, limit in self._below if not records[key].max() < limit]
        wrong += [key for key, limit in self._least if not records[key].min() >= limit]
        found: dict[int, str] = {}
        for key in wrong:
            for index, row in enumerate(records[key]):
                if index not in found and (problem := self._problem(key, row)):
                    found[index] = problem
        return [Fault((index,), found[index], "value") for index in sorted(found)]

    def _problem(self, key: str, row: np.ndarray) -> str:
        least, below = self._limits[key]
        bad = np.asarray(~((row < below) & (row >= least)))
        if not bad.any():
            return ""
        where = f" at {[int(i) for i in np.argwhere(bad)[0]]}" if row.ndim else ""
        what = "finite numbers" if below == np.inf else f"classes 0 … {below - 1:.0f}"
        return f"{key!r} holds {row[bad].flat[0]}{where}; it may hold {what}"
