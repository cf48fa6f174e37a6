"""Pickles of the maintained code: those that it writes are read, whatever else comes is refused."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_pickles
import numpy as np
import pytest

from dreamer_jax.compat.pickles import _Source, read_author_checkpoint
from dreamer_jax.errors import UserError


def write(folder: Path, params: Any, protocol: int = 4) -> Path:
    path = folder / "agent.pkl"
    path.write_bytes(
        pickle.dumps(
            {"params": params, "counters": {"step": 3, "score": np.float32(1.5)}}, protocol
        )
    )
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("code", ["?", "b", "B", "h", "H", "i", "I", "l", "L", "e", "f", "d"])
def test_arrays_come_out_as_they_went_in(tmp_path, protocol, code):
    rng = np.random.default_rng(3)
    params = {
        "w": (rng.normal(size=(2, 3, 5)) * 9).astype(code),
        "fortran": np.asfortranarray(rng.normal(size=(3, 5)).astype(code)),
        "scalar": np.array(1, code),
        "nothing": np.zeros((0, 7), code),
    }
    read, counters = read_author_checkpoint(write(tmp_path, params, protocol))
    assert counters == {"step": 3, "score": 1.5} and list(read) == list(params)
    for name, value in params.items():
        assert read[name].dtype == value.dtype and read[name].shape == value.shape
        np.testing.assert_array_equal(read[name], value, err_msg=name)


@pytest.mark.parametrize("name", sorted(hostile_pickles.HOSTILE))
def test_what_numpy_would_follow_into_memory_is_refused(tmp_path, name):
    """NumPy's own functions build a type that lies about its bytes: SIGSEGV, or gigabytes.

    The allow-list named `numpy.dtype`, `scalar` and `_reconstruct`, which need no other accomplice.
    """
    assert ended(tmp_path, name) == {"refused": 1}


def test_mutated_pickles_are_read_or_refused(tmp_path):
    outcome = ended(tmp_path, "7", "400")
    assert sum(outcome.values()) == 400 and min(outcome["read"], outcome["refused"]) > 10


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(5))
def test_many_mutated_pickles_are_read_or_refused(tmp_path, seed):
    assert sum(ended(tmp_path, str(100 + seed), "5000").values()) == 5000


def ended(folder: Path, *what: str) -> dict[str, int]:
    """Return what came of pickles that another process read."""
    command = [sys.executable, hostile_pickles.__file__, str(folder), *what]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": paths()})
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    found: dict[str, int] = json.loads(done.stdout)
    return found


def paths() -> str:
    return ":".join(filter(None, sys.path))


def test_a_file_is_not_asked_for_more_than_it_has(tmp_path):
    """Python makes room first, also for 2^34 bytes of a file of ten."""
    path = tmp_path / "agent.pkl"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        source = _Source(file)
        assert source.read(4) == b"0123"
        with pytest.raises(ValueError, match="it ends too early"):
            source.read(7)
        assert source.read(6) == b"456789"


def test_what_a_pickle_names_is_not_even_imported(tmp_path, monkeypatch):
    """To import a module is to run it."""
    (tmp_path / "named_by_a_pickle.py").write_text("def run(): pass")
    monkeypatch.syspath_prepend(tmp_path)
    for content in (b"\x80\x02cnamed_by_a_pickle\nrun\n.", b"\x80\x04\x8c\x11named_by_a_pickle"
                    b"\x8c\x03run\x93."):  # fmt: skip
        path = tmp_path / "agent.pkl"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"names named_by_a_pickle.run, .*; refused"):
            read_author_checkpoint(path)
    assert "named_by_a_pickle" not in sys.modules


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"w": np.array(["text"])}, "type 'U4'"),
        ({"w": np.zeros(2, "c8")}, "type 'c8'"),
        ({"w": np.zeros(2, ">f4")}, "a type is followed by"),
        ({"w": np.zeros(2, "M8[s]")}, "type 'M8'"),
        ({"w": np.zeros(2, [("a", "f4")])}, "type 'V4'"),
        ({"w": np.array([None])}, "type 'O8'"),
        ({3: np.zeros(2)}, "key"),
        ({"w": [1, 2]}, "instruction EMPTY_LIST"),
        ({"w": 3}, "every parameter must be an array"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_such_file_holds_is_named(tmp_path, params, text):
    with pytest.raises(UserError, match=text):
        read_author_checkpoint(write(tmp_path, params))
