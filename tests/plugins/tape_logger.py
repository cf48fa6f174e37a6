"""A logger that writes a line for every row, picture and video it is handed."""

from __future__ import annotations

import json


class Tape:
    def __init__(self, path) -> None:
        self._path = path

    def write(self, row) -> None:
        self._line({"row": dict(row)})

    def picture(self, name, image, policy_steps) -> None:
        self._line({"picture": name, "shape": image.shape, "policy_steps": policy_steps})

    def video(self, name, frames, policy_steps) -> None:
        self._line({"video": name, "shape": frames.shape, "policy_steps": policy_steps})

    def close(self) -> None:
        self._line({"closed": True})

    def _line(self, entry) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def make(rundir, counters, say) -> Tape:  # noqa: ARG001
    return Tape(rundir.root / "tape.jsonl")
