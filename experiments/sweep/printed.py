"""The command of every unfinished run, for TPU pods and schedulers that this package does not know.

Each line is whole by itself and may be run again: the same directory continues, and a finished run
ends at once. What those runs leave shows in the sweep's table like any other's.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from experiments.sweep.plan import Run


def command_lines(runs: Iterable[Run], python: str = "python") -> list[str]:
    """Return one shell command per run."""
    return [shlex.join([python, *run.arguments]) for run in runs]
