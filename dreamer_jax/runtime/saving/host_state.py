"""How checkpoint data becomes files without pickle: flat arrays, and JSON that may hold arrays.

Arrays are an uncompressed `.npz` that plain `np.load` opens. Types that NumPy alone cannot name
(bfloat16 and its kin, from ml_dtypes) are stored as unsigned integers of the same width, and the
member `dtypes.json` says which they are.

A host state is JSON: string keys, numbers, strings, None, lists, dicts (tuples come back as
lists). An array, NumPy scalar or bytes object is replaced by `{"__array__": i}`,
`{"__scalar__": i}` or `{"__bytes__": i}`, where `i` names its array in the file beside the JSON.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

_TAGS = ("__array__", "__scalar__", "__bytes__")
_DTYPES = "dtypes.json"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name and flush them to the disk.

    Raises:
        ValueError: If an array holds Python objects.
    """
    special: dict[str, str] = {}
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                value = np.asarray(array)
                if hasattr(ml_dtypes, value.dtype.name):
                    special[name] = value.dtype.name
                    value = value.view(f"u{value.dtype.itemsize}")
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, value, allow_pickle=False)
            archive.writestr(_DTYPES, json.dumps(special))
        file.flush()
        os.fsync(file.fileno())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote."""
    # NumPy forgets to close a file that it cannot read.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        special = json.loads(archive[_DTYPES])
        arrays = {name: archive[name] for name in archive.files if name != _DTYPES}
    return {
        name: array.view(getattr(ml_dtypes, special[name])) if name in special else array
        for name, array in arrays.items()
    }


def encode(
    state: Any, arrays: dict[str, np.ndarray] | None = None
) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the JSON form of a host state and the arrays it names, all of them copies.

    Args:
        state: Host state as the module header describes it.
        arrays: Arrays already named by another part of the same document; the result extends them.

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
    """Return the host state that `encode` was given."""
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
