"""`python -m experiments.faults.launcher PHASE COUNT SIGNALS ARGUMENTS…`: a run that is ended.

Runs a command of `dreamer_jax` in this process after wrapping what marks its phases (calls of the
operating system, by the files they touch, and the entry points of acting and updating), so that
the product itself needs no hooks. At the COUNT-th time of PHASE the process gets the signals
`SIGKILL`, `SIGTERM` or `SIGINT+SIGINT`: around an operation on files before it where the count is
odd and after it where it is even, in a compilation or an update soon after its beginning. Tells
`phase: NAME` when it does. The phase `none` never comes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

PHASES = ("filling", "compiling", "updating", "writing", "renaming", "deleting")
WITHIN = 0.005  # seconds into a compilation or an update
BETWEEN = 0.05  # seconds between two signals, or the second would merge with the first
NONE = "none"


class Fate:
    """Counts phases and ends the process at the chosen one.

    Args:
        phase: The chosen one.
        count: At which time.
        signals: What this process then gets.
    """

    def __init__(self, phase: str, count: int, signals: list[signal.Signals]) -> None:
        self._phase, self._count, self._signals = phase, count, signals
        self._seen: Counter[str] = Counter()

    def meet(self, phase: str, operation: Callable[[], Any]) -> Any:
        """Do an operation of a phase, and end the process before or after the chosen one."""
        if not self._comes(phase):
            return operation()
        if self._count % 2:
            self._end()
        result = operation()
        self._end()
        return result

    def strike(self, phase: str) -> None:
        """End the process soon, while what begins now is under way."""
        if self._comes(phase):
            threading.Timer(WITHIN, self._end).start()

    def _comes(self, phase: str) -> bool:
        self._seen[phase] += 1
        comes = (phase, self._seen[phase]) == (self._phase, self._count)
        if comes:
            print(f"phase: {phase}", flush=True)
        return comes

    def _end(self) -> None:
        for number in self._signals:
            os.kill(os.getpid(), number)
            time.sleep(BETWEEN)


def file_phase(operation: str, *paths: str) -> str | None:
    """Return the phase that an operation on files of a run directory belongs to."""
    name, last = Path(paths[0]).name, Path(paths[-1]).name
    if operation == "fsync":
        return "writing" if ".blk" in name or ".tmp-" in paths[0] else None
    if operation in ("rename", "replace"):
        if last.startswith(".trash-"):
            return "deleting"
        return "renaming" if ".tmp" in name or last.startswith(".old-") else None
    return "deleting" if ".trash-" in paths[0] or name.endswith(".blk") else None


def wrap_files(fate: Fate) -> None:
    """Let flushing, renaming and deleting pass by `fate`."""

    def wrapped(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        @wraps(original)
        def call(first: Any, *rest: Any, **options: Any) -> Any:
            described = [_path(first, options.get("dir_fd")), *map(str, rest)]
            phase = file_phase(name, *described)
            run = lambda: original(first, *rest, **options)
            return run() if phase is None else fate.meet(phase, run)

        return call

    for name in ("fsync", "rename", "replace", "unlink", "rmdir"):
        setattr(os, name, wrapped(name))


def _path(file: Any, folder: int | None) -> str:
    """Return the path behind a descriptor, or a name relative to one."""
    if isinstance(file, int):
        return os.readlink(f"/proc/self/fd/{file}")
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), file) if folder else str(file)


def wrap_run(fate: Fate) -> None:
    """Let acting before the first update, compilation of the update, and updates pass by `fate`."""
    import jax

    from dreamer_jax.device.compiled import Compiled
    from dreamer_jax.runtime.driver import Driver

    train, step, updates = Compiled.train, Driver.step, Counter[str]()

    def compiling(event: str, duration_secs: float, **_: str | int) -> None:  # noqa: ARG001
        # The program of the update is lowered: XLA compiles it next.
        if updates["begun"] == 1 and event.endswith("jaxpr_to_mlir_module_duration"):
            fate.strike("compiling")

    def counted_train(self: Compiled, *arguments: Any) -> Any:
        updates["begun"] += 1
        if updates["begun"] > 1:
            fate.strike("updating")
        return train(self, *arguments)

    def counted_step(self: Driver, params: Any) -> Any:
        run = lambda: step(self, params)
        return run() if updates["begun"] else fate.meet("filling", run)

    jax.monitoring.register_event_duration_secs_listener(compiling)
    replaced = {Compiled: ("train", counted_train), Driver: ("step", counted_step)}
    for owner, (name, wrapped) in replaced.items():
        setattr(owner, name, wrapped)


def main(arguments: list[str]) -> int:
    """Run a command line under a fate; return its exit code if it lives to have one."""
    phase, count, signals, *rest = arguments
    fate = Fate(phase, int(count), [signal.Signals[name] for name in signals.split("+")])
    wrap_files(fate)
    wrap_run(fate)
    sys.argv = ["dreamer_jax", *rest]
    from dreamer_jax.__main__ import main as command

    command()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
