"""The live line: its text, its width, and what a stream that is no terminal gets."""

from __future__ import annotations

import io
import os
import pty

import pytest

from dreamer_jax.runtime.showing.console import LiveLine, format_count, format_duration, format_line


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """What a terminal shows: a carriage return goes back and overwrites."""
        lines = []
        for text in self.getvalue().split("\n"):
            cells: list[str] = []
            for part in text.split("\r"):
                cells[: len(part)] = part
            lines.append("".join(cells).rstrip())
        return lines


class _Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0m00s"), (59.9, "0m59s"), (61, "1m01s"), (7_500, "2h05m"), (93_784, "1d02h")],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10k"),
        (9_999_000, "9,999k"),
        (12_340_000, "12.34M"),
        (200_000_000, "200M"),
    ],
)
def test_counts(count, text):
    assert format_count(count) == text


def test_line_of_a_long_run_fits_80_columns():
    """The estimate stands last; it was the part that an ordinary terminal cut off."""
    line = format_line(150_000_000, 200_000_000, 1_234.5, 123.4, 12_345.6)
    assert len(line) < 80


def test_line_says_progress_speeds_score_and_remaining_time():
    assert format_line(2_500, 10_000, 125.0, 31.25, 12.345) == (
        " 25.0% 2,500/10k | 125 steps/s | 31.2 updates/s | score 12.3 | ETA 1m00s"
    )


def test_line_before_anything_is_known():
    line = format_line(0, 0, 0.0, 0.0)
    assert "score --" in line and line.endswith("ETA --")


@pytest.mark.parametrize("width", [1, 7, 40])
def test_line_is_cut_to_the_width(width):
    assert len(format_line(2_500, 10_000, 125.0, 31.25, 12.3, width)) == width


def test_terminal_shows_one_line_that_is_rewritten():
    stream, clock = _Terminal(), _Clock()
    live = LiveLine(stream, 1_000, clock=clock)
    live.update(0, 0, score=1_000_000.0)
    clock.now += 10
    live.update(500, 100, score=2.0)
    assert len(stream.screen()) == 1
    assert stream.screen()[0].split(" | ") == [
        " 50.0% 500/1,000",
        "50.0 steps/s",
        "10.0 updates/s",
        "score 2.0",
        "ETA 0m10s",
    ]
    assert "\n" not in stream.getvalue()


def test_shorter_line_leaves_nothing_of_the_longer_one():
    stream, clock = _Terminal(), _Clock()
    live = LiveLine(stream, 1_000, clock=clock)
    live.update(0, 0, score=123_456_789.0)
    clock.now += 1
    live.update(999, 0, score=1.0)
    assert stream.screen()[0].endswith("ETA 0m00s")


def test_updates_in_quick_succession_draw_once():
    stream, clock = _Terminal(), _Clock()
    live = LiveLine(stream, 1_000, clock=clock)
    for step in range(100):
        live.update(step, 0)
    assert stream.getvalue().count("ETA") == 1


def test_log_gets_plain_lines_at_most_every_so_often():
    stream, clock = io.StringIO(), _Clock()
    live = LiveLine(stream, 70, log_seconds=30, clock=clock)
    for step in range(70):
        live.update(step, step)
        clock.now += 1
    live.finish(70, 70)
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == [f"{n}/70" for n in (0, 30, 60, 70)]
    assert "\r" not in stream.getvalue()


def test_speed_is_that_of_the_recent_window():
    """One slow stretch (a compilation) must not bend the estimate for the rest of the run."""
    stream, clock = io.StringIO(), _Clock()
    live = LiveLine(stream, 10_000, log_seconds=10, clock=clock)
    live.update(0, 0)
    clock.now += 500  # compilation
    for step in range(0, 700, 100):
        live.update(step, 0)
        clock.now += 10
    assert " | 10.0 steps/s" in stream.getvalue().splitlines()[-1]


def test_resumed_run_counts_only_its_own_steps_as_speed():
    stream, clock = io.StringIO(), _Clock()
    live = LiveLine(stream, 10_000, log_seconds=10, clock=clock)
    live.update(5_000, 500)
    clock.now += 10
    live.update(5_100, 510)
    assert "10.0 steps/s | 1.0 updates/s" in stream.getvalue().splitlines()[-1]


def test_message_stands_above_the_live_line():
    stream, clock = _Terminal(), _Clock()
    live = LiveLine(stream, 10, clock=clock)
    live.say("before")
    live.update(5, 5)
    live.say("saved")
    live.finish(10, 10)
    screen = stream.screen()
    assert screen[:2] == ["before", "saved"]
    assert screen[2].startswith("100.0%") and screen[3:] == [""]


def test_real_terminal_never_gets_a_line_as_wide_as_itself():
    """A full last column makes terminals wrap, and then every redraw scrolls."""
    import fcntl
    import struct
    import termios

    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 31, 0, 0))
    with os.fdopen(side, "w") as stream:
        LiveLine(stream, 1_000_000).update(123_456, 7)
        text = os.read(main, 1000).decode()
    os.close(main)
    assert len(text) == 30 and "\n" not in text
