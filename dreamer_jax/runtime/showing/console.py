"""What a person sees of a run: one rewriting line, or a plain log where nobody is watching.

The text is a pure function of numbers (`format_line`); `LiveLine` only decides when and where to
put it. Speeds are those of the recent window, so that compilation or a resume does not bend them.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TextIO

_REDRAW_SECONDS = 0.2
_WINDOW_SECONDS = 30.0
_FALLBACK_WIDTH = 80


class _Sample(NamedTuple):
    at: float
    steps: int
    updates: int


def format_duration(seconds: float) -> str:
    """Return the two leading units of a duration, such as `2h05m`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02d}h"
    if hours:
        return f"{hours}h{minute:02d}m"
    return f"{minute}m{second:02d}s"


def format_count(count: int) -> str:
    """Return a step count in at most four digits or so: `9,999`, `250k`, `12.5M`."""
    if count < 10_000:
        return f"{count:,}"
    if count < 10_000_000:
        return f"{count / 1_000:,.0f}k"
    return f"{count / 1_000_000:.4g}M"


def _format_rate(rate: float) -> str:
    return f"{rate:.1f}" if rate < 99.95 else f"{rate:,.0f}"


def format_line(
    steps: int,
    total_steps: int,
    steps_per_second: float,
    updates_per_second: float,
    score: float | None = None,
    width: int | None = None,
) -> str:
    """Return the progress line, in ASCII and cut to `width` characters.

    Args:
        steps: Policy steps done.
        total_steps: Policy steps of the whole run.
        steps_per_second: Recent speed; 0 while it is unknown.
        updates_per_second: Recent gradient steps per second.
        score: Recent episode score, or None before the first episode ended.
        width: Columns available, or None for no limit.
    """
    remaining = max(0, total_steps - steps)
    eta = format_duration(remaining / steps_per_second) if steps_per_second > 0 else "--"
    done = min(1.0, steps / max(1, total_steps))
    parts = (
        f"{done:6.1%} {format_count(steps)}/{format_count(total_steps)}",
        f"{_format_rate(steps_per_second)} steps/s",
        f"{_format_rate(updates_per_second)} updates/s",
        f"score {'--' if score is None else f'{score:,.1f}'}",
        f"ETA {eta}",
    )
    return " | ".join(parts)[:width]


class LiveLine:
    """Progress of a run on a stream.

    Args:
        stream: Where to write; a terminal gets one line that is rewritten.
        total_steps: Policy steps of the whole run.
        log_seconds: Least time between two lines where the stream is not a terminal.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        total_steps: int,
        log_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._total, self._clock = stream, total_steps, clock
        self._terminal = stream.isatty()
        self._pause = _REDRAW_SECONDS if self._terminal else log_seconds
        self._samples: deque[_Sample] = deque()
        self._score: float | None = None
        self._next = clock()
        self._drawn = 0  # columns of the line now on the terminal

    def update(self, steps: int, updates: int, score: float | None = None) -> None:
        """Report progress; cheap enough for every step.

        Args:
            steps: Policy steps done.
            updates: Gradient steps done.
            score: Score of a newly finished episode, if one finished.
        """
        if score is not None:
            self._score = score
        now = self._clock()
        if self._samples and now < self._next:
            return
        self._next = now + self._pause
        self._samples.append(_Sample(now, steps, updates))
        while len(self._samples) > 2 and self._samples[1].at <= now - _WINDOW_SECONDS:
            self._samples.popleft()
        self._draw()

    def say(self, message: str) -> None:
        """Print a message on a line of its own, above the live line."""
        self._erase()
        self._stream.write(message + "\n")
        if self._terminal and self._samples:
            self._draw()
        self._stream.flush()

    def finish(self, steps: int, updates: int) -> None:
        """Show the last state and leave the line."""
        self._next = self._clock()
        self.update(steps, updates)
        if self._terminal:
            self._stream.write("\n")
            self._stream.flush()
            self._drawn = 0

    def _draw(self) -> None:
        first, last = self._samples[0], self._samples[-1]
        seconds = last.at - first.at
        rates = (
            ((last.steps - first.steps) / seconds, (last.updates - first.updates) / seconds)
            if seconds > 0
            else (0.0, 0.0)
        )
        width = self._width() - 1 if self._terminal else None  # a full last column would wrap
        line = format_line(last.steps, self._total, *rates, self._score, width)
        if self._terminal:
            self._erase()
            self._stream.write(line)
            self._drawn = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * min(self._drawn, self._width() - 1) + "\r")
            self._drawn = 0

    def _width(self) -> int:
        try:
            return max(2, os.get_terminal_size(self._stream.fileno()).columns)
        except (OSError, ValueError):
            return _FALLBACK_WIDTH
