"""The states of a sweep as text: one line per run, a summary, and the end of every failed log."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from typing import TextIO, get_args

from dreamer_jax.runtime.showing.console import format_count
from experiments.sweep.attempt import last_lines
from experiments.sweep.plan import Run
from experiments.sweep.progress import Progress, State

_HEAD = ("task", "seed", "options", "state", "steps", "score")
_LAST_LINES = 5


class Screen:
    """Shows states while they change: a table in place on a terminal, else a line per change."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._live = stream, stream.isatty()
        self._states: dict[Run, State] = {}
        self._drawn = 0  # lines of the table on the screen

    def show(self, states: Mapping[Run, Progress]) -> None:
        """Show what changed."""
        if self._live:
            self._redraw(render(states).splitlines())
            return
        for run, progress in states.items():
            if progress.state != self._states.get(run, "waiting"):
                print(f"{_name(run)}: {progress.state}", file=self._stream, flush=True)
            self._states[run] = progress.state

    def _redraw(self, lines: list[str]) -> None:
        # A line that wraps or scrolls could not be drawn over.
        width, height = shutil.get_terminal_size()
        lines = [line[: width - 1] for line in lines[1 - height :]]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        # Each line is cleared to its end, and what lies below the last one too.
        drawn = "".join(f"{line}\x1b[K\n" for line in lines)
        self._stream.write(f"{up}{drawn}\x1b[J")
        self._stream.flush()
        self._drawn = len(lines)


def render(states: Mapping[Run, Progress]) -> str:
    """Return the table and the summary, without failures' logs; columns as wide as needed."""
    rows = [_HEAD, *(_cells(run, progress) for run, progress in states.items())]
    keep = [i for i in range(len(_HEAD)) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in keep}
    lines = ["  ".join(row[i].ljust(widths[i]) for i in keep).rstrip() for row in rows]
    return "\n".join([*lines, summary(states)])


def summary(states: Mapping[Run, Progress]) -> str:
    """Return how many runs are in each state, those that occur."""
    counts = Counter(progress.state for progress in states.values())
    return ", ".join(f"{counts[state]} {state}" for state in get_args(State) if counts[state])


def failures(states: Mapping[Run, Progress]) -> str:
    """Return, of every failed run, where its log is and how that ends."""
    parts = []
    for run, progress in states.items():
        if progress.state == "failed":
            head = f"{_name(run)} failed with exit code {progress.exit_code}; the end of its log,"
            lines = [f"    {line}" for line in last_lines(run.logdir, _LAST_LINES)]
            parts.append("\n".join([f"{head} {run.logdir / 'output.log'}:", *lines]))
    if parts:
        parts.append("the same command with --retry starts failed runs again")
    return "\n".join(parts)


def _cells(run: Run, progress: Progress) -> tuple[str, ...]:
    done = f"{format_count(progress.policy_steps)} of {format_count(run.steps)}"
    score = "" if progress.score is None else f"{progress.score:.6g}"
    return (run.task, str(run.seed), run.variant, progress.state, done, score)


def _name(run: Run) -> str:
    return " ".join(filter(None, [run.task, run.variant, f"seed {run.seed}"]))
