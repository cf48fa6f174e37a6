"""Environments in worker processes, their records in shared memory.

Each call sends a short message to every worker, then gathers every answer; records and actions
pass through shared memory. Nothing sleeps or polls. A worker that fails, dies or does not answer
within the timeout is replaced, and the episodes of all its environments are lost.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from dreamer_jax.envs.faults import Fault
from dreamer_jax.envs.spec import Env
from dreamer_jax.envs.values import check_same_spaces
from dreamer_jax.envs.vector.group import (
    Advanced,
    Logs,
    OpenEpisode,
    Snapshot,
    add_logs,
    record_spaces,
)
from dreamer_jax.envs.vector.shared_arrays import Layout, lay_out
from dreamer_jax.envs.vector.worker import Handle, Ready, Worker, WorkerLost, startable
from dreamer_jax.types import Record

_BUILD_SECONDS = 300.0  # at least, for a worker that replaces another to build its environments


class WorkerGroup:
    """Environments divided among worker processes; see `group.Group`.

    Args:
        make: Builds one environment; importable by name in another interpreter.
        number: Environments in all.
        workers: Processes, at most `number`.
        timeout: Seconds for a vector step.

    Raises:
        UserError: If `make` raises one, or cannot be sent to a worker.
        RuntimeError: If a worker fails otherwise while it starts, with its traceback, or dies.
    """

    def __init__(self, make: Callable[[], Env], number: int, workers: int, timeout: float) -> None:
        self.number = number
        self._make, self._timeout = make, timeout
        self._workers: list[Handle] = []
        self._memory: SharedMemory | None = None
        self._layout: Layout | None = None
        self._arrays: dict[str, dict[str, np.ndarray]] = {"records": {}, "actions": {}}
        try:
            bounds = np.linspace(0, number, workers + 1).astype(int).tolist()
            for start, stop in itertools.pairwise(bounds):
                self._workers.append(self._new_worker(start, stop))
            ready: list[Ready] = [worker.receive() for worker in self._workers]
            self.spaces, self.repeat = ready[0].spaces, ready[0].repeat
            for each in ready:
                check_same_spaces(self.spaces, each.spaces)
            self.has_jax = any(each.has_jax for each in ready)
            self._share()
        except BaseException:
            self.close()
            raise

    def advance(self, seeds: Sequence[int | None], actions: Mapping[str, np.ndarray]) -> Advanced:
        """See `group.Group`."""
        for key, value in actions.items():
            self._arrays["actions"][key][...] = value
        logs, faults = self._advance(dict(enumerate(seeds)), self._workers)
        records = {key: array.copy() for key, array in self._arrays["records"].items()}
        return Advanced(add_logs(records, logs, self.number), faults)

    def restart(self, seeds: Mapping[int, int], records: dict[str, np.ndarray]) -> list[Fault]:
        """See `group.Group`."""
        faults, concerned = [], []
        for index, worker in enumerate(self._workers):
            if not any(worker.start <= i < worker.stop for i in seeds):
                continue
            try:
                if worker.lost:
                    worker = self._replace(index)
                concerned.append(worker)
            except WorkerLost as error:
                faults.append(_all_of(worker, error))
        logs, more = self._advance(seeds, concerned)
        for key, array in self._arrays["records"].items():
            for i in seeds:
                records[key][i] = array[i]
        add_logs(records, logs, self.number)
        return faults + more

    def snapshot(self) -> list[Snapshot]:
        """See `group.Group`."""
        for worker in self._workers:
            worker.send("snapshot")
        # One that died since the last step is replaced at the next; its episodes are lost.
        return [
            each
            for worker in self._workers
            for each in _answer(worker, [None] * (worker.stop - worker.start))
        ]

    def resume(self, episodes: Sequence[OpenEpisode]) -> list[Record | None]:
        """See `group.Group`."""
        answers: dict[int, Record | None] = {}
        divided = [
            [e for e in episodes if worker.start <= e.environment < worker.stop]
            for worker in self._workers
        ]
        for worker, mine in zip(self._workers, divided, strict=True):
            own = [e._replace(environment=e.environment - worker.start) for e in mine]
            worker.send("resume", own)
        for worker, mine in zip(self._workers, divided, strict=True):
            records = _answer(worker, [{}] * len(mine))
            answers |= zip((e.environment for e in mine), records, strict=True)
        return [answers[episode.environment] for episode in episodes]

    def render(self, index: int) -> np.ndarray | None:
        """See `group.Group`."""
        worker = next(worker for worker in self._workers if index < worker.stop)
        worker.send("render", index - worker.start)
        return _answer(worker, None)

    def close(self) -> list[Fault]:
        """End the workers and free the shared memory; what closing raises they say themselves."""
        for worker in self._workers:
            worker.hang_up()
        for worker in self._workers:
            worker.close()
        self._workers = []
        self._arrays = {"records": {}, "actions": {}}
        if self._memory is not None:
            self._memory.close()
            self._memory.unlink()
            self._memory = None
        return []

    def _advance(
        self, seeds: Mapping[int, int | None], workers: Sequence[Handle]
    ) -> tuple[Logs, list[Fault]]:
        """Advance the given environments of the given workers, into the shared arrays."""
        deadline = time.monotonic() + self._timeout
        for worker in workers:
            mine = range(worker.start, worker.stop)
            worker.send("advance", [(i - worker.start, seeds[i]) for i in mine if i in seeds])
        logs: Logs = []
        faults: list[Fault] = []
        for worker in workers:
            try:
                their_logs, their_faults = worker.receive(deadline)
            except WorkerLost as error:
                faults.append(_all_of(worker, error))
                continue
            logs += [(worker.start + i, key, value) for i, key, value in their_logs]
            faults += [each.shifted(worker.start) for each in their_faults]
        return logs, faults

    def _new_worker(self, start: int, stop: int) -> Handle:
        """Start a worker; its first answer is a `Ready`."""
        with startable(self._make) as payload:
            return Worker(payload, start, stop)

    def _share(self) -> None:
        """Lay out the shared arrays and tell the workers."""
        self._layout = lay_out(record_spaces(self.spaces), self.spaces.action, self.number)
        self._memory = SharedMemory(create=True, size=self._layout.size)
        self._arrays = self._layout.views(self._memory)
        for worker in self._workers:
            self._connect(worker)

    def _connect(self, worker: Handle, deadline: float | None = None) -> None:
        """Tell a worker which part of the shared arrays is its own."""
        assert self._memory is not None
        worker.send("share", (self._memory.name, self._layout, worker.start, worker.stop))
        worker.receive(deadline)

    def _replace(self, index: int) -> Handle:
        """Start a worker in place of a lost one."""
        old = self._workers[index]
        old.close()
        self._workers[index] = worker = self._new_worker(old.start, old.stop)
        deadline = time.monotonic() + max(self._timeout, _BUILD_SECONDS)
        check_same_spaces(self.spaces, worker.receive(deadline).spaces)
        self._connect(worker, deadline)
        return worker


def _answer(worker: Handle, instead: Any) -> Any:
    """Return the answer of a worker, or something instead if it is lost."""
    try:
        return worker.receive()
    except WorkerLost:
        return instead


def _all_of(worker: Handle, error: WorkerLost) -> Fault:
    return Fault(tuple(range(worker.start, worker.stop)), str(error))
