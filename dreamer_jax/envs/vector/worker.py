"""One worker process, both ends of it: what the parent holds, and what runs in the process.

A worker is a fresh interpreter that runs one `LocalGroup` and imports neither JAX nor the caller's
main module. Every command gets one answer. When the process dies or is stuck, Python's fault
handler writes down where, as long as the interpreter can still be interrupted.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from typing import Any, NamedTuple, Protocol

import numpy as np

from dreamer_jax.envs.faults import Fault
from dreamer_jax.envs.spec import Env
from dreamer_jax.envs.vector.group import LocalGroup, Logs, OpenEpisode, Snapshot
from dreamer_jax.envs.vector.lifetime import end_with_parent_only, shielded_start
from dreamer_jax.envs.vector.shared_arrays import Layout
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Spaces

_END_SECONDS = 5.0  # for a process to end by itself


class Ready(NamedTuple):
    """What a worker says once its environments are built."""

    spaces: Spaces
    repeat: int
    has_jax: bool


class WorkerLost(RuntimeError):
    """A worker failed, died or did not answer; the message is its traceback where there is one."""


class Handle(Protocol):
    """A worker as its group sees it, wherever it runs its environments `[start, stop)`."""

    start: int
    stop: int
    lost: bool

    def send(self, command: str, argument: Any = None) -> None:
        """Send a command; that the worker is gone shows when the answer is received."""
        ...

    def receive(self, deadline: float | None = None) -> Any:
        """Wait for the answer to the oldest command.

        Args:
            deadline: On the clock of `time.monotonic`; None to wait for ever.

        Raises:
            UserError: If an environment raised one.
            WorkerLost: If there is no answer; the worker has then been ended.
        """
        ...

    def hang_up(self) -> None:
        """Let the worker end by itself."""
        ...

    def close(self) -> None:
        """End the worker and release what it held here."""
        ...


class Worker:
    """A worker process as its parent sees it; see `Handle`."""

    def __init__(self, payload: bytes, start: int, stop: int) -> None:
        """Start the process; its first answer is a `Ready`."""
        self.start, self.stop = start, stop
        self.lost = False
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._traces, traces = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_work,
            args=(theirs, traces, payload, start, stop - start),
            name=f"environments-{start}-{stop - 1}",
            daemon=True,
        )
        with shielded_start():
            self.process.start()
        theirs.close()
        traces.close()

    def send(self, command: str, argument: Any = None) -> None:
        """See `Handle`."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send((command, argument))

    def receive(self, deadline: float | None = None) -> Any:
        """See `Handle`."""
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not wait([self._connection, self.process.sentinel], seconds):
            assert self.process.pid is not None  # it was started
            os.kill(self.process.pid, signal.SIGABRT)
            raise WorkerLost(f"{self._last_words()}the worker did not answer in time and was ended")
        try:
            kind, value = self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            words = self._last_words()
            raise WorkerLost(
                f"{words}the worker died with exit code {self.process.exitcode} (negative: the "
                "signal that ended it, −9 often for lack of memory)"
            ) from error
        if kind == "user error":
            raise UserError(value)
        if kind == "fault":
            self._last_words()
            raise WorkerLost(f"the worker failed:\n{value}")
        return value

    def hang_up(self) -> None:
        """Close the connection, at which the process ends by itself."""
        self._connection.close()

    def close(self) -> None:
        """End the process and release what it held here."""
        self.hang_up()
        self._end()
        self._traces.close()
        self.process.close()

    def _last_words(self) -> str:
        """End the process and return what its fault handler wrote."""
        self.lost = True
        self._end()
        words = b""
        os.set_blocking(self._traces.fileno(), False)
        # A simulator process that outlives the worker may hold the pipe open.
        with suppress(BlockingIOError):
            while part := os.read(self._traces.fileno(), 1 << 16):
                words += part
        return words.decode(errors="replace") + "\n" if words else ""

    def _end(self) -> None:
        self.process.join(timeout=_END_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def startable(make: Callable[[], Env]) -> Iterator[bytes]:
    """Pickle `make`, and keep the caller's main module out of workers that do not need it.

    A spawned process imports its parent's main module, which would bring in JAX, and would run a
    script that has no `if __name__ == "__main__"`. Only a `make` defined there needs it.

    Raises:
        UserError: If `make` cannot be pickled.
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


def _work(
    connection: Connection, traces: Connection, payload: bytes, first: int, number: int
) -> None:
    """Serve one group until the connection closes."""
    end_with_parent_only()
    faulthandler.enable(traces.fileno())
    server = None
    try:
        server = _Server(LocalGroup(pickle.loads(payload), number), first)
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
    """The commands of a worker, one method each; environments are counted from its first."""

    def __init__(self, group: LocalGroup, first: int) -> None:
        self._group, self._first = group, first
        self._memory: SharedMemory | None = None
        self._arrays: dict[str, dict[str, np.ndarray]] = {"records": {}, "actions": {}}

    def ready(self) -> Ready:
        group = self._group
        return Ready(group.spaces, group.repeat, "jax" in sys.modules)

    def share(self, argument: tuple[str, Layout, int, int]) -> None:
        name, layout, start, stop = argument
        self._memory = SharedMemory(name)
        self._arrays = {
            side: {key: array[start:stop] for key, array in arrays.items()}
            for side, arrays in layout.views(self._memory).items()
        }

    def advance(self, seeds: list[tuple[int, int | None]]) -> tuple[Logs, list[Fault]]:
        return self._group.advance_into(seeds, self._arrays["actions"], self._arrays["records"])

    def snapshot(self, _: None) -> list[Snapshot]:
        return self._group.snapshot()

    def resume(self, episodes: list[OpenEpisode]) -> list[Record | None]:
        return self._group.resume(episodes)

    def render(self, index: int) -> np.ndarray | None:
        return self._group.render(index)

    def close(self) -> None:
        # There is nobody to answer any more.
        for fault in self._group.close():
            print(f"warning: {fault.shifted(self._first).told}", file=sys.stderr)
        self._arrays = {"records": {}, "actions": {}}
        if self._memory is not None:
            self._memory.close()
