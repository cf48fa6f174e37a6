"""The whole training loop per update, beside the train step alone."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from dreamer_jax.config import find_size, load_config
from dreamer_jax.runtime.assemble import assemble
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.training import Training
from experiments.benchmark.workload import WARMUP, step_caller, timings


class AfterUpdates:
    """A stop request after so many updates, that times those after the warm-up."""

    def __init__(self, training: Training, updates: int) -> None:
        self._learner, self._updates = training.learner, updates
        self._start = self._started = 0.0
        self.seconds = 0.0

    @property
    def requested(self) -> bool:
        """Whether the updates are done; asked once for each vector step."""
        done = self._learner.grad_steps
        if done >= WARMUP and not self._started:
            jax.block_until_ready(self._learner.acting)
            self._start, self._started = time.perf_counter(), done
        if self._started and done >= self._started + self._updates:
            jax.block_until_ready(self._learner.acting)
            self.seconds = (time.perf_counter() - self._start) / (done - self._started)
            return True
        return False


def bench_loop(args: argparse.Namespace) -> dict[str, Any]:
    """Train a preset for `--steps` updates; report wall time per update and the step's share."""
    config = load_config(args.config)
    changes = {
        "task": args.task or config.task,
        "size": args.size,
        "batch_size": args.batch,
        "batch_length": args.length,
        "envs": args.envs or config.envs,
        "train_ratio": args.ratio or config.train_ratio,
        "compute_dtype": args.dtype,
        "log.report_every": 0,
    }
    config.update_from_flattened_dict(changes)
    with tempfile.TemporaryDirectory() as folder:
        training = Training(assemble(config, find_size(config.size), RunDir(Path(folder) / "run")))
        try:
            training.restore()
            stop: Any = AfterUpdates(training, args.steps)
            training.run(stop)
        finally:
            training.close()
    state = training.learner.train_state
    call = step_caller(training.parts.compiled, state, args.batch, args.length)
    alone = timings(call, args.steps)
    loop_ms = 1e3 * stop.seconds
    return {
        "task": config.task,
        "loop_ms_per_update": loop_ms,
        "step_ms_median": alone["ms_median"],
        "loop_over_step": loop_ms / alone["ms_median"],
        "policy_steps_per_s": args.batch * args.length / config.train_ratio / stop.seconds,
    }
