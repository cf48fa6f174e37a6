"""Pickles as nobody honest writes them, read in a process of their own.

Run as a script: `FOLDER SEED COUNT` reads COUNT mutated pickles, `FOLDER NAME` one of `HOSTILE`.
Prints what came of it as JSON. A crash, a hang, another exception and memory out of proportion end
the process otherwise than with 0.
"""

from __future__ import annotations

import json
import pickle
import random
import resource
import signal
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from dreamer_jax.compat.pickles import read_author_checkpoint
from dreamer_jax.errors import UserError

MIB = 2**20
MOST_MEMORY = 150  # MiB that reading may take, of files of some KiB
SECONDS = 20  # that one file may take


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def raw(value: bytes) -> bytes:
    return b"C" + bytes([len(value)]) + value


def number(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def row(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def dtype(code: str, *state: bytes) -> bytes:
    made = named("numpy", "dtype") + row(text(code), b"\x89", b"\x88") + b"R"
    return made + row(*state) + b"b" if state else made


def array(kind: bytes, shape: bytes, data: bytes, first: bytes = b"K\x00\x85") -> bytes:
    made = named("numpy._core.multiarray", "_reconstruct")
    made += row(named("numpy", "ndarray"), first, raw(b"b")) + b"R"
    return made + row(b"K\x01", shape, kind, b"\x89", data) + b"b"


def scalar(kind: bytes, data: bytes) -> bytes:
    return named("numpy._core.multiarray", "scalar") + row(kind, data) + b"R"


def checkpoint(value: bytes) -> bytes:
    return b"\x80\x05}" + text("params") + b"}" + text("w") + value + b"ss."


REST = b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00"  # what is the same for all plain types
PLAIN = (b"K\x03", text("<"), REST)
# Objects, with the mark taken off that says so: their bytes would be followed as addresses.
OBJECTS = dtype("O8", b"K\x03", text("|"), b"N", b"N", b"N", number(8), number(8), b"K\x00")
FIELDS = b"}" + text("a") + row(dtype("f8", *PLAIN), number(10**7)) + b"s"
OUTSIDE = dtype(
    "V8", b"K\x03", text("|"), b"N", row(text("a")), FIELDS, number(8), b"K\x01", b"K\x00"
)
F4 = dtype("f4", *PLAIN)
ONE = row(b"K\x01")
# Each tuple holds the one before it twice: 2^60 steps for whoever hashes or prints the last.
NESTED = b"\x80\x05)\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(60))
LAST = b"h\x3c"

HOSTILE = {
    "scalar of objects": checkpoint(scalar(OBJECTS, raw(b"A" * 8))),
    "array of objects": checkpoint(array(OBJECTS, ONE, raw(b"A" * 8))),
    "objects without a state": checkpoint(scalar(dtype("O8"), raw(b"A" * 8))),
    "field outside": checkpoint(array(OUTSIDE, ONE, raw(b"A" * 8))),
    "field outside a scalar": checkpoint(scalar(OUTSIDE, raw(b"A" * 8))),
    "more elements than bytes": checkpoint(array(F4, row(number(2**40)), raw(b"A" * 8))),
    "elements beyond counting": checkpoint(array(F4, row(number(2**62), number(4)), raw(b""))),
    "empty but large": checkpoint(array(F4, ONE, raw(b"A" * 4), row(number(2**31)))),
    "negative": checkpoint(array(F4, row(number(-1), number(-1)), raw(b"A" * 4))),
    "bytes that are not there": checkpoint(b"\x8e" + struct.pack("<Q", 2**34) + b"A"),
    "buffer that is not there": checkpoint(b"\x96" + struct.pack("<Q", 2**30) + b"A"),
    "frame that is not there": b"\x80\x05\x95" + struct.pack("<Q", 2**34) + b"N.",
    "memory of a large number": checkpoint(b"Nr" + struct.pack("<I", 2**27)),
    "key of nested tuples": NESTED + b"}" + LAST + b"Ns.",
    "counters of nested tuples": NESTED + b"}(" + text("params") + b"}" + text("counters")
    + LAST + b"N\x86\x85u.",
    "type of nested tuples": NESTED
    + checkpoint(named("numpy", "dtype") + LAST + b"\x89\x88\x87R"),
    "dtype of an array": checkpoint(named("numpy", "dtype") + row(F4) + b"R"),
    "class of arrays": checkpoint(named("numpy", "ndarray") + row(row(number(2**33))) + b"R"),
    "state of a name": checkpoint(named("numpy", "dtype") + b"}" + text("x") + b"Nsb"),
}  # fmt: skip


def honest(rng: random.Random) -> bytes:
    values: dict[str, Any] = {
        "enc/w": np.arange(6).astype(rng.choice("fdlihbB?")).reshape(2, 3),
        "opt/count": np.array(3, np.int32),
        "enc/f": np.asfortranarray(np.ones((3, 5), np.float32)),
    }
    counters = {"step": 3, "score": np.float32(1.5)}
    return pickle.dumps({"params": values, "counters": counters}, rng.choice([3, 4, 5]))


def mutated(rng: random.Random) -> bytes:
    """Return a pickle to which up to five things were done."""
    content = bytearray(honest(rng) if rng.random() < 0.6 else rng.choice([*HOSTILE.values()]))
    for _ in range(rng.choice([0, 1, 1, 1, 2, 5])):
        at, size = rng.randrange(len(content) + 1), rng.randint(1, 30)
        way = rng.randrange(7)
        if way == 0 and content:
            content[at % len(content)] ^= 1 << rng.randrange(8)
        elif way == 1 and content:
            content[at % len(content)] = rng.choice(b"()}]{0123bBCJKMNRIiVXetsuaqrhjo\x81\x82\x8a.")
        elif way == 2:
            del content[at : at + size]
        elif way == 3:
            content[at:at] = content[at - size : at]
        elif way == 4:
            other = rng.choice([honest(rng), *HOSTILE.values()])
            start = rng.randrange(len(other))
            content[at:at] = other[start : start + rng.randint(1, 99)]
        elif way == 5:
            content[at:at] = number(rng.choice([0, -1, 2**31, 2**40, 2**63, 2**1000]))
        else:
            content[at : at + size] = rng.randbytes(rng.randint(0, 9))
    return bytes(content)


def read(path: Path, content: bytes) -> str:
    """Return what came of one file, as its kind."""
    path.write_bytes(content)
    signal.alarm(SECONDS)
    try:
        params, _ = read_author_checkpoint(path)
    except UserError as error:
        assert str(error).strip() and len(str(error)) < 2000, error
        return "refused"
    finally:
        signal.alarm(0)
    for value in params.values():  # what has been read can be used
        assert value.dtype.kind in "biuf", value.dtype
        value.tobytes(), repr(value)
    return "read"


def main(folder: Path, *what: str) -> None:
    path, before = folder / "agent.pkl", peak()
    if len(what) == 1:
        outcome = Counter([read(path, HOSTILE[what[0]])])
    else:
        rng = random.Random(int(what[0]))
        outcome = Counter(read(path, mutated(rng)) for _ in range(int(what[1])))
    taken = peak() - before
    assert taken < MOST_MEMORY, f"{taken} MiB were taken"
    print(json.dumps(outcome))


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
