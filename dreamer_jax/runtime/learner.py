"""Feeds the compiled update from replay so that the device never waits for the host.

`update` does, always in this order: gather batch k+1, write the latents of update k back, start
update k+1. While that runs, the caller steps environments and the next call gathers. The acting
parameters are those of update k, one behind the one in the making, whatever the timing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.device.compiled import Compiled, name_arrays, to_host
from dreamer_jax.device.trees import restore_arrays
from dreamer_jax.replay import Batch, Replay, Slots, to_batch
from dreamer_jax.runtime.saving.diagnosis import Skip
from dreamer_jax.types import Carry, Columns, Replayed, TrainState


class _Pending(NamedTuple):
    """An update that was started and whose results the host has not taken yet."""

    phase: str
    latents: Columns
    metrics: Any
    acting: dict[str, Any]
    slots: Slots
    replayed: Replayed | None  # the batch; not known after a resume


class Learner:
    """Owns the train state and the batches in flight.

    Args:
        compiled: The compiled agent.
        replay: Sampled from and written back to.
        on_skip: Called with every update that was skipped; may raise to end the run.
    """

    def __init__(
        self, compiled: Compiled, replay: Replay, on_skip: Callable[[Skip], None] | None = None
    ) -> None:
        self.grad_steps = 0
        self.dropped = 0  # latents whose record was gone when they came back
        self.skipped = 0  # updates that were not finite and changed nothing
        self._skipped_in_a_row = 0
        self._compiled, self._replay, self._on_skip = compiled, replay, on_skip
        self._train_state: TrainState = compiled.init()
        self.acting = compiled.acting(self._train_state)
        self._carry: Carry = compiled.put_batch(compiled.initial_carry(replay.batch_size))
        self._follows = np.zeros(replay.batch_size, bool)
        self._pending: _Pending | None = None

    @property
    def train_state(self) -> TrainState:
        """The state after the last started update; donated by the next `update`."""
        return self._train_state

    def gather(self) -> tuple[Replayed, Slots]:
        """Sample a batch and start its transfer to the device."""
        batch = self._replay.sample()
        return self._put(batch), batch.slots

    def look(self, at: int) -> Replayed:
        """Return a batch for a report, whose draw changes nothing; see `Replay.look`."""
        return self._put(self._replay.look(at))

    def _put(self, batch: Batch) -> Replayed:
        """Start the transfer of a batch to the device."""
        replayed = Replayed(to_batch(batch.data), batch.latents, self._follows)
        return self._compiled.put_batch(replayed)

    def update(self, phase: str) -> dict[str, float]:
        """Start one update; return the metrics of the one before, or nothing if there is none.

        Args:
            phase: What the update trains. The metrics of an update bear the name of its phase
                before them where there are several phases.
        """
        replayed, slots = self.gather()
        metrics = self.finish()
        update = self._compiled.train(phase, self._train_state, self._carry, replayed)
        self._train_state, self._carry = update.state, update.carry
        self._pending = _Pending(
            phase, update.latents, update.metrics, update.acting, slots, replayed
        )
        self.grad_steps += 1
        return metrics

    def finish(self) -> dict[str, float]:
        """Wait for the started update, write its latents back and return its metrics."""
        if self._pending is None:
            return {}
        pending, self._pending = self._pending, None
        latents, values = to_host((pending.latents, pending.metrics))
        names = self._compiled.metric_names[pending.phase]
        metrics = dict(zip(names, values.tolist(), strict=True))
        self.acting = pending.acting
        prefix = f"{pending.phase}/" if len(self._compiled.phases) > 1 else ""
        if metrics["opt/skipped"]:
            self._skip(metrics, pending.replayed)
            # The others would be the end of every mean they enter.
            return {f"{prefix}opt/skipped": 1.0}
        self._skipped_in_a_row = 0
        self.dropped += self._replay.write_back(pending.slots, latents)
        return {prefix + name: value for name, value in metrics.items()}

    def _skip(self, metrics: dict[str, float], replayed: Replayed | None) -> None:
        """Count an update that changed nothing, so that state and carry still are what went in."""
        self.skipped += 1
        self._skipped_in_a_row += 1

        def inputs() -> dict[str, np.ndarray]:
            state = self._compiled.whole_state(self._train_state)
            arrays = name_arrays(state, "state/") | name_arrays(self._carry, "carry/")
            return arrays if replayed is None else arrays | name_arrays(replayed, "batch/")

        if self._on_skip is not None:
            before = self.grad_steps - 1
            self._on_skip(Skip(before, self.skipped, self._skipped_in_a_row, metrics, inputs))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and host state, the update in flight included."""
        arrays = name_arrays(self._compiled.whole_state(self._train_state), "state/")
        arrays |= name_arrays(self._carry, "train_carry/")
        arrays |= name_arrays(self.acting, "acting/")
        host: dict[str, Any] = {
            "grad_steps": self.grad_steps,
            "dropped": self.dropped,
            "skipped": [self.skipped, self._skipped_in_a_row],
        }
        if self._pending is not None:
            pending = self._pending
            host["pending"] = {
                "phase": pending.phase,
                "latents": to_host(pending.latents),
                "metrics": to_host(pending.metrics),
                "metric_names": self._compiled.metric_names[pending.phase],
                "slots": list(pending.slots),
            }
        return arrays, host

    def adopt(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the train state of another run; updates and batches of this one start at zero."""
        state = restore_arrays(self._train_state, arrays, "state/")
        self._train_state = self._compiled.put_state(state)
        self.acting = self._compiled.acting(self._train_state)

    def load_state(self, arrays: dict[str, np.ndarray], host: dict[str, Any]) -> None:
        """Continue from `state`, bit for bit on one kind of device."""
        compiled = self._compiled
        load = lambda tree, prefix: restore_arrays(tree, arrays, prefix)
        self._train_state = compiled.put_state(load(self._train_state, "state/"))
        self.acting = load(self.acting, "acting/")
        self._carry = compiled.put_batch(load(self._carry, "train_carry/"))
        self.grad_steps, self.dropped = host["grad_steps"], host["dropped"]
        self.skipped, self._skipped_in_a_row = host["skipped"]
        if "pending" in host:
            pending = host["pending"]
            phase = pending["phase"]
            compiled.metric_names[phase] = list(pending["metric_names"])
            self._pending = _Pending(
                phase,
                pending["latents"],
                pending["metrics"],
                compiled.acting(self._train_state),
                Slots(*pending["slots"]),
                None,
            )
