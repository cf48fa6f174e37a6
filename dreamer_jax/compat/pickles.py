"""Reads checkpoint files of the maintained code: pickles, without Python's unpickler.

A pickle is a program for a small stack machine, and Python's machine can call what a program names.
The machine here knows the instructions that such a file needs and four names, whose meanings are
its own: it makes dicts, tuples, numbers, text and plain arrays over bytes that lie in the file.

Invariant: no instruction runs code of others, allocates more than the file holds, or compares or
hashes anything but text. `pickletools` only takes the instructions apart.
"""

from __future__ import annotations

import math
import os
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dreamer_jax.errors import UserError

MOST_INSTRUCTIONS = 2**20  # an array takes about 20; each may cost some hundred bytes

_TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_LITERALS = frozenset(
    "NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE "
    "BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_author_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return parameters (optimiser state included) under the original names, and counters.

    The arrays are read-only; together they take no more memory than the file has bytes.

    Raises:
        UserError: If the file is not such a checkpoint, or would run code.
    """
    try:
        with path.open("rb") as file:
            content = _dict(_run(_Source(file)))
        params, counters = (
            _dict(each) for each in (content["params"], content.get("counters", {}))
        )
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        reason = str(error)[:500]
        raise UserError(f"{path} is not a checkpoint of the maintained code: {reason}") from error
    if not all(isinstance(value, _Array) for value in params.values()):
        raise UserError(f"{path}: every parameter must be an array")
    numbers = {name: value for name, value in counters.items() if isinstance(value, int | float)}
    return {name: array.values() for name, array in params.items()}, numbers


class _Source:
    """A file that is not asked for more than it has: Python would make room for it first."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, os.fstat(file.fileno()).st_size
        self.tell, self.readline = file.tell, file.readline

    def read(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise ValueError("it ends too early")
        return self._file.read(count)


class _Type:
    """A plain type of numbers; its state in the file may only say what is true of it anyway."""

    def __init__(self, code: Any, *flags: Any) -> None:
        if _text(code) not in _TYPES or flags != (False, True):
            raise ValueError(f"it holds the type {code!r}; only numbers are read")
        self.dtype = np.dtype(f"<{code}")

    def build(self, state: Any) -> None:
        if state not in [(3, order, None, None, None, -1, -1, 0) for order in "<|"]:
            raise ValueError("a type is followed by what a plain type does not have")


class _Array:
    """An array that is first named and then described."""

    def __init__(self, kind: Any, shape: Any, letter: Any) -> None:
        if (kind, shape, letter) != (_named("numpy", "ndarray"), (0,), b"b"):
            raise ValueError("an array begins like no array")
        self._values: np.ndarray | None = None

    def build(self, state: Any) -> None:
        version, shape, kind, fortran, data = state
        if version != 1:
            raise ValueError("an array has another format than 1")
        self._values = _over(data, kind, shape, "F" if fortran else "C")

    def values(self) -> np.ndarray:
        if self._values is None:
            raise UserError("the checkpoint holds an array without values")
        return self._values


def _over(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    """Return the array that lies in some bytes; it has the size that it claims, or is refused."""
    if not (isinstance(kind, _Type) and isinstance(data, bytes) and isinstance(shape, tuple)):
        raise ValueError("an array is made of something else than type, shape and bytes")
    if not all(type(length) is int and length >= 0 for length in shape) or order not in ("C", "F"):
        raise ValueError("an array has an impossible shape")
    if math.prod(shape) * kind.dtype.itemsize != len(data):
        raise ValueError("an array is not as large as its shape says")
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _array(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """Return an array as newer pickles write it, in one piece."""
    array = _Array(_named("numpy", "ndarray"), (0,), b"b")
    array.build((1, shape, kind, order == "F", data))
    return array


def _scalar(kind: Any, data: Any) -> Any:
    return _over(data, kind, (), "C").item()


def _class_of_arrays() -> None:
    raise ValueError("it calls the class of arrays")


# Where NumPy 1 and NumPy 2 keep the functions that rebuild arrays.
_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _class_of_arrays,
    ("numpy", "dtype"): _Type,
    ("numpy._core.numeric", "_frombuffer"): _array,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}


def _named(module: Any, name: Any) -> Callable[..., Any]:
    if (module, name) not in _NAMES:
        shown = re.sub(r"[^\w.]", "?", f"{module}.{name}"[:99])
        raise UserError(f"the checkpoint names {shown}, which no such file needs; refused")
    return _NAMES[module, name]


class _Machine:
    """Stack, marks and memory of the program."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []  # what lay on the stack at each open mark
        self._memory: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Run one instruction."""
        stack = self.stack
        if name in _LITERALS:
            value = _CONSTANTS.get(name, argument)
            stack.append(bytes(value) if isinstance(value, bytearray) else value)
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            self._memory[len(self._memory) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memory[argument])
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack.append(tuple(reversed([stack.pop() for _ in range(count)])))
        elif name in ("MARK", "TUPLE", "SETITEMS"):
            self._marked(name)
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set(stack[-1], [key, value])
        else:
            self._name(name, argument)

    def _marked(self, name: str) -> None:
        if name == "MARK":
            self._below.append(self.stack)
            self.stack = []
            return
        items, self.stack = self.stack, self._below.pop()
        if name == "TUPLE":
            self.stack.append(tuple(items))
        else:
            _set(self.stack[-1], items)

    def _name(self, name: str, argument: Any) -> None:
        """Run an instruction that names, calls or completes something."""
        stack = self.stack
        if name == "GLOBAL":
            stack.append(_named(*argument.split(" ")))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_named(_text(module), _text(attribute)))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            if not any(function is known for known in _NAMES.values()):
                raise ValueError("it calls what is not a function")
            stack.append(function(*arguments))
        elif name == "BUILD":
            state, made = stack.pop(), stack[-1]
            if not isinstance(made, _Type | _Array):
                raise ValueError("it completes what is complete")
            made.build(state)
        else:
            raise ValueError(f"it needs the instruction {name}")


def _run(source: _Source) -> Any:
    machine = _Machine()
    # Typed as bytes or a file; it needs these three methods of one.
    instructions = pickletools.genops(source)  # type: ignore[arg-type]
    for number, (instruction, argument, _) in enumerate(instructions):
        if number > MOST_INSTRUCTIONS:
            raise ValueError(f"it has more than {MOST_INSTRUCTIONS:,} instructions")
        if instruction.name == "STOP":
            break
        if instruction.name not in ("PROTO", "FRAME"):
            machine.step(instruction.name, argument)
    return machine.stack.pop()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a key or name in it is not text")
    return value


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("what should be a dict in it is none")
    return value


def _set(target: Any, items: list[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        _dict(target)[_text(key)] = value
