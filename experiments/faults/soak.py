"""Campaign `soak`: many updates of a tiny agent in one process, so that any growth shows.

The replay is small, so that it is full before measuring begins, and the run saves every few
seconds. The first fifth of the samples is left out. Growth of memory is the slope of a least
squares fit. Growth of the step time compares the median of the first third of the samples with that
of the last third: medians, because a pause of the machine does not move them.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from dreamer_jax.config import find_size, load_config
from dreamer_jax.runtime.assemble import assemble
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.training import Training
from experiments.faults.subject import OPTIONS

SAMPLES = 200
WARM = 0.2  # share of the samples that are left out: memory and caches have not settled
MIB = 2**20
# Largest growth per 1e5 updates: MiB, and share of the step time. A run of 1e6 updates could bear
# this growth; the noise of the samples is well below it.
MOST_MIB, MOST_SLOWER = 20.0, 0.1


class Sampler:
    """A stop request after a number of updates, which samples the process on the way."""

    def __init__(self, training: Training, updates: int) -> None:
        self._learner, self._updates = training.learner, updates
        self._every = max(1, updates // SAMPLES)
        self.samples: list[tuple[float, ...]] = []  # updates, seconds, MiB, file handles, threads

    @property
    def requested(self) -> bool:
        """Whether the updates are done; asked once for each vector step."""
        done = self._learner.grad_steps
        if done >= self._every * len(self.samples):
            self.samples.append((done, time.perf_counter(), *_process()))
        return done >= self._updates


def _process() -> tuple[float, int, int]:
    """Return resident MiB, open file handles and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    handles, threads = (len(os.listdir(f"/proc/self/{name}")) for name in ("fd", "task"))
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB, handles, threads


def soak(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train for `--updates` updates; return how the process changed meanwhile."""
    config = load_config("debug")
    changes = {"task": "testing:counting", "steps": 10**9, "train_ratio": 64.0}
    changes |= {"checkpoint.seconds": 5.0, "replay.capacity": 3000, "log.every": 100}
    config.update_from_flattened_dict(OPTIONS | changes)
    training = Training(assemble(config, find_size(config.size), RunDir(args.folder / "soak")))
    sampler: Any = Sampler(training, args.updates)
    try:
        training.restore()
        training.run(sampler)
    finally:
        training.close()
    return [slopes(np.array(sampler.samples))]


def slopes(samples: np.ndarray) -> dict[str, Any]:
    """Return the row of a soak: how memory, step time, file handles and threads grew.

    Args:
        samples: `[S, 5]` updates, seconds, resident MiB, file handles, threads.
    """
    warm = samples[int(WARM * len(samples)) :]
    updates, seconds, memory, handles, threads = warm.T
    per = 1e5
    step = np.diff(seconds) / np.diff(updates)
    third = len(step) // 3
    early, late = np.median(step[:third]), np.median(step[-third:])
    slower = (late / early - 1) * per / (2 / 3 * np.ptp(updates))
    grown = per * np.polyfit(updates, memory, 1)[0]
    return {
        "updates": int(samples[-1, 0]),
        "minutes": round((samples[-1, 1] - samples[0, 1]) / 60, 1),
        "ms an update": round(1e3 * float(np.median(step)), 2),
        "slower per 1e5": f"{slower:+.1%}",
        "MiB": round(float(memory[-1])),
        "MiB per 1e5": round(float(grown), 2),
        # The smallest of five samples: a checkpoint under way has a thread and files of its own.
        "handles": f"{handles[:5].min():.0f} then {handles[-5:].min():.0f}",
        "threads": f"{threads[:5].min():.0f} then {threads[-5:].min():.0f}",
        "as promised": bool(
            grown < MOST_MIB
            and slower < MOST_SLOWER
            and handles[-5:].min() <= handles[:5].min()
            and threads[-5:].min() <= threads[:5].min()
        ),
    }
