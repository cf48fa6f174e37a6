"""Several environments of one process, stepped one after another into stacked arrays.

The vector environment runs one group itself or one in each worker; whatever a group is told, it
does the same in both places, so that the choice cannot change a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from dreamer_jax.envs.spec import Env
from dreamer_jax.types import FLAGS, Record, Space, Spaces

# `log/` values of one step: (environment, key, value).
Logs = list[tuple[int, str, float]]


class OpenEpisode(NamedTuple):
    """How an episode that is under way is brought back."""

    environment: int  # its index
    seed: int  # of the episode
    snapshot: bytes | None
    actions: Mapping[str, np.ndarray]  # `[steps, *shape]` since the reset, if there is no snapshot


class Group(Protocol):
    """Environments 0 … number − 1, wherever they run."""

    number: int
    spaces: Spaces
    repeat: int
    snapshots: bool
    """Whether open episodes are saved by the simulator; otherwise their actions are needed."""

    def advance(
        self, seeds: Sequence[int | None], actions: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Reset the environments that have a seed and step the others.

        Args:
            seeds: Of the episode to start, or None, by environment.
            actions: `[number, *shape]` by key; rows of reset environments are not read, and it
                may be empty if all are reset.

        Returns:
            Stacked records `[number, ...]`, the caller's own.
        """
        ...

    def snapshot(self) -> list[bytes | None]:
        """Return the state of every environment, None where it cannot be saved."""
        ...

    def resume(self, episodes: Sequence[OpenEpisode]) -> list[Record | None]:
        """Bring episodes back; return the last record of replayed ones, None for the others."""
        ...

    def render(self, index: int) -> np.ndarray | None:
        """Return a picture of one environment."""
        ...

    def close(self) -> None:
        """Release everything; a second call does nothing."""
        ...


def record_spaces(spaces: Spaces) -> dict[str, Space]:
    """Return what every record holds: the observation keys and the signals."""
    flag = Space(np.dtype(np.bool_), ())
    return {**spaces.obs, "reward": Space(np.dtype(np.float32), ()), **dict.fromkeys(FLAGS, flag)}


def add_logs(records: dict[str, np.ndarray], logs: Logs, number: int) -> dict[str, np.ndarray]:
    """Add a float32 row per `log/` key, NaN for environments that did not report it."""
    for index, key, value in logs:
        if key not in records:
            records[key] = np.full(number, np.nan, np.float32)
        records[key][index] = value
    return records


class LocalGroup:
    """The environments of this process."""

    def __init__(self, envs: Sequence[Env]) -> None:
        self.number = len(envs)
        self._envs = list(envs)
        self.spaces = envs[0].spaces
        self.repeat = envs[0].repeat
        self.snapshots = hasattr(envs[0], "snapshot")
        self._layout = record_spaces(self.spaces)

    @classmethod
    def build(cls, make: Callable[[], Env], number: int) -> LocalGroup:
        """Build `number` environments."""
        return cls([make() for _ in range(number)])

    def advance(
        self, seeds: Sequence[int | None], actions: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """See `Group`."""
        # Fresh memory every time: the records belong to the caller and never change under it.
        records = {
            key: np.empty((self.number, *space.shape), space.dtype)
            for key, space in self._layout.items()
        }
        return add_logs(records, self.advance_into(seeds, actions, records), self.number)

    def advance_into(
        self,
        seeds: Sequence[int | None],
        actions: Mapping[str, np.ndarray],
        records: Mapping[str, np.ndarray],
    ) -> Logs:
        """Do as `advance` does, writing the records into the given arrays."""
        logs: Logs = []
        action_items, record_items = list(actions.items()), list(records.items())
        for i, (env, seed) in enumerate(zip(self._envs, seeds, strict=True)):
            if seed is None:
                record = env.step({key: value[i] for key, value in action_items})
            else:
                record = env.reset(seed)
            for key, array in record_items:
                array[i] = record[key]
            if len(record) > len(record_items):
                logs += [(i, k, float(v)) for k, v in record.items() if k.startswith("log/")]
        return logs

    def snapshot(self) -> list[bytes | None]:
        """See `Group`."""
        envs: list[Any] = self._envs
        return [env.snapshot() if self.snapshots else None for env in envs]

    def resume(self, episodes: Sequence[OpenEpisode]) -> list[Record | None]:
        """See `Group`."""
        return [self._resume(episode) for episode in episodes]

    def _resume(self, episode: OpenEpisode) -> Record | None:
        env: Any = self._envs[episode.environment]
        if episode.snapshot is not None:
            env.restore(episode.snapshot)
            return None
        record = env.reset(episode.seed)
        steps = len(next(iter(episode.actions.values()), ()))
        for step in range(steps):
            # An end before the last action: this is not the episode that was left.
            if record["is_last"]:
                break
            record = env.step({key: value[step] for key, value in episode.actions.items()})
        return record

    def render(self, index: int) -> np.ndarray | None:
        """See `Group`."""
        return self._envs[index].render()

    def close(self) -> None:
        """See `Group`."""
        for env in self._envs:
            env.close()
