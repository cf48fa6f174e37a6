"""Arrays in a file: every bit comes back, and no file takes more memory than it has bytes."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from dreamer_jax.runtime.saving.arrays import read_arrays, write_arrays

MIB = 2**20


@pytest.mark.parametrize(
    "dtype", ["float32", "int8", "bool", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
)
@pytest.mark.parametrize("shape", [(), (0,), (3, 5)])
def test_arrays_come_back_with_name_shape_dtype_and_bits(tmp_path, dtype, shape):
    array = np.random.default_rng(0).normal(size=shape).astype(dtype)
    write_arrays(tmp_path / "a.npz", {"params/actor/kernel": array, "file": array.T})
    loaded = read_arrays(tmp_path / "a.npz")
    assert list(loaded) == ["params/actor/kernel", "file"]
    for name, expected in (("params/actor/kernel", array), ("file", array.T)):
        assert loaded[name].dtype == expected.dtype
        assert loaded[name].shape == expected.shape
        assert loaded[name].tobytes() == expected.tobytes()


def test_objects_are_refused_because_they_would_need_pickle(tmp_path):
    with pytest.raises(ValueError, match="cannot be saved"):
        write_arrays(tmp_path / "a.npz", {"x": np.array([object()])})
    with pytest.raises(ValueError, match="cannot be saved"):
        write_arrays(tmp_path / "a.npz", {"x": np.zeros(2, [("a", "f4")])})
    assert list(tmp_path.iterdir()) == []


def test_arrays_can_be_written_to(tmp_path):
    """The run goes on from them in place."""
    write_arrays(tmp_path / "a.npz", {"x": np.zeros(3)})
    loaded = read_arrays(tmp_path / "a.npz")
    loaded["x"] += 1
    assert loaded["x"].tolist() == [1, 1, 1]


def test_plain_numpy_opens_the_file(tmp_path):
    write_arrays(tmp_path / "a.npz", {"x": np.arange(3), "half": np.ones(2, ml_dtypes.bfloat16)})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive["x"].tolist() == [0, 1, 2] and archive["half"].dtype == np.uint16


@contextmanager
def few_bytes() -> Iterator[None]:
    """Fail if more than a few MiB of memory are taken meanwhile."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def archive(path: Path, **members: bytes | tuple[bytes, int]) -> Path:
    """Write a zip file with these members, compressed where a method is given."""
    with zipfile.ZipFile(path, "w") as file:
        for name, member in {"dtypes.json": b"{}", **members}.items():
            content, method = member if isinstance(member, tuple) else (member, zipfile.ZIP_STORED)
            file.writestr(name, content, method)
    return path


def npy(shape: tuple[int, ...], descr: object, data: bytes, version: int = 1) -> bytes:
    """Return an array file that claims what it is told to."""
    buffer = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": descr}
    write = {1: np.lib.format.write_array_header_1_0, 2: np.lib.format.write_array_header_2_0}
    write[version](buffer, header)
    return buffer.getvalue() + data


def other_sizes(path: Path, size: int) -> None:
    """Let the directory at the end of a zip file claim `size` bytes for each member."""
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    while content[at : at + 4] == b"PK\x01\x02":
        content[at + 20 : at + 28] = size.to_bytes(4, "little") * 2
        at += 46 + sum(content[at + i] + 256 * content[at + i + 1] for i in (28, 30, 32))
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ((npy((2**26,), "|u1", bytes(2**26)), zipfile.ZIP_DEFLATED), "are compressed"),
        (npy((2**40,), "<f4", b"1234"), r"float32\[1099511627776\] does not fill 4 bytes"),
        (npy((2**62, 4), "<f4", b""), "does not fill 0 bytes"),
        (npy((-1, -1), "<f4", b"1234"), "does not fill 4 bytes"),
        (npy((), "<f4", b"12345"), "does not fill 5 bytes"),
        (npy((1,), "|O", b"12345678"), "has type object"),
        (npy((1,), [("a", "<f4")], b"1234"), "has type"),
        (npy((1,), "|V4", b"1234"), "has type"),
        (npy((1,), "<f4", b"1234", version=2), "not an array of format 1.0"),
        (b"GIF89a--", "magic string is not correct"),
    ],
    ids=["zip", "large", "overflow", "negative", "odd", "object", "fields", "void", "2", "gif"],
)
def test_member_that_lies_is_refused_without_its_memory(tmp_path, member, message):
    """A file of 65 kB took 64 MiB: nobody looked at sizes before the memory was there."""
    path = archive(tmp_path / "a.npz", **{"x.npy": member})
    with few_bytes(), pytest.raises(ValueError, match=message):
        read_arrays(path)


def test_directory_that_lies_is_refused_without_its_memory(tmp_path):
    path = archive(tmp_path / "a.npz", **{"x.npy": npy((2**30,), "|u1", b"1234")})
    other_sizes(path, 2**30 + 128)
    with few_bytes(), pytest.raises(ValueError, match=r"are larger than the \d+ bytes"):
        read_arrays(path)


def test_one_name_twice_is_refused(tmp_path):
    path = archive(tmp_path / "a.npz", **{"x.npy": npy((1,), "<f4", b"1234")})
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("x.npy", npy((1,), "<f4", b"5678"))
    with pytest.raises(ValueError, match="one name twice"):
        read_arrays(path)


@pytest.mark.parametrize(
    "special", ["finfo", "__loader__", "bfloat16x", "int4", "float8_e4m3fn", 3, None]
)
def test_special_type_is_one_of_those_that_fit(tmp_path, special):
    """The file names it, so it could be anything that the package holds."""
    named = json.dumps({"x": special}).encode()
    path = archive(tmp_path / "a.npz", **{"x.npy": npy((2,), "<u2", b"1234"), "dtypes.json": named})
    with pytest.raises((ValueError, TypeError)):
        read_arrays(path)


def test_only_what_is_chosen_is_read(tmp_path):
    """The headers of the rest are looked at, its values are not."""
    large = np.zeros(16 * MIB, np.uint8)
    write_arrays(tmp_path / "a.npz", {"small": np.arange(3), "large": large})
    choose: Callable[..., list[str]] = lambda headers: [n for n in headers if n != "large"]
    with few_bytes():
        assert list(read_arrays(tmp_path / "a.npz", choose)) == ["small"]
    headers = {}
    read_arrays(tmp_path / "a.npz", lambda found: headers.update(found) or [])
    assert headers["large"].shape == (16 * MIB,) and headers["large"].nbytes == large.nbytes
