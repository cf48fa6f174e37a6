"""E environments as one, for the driver: stacked records, automatic resets, exact resume.

Invariant: the records are a function of `seed`, `process` and the actions, whether environments run
in this process or in workers. Episode k of environment e starts from a seed that is a pure function
of (seed, process, e, k), so a resumed run goes on with the same episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.faults import Fault, FaultPolicy, Restarts
from dreamer_jax.envs.spec import Env
from dreamer_jax.envs.values import ValueCheck
from dreamer_jax.envs.vector import placement
from dreamer_jax.envs.vector.group import Group, LocalGroup, OpenEpisode, Unsaved, record_spaces
from dreamer_jax.envs.vector.history import ActionHistory
from dreamer_jax.envs.vector.ray_actors import RayGroup
from dreamer_jax.envs.vector.workers import WorkerGroup
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record

# Keeps these seeds apart from other uses of the run's seed; any constant does.
_ROLE = 0x456E76
_MODES = ("auto", "inline", "process", "ray")


def episode_seed(seed: int, process: int, environment: int, episode: int) -> int:
    """Return the reset seed of one episode, in [0, 2³¹).

    Args:
        seed: Of the run, not negative.
        process: Index of the host process.
        environment: Index within the process.
        episode: Count from 0 within the environment.
    """
    sequence = np.random.SeedSequence([seed, _ROLE, process, environment, episode])
    return int(sequence.generate_state(1)[0]) >> 1


class VectorEnv:
    """Steps `number` environments together and resets each when its episode is over.

    Args:
        make: Builds one environment. For worker processes it must be importable by name, for
            example `functools.partial(make_env, task)`.
        number: E, how many.
        seed: Of the run.
        process: Index of the host process; its environments get other seeds.
        workers: "inline", "process", "ray" for actors on other machines, or "auto" to choose
            between the first two by measured cost; `mode_reason` says why.
        faults: What is tolerated of environments that fail.
        warn: Told in a line about each failure, and what cannot be saved or closed.

    Attributes:
        spaces: Of one environment.
        repeat: Simulator steps per step.
        number: E.
        mode: "inline", "process" or "ray".
        mode_reason: Where the environments run and why, in words.
        steps: Vector steps of one call of `step`: one.

    Raises:
        UserError: For a bad argument, or from `make`; from `reset` and `step`, for a record that
            the spaces rule out.
        EnvironmentFault: From `reset` and `step`, after more failures than `faults` allows.
    """

    steps = 1

    def __init__(
        self,
        make: Callable[[], Env],
        number: int,
        *,
        seed: int,
        process: int = 0,
        workers: str = "auto",
        faults: FaultPolicy = FaultPolicy(),  # noqa: B008  it is immutable
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        if number < 1 or seed < 0:
            raise UserError(f"number={number}, seed={seed}: at least 1 environment, and seed ≥ 0")
        if workers not in _MODES:
            raise UserError(f"workers is {workers!r}; choose one of {', '.join(_MODES)}")
        cores = placement.cores()
        self.mode, why = (
            placement.choose(make, number, cores) if workers == "auto" else (workers, "asked for")
        )
        self._group: Group
        if self.mode == "inline":
            self._group, place = LocalGroup(make, number), "in this process"
        elif self.mode == "process":
            processes = min(number, cores)
            self._group = WorkerGroup(make, number, processes, faults.timeout)
            place = f"in {processes} worker processes"
        else:
            self._group = remote = RayGroup(make, number, faults.timeout)
            place = f"in {remote.workers} Ray actors"
        self.mode_reason = f"{place} ({why})"
        self.number = number
        self.spaces, self.repeat = self._group.spaces, self._group.repeat
        self._seed, self._process = seed, process
        self._restarts = Restarts(faults, warn)
        self._keys = tuple(record_spaces(self.spaces))
        self._check_values = ValueCheck(record_spaces(self.spaces))
        self._records: dict[str, np.ndarray] = {}
        self._ended = [True] * number  # whether the next step is a reset
        self._episodes = [-1] * number
        self._seeds = [0] * number  # of these episodes
        self._history = ActionHistory(self.spaces.action, number)
        self._warn, self._told_unsaved = warn, False

    @property
    def restarts(self) -> int:
        """Failures so far; each closed the episodes of its environments."""
        return self._restarts.count

    def forgive_failures(self, when: Callable[[], bool]) -> None:
        """Do not count failures while `when()` is true: a stop was asked for.

        The signal that asks for it may have reached the simulators, too. They are built again as
        ever, so that the run can be saved, and a line says so.
        """
        self._restarts.stopping = when

    def reset(self) -> dict[str, np.ndarray]:
        """Start the next episode of every environment and return the reset records `[E, ...]`."""
        self._ended = [True] * self.number
        return self.step({})

    def step(self, actions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Step every environment; one whose last record was `is_last` is reset instead.

        One that fails is built again and starts its next episode: the record it delivers is the
        reset record (see `faults`).

        Args:
            actions: `[E, *shape]` by key; rows of environments that are reset are not read.

        Returns:
            Records `[E, ...]` by key. They belong to the caller and no later call changes them;
            `state` reads the newest, so the caller leaves those as they are. A `log/…` key is
            there if any environment reported it, NaN for the others.
        """
        seeds: list[int | None] = [None] * self.number
        for i, ended in enumerate(self._ended):
            if ended:
                seeds[i] = self._next_episode(i)
        if actions:
            self._history.add(actions, (i for i, seed in enumerate(seeds) if seed is None))
        records, faults = self._group.advance(seeds, actions)
        while faults := self._with_wrong_values(faults, records):
            faults = self._group.restart(self._drop_episodes(faults), records)
        self._ended = records["is_last"].tolist()
        self._records = records
        return records

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed run needs: numbers, bytes, arrays, lists and dicts."""
        started = bool(self._records)
        snapshots = self._snapshots() if started else [None] * self.number
        environments = [
            {
                "episode": self._episodes[i],
                "seed": self._seeds[i],
                "ended": self._ended[i],
                "snapshot": snapshots[i],
                "actions": self._needed_actions(i, snapshots[i]),
            }
            for i in range(self.number)
        ]
        records = {key: self._records[key].copy() for key in self._keys} if started else {}
        return {"environments": environments, "records": records, "restarts": self.restarts}

    def load_state(self, state: Mapping[str, Any]) -> list[int]:
        """Continue from what `state` returned, in an object built with the same arguments.

        Another process than before continues the open episodes, and then starts those of its own.

        Returns:
            The environments whose open episode could not be brought back: their simulator is not
            a function of seed and actions, or failed. They start a new episode at the next step,
            and whoever recorded the old one has to close it as truncated.

        Raises:
            UserError: If the state belongs to another number or kind of environments.
        """
        saved = state["environments"]
        self._check(saved, state["records"])
        self._restarts.count = int(state["restarts"])
        self._records = {key: np.array(value) for key, value in state["records"].items()}
        self._episodes = [int(each["episode"]) for each in saved]
        self._seeds = [int(each.get("seed", 0)) for each in saved]
        if self._records and "seed" not in saved[0]:  # by a version that dealt no open episodes
            self._seeds = [self._episode_seed(i) for i in range(self.number)]
        self._ended = [bool(each["ended"]) for each in saved]
        for i, each in enumerate(saved):
            self._history.load(i, each["actions"], whole=each["snapshot"] is None)
        # A simulator may outlive its episode: a saved one is put back after an end, too.
        episodes = [
            OpenEpisode(i, self._seeds[i], each["snapshot"], each["actions"])
            for i, each in enumerate(saved)
            if each["snapshot"] is not None or not each["ended"]
        ]
        lost = []
        for episode, record in zip(episodes, self._group.resume(episodes), strict=True):
            if record is not None and not self._is_last_record(episode.environment, record):
                lost.append(episode.environment)
                self._ended[episode.environment] = True
        return lost

    def render(self, index: int) -> np.ndarray | None:
        """Return a picture `[height, width, 3]` of one environment, or None."""
        return self._group.render(index)

    def close(self) -> None:
        """Close every environment and warn of what that raises; a second call does nothing."""
        for fault in self._group.close():
            self._warn(fault.told)

    def __enter__(self) -> VectorEnv:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next_episode(self, index: int) -> int:
        """Count an episode of an environment and return its seed."""
        self._episodes[index] += 1
        self._history.begin(index)
        self._seeds[index] = self._episode_seed(index)
        return self._seeds[index]

    def _with_wrong_values(
        self, faults: list[Fault], records: Mapping[str, np.ndarray]
    ) -> list[Fault]:
        """Add what is wrong in the rows of environments that did not fail."""
        failed = {i for fault in faults for i in fault.environments}
        wrong = self._check_values(records)
        return faults + [fault for fault in wrong if failed.isdisjoint(fault.environments)]

    def _drop_episodes(self, faults: list[Fault]) -> dict[int, int]:
        """Count failures; return the seed of the next episode of each environment they stopped."""
        for fault in faults:
            self._restarts.add(fault)
        return {i: self._next_episode(i) for fault in faults for i in fault.environments}

    def _episode_seed(self, index: int) -> int:
        return episode_seed(self._seed, self._process, index, self._episodes[index])

    def _snapshots(self) -> list[bytes | None]:
        """Return the states of all simulators that can be saved; say once why one cannot."""
        snapshots: list[bytes | None] = []
        for i, each in enumerate(self._group.snapshot()):
            if isinstance(each, Unsaved) and not self._told_unsaved:
                self._told_unsaved = True
                self._warn(
                    f"environment {i}: no snapshot ({' '.join(each.reason.split())}); open "
                    "episodes without one are resumed by replaying their actions"
                )
            snapshots.append(each if isinstance(each, bytes) else None)
        return snapshots

    def _needed_actions(self, index: int, snapshot: bytes | None) -> dict[str, np.ndarray]:
        """Return what brings an episode back, `[steps, *shape]`: nothing if something else does."""
        needless = self._ended[index] or snapshot is not None
        return self._history.none() if needless else self._history.stacked(index)

    def _check(self, saved: list[Any], records: Mapping[str, np.ndarray]) -> None:
        if len(saved) != self.number:
            raise UserError(
                f"the saved state has {len(saved)} environments and this run {self.number}; "
                "resume with the number it was saved with"
            )
        expected = record_spaces(self.spaces)
        found = {key: (value.dtype, value.shape[1:]) for key, value in records.items()}
        wanted = {key: (space.dtype, space.shape) for key, space in expected.items()}
        if records and found != wanted:
            different = sorted(
                key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)
            )
            raise UserError(
                f"the saved state has other observations ({', '.join(different)}); resume with the "
                "task and options it was saved with"
            )

    def _is_last_record(self, index: int, record: Record) -> bool:
        return all(
            key in record
            and np.asarray(record[key]).tobytes() == self._records[key][index].tobytes()
            for key in self._keys
        )
