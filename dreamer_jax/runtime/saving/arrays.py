"""Arrays by name in one file: an uncompressed `.npz` that plain `np.load` opens.

Types that NumPy alone cannot name (bfloat16 and its kin, from ml_dtypes) are stored as unsigned
integers of the same width, and the member `dtypes.json` names the true type of such arrays.

Invariant of reading: before memory is set aside, the headers of the file are checked against the
size of the file, and against what the reader expects. Members are not compressed, so no array
unpacks to more bytes than the file holds. Arrays that the reader does not ask for are not read.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from dreamer_jax.files import replacing

_DTYPES = "dtypes.json"
_DTYPES_BYTES = 2**24
_KINDS = "biufcSUmM"  # kinds of dtypes whose values lie in the array itself
_CHUNK = 2**20


class Header(NamedTuple):
    """Shape, type and place of an array in a file, known before the array is read."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    begin: int  # first byte of the values, in the member

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


Choose = Callable[[Mapping[str, Header]], Iterable[str]]


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name and flush them to the disk.

    Raises:
        ValueError: If an array holds Python objects or records of several fields.
    """
    special: dict[str, str] = {}
    with (
        replacing(path, last=False) as temp,
        zipfile.ZipFile(temp, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, array in arrays.items():
            value = np.asarray(array)
            if hasattr(ml_dtypes, value.dtype.name):
                special[name] = value.dtype.name
                value = value.view(f"u{value.dtype.itemsize}")
            if value.dtype.kind not in _KINDS:
                raise ValueError(f"array {name!r} has type {value.dtype}, which cannot be saved")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, value, allow_pickle=False)
        archive.writestr(_DTYPES, json.dumps(special))


def read_arrays(path: Path, choose: Choose | None = None) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote.

    Args:
        path: The file.
        choose: Takes the headers of all arrays and returns the names of the arrays to read, or
            raises; None to read all arrays.

    Raises:
        ValueError: If `write_arrays` cannot have written the file, or its size contradicts it.
        Exception: Errors of the readers of zip and npy for damage, and errors of `choose`.
    """
    with zipfile.ZipFile(path) as archive:
        members = _members(archive, path.stat().st_size)
        special = json.loads(archive.read(members.pop(_DTYPES)))
        headers = {
            name.removesuffix(".npy"): _header(archive, info, special)
            for name, info in members.items()
        }
        chosen = headers if choose is None else choose(headers)
        return {name: _values(archive, members[f"{name}.npy"], headers[name]) for name in chosen}


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, after checking that they fit into a file of `size` bytes."""
    members = {info.filename: info for info in archive.infolist()}
    stored = all(
        info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size
        for info in members.values()
    )
    if not stored or len(members) != len(archive.infolist()):
        raise ValueError("its members are compressed or have one name twice")
    if sum(info.file_size for info in members.values()) > size:
        raise ValueError(f"its members are larger than the {size:,} bytes of the file")
    if _DTYPES not in members or members[_DTYPES].file_size > _DTYPES_BYTES:
        raise ValueError(f"it has no {_DTYPES}, or too large a one")
    return members


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, special: Mapping[str, str]) -> Header:
    name = info.filename.removesuffix(".npy")
    with archive.open(info) as member:
        if name == info.filename or np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{info.filename} is not an array of format 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        begin = member.tell()
    if dtype.kind not in _KINDS or dtype.names or dtype.subdtype:
        raise ValueError(f"array {name!r} has type {dtype}")
    if name in special:
        dtype = _special(special[name], dtype)
    header = Header(shape, dtype, fortran, begin)
    if min(shape, default=0) < 0 or header.nbytes != info.file_size - begin:
        raise ValueError(
            f"array {name!r} of {dtype}{list(shape)} does not fill {info.file_size - begin} bytes"
        )
    return header


def _special(name: str, stored: np.dtype) -> np.dtype:
    """Return the type of ml_dtypes that `name` names, as wide as the stored integers."""
    found = getattr(ml_dtypes, name, None)
    if not (isinstance(found, type) and issubclass(found, np.generic)):
        raise ValueError(f"there is no type {name!r}")
    dtype = np.dtype(found)
    if stored.kind != "u" or stored.itemsize != dtype.itemsize:
        raise ValueError(f"values of {dtype} cannot be stored as {stored}")
    return dtype


def _values(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: Header) -> np.ndarray:
    values = np.empty(header.nbytes, np.uint8)
    with archive.open(info) as member:
        member.seek(header.begin)
        at = 0
        while chunk := member.read(_CHUNK):
            values[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
            at += len(chunk)
    if at != header.nbytes:
        raise ValueError(f"{info.filename} ends too early")
    return values.view(header.dtype).reshape(header.shape, order="F" if header.fortran else "C")
