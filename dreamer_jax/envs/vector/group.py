"""Several environments of one process, stepped one after another into stacked arrays.

The vector environment runs one group itself or one in each worker; whatever a group is told, it
does the same in both places, so that the choice cannot change a record. An environment that raises
is closed at once and built again when it next starts an episode.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import numpy as np

from dreamer_jax.envs.faults import Fault, Kind
from dreamer_jax.envs.spec import Env
from dreamer_jax.envs.values import check_same_spaces, fields, store
from dreamer_jax.errors import InvalidValueError, RecordError, UserError
from dreamer_jax.types import SIGNAL_SPACES, Record, Space, Spaces

# `log/` values of one step: (environment, key, value).
Logs = list[tuple[int, str, float]]


class Unsaved(NamedTuple):
    """Why a simulator that has snapshots gave none."""

    reason: str


# Of one environment; None where the simulator has none, or is gone.
Snapshot = bytes | Unsaved | None


class OpenEpisode(NamedTuple):
    """How an episode that is under way is brought back."""

    environment: int  # its index
    seed: int  # of the episode
    snapshot: bytes | None
    actions: Mapping[str, np.ndarray]  # `[steps, *shape]` since the reset, if there is no snapshot


class Advanced(NamedTuple):
    """Records of one vector step, and which rows of them are missing."""

    records: dict[str, np.ndarray]  # `[number, ...]`, the caller's own
    faults: list[Fault]  # rows of the environments they name hold anything


class Group(Protocol):
    """Environments 0 … number − 1, wherever they run."""

    number: int
    spaces: Spaces
    repeat: int

    def advance(self, seeds: Sequence[int | None], actions: Mapping[str, np.ndarray]) -> Advanced:
        """Reset the environments that have a seed and step the others.

        Args:
            seeds: Of the episode to start, or None, by environment.
            actions: `[number, *shape]` by key; rows of reset environments are not read, and it
                may be empty if all are reset.
        """
        ...

    def restart(self, seeds: Mapping[int, int], records: dict[str, np.ndarray]) -> list[Fault]:
        """Start an episode in some environments, building again those that failed.

        Args:
            seeds: Of the episode to start, by index of the environment.
            records: From `advance`; gets the reset records in the rows of these environments.

        Returns:
            Failures, as `advance` returns them.
        """
        ...

    def snapshot(self) -> list[Snapshot]:
        """Return the state of every environment."""
        ...

    def resume(self, episodes: Sequence[OpenEpisode]) -> list[Record | None]:
        """Bring episodes back; return their last records.

        Returns:
            None where a snapshot was put back, nothing (`{}`) where the environment failed or says
            that its actions lead elsewhere a second time (`replayable = False`).
        """
        ...

    def render(self, index: int) -> np.ndarray | None:
        """Return a picture of one environment."""
        ...

    def close(self) -> list[Fault]:
        """Release everything; a second call does nothing.

        Returns:
            What closing the environments raised.
        """
        ...


def record_spaces(spaces: Spaces) -> dict[str, Space]:
    """Return what every record holds: the observation keys and the signals."""
    return {**spaces.obs, **SIGNAL_SPACES}


def add_logs(records: dict[str, np.ndarray], logs: Logs, number: int) -> dict[str, np.ndarray]:
    """Add a float32 row per `log/` key, NaN for environments that did not report it."""
    for index, key, value in logs:
        if key not in records:
            records[key] = np.full(number, np.nan, np.float32)
        records[key][index] = value
    return records


class LocalGroup:
    """The environments of this process.

    Args:
        make: Builds one environment.
        number: How many.
    """

    def __init__(self, make: Callable[[], Env], number: int) -> None:
        self.number = number
        self._make = make
        self._envs: list[Env | None] = [make() for _ in range(number)]  # None where one failed
        first: Any = self._envs[0]
        self.spaces, self.repeat = first.spaces, first.repeat
        self._layout = record_spaces(self.spaces)
        for env in self._envs:
            if env is not None:
                check_same_spaces(self.spaces, env.spaces)

    def advance(self, seeds: Sequence[int | None], actions: Mapping[str, np.ndarray]) -> Advanced:
        """See `Group`."""
        # Fresh memory every time: the records belong to the caller and never change under it.
        records = {
            key: np.empty((self.number, *space.shape), space.dtype)
            for key, space in self._layout.items()
        }
        logs, faults = self.advance_into(enumerate(seeds), actions, records)
        return Advanced(add_logs(records, logs, self.number), faults)

    def restart(self, seeds: Mapping[int, int], records: dict[str, np.ndarray]) -> list[Fault]:
        """See `Group`."""
        logs, faults = self.advance_into(seeds.items(), {}, records)
        add_logs(records, logs, self.number)
        return faults

    def advance_into(
        self,
        seeds: Iterable[tuple[int, int | None]],
        actions: Mapping[str, np.ndarray],
        records: Mapping[str, np.ndarray],
    ) -> tuple[Logs, list[Fault]]:
        """Advance some environments, writing their records into the given arrays."""
        logs: Logs = []
        faults: list[Fault] = []
        action_items = list(actions.items())
        layout = fields(self._layout, records)
        for i, seed in seeds:
            try:
                env = self._envs[i]
                if env is None:
                    env = self._rebuild(i)
                if seed is None:
                    record = env.step({key: value[i] for key, value in action_items})
                else:
                    record = env.reset(seed)
                store(record, i, layout)
            except RecordError as error:
                kind: Kind = "value" if isinstance(error, InvalidValueError) else "record"
                faults.append(Fault((i,), str(error), kind))
                continue
            except UserError:
                raise
            except (Exception, SystemExit):  # simulators leave by sys.exit, too
                faults.append(Fault((i,), traceback.format_exc()))
                self._discard(i)
                continue
            if len(record) > len(layout):
                logs += [(i, k, float(v)) for k, v in record.items() if k.startswith("log/")]
        return logs, faults

    def _rebuild(self, index: int) -> Env:
        env = self._make()
        self._envs[index] = env  # so that it is closed
        check_same_spaces(self.spaces, env.spaces)
        return env

    def _discard(self, index: int) -> None:
        env, self._envs[index] = self._envs[index], None
        # It is broken already; whether it can be closed tells nobody anything.
        with suppress(Exception, SystemExit):
            if env is not None:
                env.close()

    def snapshot(self) -> list[Snapshot]:
        """See `Group`."""
        return [_saved(env) for env in self._envs]

    def resume(self, episodes: Sequence[OpenEpisode]) -> list[Record | None]:
        """See `Group`."""
        return [self._resume(episode) for episode in episodes]

    def _resume(self, episode: OpenEpisode) -> Record | None:
        try:
            return self._brought_back(episode)
        except UserError:
            raise
        except Exception:
            self._discard(episode.environment)
            return {}

    def _brought_back(self, episode: OpenEpisode) -> Record | None:
        env: Any = self._envs[episode.environment]
        if episode.snapshot is not None:
            env.restore(episode.snapshot)
            return None
        # Some games go another way the second time, after hours of playing the first.
        if not getattr(env, "replayable", True):
            return {}
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
        env = self._envs[index]
        return None if env is None else env.render()

    def close(self) -> list[Fault]:
        """See `Group`."""
        envs, self._envs = self._envs, []
        faults = []
        for i, env in enumerate(envs):
            try:
                if env is not None:
                    env.close()
            except (Exception, SystemExit) as error:
                faults.append(Fault((i,), f"close raised {type(error).__name__}: {error}"))
        return faults


def _saved(env: Any) -> Snapshot:
    if not hasattr(env, "snapshot"):
        return None
    try:
        state = env.snapshot()
    except (Exception, SystemExit) as error:
        return Unsaved(f"{type(error).__name__}: {error}")
    return (
        state if isinstance(state, bytes) else Unsaved(f"it is a {type(state).__name__}, not bytes")
    )
