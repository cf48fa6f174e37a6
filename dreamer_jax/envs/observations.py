"""One array of an environment's observation, as one key of a record.

The rules (SPEC 1): uint8 pictures are images; floats become float32; integers with few possible
values are classes counted from 0; other integers are quantities, at most 32 bits wide. A value
that its space rules out is an error here, where the environment can still be named, instead of a
silent zero in the encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.errors import InvalidValueError, RecordError, UserError
from dreamer_jax.types import Space

# One-hot codes beyond this widen the encoder more than they tell it; bytes are quantities.
_MOST_CLASSES = 64
# A uint8 matrix at least this wide and high is a picture without its channel axis.
_SMALLEST_PICTURE = 16


class Leaf(NamedTuple):
    """How one array of an observation is described and converted."""

    space: Space
    convert: Callable[[Any], np.ndarray]  # raises RecordError for a value the space rules out


def observation_leaf(
    key: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    low: np.ndarray | float = -np.inf,
    high: np.ndarray | float = np.inf,
) -> Leaf:
    """Describe an array of the given type.

    Args:
        key: Name in the record, for messages.
        dtype: Of the environment's array.
        shape: Of the environment's array. A float scalar becomes shape `(1,)`.
        low: Smallest values, inclusive; read for integers only.
        high: Largest values, inclusive; read for integers only.

    Raises:
        UserError: If no record key can hold such an array.
    """
    dtype = np.dtype(dtype)
    if dtype == np.uint8 and len(shape) == 3:
        return _copied(key, Space(dtype, shape), shape)
    if dtype == np.uint8 and len(shape) == 2 and min(shape) >= _SMALLEST_PICTURE:
        return _copied(key, Space(dtype, (*shape, 1)), shape)
    if len(shape) > 2:
        raise UserError(
            f"observation {key!r} is {dtype} of shape {shape}: a vector key has at most two axes "
            "and a picture is uint8 [height, width, channels]; convert it in the environment"
        )
    if dtype == np.bool_:
        return _copied(key, Space(dtype, shape, classes=2), shape)
    if np.issubdtype(dtype, np.floating):
        return _copied(key, Space(np.dtype(np.float32), shape or (1,)), shape)
    if np.issubdtype(dtype, np.integer):
        return _integer(key, dtype, shape, low, high)
    raise UserError(f"observation {key!r} has dtype {dtype}; use float, integer, bool or uint8")


def class_leaf(key: str, shape: tuple[int, ...], classes: int, start: int = 0) -> Leaf:
    """Describe integers `start … start + classes − 1`, stored as int32 counted from 0."""
    space = Space(np.dtype(np.int32), shape, classes)
    return Leaf(space, _checked(key, space, shape, start, start + classes - 1, start))


def _copied(key: str, space: Space, shape: tuple[int, ...]) -> Leaf:
    """Copy, because environments may hand out the buffer that their next step overwrites."""

    def convert(value: Any) -> np.ndarray:
        array = np.array(value, space.dtype)
        if array.shape != shape:
            raise RecordError(
                f"observation {key!r} has shape {array.shape}; its space says {shape}"
            )
        return array.reshape(space.shape)

    return Leaf(space, convert)


def _integer(
    key: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    low: np.ndarray | float,
    high: np.ndarray | float,
) -> Leaf:
    """Read integers as classes where few values are possible, else as quantities."""
    lowest, highest = float(np.min(low)), float(np.max(high))
    if highest - lowest < _MOST_CLASSES:
        return class_leaf(key, shape, int(highest - lowest) + 1, int(lowest))
    # uint16 and narrower fit as they are; wider types lose nothing that the check lets through.
    stored = dtype if dtype.itemsize <= 2 else np.dtype(np.int32)
    limits = np.iinfo(stored)
    space = Space(stored, shape)
    return Leaf(space, _checked(key, space, shape, limits.min, limits.max, 0))


def _checked(
    key: str, space: Space, shape: tuple[int, ...], lowest: int, highest: int, start: int
) -> Callable[[Any], np.ndarray]:
    """Return a conversion that refuses values outside `lowest … highest` and subtracts `start`."""

    def convert(value: Any) -> np.ndarray:
        array = np.asarray(value)
        if array.shape != shape:
            raise RecordError(
                f"observation {key!r} has shape {array.shape}; its space says {shape}"
            )
        if array.size and not lowest <= array.min() <= array.max() <= highest:
            raise InvalidValueError(
                f"observation {key!r} holds {array.min()} … {array.max()}, outside "
                f"{lowest} … {highest}; widen or narrow its space in the environment"
            )
        # Python integers of any width subtract exactly; the result is known to fit.
        return np.asarray(array - start if start else array).astype(space.dtype)

    return convert
