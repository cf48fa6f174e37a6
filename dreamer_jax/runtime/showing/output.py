"""What takes the metrics, pictures and videos of a run: the one protocol behind every logger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

Row = Mapping[str, float | int]


class Output(Protocol):
    """Something that takes rows of metrics, pictures and videos, at the step of the newest row."""

    def write(self, row: Row) -> None:
        """Take one row: the three counters, and scalars by name."""
        ...

    def picture(self, name: str, image: np.ndarray, policy_steps: int) -> None:
        """Take a picture `[h, w, 3]` uint8."""
        ...

    def video(self, name: str, frames: np.ndarray, policy_steps: int) -> None:
        """Take a video `[T, h, w, 3]` uint8."""
        ...

    def close(self) -> None:
        """Flush and release; nothing is written afterwards."""
        ...
