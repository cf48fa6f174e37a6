"""Scalars: collected by name between writes, then one flat row to every output.

Names have a group: `train/…`, `episode/…`, `eval/…`, `replay/…`, `time/…`. A row also holds the
three x-axes `env_steps` (simulator steps, action repeat included), `policy_steps` (decisions) and
`grad_steps` (updates); reset records count in none.

Invariant: after a resume the file holds each written row once. For that, write the row of a step
before saving the checkpoint of that step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from dreamer_jax.errors import UserError
from dreamer_jax.files import replacing
from dreamer_jax.runtime.showing.output import Output, Row

How = Literal["mean", "sum", "min", "max", "last"]


class Metrics:
    """Collects scalars and hands one row per `write` to the outputs.

    Args:
        outputs: Take the rows.
        warn: Receives a one-line message where one cannot, for lack of space perhaps; that must
            not end a run.
    """

    def __init__(self, outputs: list[Output], warn: Callable[[str], None] = print) -> None:
        self._outputs, self._warn = outputs, warn
        self._pending: dict[str, tuple[How, int, float]] = {}  # name: how, count, value so far

    def add(self, values: Mapping[str, Any], how: How = "mean", prefix: str = "") -> None:
        """Collect scalars (numbers or 0-d arrays) that are combined by `how` until the next write.

        Raises:
            ValueError: If `how` is unknown or a name was collected in another way before.
        """
        if how not in get_args(How):
            raise ValueError(f"how is {how!r}; choose one of {', '.join(get_args(How))}")
        for key, value in values.items():
            name, new = prefix + key, float(value)
            held, count, old = self._pending.get(name, (how, 0, 0.0))
            if held != how:
                raise ValueError(f"metric {name!r} is collected as {held}, not as {how}")
            self._pending[name] = (how, count + 1, _combine(how, count, old, new))

    def add_episode(
        self, score: float, length: int, extra: Mapping[str, Any] | None = None
    ) -> None:
        """Collect one finished episode.

        Args:
            score: Undiscounted sum of its rewards; mean, least and greatest are written.
            length: Its policy steps.
            extra: Further statistics, written as means.
        """
        self.add({"score": score, "length": length, **(extra or {})}, prefix="episode/")
        self.add({"episode/score/min": score}, "min")
        self.add({"episode/score/max": score}, "max")
        self.add({"episode/count": 1}, "sum")

    def write(self, env_steps: int, policy_steps: int, grad_steps: int) -> dict[str, float | int]:
        """Hand what was collected to the outputs, forget it, and return the row."""
        row: dict[str, float | int] = {
            "env_steps": int(env_steps),
            "policy_steps": int(policy_steps),
            "grad_steps": int(grad_steps),
        }
        for name, (how, count, value) in sorted(self._pending.items()):
            row[name] = value / count if how == "mean" else value
        self._pending = {}
        for output in self._outputs:
            try:
                output.write(row)
            except OSError as error:
                self._warn(f"metrics of step {policy_steps} could not be written: {error}")
        return row

    def show_picture(self, name: str, image: np.ndarray, policy_steps: int) -> None:
        """Hand a picture `[h, w, 3]` uint8 to the outputs."""
        for output in self._outputs:
            output.picture(name, image, policy_steps)

    def show_video(self, name: str, frames: np.ndarray, policy_steps: int) -> None:
        """Hand a video `[T, h, w, 3]` uint8 to the outputs."""
        for output in self._outputs:
            output.video(name, frames, policy_steps)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint between two writes must hold."""
        return {name: list(entry) for name, entry in self._pending.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._pending = {name: (how, count, value) for name, (how, count, value) in state.items()}

    def close(self) -> None:
        """Close the outputs."""
        for output in self._outputs:
            try:
                output.close()
            except OSError as error:
                self._warn(f"the last metrics could not be written: {error}")


def _combine(how: How, count: int, old: float, new: float) -> float:
    if how == "last" or count == 0:
        return new
    if how in ("mean", "sum"):
        return old + new
    if math.isnan(old) or math.isnan(new):  # min and max would hide it or not, by order
        return math.nan
    return min(old, new) if how == "min" else max(old, new)


class JsonlOutput:
    """One JSON object a line, flushed at once, or with the next where the disk is full.

    JSON has no NaN and no infinities: such a value is written as null, and `nonfinite` counts the
    nulls of its line (absent where there are none), so that trouble can be found by one name.

    Args:
        path: The file, usually `metrics.jsonl`; rows are added to what it holds.
        resume_at: Counters of the checkpoint that the run goes on from, zeros for a new run. Rows
            that are later in any of them are cut off first, as is a line broken by a crash.
    """

    def __init__(self, path: Path, resume_at: Mapping[str, int] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _truncate(path, resume_at or {})
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: Row) -> None:
        """Append one line."""
        bad = sum(not math.isfinite(value) for value in row.values())
        line = {name: value if math.isfinite(value) else None for name, value in row.items()}
        if bad:
            line["nonfinite"] = bad
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def picture(self, name: str, image: np.ndarray, policy_steps: int) -> None:
        """Leave pictures to the others."""

    def video(self, name: str, frames: np.ndarray, policy_steps: int) -> None:
        """Leave videos to the others."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a `metrics.jsonl`, without a last line that a crash broke.

    Raises:
        UserError: If another line is not JSON.
    """
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}:{number} is not JSON; repair or remove it") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number} is not a row of metrics; repair or remove it")
            yield row


def _truncate(path: Path, resume_at: Mapping[str, int]) -> None:
    """Replace the file by one without later rows; a crash meanwhile leaves the old one whole."""
    with replacing(path) as temp, temp.open("w", encoding="utf-8") as file:
        for row in read_rows(path):
            if all(row.get(counter, 0) <= limit for counter, limit in resume_at.items()):
                file.write(json.dumps(row) + "\n")
