"""A training run, in one fixed order.

    act → insert → step environments → updates owed (gather, write back, start) → chores

The order depends on step counts alone, so a seed determines a run whatever the timing; only
checkpoints follow the clock, and they change nothing.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from dreamer_jax.cluster.agreement import Errand
from dreamer_jax.device.compiled import to_host
from dreamer_jax.device.trees import array_table
from dreamer_jax.errors import UserError
from dreamer_jax.replay import collect_garbage
from dreamer_jax.runtime.assemble import Assembly
from dreamer_jax.runtime.episodes import Episode, pool
from dreamer_jax.runtime.evaluation import Evaluation, evaluate_run
from dreamer_jax.runtime.saving.checkpoint import Checkpoint, Checkpointer, match_tree
from dreamer_jax.runtime.saving.redistribute import (
    SHARED,
    deal_learner,
    deal_source,
    load_parts,
    load_replay,
)
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.showing.media import tile_open_loop
from dreamer_jax.runtime.showing.metrics import Metrics, read_rows
from dreamer_jax.runtime.showing.outputs import make_outputs
from dreamer_jax.runtime.showing.tracing import Tracing
from dreamer_jax.runtime.signals import StopRequest

MEET_EVERY = 8  # updates of a burst between two meetings of several processes


class Training:
    """Runs what `assemble` put together. Use as: construct, `restore`, `run`, `close`.

    Args:
        parts: Of this process of the run.

    Raises:
        UserError: If the run that the agent is to be taken from does not fit.
    """

    def __init__(self, parts: Assembly) -> None:
        self.parts, config, log = parts, parts.config, parts.config.log
        self.learner, self.agreement = parts.learner, parts.agreement
        say = parts.line.say
        self.tracing = Tracing(parts.folder.trace, log.trace_first, log.trace_updates, say)
        self.metrics = Metrics([])
        self._ended: list[Episode] = []  # in this process, not collected yet
        self._row_at = -1  # policy steps at the newest row
        self._chored = 0  # policy steps up to which chores are done
        self.checkpoints = Checkpointer(
            parts.folder.checkpoints, self._kept(), self._collect, say, parts.processes > 1
        )
        if config.from_checkpoint and not self.checkpoints.history():
            self._adopt(RunDir(Path(config.from_checkpoint)))

    def restore(self) -> bool:
        """Continue from the newest whole checkpoint; return whether there was one.

        Raises:
            UserError: If it belongs to another agent, none is whole, or its replay is damaged.
        """
        parts, found, reason = self.parts, None, "none can be read"
        for saved in load_parts(parts.rundir, parts.compiled.exchange, parts.line.say):
            if not (damage := self._load(saved)):
                found = saved
                break
            reason = f"checkpoint {saved[0].step} cannot be continued: {damage}"
            parts.line.say(reason)
        if found is None and self.checkpoints.history():
            # Going on from the start would remove them.
            raise UserError(
                f"no checkpoint in {parts.rundir.checkpoints} is whole; to start anew, move them "
                f"and metrics.jsonl away ({reason})"
            )
        self._meet(stop=False, late=False)
        outputs = (
            make_outputs(parts.config.log.outputs, parts.rundir, self._counters(), parts.line.say)
            if parts.process == 0
            else []
        )
        self.metrics = Metrics(outputs, parts.line.say)
        if found is not None:
            if parts.process < len(found):
                self.checkpoints.return_to(found[parts.process])
            self.metrics.load_state_dict(found[0].host["metrics"])
            self._row_at = found[0].host["row_at"]
        return found is not None

    def run(self, stop: StopRequest) -> bool:
        """Train until the configured steps are done or a stop is requested.

        Returns:
            Whether the steps are done, and all updates that they owe.
        """
        parts, agreed, source = self.parts, self.agreement, self.parts.source
        saved = time.monotonic()
        parts.origin.forgive_failures(lambda: stop.requested)
        self._meet(stop.requested, late=False)
        self._update(stop)  # what a stop within a burst has left
        self._chores()
        while agreed.policy_steps < parts.config.steps and not agreed.stop:
            self._ended += [episode for _, episode in source.step(self.learner.acting)]
            if not agreed.is_due(parts.accounts.would_owe):
                continue
            late = time.monotonic() - saved > parts.config.checkpoint.seconds
            self._meet(stop.requested, late)
            save = agreed.save
            if agreed.can_sample:
                parts.accounts.credit(agreed.policy_steps)
                self._update(stop)
            newest = self._ended[-1].score if self._ended else None
            parts.line.update(agreed.policy_steps, self.learner.grad_steps, newest)
            self._chores()
            if save and not agreed.stop:
                self.save()
                saved = time.monotonic()
        done = agreed.policy_steps >= parts.config.steps and not parts.accounts.owed
        if done and self._row_at != agreed.policy_steps:
            self._write_row()  # before the save, so that nobody counts its episodes again
        self.save()
        self.checkpoints.wait()
        parts.line.finish(agreed.policy_steps, self.learner.grad_steps)
        return done

    def evaluate(self, stop: StopRequest) -> Evaluation | None:
        """Run the configured evaluation with the newest parameters and record its result.

        One that is stopped, by a signal to any process, is not recorded. Process 0 evaluates; the
        others help to collect the parameters, and wait for the end.

        Returns:
            The episodes, of which processes other than 0 have none, and in every process alike
            whether they are complete. None from a run without environments.
        """
        parts = self.parts
        params = parts.compiled.acting(self.learner.train_state)
        if not parts.source.can_act:
            return None
        errand = Errand(parts.compiled.exchange, parts.processes, lambda: stop.requested)
        if parts.process:
            return Evaluation([], None, errand.wait())
        result = evaluate_run(parts.config, parts.compiled, params, errand, parts.line.say)
        if result.complete and not self._evaluated():
            self.metrics.add({"score": result.scores.mean()}, prefix="eval/")
            self.metrics.write(**self._counters())
        errand.end(result.complete)
        return result

    def save(self) -> None:
        """Start writing a checkpoint; it is in place once `checkpoints.wait` returns."""
        parts = self.parts
        self.checkpoints.wait()  # blocks of a save that fails are not there to be shared
        # All meet here: nobody deletes an old one before the one after it is complete everywhere.
        self._pool()
        arrays, learner = self.learner.state()
        policy, source = parts.source.state()
        if parts.process:
            arrays = {k: v for k, v in arrays.items() if not k.startswith(SHARED)}
        host = {
            "processes": parts.processes,
            "learner": learner,
            "source": source,
            "accounts": parts.accounts.state(),
            "metrics": self.metrics.state_dict(),
            "chored": self._chored,
            "counters": self._counters(),
            "row_at": self._row_at,
        }
        blocks = parts.replay.snapshot()
        write = partial(blocks.write, parts.folder.replay)
        self.checkpoints.save(self.learner.grad_steps, {**arrays, **policy}, host, write)

    def close(self) -> None:
        """Finish writing and release the environments."""
        self.checkpoints.wait()
        self.tracing.close()
        self.metrics.close()
        self.parts.origin.close()

    def _meet(self, stop: bool, late: bool) -> None:
        """Agree with the other processes on steps done, and whether to stop or save."""
        parts = self.parts
        self.agreement.meet(parts.source.policy_steps, parts.replay.can_sample, stop, late)

    def _update(self, stop: StopRequest) -> None:
        """Do the updates owed; between any two of them a request to stop is heard."""
        done = 0
        while not self.agreement.stop and (phase := self.parts.accounts.take()):
            self.tracing.before_update(self.learner.grad_steps)
            self.metrics.add(self.learner.update(phase), prefix="train/")
            self.tracing.after_update(self.learner.grad_steps, self.learner.train_state)
            done += 1
            if self.parts.processes == 1 or done % MEET_EVERY == 0:
                self._meet(stop.requested, late=False)

    def _load(self, found: list[Checkpoint]) -> str:
        """Continue from a checkpoint, whatever the number of processes that saved it.

        Args:
            found: Its part of every process that saved it.

        Returns:
            What is damaged in the replay of any process; nothing has changed then.
        """
        parts, now = self.parts, self.learner.state()[0]
        process, processes = parts.process, parts.processes
        learner = deal_learner(found, now, process, processes)
        source = deal_source(found, parts.source, process, processes)
        match_tree({k: (v.shape, v.dtype) for k, v in now.items()}, learner[0])
        dropped, damage = load_replay(
            parts.replay, found, parts.rundir, process, processes, parts.compiled.share
        )
        if damage:
            return damage
        self.learner.load_state(*learner)
        self.learner.dropped += dropped
        parts.accounts.load_state(found[0].host["accounts"])
        self._chored = found[0].host["chored"]
        if len(found) != processes:
            parts.line.say(f"dealt the streams of {len(found)} processes to {processes}")
        for index in parts.source.load_state(*source):
            parts.line.say(f"environment {index}: open episode could not be continued, closed")
        return ""

    def _kept(self) -> int:
        """Return how many checkpoints stay: there is always one that all processes have."""
        keep, alone = self.parts.config.checkpoint.keep, self.parts.processes == 1
        return keep if alone else max(2, keep) + bool(self.parts.process)

    def _adopt(self, other: RunDir) -> None:
        """Start from the newest agent of another run: parameters, optimiser, statistics."""
        saver = Checkpointer(other.checkpoints, keep=1, warn=self.parts.line.say)
        found = saver.load(expected=array_table(self.learner.train_state, "state/"))
        if found is None:
            raise UserError(f"from_checkpoint={other.root} holds no whole checkpoint")
        self.learner.adopt(found.arrays)

    def _counters(self) -> dict[str, int]:
        return {
            "env_steps": self.agreement.policy_steps * self.parts.source.repeat,
            "policy_steps": self.agreement.policy_steps,
            "grad_steps": self.learner.grad_steps,
        }

    def _evaluated(self) -> bool:
        """Return whether the metrics hold this agent's evaluation, from an earlier command."""
        steps = self.agreement.policy_steps
        rows = read_rows(self.parts.rundir.metrics)
        return any("eval/score" in row and row["policy_steps"] == steps for row in rows)

    def _chores(self) -> None:
        """Report and log where steps have crossed a multiple of their intervals.

        Updates come first: if a stop has left some, the chores are left to the resumed run.
        """
        if self.parts.accounts.owed:
            return
        steps, log = self.agreement.policy_steps, self.parts.config.log
        before, self._chored = self._chored, steps
        crossed = lambda every: every and steps // every > before // every
        if crossed(log.report_every) and self.learner.grad_steps:
            self._report()
        if crossed(log.every):
            self._write_row()

    def _write_row(self) -> None:
        """Write what was collected since the last row; every process takes part."""
        self.metrics.add({"train/skipped": self.learner.skipped, **self._pool()}, "last")
        self.metrics.write(**self._counters())
        self._row_at = self.agreement.policy_steps

    def _pool(self) -> dict[str, int]:
        """Collect the episodes of all processes; return the sums of what each counts."""
        counts = {
            "replay/size": self.parts.replay.size,
            "replay/dropped": self.learner.dropped,
            "envs/restarts": self.parts.source.restarts,
        }
        ended, sums = pool(self.parts.compiled.share, self._ended, counts)
        self._ended = []
        for episode in ended:
            self.metrics.add_episode(*episode)
        return sums

    def _report(self) -> None:
        """Add losses and open-loop errors to the metrics, and show open-loop predictions."""
        parts, steps = self.parts, self.agreement.policy_steps
        replayed = self.learner.look(steps)
        carry = parts.compiled.put_batch(parts.compiled.initial_carry(parts.share.batch_size))
        state = self.learner.train_state
        seen = to_host(parts.compiled.report(state, carry, replayed, parts.source.calls))
        self.metrics.add(seen.metrics, prefix="report/")
        if parts.process:
            return  # its part of the computation is done
        for key, predicted in seen.images.items():
            video = self._open_loop(key, predicted, replayed)
            self.metrics.show_video(f"open_loop/{key}", video, steps)

    def _open_loop(self, key: str, predicted: Any, replayed: Any) -> Any:
        """Return the video `[T, h, w, 3]` of a key's truth, prediction and error."""
        context, half = self.parts.config.replay.context, self.parts.config.batch_length // 2
        truth = to_host(replayed.records.obs[key])[: len(predicted), context:] / 255
        predicted = predicted[: len(truth)]  # the first rows are of process 0
        return tile_open_loop(truth.astype("float32"), predicted, half)

    def _collect(self, hosts: list[dict[str, Any]]) -> None:
        collect_garbage(self.parts.folder.replay, [host["replay"] for host in hosts])
