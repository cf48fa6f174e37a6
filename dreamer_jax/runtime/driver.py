"""Steps the environments and the policy together and hands records to replay.

One call of `step` is one vector step in a fixed order: choose actions for the records at hand,
insert records with those actions, advance the environments. A record thus holds the action chosen
after seeing it (types.py), and zeros where the episode is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dreamer_jax.device.compiled import Compiled, name_arrays, to_host
from dreamer_jax.device.trees import restore_arrays
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.masks import widen
from dreamer_jax.replay import to_columns
from dreamer_jax.runtime.dealing import deal_arrays, deal_tally, join_rows
from dreamer_jax.runtime.episodes import Episode, Tally
from dreamer_jax.runtime.source import State
from dreamer_jax.types import Carry, Record

Insert = Callable[[Record, Mapping[str, np.ndarray]], None]  # records, and latents by column


class Driver:
    """Acts in E environments of the host; implements `Source`.

    Args:
        envs: Vector environment, freshly made.
        compiled: Supplies the policy.
        insert: Receives records `[E, ...]` and latents by column, e.g. `Replay.add`.
        mode: Of the policy, `train` or `eval`.
        role: Stream of keys that the policy draws from.
    """

    can_act = True

    def __init__(
        self,
        envs: VectorEnv,
        compiled: Compiled,
        insert: Insert | None,
        *,
        mode: str = "train",
        role: str = "policy",
    ) -> None:
        self.calls = 0  # vector steps done
        self.tally = Tally(envs.number)
        self.repeat = envs.repeat
        self._envs, self._compiled, self._insert = envs, compiled, insert
        self._mode, self._role = mode, role
        self._carry: Carry = compiled.initial_acting_carry(envs.number)
        self._records: Record = {}

    @property
    def policy_steps(self) -> int:
        """Decisions that led to a record; reset records not counted."""
        return self.tally.policy_steps

    @property
    def restarts(self) -> int:
        """Failures of environments so far."""
        return self._envs.restarts

    def step(self, params: Any) -> list[tuple[int, Episode]]:
        """Do one vector step with acting parameters; return (environment, episode) that ended."""
        if not self._records:
            self._receive(self._envs.reset())
        records = self._records
        obs = {key: records[key] for key in self._envs.spaces.obs}
        self._carry, chosen, latents = self._compiled.policy(
            params,
            self._carry,
            obs,
            records["is_first"],
            self.calls,
            mode=self._mode,
            role=self._role,
        )
        actions = _mask(to_host(chosen), records["is_last"])
        if self._insert is not None:
            self._insert(to_columns(records, actions, self._envs.spaces), to_host(latents))
        self.calls += 1
        return self._receive(self._envs.step(actions))

    def render(self, index: int) -> np.ndarray | None:
        """Return a picture of one environment."""
        return self._envs.render(index)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and host state for a checkpoint."""
        host = {
            "calls": self.calls,
            "records": self._records,
            "envs": self._envs.state(),
            **self.tally.state(),
        }
        return name_arrays(self._carry, "policy_carry/"), host

    def load_state(self, arrays: dict[str, np.ndarray], host: dict[str, Any]) -> list[int]:
        """Continue from `state`; return the environments whose open episode could not be.

        The open episode of such an environment is closed as truncated.
        """
        self._carry = restore_arrays(self._carry, arrays, "policy_carry/")
        self.calls, self._records = host["calls"], host["records"]
        self.tally.load_state(host)
        lost = self._envs.load_state(host["envs"])
        self._records["is_last"][lost] = True
        return lost

    def deal(self, states: Sequence[State], process: int) -> State:
        """Return the state of this process's environments; see `Source.deal`."""
        hosts = [host for _, host in states]
        counts = [len(host["score"]) for host in hosts]
        share = slice(process * self._envs.number, (process + 1) * self._envs.number)
        envs = [host["envs"] for host in hosts]
        restarts = sum(each.get("restarts", 0) for each in envs)
        host = deal_tally(hosts, process, share) | {
            "records": join_rows([host["records"] for host in hosts], counts, share),
            "envs": {
                "environments": [each for env in envs for each in env["environments"]][share],
                "records": join_rows([env["records"] for env in envs], counts, share),
                "restarts": 0 if process else restarts,  # only the sum over processes counts
            },
        }
        return deal_arrays(states, share), host

    def _receive(self, records: Record) -> list[tuple[int, Episode]]:
        """Keep new records to act on; return the episodes that ended with them."""
        self._records = records
        return self.tally.receive(records)


def _mask(actions: dict[str, np.ndarray], is_last: np.ndarray) -> dict[str, np.ndarray]:
    """Return actions with zeros where an episode is over."""
    if not is_last.any():
        return actions
    return {
        key: np.where(widen(is_last, value), np.zeros((), value.dtype), value)
        for key, value in actions.items()
    }
