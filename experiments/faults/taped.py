"""An environment that writes down everything it was told, outside the run directory.

Every record is one appended line `seed step action`, written before the record is returned, so
the tape is ahead of whatever the run has stored, however the process ends. Steps that a resumed
run does again are on it again; since the environment is a function of seed and actions, and the
run of its checkpoint, they must be the same lines.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.types import Record

VARIABLE = "DREAMER_JAX_TAPE"  # names the file; an environment has no other way to know the run
RESET = -1  # stands for the action of a reset


class Line(NamedTuple):
    """One record as the environment gave it."""

    seed: int  # of the episode
    step: int  # within the episode
    action: int  # that led to it


class Taped(Counting):
    """`testing:counting` with a tape.

    Args:
        path: The tape; lines are appended.
        length: Index of the last record of an episode.
    """

    def __init__(self, path: Path, length: int = 11) -> None:
        super().__init__(length)
        self._tape = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def reset(self, seed: int) -> Record:
        """Start the episode named `seed`."""
        record = super().reset(seed)
        self._write(RESET)
        return record

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Count one step."""
        record = super().step(action)
        self._write(int(action["action"]))
        return record

    def close(self) -> None:
        """Close the tape."""
        if self._tape >= 0:
            os.close(self._tape)
            self._tape = -1

    def _write(self, action: int) -> None:
        # One system call: a kill leaves a whole line or none.
        os.write(self._tape, f"{self._seed} {self._index} {action}\n".encode())


def make() -> Taped:
    """Build it for `--config.task=experiments.faults.taped:make`."""
    return Taped(Path(os.environ[VARIABLE]))


def read_tape(path: Path) -> list[Line]:
    """Return all lines in the order of writing."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Line(*map(int, line.split())) for line in lines]
