"""`python -m experiments.faults.launcher PHASE COUNT TARGET SIGNALS ARGUMENTS…`: an ended run.

The launcher runs a command of `dreamer_jax` in its own process, and sends the SIGNALS (`SIGKILL`,
`SIGTERM`, `SIGINT+SIGINT`) to the TARGET when PHASE comes for the COUNT-th time. In a phase of file
operations, the signals come before the operation if COUNT is odd, and after the operation if COUNT
is even. In a compilation or an update, they come soon after its beginning. The launcher prints
`phase: NAME` then. The phase `none` never comes.

The target is this process (`self`), its whole group with workers and all (`group`), one worker of
its environments (`worker`; this process is asked to stop a second later), or nobody (`told`):
whoever reads the line sends what is to be sent.

To notice the phases, the launcher wraps functions: calls of the operating system, which belong to a
phase by the files that they touch, and the entry points of acting and updating. The package itself
needs no hooks.
"""

from __future__ import annotations

import multiprocessing
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
LATER = 1.0  # seconds from the death of a worker to the request to stop


def strike_self(number: int) -> None:
    """Send a signal to this process."""
    os.kill(os.getpid(), number)


def strike_group(number: int) -> None:
    """Send a signal to every process of this one's group."""
    os.killpg(os.getpgid(0), number)


def strike_worker(number: int) -> None:
    """Send a signal to one worker, and a while later ask this process to stop."""
    worker = min(multiprocessing.active_children(), key=lambda child: child.name)
    os.kill(worker.pid or 0, number)
    threading.Timer(LATER, strike_self, [signal.SIGTERM]).start()


TARGETS: dict[str, Callable[[int], None]] = {
    "self": strike_self,
    "group": strike_group,
    "worker": strike_worker,
    "told": lambda _: None,
}


class Fate:
    """The end that a process is to meet: counts phases, and sends the signals at the chosen one.

    Args:
        phase: Name of the chosen phase.
        count: At which occurrence of the phase the signals come.
        strike: Sends a signal to the target.
        signals: The signals, in order.
    """

    def __init__(
        self,
        phase: str,
        count: int,
        strike: Callable[[int], None],
        signals: list[signal.Signals],
    ) -> None:
        self._phase, self._count, self._strike, self._signals = phase, count, strike, signals
        self._seen: Counter[str] = Counter()

    def meet(self, phase: str, operation: Callable[[], Any]) -> Any:
        """Do an operation of a phase; if it is the chosen one, end the process before or after."""
        if not self._comes(phase):
            return operation()
        if self._count % 2:
            self._end()
        result = operation()
        self._end()
        return result

    def strike(self, phase: str) -> None:
        """End the process soon, if what begins now is the chosen occurrence of a phase."""
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
            self._strike(number)
            time.sleep(BETWEEN)


def file_phase(operation: str, *paths: str) -> str | None:
    """Return the phase that a file operation in a run directory belongs to, if any."""
    name, last = Path(paths[0]).name, Path(paths[-1]).name
    if operation == "fsync":
        return "writing" if ".blk" in name or ".tmp-" in paths[0] else None
    if operation in ("rename", "replace"):
        if last.startswith(".trash-"):
            return "deleting"
        return "renaming" if ".tmp" in name or last.startswith(".old-") else None
    return "deleting" if ".trash-" in paths[0] or name.endswith(".blk") else None


def wrap_files(fate: Fate) -> None:
    """Wrap flushing, renaming and deleting of files, so that `fate` hears of them."""

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
    """Return the path of a file: of a descriptor, or of a name in the folder of a descriptor."""
    if isinstance(file, int):
        return os.readlink(f"/proc/self/fd/{file}")
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), file) if folder else str(file)


def wrap_run(fate: Fate) -> None:
    """Wrap acting before the first update, compiling and updating, so that `fate` hears of them."""
    import jax

    from dreamer_jax.device.compiled import Compiled
    from dreamer_jax.runtime.driver import Driver

    train, step, updates = Compiled.train, Driver.step, Counter[str]()

    def compiling(event: str, duration_secs: float, **_: str | int) -> None:  # noqa: ARG001
        # JAX has lowered the program of the update; XLA compiles this program next.
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
    """Run a command line under a fate; return the exit code, if the process lives that long."""
    phase, count, target, signals, *rest = arguments
    numbers = [signal.Signals[name] for name in signals.split("+")]
    fate = Fate(phase, int(count), TARGETS[target], numbers)
    wrap_files(fate)
    wrap_run(fate)
    sys.argv = ["dreamer_jax", *rest]
    from dreamer_jax.__main__ import main as command

    command()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
