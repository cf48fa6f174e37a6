"""The driver of environments written in JAX: K vector steps a call, all of them on the device.

The order is fixed, as everywhere: K vector steps are acted with the parameters that the call is
given, the updates due follow, the next call gets newer ones. So K decides how old the acting
parameters may be, and nothing else: the same parameters give the same records whatever K is, and
the records of `Driver` stepping the same environments from the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamer_jax.device.compiled import Compiled, to_host
from dreamer_jax.device.rollout import Progress, Rollout
from dreamer_jax.device_envs.vector import DeviceVectorEnv
from dreamer_jax.errors import InvalidValueError, UserError
from dreamer_jax.replay import to_columns
from dreamer_jax.runtime.dealing import deal_arrays, deal_tally
from dreamer_jax.runtime.driver import Insert
from dreamer_jax.runtime.episodes import Episode, Tally
from dreamer_jax.runtime.source import State


class DeviceDriver:
    """Acts in E environments on the device; implements `Source` as `Driver` does.

    Args:
        envs: The environments, and K.
        compiled: Supplies the policy.
        insert: Receives records `[K, E, ...]` and latents by column, e.g. `Replay.add_many`.
        mode: Of the policy, `train` or `eval`.
        role: Stream of keys that the policy draws from.
    """

    can_act = True

    def __init__(
        self,
        envs: DeviceVectorEnv,
        compiled: Compiled,
        insert: Insert | None,
        *,
        mode: str = "train",
        role: str = "policy",
    ) -> None:
        self.calls = 0  # vector steps done
        self.tally = Tally(envs.number)
        self.repeat, self.restarts = envs.repeat, envs.restarts
        self._envs, self._insert = envs, insert
        self._rollout = Rollout(compiled, envs, mode=mode, role=role, store=insert is not None)
        self._progress: Progress | None = None
        self._begun = np.zeros(envs.number, np.int64)  # episodes of each environment
        self._seeds = np.zeros((envs.number, 0), np.uint32)  # [E, K] of the next ones

    @property
    def policy_steps(self) -> int:
        """Decisions that led to a record; reset records not counted."""
        return self.tally.policy_steps

    def step(self, params: Any) -> list[tuple[int, Episode]]:
        """Do K vector steps with acting parameters; return (environment, episode) that ended."""
        if self._progress is None:
            first = [self._envs.episode_seeds(e, 0, 1) for e in range(self._envs.number)]
            self._progress = self._rollout.begin(np.array(first, np.uint32)[:, 0])
            records = to_host(self._progress.records)
            _check_values({k: v[None] for k, v in records.items()}, self._envs.invalid(records))
            self._look_ahead(self._begun + 1)
        rolled = self._rollout(params, self._progress, self._seeds, self.calls)
        _check_values(rolled.outcomes, rolled.invalid)
        self._progress = rolled.progress
        if self._insert is not None and rolled.acted is not None:
            records, actions, latents = rolled.acted
            self._insert(to_columns(records, actions, self._envs.spaces), latents)
        self.calls += self._envs.steps
        self._look_ahead(self._begun + rolled.resets)
        finished = []
        for step in range(self._envs.steps):
            records = {key: value[step] for key, value in rolled.outcomes.items()}
            finished += self.tally.receive(records)
        return finished

    def render(self, index: int) -> np.ndarray | None:
        """Return a picture of one environment after the last of the K steps."""
        return None if self._progress is None else self._envs.render(self._progress.states, index)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and host state for a checkpoint."""
        host = {"calls": self.calls, "begun": self._begun.tolist(), **self.tally.state()}
        progress = self._progress
        return ({} if progress is None else self._rollout.name_arrays(progress)), host

    def load_state(self, arrays: dict[str, np.ndarray], host: dict[str, Any]) -> list[int]:
        """Continue from `state`, bit for bit on one kind of device.

        Returns:
            The environments whose open episode could not be continued: none.

        Raises:
            UserError: If the state is of another number of environments, or of a host's.
        """
        begun = host.get("begun", [])
        if len(begun) != self._envs.number:
            raise UserError(
                f"the saved state has {len(begun)} environments on the device and this run "
                f"{self._envs.number}; resume with the task and number it was saved with"
            )
        self.calls = host["calls"]
        self.tally.load_state(host)
        if any(begun):
            self._progress = self._rollout.restore(arrays)
            self._look_ahead(np.array(begun))
        return []

    def deal(self, states: Sequence[State], process: int) -> State:
        """Return the state of this process's environments; see `Source.deal`."""
        hosts = [host for _, host in states]
        share = slice(process * self._envs.number, (process + 1) * self._envs.number)
        begun = [each for host in hosts for each in host["begun"]][share]
        return deal_arrays(states, share), deal_tally(hosts, process, share) | {"begun": begun}

    def _look_ahead(self, begun: np.ndarray) -> None:
        """Replace the seeds of episodes that have begun by those of later ones."""
        envs, held = self._envs, self._seeds.shape[1]
        seeds = np.empty((envs.number, envs.steps), np.uint32)
        for index, (old, new) in enumerate(zip(self._begun.tolist(), begun.tolist(), strict=True)):
            kept = max(held - (new - old), 0)
            seeds[index, :kept] = self._seeds[index, held - kept :]
            seeds[index, kept:] = envs.episode_seeds(index, new + kept, envs.steps - kept)
        self._seeds, self._begun = seeds, begun


def _check_values(values: Mapping[str, np.ndarray], invalid: Mapping[str, Any]) -> None:
    """Raise for the first record that holds what its spaces rule out; nothing of it is stored.

    Args:
        values: `[K, E, ...]` of the keys that are at hand.
        invalid: `[K, E]` or `[E]` by key, whether a record breaks the limits of the key.

    Raises:
        InvalidValueError: Names key, environment and, where it is at hand, the value.
    """
    for key, flags in sorted(invalid.items()):
        wrong = np.atleast_2d(np.asarray(flags))
        if wrong.any():
            step, environment = (int(i) for i in np.argwhere(wrong)[0])
            held = f" ({values[key][step, environment]})" if key in values else ""
            raise InvalidValueError(
                f"environment {environment}: {key!r} holds what its space rules out{held}: NaN, an "
                "infinity or an unknown class; mend it in the environment"
            )
