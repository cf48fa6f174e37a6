"""An environment that writes every step to a file outside the run directory: the tape.

Every record is one line `seed step action`, appended to the tape before the environment returns the
record. So the tape has every record that the run has stored, however the process ends. A resumed
run may do steps again, and the tape then has them again. These lines must equal the first ones: the
environment is a function of seed and actions, and the run is a function of its checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.types import Record

VARIABLE = "DREAMER_JAX_TAPE"  # holds the path of the tape; the environment knows no run directory
RESET = -1  # in the place of the action, for the record of a reset


class Line(NamedTuple):
    """One line of the tape: a record as the environment gave it."""

    seed: int  # of the episode
    step: int  # within the episode
    action: int  # that led to the record


class Taped(Counting):
    """The environment `testing:counting` with a tape.

    Args:
        path: File of the tape; lines are appended.
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
    """Build the environment of `--config.task=experiments.faults.taped:make`."""
    return Taped(Path(os.environ[VARIABLE]))


def read_tape(path: Path) -> list[Line]:
    """Return all lines of a tape, in the order of writing."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Line(*map(int, line.split())) for line in lines]
