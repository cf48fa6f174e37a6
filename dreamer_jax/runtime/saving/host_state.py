"""Host state as JSON that may hold arrays, without pickle.

The host state is everything in a checkpoint that is not an array of the device state: counters,
random generators, environments, the replay manifest. Its JSON form has string keys, numbers,
strings, None, lists and dicts (tuples come back as lists). For an array, NumPy scalar or bytes
object it has `{"__array__": i}`, `{"__scalar__": i}` or `{"__bytes__": i}`: `i` names an array in
the file beside the JSON. Each array is named once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_TAGS = ("__array__", "__scalar__", "__bytes__")


def encode(
    state: Any, arrays: dict[str, np.ndarray] | None = None
) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the JSON form of a host state, and copies of the arrays that the JSON names.

    Args:
        state: Host state, as the module docstring describes it.
        arrays: Arrays that another part of the same document names; they are part of the result.

    Raises:
        TypeError: For a value or key that would not come back as it was.
    """
    held = dict(arrays or {})

    def hold(tag: str, array: np.ndarray) -> dict[str, str]:
        name = str(len(held))
        held[name] = array
        return {tag: name}

    def walk(value: Any, where: str) -> Any:
        if isinstance(value, np.generic):  # first, because np.float64 is a float as well
            return hold("__scalar__", np.asarray(value))
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.ndarray):
            return hold("__array__", value.copy())
        if isinstance(value, bytes | bytearray):
            return hold("__bytes__", np.frombuffer(bytes(value), np.uint8))
        if isinstance(value, list | tuple):
            return [walk(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str) or key in _TAGS:
                    raise TypeError(f"host state{where} has the key {key!r}; use another string")
            return {key: walk(item, f"{where}[{key!r}]") for key, item in value.items()}
        raise TypeError(f"host state{where} is a {type(value).__name__}, which cannot be saved")

    return walk(state, ""), held


def decode(document: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the host state that `encode` made this document and these arrays of."""
    if isinstance(document, list):
        return [decode(item, arrays) for item in document]
    if not isinstance(document, dict):
        return document
    if len(document) == 1:
        ((tag, name),) = document.items()
        if tag == "__array__":
            return arrays[name]
        if tag == "__scalar__":
            return arrays[name][()]
        if tag == "__bytes__":
            return arrays[name].tobytes()
    return {key: decode(item, arrays) for key, item in document.items()}


def names(document: Any) -> Iterator[str]:
    """Yield the names of the arrays that a document needs, each as often as it occurs."""
    if isinstance(document, list):
        for item in document:
            yield from names(item)
    elif isinstance(document, dict):
        for key, item in document.items():
            if key in _TAGS and len(document) == 1:
                yield item
            else:
                yield from names(item)
