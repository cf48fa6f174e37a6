"""Environments in worker processes, their records in shared memory.

A worker is a fresh interpreter that runs one `LocalGroup` and imports neither JAX nor the caller's
main module. Each call sends a short message to every worker, then gathers every answer; records
and actions pass through shared memory. Nothing sleeps or polls.
"""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import signal
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.envs.group import LocalGroup, Logs, OpenEpisode, add_logs, record_spaces
from dreamer_jax.envs.shared_arrays import Layout, lay_out
from dreamer_jax.envs.spec import Env
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Spaces


class _Ready(NamedTuple):
    """What a worker says once its environments are built."""

    spaces: Spaces
    repeat: int
    snapshots: bool
    has_jax: bool


class _Part(NamedTuple):
    """A worker and the environments `[start, stop)` it runs."""

    process: multiprocessing.process.BaseProcess
    connection: Connection
    start: int
    stop: int


class WorkerGroup:
    """Environments divided among worker processes; see `group.Group`.

    Args:
        make: Builds one environment; importable by name in another interpreter.
        number: Environments in all.
        workers: Processes, at most `number`.

    Raises:
        UserError: If `make` raises one, or cannot be sent to a worker.
        RuntimeError: If a worker fails otherwise, with its traceback, or dies.
    """

    def __init__(self, make: Callable[[], Env], number: int, workers: int) -> None:
        self.number = number
        self._parts: list[_Part] = []
        self._memory: SharedMemory | None = None
        self._arrays: dict[str, dict[str, np.ndarray]] = {"records": {}, "actions": {}}
        try:
            bounds = np.linspace(0, number, workers + 1).astype(int).tolist()
            with _startable(make) as payload:
                for start, stop in itertools.pairwise(bounds):
                    self._parts.append(_start(payload, start, stop))
            ready: list[_Ready] = [self._receive(part) for part in self._parts]
            self.spaces, self.repeat = ready[0].spaces, ready[0].repeat
            self.snapshots = ready[0].snapshots
            self.has_jax = any(each.has_jax for each in ready)
            self._share()
        except BaseException:
            self.close()
            raise

    def advance(
        self, seeds: Sequence[int | None], actions: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """See `group.Group`."""
        for key, value in actions.items():
            self._arrays["actions"][key][...] = value
        for part in self._parts:
            self._send(part, "advance", list(seeds[part.start : part.stop]))
        logs: Logs = []
        for part in self._parts:
            logs += [(part.start + i, key, value) for i, key, value in self._receive(part)]
        records = {key: array.copy() for key, array in self._arrays["records"].items()}
        return add_logs(records, logs, self.number)

    def snapshot(self) -> list[bytes | None]:
        """See `group.Group`."""
        for part in self._parts:
            self._send(part, "snapshot")
        return [each for part in self._parts for each in self._receive(part)]

    def resume(self, episodes: Sequence[OpenEpisode]) -> list[Record | None]:
        """See `group.Group`."""
        for part in self._parts:
            mine = [e for e in episodes if part.start <= e.environment < part.stop]
            self._send(
                part, "resume", [e._replace(environment=e.environment - part.start) for e in mine]
            )
        answers = [iter(self._receive(part)) for part in self._parts]
        owner = [k for k, part in enumerate(self._parts) for _ in range(part.start, part.stop)]
        return [next(answers[owner[episode.environment]]) for episode in episodes]

    def render(self, index: int) -> np.ndarray | None:
        """See `group.Group`."""
        part = next(part for part in self._parts if index < part.stop)
        self._send(part, "render", index - part.start)
        return self._receive(part)

    def close(self) -> None:
        """End the workers and free the shared memory."""
        for part in self._parts:
            # A worker that sees its connection closed ends by itself.
            part.connection.close()
        for part in self._parts:
            part.process.join(timeout=5)
            if part.process.is_alive():
                part.process.kill()
                part.process.join()
            part.process.close()
        self._parts = []
        self._arrays = {"records": {}, "actions": {}}
        if self._memory is not None:
            self._memory.close()
            self._memory.unlink()
            self._memory = None

    def _share(self) -> None:
        """Lay out the shared arrays and tell the workers."""
        layout = lay_out(record_spaces(self.spaces), self.spaces.action, self.number)
        self._memory = SharedMemory(create=True, size=layout.size)
        self._arrays = layout.views(self._memory)
        for part in self._parts:
            self._send(part, "share", (self._memory.name, layout, part.start, part.stop))
        for part in self._parts:
            self._receive(part)

    def _send(self, part: _Part, command: str, argument: Any = None) -> None:
        try:
            part.connection.send((command, argument))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._death(part) from error

    def _receive(self, part: _Part) -> Any:
        wait([part.connection, part.process.sentinel])
        try:
            kind, value = part.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._death(part) from error
        if kind == "user error":
            raise UserError(value)
        if kind == "fault":
            raise RuntimeError(
                f"the worker of environments {part.start} to {part.stop - 1} failed:\n{value}"
            )
        return value

    def _death(self, part: _Part) -> RuntimeError:
        part.process.join(timeout=5)
        return RuntimeError(
            f"the worker of environments {part.start} to {part.stop - 1} died with exit code "
            f"{part.process.exitcode} (negative: the signal that ended it, −9 often for lack of "
            "memory)"
        )


@contextmanager
def _startable(make: Callable[[], Env]) -> Iterator[bytes]:
    """Pickle `make`, and keep the caller's main module out of workers that do not need it.

    A spawned process imports its parent's main module, which would bring in JAX, and would run a
    script that has no `if __name__ == "__main__"`. Only a `make` defined there needs it.
    """
    try:
        payload = pickle.dumps(make)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"an environment's constructor cannot be sent to a worker ({error}); define it at the "
            "top level of a module, or choose workers='inline'"
        ) from error
    main = sys.modules["__main__"]
    if b"__main__" not in payload:
        sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield payload
    finally:
        sys.modules["__main__"] = main


def _start(payload: bytes, start: int, stop: int) -> _Part:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_work,
        args=(theirs, payload, stop - start),
        name=f"environments-{start}-{stop - 1}",
        daemon=True,
    )
    process.start()
    theirs.close()
    return _Part(process, ours, start, stop)


def _work(connection: Connection, payload: bytes, number: int) -> None:
    """Serve one group until the connection closes."""
    # Ctrl-C reaches every process of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = None
    try:
        server = _Server(LocalGroup.build(pickle.loads(payload), number))
        connection.send(("ok", server.ready()))
        while True:
            try:
                command, argument = connection.recv()
            except EOFError:
                return
            connection.send(("ok", getattr(server, command)(argument)))
    except BrokenPipeError:
        return
    except UserError as error:
        connection.send(("user error", str(error)))
    except BaseException:
        connection.send(("fault", traceback.format_exc()))
    finally:
        if server is not None:
            server.close()


class _Server:
    """The commands of a worker, one method each."""

    def __init__(self, group: LocalGroup) -> None:
        self._group = group
        self._memory: SharedMemory | None = None
        self._arrays: dict[str, dict[str, np.ndarray]] = {"records": {}, "actions": {}}

    def ready(self) -> _Ready:
        group = self._group
        return _Ready(group.spaces, group.repeat, group.snapshots, "jax" in sys.modules)

    def share(self, argument: tuple[str, Layout, int, int]) -> None:
        name, layout, start, stop = argument
        self._memory = SharedMemory(name)
        self._arrays = {
            side: {key: array[start:stop] for key, array in arrays.items()}
            for side, arrays in layout.views(self._memory).items()
        }

    def advance(self, seeds: list[int | None]) -> Logs:
        return self._group.advance_into(seeds, self._arrays["actions"], self._arrays["records"])

    def snapshot(self, _: None) -> list[bytes | None]:
        return self._group.snapshot()

    def resume(self, episodes: list[OpenEpisode]) -> list[Record | None]:
        return self._group.resume(episodes)

    def render(self, index: int) -> np.ndarray | None:
        return self._group.render(index)

    def close(self) -> None:
        self._group.close()
        self._arrays = {"records": {}, "actions": {}}
        if self._memory is not None:
            self._memory.close()
