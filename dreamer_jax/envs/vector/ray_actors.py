"""Environments on other machines: workers that are Ray actors (extra `ray`).

Joins the cluster that RAY_ADDRESS names or that this machine belongs to, or starts one of its own.
Actors are spread over its machines and run the same `LocalGroup` as worker processes; records and
actions travel as messages, through Ray's shared memory where both ends are on one machine. An actor
that fails, does not answer, or dies with its machine is replaced on another (see `workers`).
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from dreamer_jax.envs.faults import Fault
from dreamer_jax.envs.spec import Env
from dreamer_jax.envs.vector.group import LocalGroup, Logs, OpenEpisode, Snapshot, record_spaces
from dreamer_jax.envs.vector.worker import Handle, Ready, WorkerLost
from dreamer_jax.envs.vector.workers import WorkerGroup
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record

Arrays = dict[str, np.ndarray]

_CLOSE_SECONDS = 5.0  # for an actor to close its environments


class RayGroup(WorkerGroup):
    """Environments divided among Ray actors, one per core of the cluster; see `group.Group`.

    Args:
        make: Builds one environment; importable by name on every machine.
        number: Environments in all.
        timeout: Seconds for a vector step.

    Raises:
        UserError: If Ray is not installed, or from `make`.
        RuntimeError: If an actor fails otherwise while it starts.
    """

    def __init__(self, make: Callable[[], Env], number: int, timeout: float) -> None:
        cores = connect()
        self.workers = min(number, cores)
        super().__init__(make, number, self.workers, timeout)

    def close(self) -> list[Fault]:
        """End the actors; Ray itself stays, since others may use it."""
        for worker in self._workers:
            worker.close()
        self._workers = []
        return []

    def _new_worker(self, start: int, stop: int) -> Handle:
        return RayWorker(self._make, start, stop)

    def _share(self) -> None:
        # Nothing is shared with another machine: these arrays gather what the messages bring.
        sides = {"records": record_spaces(self.spaces), "actions": self.spaces.action}
        self._arrays = {
            side: {k: np.zeros((self.number, *s.shape), s.dtype) for k, s in spaces.items()}
            for side, spaces in sides.items()
        }
        for worker in self._workers:
            self._connect(worker)

    def _connect(self, worker: Handle, deadline: float | None = None) -> None:  # noqa: ARG002
        assert isinstance(worker, RayWorker)
        worker.gather(self._arrays)


def connect() -> int:
    """Join or start a Ray cluster and return how many cores it has.

    Raises:
        UserError: If Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "environments on other machines need ray: pip install 'dreamer-jax[ray]'"
        ) from error
    if not ray.is_initialized():
        # Actors find modules where this process finds them, the working directory included.
        paths = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH", "")]))
        ray.init(
            runtime_env={"env_vars": {"PYTHONPATH": paths}},
            log_to_driver=False,
            include_dashboard=False,
        )
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


class RayWorker:
    """An actor as its group sees it; see `worker.Handle`."""

    def __init__(self, make: Callable[[], Env], start: int, stop: int) -> None:
        import ray

        self.start, self.stop = start, stop
        self.lost = False
        self._arrays: dict[str, Arrays] = {"records": {}, "actions": {}}
        # Reserves no core: the actors of an evaluation start beside those of the training.
        options = {"num_cpus": 0, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        self._actor = ray.remote(Actor).options(**options).remote()
        self._answers: deque[tuple[str, Any]] = deque()
        self.send("build", (make, stop - start))

    def gather(self, arrays: Mapping[str, Arrays]) -> None:
        """Take actions from, and put records into, this worker's rows of the group's arrays."""
        self._arrays = {
            side: {key: array[self.start : self.stop] for key, array in both.items()}
            for side, both in arrays.items()
        }

    def send(self, command: str, argument: Any = None) -> None:
        """See `worker.Handle`."""
        if command == "advance":
            argument = (argument, self._arrays["actions"])
        self._answers.append((command, self._actor.call.remote(command, argument)))

    def receive(self, deadline: float | None = None) -> Any:
        """See `worker.Handle`."""
        import ray

        command, answer = self._answers.popleft()
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            kind, value = ray.get(answer, timeout=seconds)
        except ray.exceptions.GetTimeoutError as error:
            self._lose()
            raise WorkerLost("the actor did not answer in time and was ended") from error
        except ray.exceptions.RayTaskError as error:
            self._lose()
            raise WorkerLost(f"the actor failed:\n{error}") from error
        except ray.exceptions.RayError as error:
            self._lose()
            raise WorkerLost(f"the actor died: {error}") from error
        if kind == "user error":
            raise UserError(value)
        if command != "advance":
            return value
        rows, records, logs, faults = value
        for key, array in self._arrays["records"].items():
            array[rows] = records[key]
        return logs, faults

    def hang_up(self) -> None:
        """See `worker.Handle`."""

    def close(self) -> None:
        """End the actor, which closes its environments if it still answers."""
        import ray

        if not self.lost:
            with suppress(ray.exceptions.RayError):
                ray.get(self._actor.call.remote("close", None), timeout=_CLOSE_SECONDS)
        self._lose()

    def _lose(self) -> None:
        import ray

        self.lost = True
        ray.kill(self._actor)


class Actor:
    """What runs on the other machine; environments are counted from its first."""

    def call(self, command: str, argument: Any) -> tuple[str, Any]:
        """Run a command; what a person can mend comes back as text."""
        try:
            return "ok", getattr(self, f"_{command}")(argument)
        except UserError as error:
            return "user error", str(error)

    def _build(self, argument: tuple[Callable[[], Env], int]) -> Ready:
        self._group = group = LocalGroup(*argument)
        return Ready(group.spaces, group.repeat, "jax" in sys.modules)

    def _advance(
        self, argument: tuple[list[tuple[int, int | None]], Arrays]
    ) -> tuple[list[int], Arrays, Logs, list[Fault]]:
        seeds, actions = argument
        group = self._group
        records = {
            key: np.zeros((group.number, *space.shape), space.dtype)
            for key, space in record_spaces(group.spaces).items()
        }
        logs, faults = group.advance_into(seeds, actions, records)
        rows = [index for index, _ in seeds]
        return rows, {key: array[rows] for key, array in records.items()}, logs, faults

    def _snapshot(self, _: None) -> list[Snapshot]:
        return self._group.snapshot()

    def _resume(self, episodes: list[OpenEpisode]) -> list[Record | None]:
        return self._group.resume(episodes)

    def _render(self, index: int) -> np.ndarray | None:
        return self._group.render(index)

    def _close(self, _: None) -> None:
        self._group.close()
