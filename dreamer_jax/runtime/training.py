"""A training run: environments, replay, learner and what a person sees, in one fixed order.

    act → insert → step environments → due updates (gather, write back, start) → chores

The order depends on step counts alone, so a seed determines a run whatever the timing; only
checkpoints follow the clock, and they change nothing.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from dreamer_jax.cluster.agreement import Agreement
from dreamer_jax.device.compiled import array_table, compile_agent, processes, to_host
from dreamer_jax.errors import UserError
from dreamer_jax.replay import collect_garbage
from dreamer_jax.runtime.environments import make_driver, make_envs
from dreamer_jax.runtime.episodes import Episode, pool
from dreamer_jax.runtime.evaluation import PROCESS, Evaluation, evaluate
from dreamer_jax.runtime.experience import make_replay
from dreamer_jax.runtime.learner import Learner, Ratio
from dreamer_jax.runtime.saving.checkpoint import Checkpoint, Checkpointer, match_tree
from dreamer_jax.runtime.saving.diagnosis import Diagnosis
from dreamer_jax.runtime.saving.redistribute import SHARED, deal, load_parts, load_replay, own_share
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.showing.console import LiveLine
from dreamer_jax.runtime.showing.media import tile_open_loop, without_pictures, write_video
from dreamer_jax.runtime.showing.metrics import (
    JsonlOutput,
    Metrics,
    Output,
    TensorBoardOutput,
    read_rows,
)
from dreamer_jax.runtime.showing.tracing import Tracing
from dreamer_jax.runtime.signals import StopRequest

GIB = 2**30
FPS = 15  # of open-loop videos


class Training:
    """Everything a training run owns. Use as: construct, `restore`, `run`, `close`.

    Args:
        config: Whole config.
        size: Its row of the size table.
        rundir: Claimed by this process.
    """

    def __init__(self, config: Any, size: Any, rundir: RunDir) -> None:
        self.config, self.rundir = config, rundir
        self.process, self.processes = processes()
        self.share = share = own_share(config, self.processes)
        self.own = own = rundir.part(self.process)  # holds what is this process's own
        self.line = LiveLine(self._console(), config.steps)
        say, seed = self.line.say, config.seed
        self.envs = make_envs(config, share.envs, seed=seed, process=self.process, warn=say)
        with ExitStack() as undo:  # no worker outlives what fails below
            undo.callback(self.envs.close)
            self.compiled = compile_agent(config, size, self.envs.spaces, all_devices=True)
            self.replay = make_replay(share, self.envs.spaces, self.compiled, self.process)
            self.driver = make_driver(self.envs, self.compiled, self.replay)
            diagnosis = Diagnosis(own.diagnosis, config.stop_after_skips, say)
            self.learner = Learner(self.compiled, self.replay, diagnosis)
            self.ratio = Ratio(config.train_ratio / (config.batch_size * config.batch_length))
            most = config.envs * getattr(self.envs, "steps", 1)  # of one call of the driver
            self.agreement = Agreement(self.compiled.exchange, self.processes, most, config.steps)
            log = config.log
            self.tracing = Tracing(own.trace, log.trace_first, log.trace_updates, say)
            self.metrics = Metrics([])
            self._ended: list[Episode] = []  # in this process, not collected yet
            self.checkpoints = Checkpointer(own.checkpoints, self._kept(), self._collect, say)
            if config.from_checkpoint and not self.checkpoints.history():
                self._adopt(RunDir(Path(config.from_checkpoint)))
            undo.pop_all()

    def describe(self) -> str:
        """Return what a person wants to know before a run: task, agent, memory, environments."""
        shapes = array_table(self.learner.train_state.params, "").values()
        count = sum(math.prod(shape) for shape, _ in shapes)
        alone = self.processes == 1
        return (
            f"{self.config.task}, size {self.config.size}: {count:,} parameters, "
            f"{'' if alone else f'process {self.process} of {self.processes}, '}"
            f"{self.share.envs} environments {self.envs.mode_reason}, "
            f"replay {self.replay.nbytes / GIB:.2f} GiB when full, in {self.rundir.root}"
        )

    def restore(self) -> bool:
        """Continue from the newest whole checkpoint; return whether there was one.

        Raises:
            UserError: If it belongs to another agent, none is whole, or its replay is damaged.
        """
        found, reason = None, "none can be read"
        for parts in load_parts(self.rundir, self.compiled.exchange, self.line.say):
            if not (damage := self._load(parts)):
                found = parts
                break
            reason = f"checkpoint {parts[0].step} cannot be continued: {damage}"
            self.line.say(reason)
        if found is None and self.checkpoints.history():
            # Going on from the start would remove them.
            raise UserError(
                f"no checkpoint in {self.rundir.checkpoints} is whole; move them away to start "
                f"anew ({reason})"
            )
        self.agreement.meet(self.driver.policy_steps, self.replay.can_sample, False, False)
        outputs = self._outputs(self._counters()) if self.process == 0 else []
        self.metrics = Metrics(outputs, self.line.say)
        if found is not None:
            self.metrics.load_state_dict(found[0].host["metrics"])
        return found is not None

    def run(self, stop: StopRequest) -> bool:
        """Train until the configured steps are done or a stop is requested; return if done."""
        config, driver, learner, agreed = self.config, self.driver, self.learner, self.agreement
        saved = time.monotonic()
        agreed.meet(driver.policy_steps, self.replay.can_sample, stop.requested, False)
        while agreed.policy_steps < config.steps and not agreed.stop:
            before = agreed.policy_steps
            self._ended += [episode for _, episode in driver.step(learner.acting)]
            if not agreed.is_due(self.ratio.owes):
                continue
            late = time.monotonic() - saved > config.checkpoint.seconds
            agreed.meet(driver.policy_steps, self.replay.can_sample, stop.requested, late)
            if agreed.can_sample:
                for _ in range(self.ratio.due(agreed.policy_steps)):
                    self.tracing.before_update(learner.grad_steps)
                    self.metrics.add(learner.update(), prefix="train/")
                    self.tracing.after_update(learner.grad_steps, learner.train_state)
            newest = self._ended[-1].score if self._ended else None
            self.line.update(agreed.policy_steps, learner.grad_steps, newest)
            self._chores(before)
            if agreed.save:
                self.save()
                saved = time.monotonic()
        self.save()
        self.checkpoints.wait()
        self.line.finish(agreed.policy_steps, learner.grad_steps)
        return agreed.policy_steps >= config.steps

    def evaluate(self) -> Evaluation | None:
        """Run the configured evaluation with the newest parameters and record its result.

        Process 0 does; the others help to collect the parameters and return None.
        """
        options = self.config.evaluation
        number = min(options.envs, options.episodes)
        params = self.compiled.acting(self.learner.train_state)
        if self.process:
            return None
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
        # All meet here: nobody deletes an old one before the one after it is complete everywhere.
        self._pool()
        arrays, learner = self.learner.state()
        policy, driver = self.driver.state()
        if self.process:
            arrays = {k: v for k, v in arrays.items() if not k.startswith(SHARED)}
        host = {
            "processes": self.processes,
            "learner": learner,
            "driver": driver,
            "ratio": self.ratio.state(),
            "metrics": self.metrics.state_dict(),
            "counters": self._counters(),
        }
        blocks = self.replay.snapshot()
        write = partial(blocks.write, self.own.replay)
        self.checkpoints.save(self.learner.grad_steps, {**arrays, **policy}, host, write)

    def close(self) -> None:
        """Finish writing and release the environments."""
        self.checkpoints.wait()
        self.tracing.close()
        self.metrics.close()
        self.envs.close()

    def _load(self, found: list[Checkpoint]) -> str:
        """Continue from all parts of a checkpoint, whatever the number of processes was.

        Returns:
            What is damaged in the replay of any process; nothing has changed then.
        """
        own, process = self.learner.state()[0], self.process
        learner, driver = deal(found, own, process, self.processes, self.share.envs)
        match_tree({k: (v.shape, v.dtype) for k, v in own.items()}, learner[0])
        dropped, damage = load_replay(
            self.replay, found, self.rundir, process, self.processes, self.compiled.share
        )
        if damage:
            return damage
        self.learner.load_state(*learner)
        self.learner.dropped += dropped
        self.ratio.load_state(found[0].host["ratio"])
        if len(found) != self.processes:
            self.line.say(f"dealt the streams of {len(found)} processes to {self.processes}")
        for index in self.driver.load_state(*driver):
            self.line.say(f"environment {index}: open episode could not be continued, closed")
        return ""

    def _kept(self) -> int:
        """Return how many checkpoints stay: there is always one that all processes have."""
        keep = self.config.checkpoint.keep
        return keep if self.processes == 1 else max(2, keep) + bool(self.process)

    def _console(self) -> TextIO:
        """Return where progress goes: process 0 speaks for all."""
        return sys.stdout if self.process == 0 else open(os.devnull, "w", encoding="utf-8")

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
            "env_steps": self.agreement.policy_steps * self.envs.repeat,
            "policy_steps": self.agreement.policy_steps,
            "grad_steps": self.learner.grad_steps,
        }

    def _outputs(self, counters: Mapping[str, int]) -> list[Output]:
        outputs: list[Output] = [JsonlOutput(self.rundir.metrics, counters)]
        if self.config.log.tensorboard:
            outputs.append(TensorBoardOutput(self.rundir.root, counters))
        return outputs

    def _evaluated(self) -> bool:
        """Return whether the metrics hold this agent's evaluation, from an earlier command."""
        steps = self.agreement.policy_steps
        rows = read_rows(self.rundir.metrics)
        return any("eval/score" in row and row["policy_steps"] == steps for row in rows)

    def _chores(self, before: int) -> None:
        """Report and log where the last vector step crossed a multiple of their intervals."""
        steps, log = self.agreement.policy_steps, self.config.log
        crossed = lambda every: every and steps // every > before // every
        if crossed(log.report_every) and self.learner.grad_steps:
            self._report()
        if crossed(log.every):
            self.metrics.add({"train/skipped": self.learner.skipped, **self._pool()}, "last")
            self.metrics.write(**self._counters())

    def _pool(self) -> dict[str, int]:
        """Collect the episodes of all processes; return the sums of what each counts."""
        counts = {
            "replay/size": self.replay.size,
            "replay/dropped": self.learner.dropped,
            "envs/restarts": self.envs.restarts,
        }
        ended, sums = pool(self.compiled.share, self._ended, counts)
        self._ended = []
        for episode in ended:
            self.metrics.add_episode(*episode)
        return sums

    def _report(self) -> None:
        replayed, _ = self.learner.gather()
        carry = self.compiled.put_batch(self.compiled.initial_carry(self.share.batch_size))
        state = self.learner.train_state
        images, metrics = to_host(self.compiled.report(state, carry, replayed, self.driver.calls))
        self.metrics.add(metrics, prefix="report/")
        if self.process:
            return  # its part of the computation is done
        context, half = self.config.replay.context, self.config.batch_length // 2
        for key, predicted in images.items():
            truth = to_host(replayed.records.obs[key])[: len(predicted), context:] / 255
            predicted = predicted[: len(truth)]  # the first rows are of process 0
            video = tile_open_loop(truth.astype("float32"), predicted, half)
            name = f"open_loop_{key.replace('/', '_')}_{self.agreement.policy_steps:09d}.mp4"
            with without_pictures(self.line.say):
                write_video(self.rundir.media / name, video, FPS)

    def _collect(self, hosts: list[dict[str, Any]]) -> None:
        collect_garbage(self.own.replay, [host["replay"] for host in hosts])
