"""Steps the environments and the policy together and hands records to replay.

One call of `step` is one vector step in a fixed order: choose actions for the records at hand,
insert records with those actions, advance the environments. A record thus holds the action chosen
after seeing it (types.py), and zeros where the episode is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.envs.vector import VectorEnv
from dreamer_jax.parallel import Compiled, name_arrays, restore_arrays, to_host
from dreamer_jax.types import SIGNALS, Carry, Latent, Record, Spaces

Insert = Callable[[dict[str, np.ndarray], np.ndarray, np.ndarray], None]


class Episode(NamedTuple):
    """A finished episode."""

    score: float  # undiscounted sum of rewards
    length: int  # policy steps
    logs: dict[str, float]  # mean of each `log/...` key over the steps that reported it


def replay_record(records: Record, actions: Mapping[str, np.ndarray], spaces: Spaces) -> Record:
    """Return what replay stores of a vector step: `obs/…`, `action/…` and the signals."""
    stored = {f"obs/{key}": records[key] for key in spaces.obs}
    stored |= {f"action/{key}": actions[key] for key in spaces.action}
    return stored | {key: records[key] for key in SIGNALS}


class Driver:
    """Acts in E environments.

    Args:
        envs: Vector environment, freshly made.
        compiled: Supplies the policy.
        insert: Receives records `[E, ...]`, `deter` and `stoch`, e.g. `Replay.add`.
        mode: Of the policy, `train` or `eval`.
        role: Stream of keys that the policy draws from.
    """

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
        self.policy_steps = 0  # decisions that led to a record; reset records not counted
        self._envs, self._compiled, self._insert = envs, compiled, insert
        self._mode, self._role = mode, role
        self._carry: Carry = compiled.initial_carry(envs.number)
        self._records: Record = {}
        self._score = np.zeros(envs.number)
        self._length = np.zeros(envs.number, np.int64)
        self._logs: dict[str, np.ndarray] = {}  # [2, E] sum and count by key

    @property
    def env_steps(self) -> int:
        """Simulator steps done, action repeat included."""
        return self.policy_steps * self._envs.repeat

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
        actions = self._mask(to_host(chosen), records["is_last"])
        if self._insert is not None:
            latents = Latent(*to_host(latents))
            stored = replay_record(records, actions, self._envs.spaces)
            self._insert(stored, latents.deter, latents.stoch)
        self.calls += 1
        return self._receive(self._envs.step(actions))

    def render(self, index: int) -> np.ndarray | None:
        """Return a picture of one environment."""
        return self._envs.render(index)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and host state for a checkpoint."""
        host = {
            "calls": self.calls,
            "policy_steps": self.policy_steps,
            "records": self._records,
            "score": self._score,
            "length": self._length,
            "logs": {**self._logs},
            "envs": self._envs.state(),
        }
        return name_arrays(self._carry, "policy_carry/"), host

    def load_state(self, arrays: dict[str, np.ndarray], host: dict[str, Any]) -> list[int]:
        """Continue from `state`; return the environments whose open episode could not be.

        The open episode of such an environment is closed as truncated.
        """
        self._carry = restore_arrays(self._carry, arrays, "policy_carry/")
        self.calls, self.policy_steps = host["calls"], host["policy_steps"]
        self._records = host["records"]
        self._score, self._length, self._logs = host["score"], host["length"], host["logs"]
        lost = self._envs.load_state(host["envs"])
        self._records["is_last"][lost] = True
        return lost

    def _mask(self, actions: dict[str, np.ndarray], is_last: np.ndarray) -> dict[str, np.ndarray]:
        if not is_last.any():
            return actions
        wide = lambda value: is_last.reshape(-1, *[1] * (value.ndim - 1))
        return {k: np.where(wide(v), np.zeros((), v.dtype), v) for k, v in actions.items()}

    def _receive(self, records: Record) -> list[tuple[int, Episode]]:
        """Take new records into the running sums; return the episodes that ended with them."""
        self._records = records
        first = records["is_first"]
        self._score = np.where(first, 0.0, self._score + records["reward"])
        self._length = np.where(first, 0, self._length + 1)
        self._add_logs(records)
        self.policy_steps += int((~first).sum())
        return [(int(i), self._episode(int(i))) for i in np.flatnonzero(records["is_last"])]

    def _add_logs(self, records: Record) -> None:
        """Sum and count what was reported; NaN marks environments that did not report a key."""
        first = records["is_first"]
        for key in {*self._logs, *(key for key in records if key.startswith("log/"))}:
            held = self._logs.get(key, np.zeros((2, len(first))))
            value = records.get(key, np.full(len(first), np.nan))
            new = np.stack([np.nan_to_num(value), ~np.isnan(value)])
            self._logs[key] = np.where(first, 0.0, held + new)

    def _episode(self, index: int) -> Episode:
        sums = {key: held[:, index] for key, held in self._logs.items()}
        logs = {key: float(total / count) for key, (total, count) in sums.items() if count}
        return Episode(float(self._score[index]), int(self._length[index]), logs)
