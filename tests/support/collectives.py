"""What a compiled program sends between devices, read from its text."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_SENT = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
)
_LOOP = re.compile(r"\b(?:body|condition)=%?([\w.\-]+)")
_NAME = re.compile(r"%([\w.\-]+)")
_SHAPE = re.compile(r"\b[a-z]\w*\[([\d,]*)\]")


class Collective(NamedTuple):
    """One instruction."""

    kind: str
    elements: int  # of its results
    in_loop: bool


def collectives(program: str) -> list[Collective]:
    """Return the collectives of a program, given as HLO text."""
    lines: dict[str, list[str]] = {}
    for line in program.splitlines():
        if header := _HEADER.match(line):
            body = lines.setdefault(header[1], [])
        elif line.startswith(" "):
            body.append(line)
    names = {
        name: {n for line in body for n in _NAME.findall(line)} for name, body in lines.items()
    }
    inside: set[str] = set()
    waiting = {name for body in lines.values() for line in body for name in _LOOP.findall(line)}
    while waiting:
        inside |= waiting
        waiting = {n for name in waiting for n in names[name] if n in lines} - inside
    return [
        Collective(sent[2], sum(_size(shape) for shape in _SHAPE.findall(sent[1])), name in inside)
        for name, body in lines.items()
        for line in body
        if (sent := _SENT.search(line))
    ]


def _size(shape: str) -> int:
    return math.prod(int(length) for length in shape.split(",") if length)
