"""A training run: environments, replay, learner and what a person sees, in one fixed order.

    act → insert → step environments → due updates (gather, write back, start) → chores

The order depends on step counts alone, so a seed determines a run whatever the timing; only
checkpoints follow the clock, and they change nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dreamer_jax.errors import UserError
from dreamer_jax.parallel import Compiled, array_table, compile_agent, to_host
from dreamer_jax.replay import (
    CorruptReplayError,
    Replay,
    check_memory,
    collect_garbage,
    replay_bytes,
)
from dreamer_jax.runtime.checkpoint import Checkpoint, Checkpointer, match_tree
from dreamer_jax.runtime.console import LiveLine
from dreamer_jax.runtime.diagnosis import Diagnosis
from dreamer_jax.runtime.environments import make_driver, make_envs
from dreamer_jax.runtime.evaluation import PROCESS, Evaluation, evaluate
from dreamer_jax.runtime.learner import Learner, Ratio
from dreamer_jax.runtime.media import tile_open_loop, without_pictures, write_video
from dreamer_jax.runtime.metrics import JsonlOutput, Metrics, Output, TensorBoardOutput, read_rows
from dreamer_jax.runtime.rundir import RunDir
from dreamer_jax.runtime.signals import StopRequest
from dreamer_jax.runtime.tracing import Tracing
from dreamer_jax.types import SIGNALS, Space, Spaces

GIB = 2**30
FPS = 15  # of open-loop videos


def replay_columns(spaces: Spaces) -> dict[str, Space]:
    """Return the columns that `driver.replay_record` fills."""
    columns = {f"obs/{key}": space for key, space in spaces.obs.items()}
    columns |= {f"action/{key}": space for key, space in spaces.action.items()}
    columns["reward"] = Space(np.dtype(np.float32), ())
    return columns | {key: Space(np.dtype(bool), ()) for key in SIGNALS if key != "reward"}


def make_replay(config: Any, spaces: Spaces, compiled: Compiled) -> Replay:
    """Allocate the replay of a run.

    Raises:
        UserError: If it needs more than 80 % of the memory, or too few windows would fit.
    """
    columns, latent = replay_columns(spaces), compiled.latent_spaces()
    # A reset record per episode is not a policy step, hence a margin over the run's steps.
    capacity = min(config.replay.capacity, config.steps + config.steps // 10 + 100 * config.envs)
    capacity = max(capacity, 4 * config.batch_size * config.batch_length)
    check_memory(replay_bytes(columns, *latent, capacity=capacity, streams=config.envs))
    try:
        return Replay(
            columns,
            *latent,
            capacity=capacity,
            streams=config.envs,
            batch_size=config.batch_size,
            length=config.batch_length,
            context=config.replay.context,
            online=config.replay.online,
            recency=config.replay.recency,
            seed=[config.seed, 1],
        )
    except ValueError as error:
        raise UserError(str(error)) from error


class Training:
    """Everything a training run owns. Use as: construct, `restore`, `run`, `close`.

    Args:
        config: Whole config.
        size: Its row of the size table.
        rundir: Claimed by this process.
    """

    def __init__(self, config: Any, size: Any, rundir: RunDir) -> None:
        self.config, self.rundir = config, rundir
        self.line = LiveLine(sys.stdout, config.steps)
        self.envs = make_envs(config, config.envs, seed=config.seed, warn=self.line.say)
        with ExitStack() as undo:  # no worker outlives what fails below
            undo.callback(self.envs.close)
            self.compiled = compile_agent(config, size, self.envs.spaces, all_devices=True)
            self.replay = make_replay(config, self.envs.spaces, self.compiled)
            self.driver = make_driver(self.envs, self.compiled, self.replay)
            diagnosis = Diagnosis(rundir.diagnosis, config.stop_after_skips, self.line.say)
            self.learner = Learner(self.compiled, self.replay, diagnosis)
            self.ratio = Ratio(config.train_ratio / (config.batch_size * config.batch_length))
            log = config.log
            self.tracing = Tracing(rundir.trace, log.trace_first, log.trace_updates, self.line.say)
            self.metrics = Metrics([])
            self.checkpoints = Checkpointer(
                rundir.checkpoints, config.checkpoint.keep, self._collect, self.line.say
            )
            if config.from_checkpoint and not self.checkpoints.history():
                self._adopt(RunDir(Path(config.from_checkpoint)))
            undo.pop_all()

    def describe(self) -> str:
        """Return what a person wants to know before a run: task, agent, memory, environments."""
        count = sum(x.size for x in _leaves(self.learner.train_state.params))
        return (
            f"{self.config.task}, size {self.config.size}: {count:,} parameters, "
            f"{self.config.envs} environments {self.envs.mode_reason}, "
            f"replay {self.replay.nbytes / GIB:.2f} GiB when full, in {self.rundir.root}"
        )

    def restore(self) -> bool:
        """Continue from the newest whole checkpoint; return whether there was one.

        Raises:
            UserError: If it belongs to another agent, none is whole, or its replay is damaged.
        """
        found, reason = None, "none can be read"
        for candidate in self.checkpoints.candidates():
            try:
                self._load(candidate)
            except CorruptReplayError as error:
                reason = f"checkpoint {candidate.step} cannot be continued: {error}"
                self.line.say(reason)
            else:
                found = candidate
                break
        if found is None and self.checkpoints.history():
            # Going on from the start would remove them.
            raise UserError(
                f"no checkpoint in {self.rundir.checkpoints} is whole; move them away to start "
                f"anew ({reason})"
            )
        self.metrics = Metrics(self._outputs(self._counters()), self.line.say)
        if found is not None:
            self.metrics.load_state_dict(found.host["metrics"])
        return found is not None

    def run(self, stop: StopRequest) -> bool:
        """Train until the configured steps are done or a stop is requested; return if done."""
        config, driver, learner = self.config, self.driver, self.learner
        saved = time.monotonic()
        while driver.policy_steps < config.steps and not stop.requested:
            before, score = driver.policy_steps, None
            for _, episode in driver.step(learner.acting):
                score = episode.score
                self.metrics.add_episode(episode.score, episode.length, episode.logs)
            if self.replay.can_sample:
                for _ in range(self.ratio.due(driver.policy_steps)):
                    self.tracing.before_update(learner.grad_steps)
                    self.metrics.add(learner.update(), prefix="train/")
                    self.tracing.after_update(learner.grad_steps, learner.train_state)
            self.line.update(driver.policy_steps, learner.grad_steps, score)
            self._chores(before)
            if time.monotonic() - saved > config.checkpoint.seconds:
                self.save()
                saved = time.monotonic()
        self.save()
        self.checkpoints.wait()
        self.line.finish(driver.policy_steps, learner.grad_steps)
        return driver.policy_steps >= config.steps

    def evaluate(self) -> Evaluation:
        """Run the configured evaluation with the newest parameters and record its result."""
        options = self.config.evaluation
        number = min(options.envs, options.episodes)
        params = self.compiled.acting(self.learner.train_state)
        with make_envs(
            self.config,
            number,
            seed=self.config.seed,
            process=PROCESS,
            watched=options.video,
            warn=self.line.say,
        ) as envs:
            result = evaluate(envs, self.compiled, params, options.episodes, video=options.video)
        if not self._evaluated():
            self.metrics.add({"score": result.scores.mean()}, prefix="eval/")
            self.metrics.write(**self._counters())
        return result

    def save(self) -> None:
        """Start writing a checkpoint; it is in place once `checkpoints.wait` returns."""
        self.checkpoints.wait()  # blocks of a save that fails are not there to be shared
        arrays, learner = self.learner.state()
        policy, driver = self.driver.state()
        host = {
            "learner": learner,
            "driver": driver,
            "ratio": self.ratio.state(),
            "metrics": self.metrics.state_dict(),
            "counters": self._counters(),
        }
        blocks = self.replay.snapshot()
        write = partial(blocks.write, self.rundir.replay)
        self.checkpoints.save(self.learner.grad_steps, {**arrays, **policy}, host, write)

    def close(self) -> None:
        """Finish writing and release the environments."""
        self.checkpoints.wait()
        self.tracing.close()
        self.metrics.close()
        self.envs.close()

    def _load(self, found: Checkpoint) -> None:
        own, _ = self.learner.state()
        arrays = {k: v for k, v in found.arrays.items() if not k.startswith("policy_")}
        match_tree({k: (v.shape, v.dtype) for k, v in own.items()}, arrays)
        # First, because it may turn out damaged, and then nothing has changed yet.
        self.replay.restore(self.rundir.replay, found.host["replay"])
        self.learner.load_state(found.arrays, found.host["learner"])
        self.ratio.load_state(found.host["ratio"])
        lost = self.driver.load_state(found.arrays, found.host["driver"])
        for index in lost:
            self.line.say(f"environment {index}: open episode could not be continued, closed")

    def _adopt(self, other: RunDir) -> None:
        """Start from the newest agent of another run: parameters, optimiser, statistics."""
        found = Checkpointer(other.checkpoints, keep=1, warn=self.line.say).load()
        if found is None:
            raise UserError(f"from_checkpoint={other.root} holds no whole checkpoint")
        arrays = {k: v for k, v in found.arrays.items() if k.startswith("state/")}
        match_tree(array_table(self.learner.train_state, "state/"), arrays)
        self.learner.adopt(arrays)

    def _counters(self) -> dict[str, int]:
        return {
            "env_steps": self.driver.env_steps,
            "policy_steps": self.driver.policy_steps,
            "grad_steps": self.learner.grad_steps,
        }

    def _outputs(self, counters: Mapping[str, int]) -> list[Output]:
        outputs: list[Output] = [JsonlOutput(self.rundir.metrics, counters)]
        if self.config.log.tensorboard:
            outputs.append(TensorBoardOutput(self.rundir.root, counters))
        return outputs

    def _evaluated(self) -> bool:
        """Return whether the metrics hold this agent's evaluation, from an earlier command."""
        steps = self.driver.policy_steps
        rows = read_rows(self.rundir.metrics)
        return any("eval/score" in row and row["policy_steps"] == steps for row in rows)

    def _chores(self, before: int) -> None:
        """Report and log where the last vector step crossed a multiple of their intervals."""
        steps, log = self.driver.policy_steps, self.config.log
        crossed = lambda every: every and steps // every > before // every
        if crossed(log.report_every) and self.learner.grad_steps:
            self._report()
        if crossed(log.every):
            counts = {
                "replay/size": self.replay.size,
                "replay/dropped": self.learner.dropped,
                "train/skipped": self.learner.skipped,
                "envs/restarts": self.envs.restarts,
            }
            self.metrics.add(counts, "last")
            self.metrics.write(**self._counters())

    def _report(self) -> None:
        replayed, _ = self.learner.gather()
        carry = self.compiled.put_batch(self.compiled.initial_carry(self.config.batch_size))
        state = self.learner.train_state
        images, metrics = to_host(self.compiled.report(state, carry, replayed, self.driver.calls))
        self.metrics.add(metrics, prefix="report/")
        context, half = self.config.replay.context, self.config.batch_length // 2
        for key, predicted in images.items():
            truth = np.asarray(replayed.records.obs[key])[: len(predicted), context:] / 255
            video = tile_open_loop(truth.astype(np.float32), predicted, half)
            name = f"open_loop_{key.replace('/', '_')}_{self.driver.policy_steps:09d}.mp4"
            with without_pictures(self.line.say):
                write_video(self.rundir.media / name, video, FPS)

    def _collect(self, hosts: list[dict[str, Any]]) -> None:
        collect_garbage(self.rundir.replay, [host["replay"] for host in hosts])


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        return [leaf for child in tree.values() for leaf in _leaves(child)]
    return [tree]
