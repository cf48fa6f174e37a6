"""Runs as processes of this machine, each with a share of its devices and cores.

With GPUs every slot has one, several slots a share of its memory; without, every slot has cores of
its own, which XLA and NumPy then take for the whole machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from experiments.sweep.attempt import Attempt
from experiments.sweep.backend import Job
from experiments.sweep.plan import Run

_GPU_MEMORY = 0.9  # share that JAX may take of a GPU, over all runs on it


class Slot(NamedTuple):
    """A place for one run at a time."""

    environment: dict[str, str]
    cores: tuple[int, ...]  # empty: all


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use. JAX is not asked: it would take their memory."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip() and name.strip() != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    found = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.split() if found.returncode == 0 else []


def divide(number: int, gpus: Sequence[str], cores: Sequence[int]) -> list[Slot]:
    """Divide devices and cores among slots as evenly as they go; slots share where they must."""
    slots = []
    for i in range(number):
        environment = {}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[i % len(gpus)]
            sharing = len(range(i % len(gpus), number, len(gpus)))
            if sharing > 1:
                share = f"{_GPU_MEMORY / sharing:.3f}"
                environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = share
        mine: tuple[int, ...] = ()
        if number > 1 and cores:
            width = max(1, len(cores) // number)
            start = i * width % len(cores)
            mine = tuple(cores[start : start + width])
            environment["OMP_NUM_THREADS"] = str(width)
        slots.append(Slot(environment, mine))
    return slots


class LocalBackend:
    """See `backend.Backend`.

    Args:
        number: Slots; 0 for one per GPU, or one per two cores.
    """

    poll_seconds = 0.2

    def __init__(self, number: int) -> None:
        # macOS can neither say nor set which cores a process may use.
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        gpus = visible_gpus()
        self.slots = number or len(gpus) or max(1, len(cores) // 2)
        self._free = divide(self.slots, gpus, cores)[::-1]
        self._attempts: list[LocalJob] = []

    def submit(self, run: Run) -> Job:
        """Start a process in a free slot."""
        job = LocalJob(run, self._free)
        self._attempts.append(job)
        return job

    def adopt(self, run: Run) -> Job | None:  # noqa: ARG002
        """Return None: processes have no name by which to find them; see `orphan.py`."""
        return None

    def close(self) -> None:
        """End what is still running; its last checkpoint stays good."""
        for job in self._attempts:
            job.kill()


class LocalJob:
    """An attempt in a slot, which it gives back."""

    def __init__(self, run: Run, free: list[Slot]) -> None:
        self._free, self._slot = free, free.pop()
        self._attempt = Attempt(run, self._slot.environment, self._slot.cores)
        self._over = False

    def over(self) -> bool:
        """See `backend.Job`."""
        if not self._over and self._attempt.poll() is not None:
            self._over = True
            self._free.append(self._slot)
        return self._over

    def stop(self) -> None:
        """See `backend.Job`."""
        self._attempt.stop()

    def kill(self) -> None:
        """End it at once."""
        if not self.over():
            self._attempt.kill()
