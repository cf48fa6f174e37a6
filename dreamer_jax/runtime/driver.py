"""Steps the environments and the policy together and hands records to replay.

One call of `step` is one vector step in a fixed order: choose actions for the records at hand,
insert records with those actions, advance the environments. A record thus holds the action chosen
after seeing it (types.py), and zeros where the episode is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dreamer_jax.device.compiled import Compiled, name_arrays, restore_arrays, to_host
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.runtime.episodes import Episode, Tally
from dreamer_jax.types import SIGNALS, Carry, Latent, Record, Spaces

Insert = Callable[[dict[str, np.ndarray], np.ndarray, np.ndarray], None]


def replay_record(records: Record, actions: Mapping[str, np.ndarray], spaces: Spaces) -> Record:
    """Return what replay stores of vector steps: `obs/…`, `action/…` and the signals."""
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
        self._envs, self._compiled, self._insert = envs, compiled, insert
        self._mode, self._role = mode, role
        self._carry: Carry = compiled.initial_carry(envs.number)
        self._records: Record = {}
        self._tally = Tally(envs.number)

    @property
    def policy_steps(self) -> int:
        """Decisions that led to a record; reset records not counted."""
        return self._tally.policy_steps

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
            "records": self._records,
            "envs": self._envs.state(),
            **self._tally.state(),
        }
        return name_arrays(self._carry, "policy_carry/"), host

    def load_state(self, arrays: dict[str, np.ndarray], host: dict[str, Any]) -> list[int]:
        """Continue from `state`; return the environments whose open episode could not be.

        The open episode of such an environment is closed as truncated.
        """
        self._carry = restore_arrays(self._carry, arrays, "policy_carry/")
        self.calls, self._records = host["calls"], host["records"]
        self._tally.load_state(host)
        lost = self._envs.load_state(host["envs"])
        self._records["is_last"][lost] = True
        return lost

    def _mask(self, actions: dict[str, np.ndarray], is_last: np.ndarray) -> dict[str, np.ndarray]:
        if not is_last.any():
            return actions
        wide = lambda value: is_last.reshape(-1, *[1] * (value.ndim - 1))
        return {k: np.where(wide(v), np.zeros((), v.dtype), v) for k, v in actions.items()}

    def _receive(self, records: Record) -> list[tuple[int, Episode]]:
        """Keep new records to act on; return the episodes that ended with them."""
        self._records = records
        return self._tally.receive(records)
