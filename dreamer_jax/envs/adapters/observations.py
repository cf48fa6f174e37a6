"""One array of an environment's observation, as one key of a record.

The rules (docs/algorithm.md 1): pictures become uint8 `[height, width, channels]`, whatever their
type and order of axes; floats become float32; integers with few possible values are classes counted
from 0; other integers are quantities, at most 32 bits wide; more than two axes are flattened to
one. A value that its space rules out, or that its type would change, is an error here, where the
environment can still be named, instead of a silent zero in the encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.errors import InvalidValueError, RecordError, UserError
from dreamer_jax.types import Space

# One-hot codes beyond this widen the encoder more than they tell it; bytes are quantities.
_MOST_CLASSES = 64
# An array of bytes at least this high and wide is a picture; smaller ones are codes of some kind.
_SMALLEST_PICTURE = 16
# Longer axes are height and width; a stack of frames may be its own axis beside the channels.
_MOST_CHANNELS = 16
# Longer ones with more than two axes are more likely pictures of a kind unknown here.
_LONGEST_VECTOR = 4096


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
        low: Smallest values, inclusive; they tell pictures and classes from quantities.
        high: Largest values, inclusive.

    Raises:
        UserError: If no record key can hold such an array.
    """
    dtype = np.dtype(dtype)
    scale, order = _picture_scale(dtype, low, high), _picture_axes(shape)
    # Two axes of floats are more likely a map whose digits count.
    if scale and order and (dtype == np.uint8 or len(shape) > 2):
        return _picture(key, dtype, shape, order, scale)
    flat = flattened(key, shape)
    if dtype == np.bool_:
        return _copied(key, Space(dtype, flat, classes=2), dtype, shape)
    if np.issubdtype(dtype, np.floating):
        return _copied(key, Space(np.dtype(np.float32), flat or (1,)), dtype, shape)
    if np.issubdtype(dtype, np.integer):
        return _integer(key, dtype, shape, flat, low, high)
    raise UserError(f"observation {key!r} has dtype {dtype}; use float, integer, bool or uint8")


def class_leaf(key: str, shape: tuple[int, ...], classes: int, start: int = 0) -> Leaf:
    """Describe integers `start … start + classes − 1`, stored as int32 counted from 0."""
    space = Space(np.dtype(np.int32), flattened(key, shape), classes)
    return Leaf(space, _checked(key, space, shape, start, start + classes - 1, start))


def flattened(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of at most two axes that a key of this shape is stored in.

    Raises:
        UserError: If it has more axes and too many values for a vector.
    """
    if len(shape) <= 2:
        return shape
    if (size := int(np.prod(shape))) > _LONGEST_VECTOR:
        raise UserError(
            f"{key!r} has shape {shape}: too long for a vector, and a picture is uint8, or has "
            f"bounds 0 … 255 or 0.0 … 1.0, at least {_SMALLEST_PICTURE} pixels a side and at most "
            f"{_MOST_CHANNELS} channels; convert it in the environment"
        )
    return (size,)


def at(observation: Any, path: tuple[Any, ...]) -> Any:
    """Return a part of a nested observation, None where a key on the way is absent."""
    for index in path:
        try:
            observation = observation[index]
        except KeyError:
            return None
    return observation


def missing_value(space: Space) -> np.ndarray:
    """Return what marks an absent observation: −inf, −1, and black or zero where neither fits."""
    marks: dict[str, float] = {"f": -np.inf, "i": -1}
    return np.full(space.shape, marks.get(space.dtype.kind, 0), space.dtype)


def _picture_scale(dtype: np.dtype, low: np.ndarray | float, high: np.ndarray | float) -> int:
    """Return by what values become bytes if their bounds are those of pixels, else 0."""
    if dtype == np.uint8:
        return 1
    if not np.all(np.equal(low, 0)):
        return 0
    if np.all(np.equal(high, 255)) and dtype.kind in "fiu":
        return 1
    return 255 if np.all(np.equal(high, 1)) and dtype.kind == "f" else 0


def _picture_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes in the order height, width, then those that make channels; () for none."""
    orders: tuple[tuple[int, ...], ...] = {
        2: ((0, 1),),
        3: ((0, 1, 2), (1, 2, 0)),
        4: ((1, 2, 0, 3), (2, 3, 0, 1)),
    }.get(len(shape), ())
    for order in orders:
        size, channels = [shape[i] for i in order[:2]], [shape[i] for i in order[2:]]
        if min(size) >= _SMALLEST_PICTURE and all(0 < c <= _MOST_CHANNELS for c in channels):
            return order
    return ()


def _picture(
    key: str, dtype: np.dtype, shape: tuple[int, ...], order: tuple[int, ...], scale: int
) -> Leaf:
    """Bring height and width to the front and merge all other axes into channels."""
    channels = int(np.prod([shape[i] for i in order[2:]], dtype=int))
    space = Space(np.dtype(np.uint8), (shape[order[0]], shape[order[1]], channels))

    def convert(value: Any) -> np.ndarray:
        array = _of_shape(key, np.asarray(value), shape)
        if array.dtype != np.uint8:
            _check_cast(key, array, dtype)
            array = np.rint(array * scale)
            if not (0 <= array.min() and array.max() <= 255):
                raise InvalidValueError(
                    f"picture {key!r} holds {np.min(value)} … {np.max(value)}, outside "
                    f"0 … {255 // scale}"
                )
        return np.array(array.transpose(order).reshape(space.shape), np.uint8, order="C")

    return Leaf(space, convert)


def _of_shape(key: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.shape != shape:
        raise RecordError(f"observation {key!r} has shape {array.shape}; its space says {shape}")
    return array


def _check_cast(key: str, found: np.ndarray, dtype: np.dtype) -> None:
    """Check that a type takes values of another one as they are; floats may lose digits.

    Raises:
        RecordError: If they are no numbers.
        InvalidValueError: If the type would change them.
    """
    kind = found.dtype.kind
    # Python integers of more than 64 bits; their range is checked by whoever converts them.
    if kind == "O" and dtype.kind in "iu" and all(isinstance(v, int) for v in found.flat):
        return
    if kind not in "biuf":
        raise RecordError(
            f"observation {key!r} is {found.dtype}, no number; its space says {dtype}"
        )
    if dtype.kind == "f":
        return
    changed = found != (found.astype(bool) if dtype.kind == "b" else np.rint(found))
    if changed.any():
        raise InvalidValueError(
            f"observation {key!r} holds {found[changed].flat[0]}, which {dtype} cannot hold; give "
            "floats a float space and integers an integer one, or round in the environment"
        )


def _copied(key: str, space: Space, dtype: np.dtype, shape: tuple[int, ...]) -> Leaf:
    """Copy, because environments may hand out the buffer that their next step overwrites."""

    def convert(value: Any) -> np.ndarray:
        array = _of_shape(key, np.asarray(value), shape)
        if array.dtype != dtype:
            _check_cast(key, array, space.dtype)
        return np.array(array, space.dtype).reshape(space.shape)

    return Leaf(space, convert)


def _integer(
    key: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    flat: tuple[int, ...],
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
    space = Space(stored, flat)
    return Leaf(space, _checked(key, space, shape, limits.min, limits.max, 0))


def _checked(
    key: str, space: Space, shape: tuple[int, ...], lowest: int, highest: int, start: int
) -> Callable[[Any], np.ndarray]:
    """Return a conversion that refuses values outside `lowest … highest` and subtracts `start`."""

    def convert(value: Any) -> np.ndarray:
        array = _of_shape(key, np.asarray(value), shape)
        if array.dtype.kind not in "iub":
            _check_cast(key, array, space.dtype)
        if array.size and not lowest <= array.min() <= array.max() <= highest:
            raise InvalidValueError(
                f"observation {key!r} holds {array.min()} … {array.max()}, outside "
                f"{lowest} … {highest}; widen or narrow its space in the environment"
            )
        # Python integers of any width subtract exactly; the result is known to fit.
        return (
            np.asarray(array - start if start else array).astype(space.dtype).reshape(space.shape)
        )

    return convert
