"""A star of connections with process 0 in its middle, by which every process notices a lost one.

All processes compute every update together, so no process can go on without the others. The kernel
closes the connections of a process that ends, however it ends. The process at the other end sees
this, prints it, and ends with the exit code for "start me again". Collectives alone would wait for
the lost process, for minutes or for ever, depending on the backend.

Process 0 announces every address that it may have, because the name that a host gives itself often
means nothing to other hosts. `greeting.py` is how the processes recognise each other there.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from dreamer_jax.cluster import secret
from dreamer_jax.cluster.greeting import answer, call, listen
from dreamer_jax.errors import UserError

RESUMABLE = 75
FAREWELL = b"."
GRACE_SECONDS = 10
LEAST_PATIENCE = 30  # seconds; processes that are started together do not begin together
_ANNOUNCED_BYTES = 4096
_ELSEWHERE = ("192.0.2.1", 9)  # reserved for documentation; nothing is sent there
_LONGEST_KEEPALIVE = 32767  # seconds, in Linux


def give_up(reason: str) -> NoReturn:
    """End this process at once: its threads and collectives wait for what will not come."""
    print(f"stopped: {reason}; start all processes again to continue", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(RESUMABLE)


class Lifeline:
    """The connections of this process to the others, each watched by a thread.

    Process 0 has a connection to every other process; every other process has one to process 0.

    Args:
        host: Where the others have already reached process 0, or empty if that is not known. Only
            process 0 reads it.
        patience: Seconds after which a silent host counts as lost.
        folder: The run directory, which all processes see. The secret of this start travels through
            this directory, or else through JAX, as all other data do.

    Raises:
        UserError: If a process and process 0 cannot reach each other.
    """

    def __init__(self, host: str, patience: int, folder: Path | None = None) -> None:
        self._leaving = False
        self._never = threading.Event()  # not set by anyone: a loss ends the process meanwhile
        self._sockets: list[socket.socket] = []
        self._watchers: list[threading.Thread] = []
        seconds = max(patience, LEAST_PATIENCE)
        if jax.process_index() == 0:
            for peer, connection in _receive(host, folder, seconds).items():
                self._watch(peer, connection, patience)
        else:
            told = json.loads(_broadcast(""))
            if "error" in told:
                raise UserError(told["error"])
            known = secret.take(folder, told, seconds)
            index = jax.process_index()
            found = call(told["hosts"], told["port"], known, index, seconds)
            self._watch(0, found, patience)

    def leave(self) -> None:
        """Say farewell, so that the others do not take the end of this process for a loss.

        Process 0 ends last: it holds the service of `jax.distributed`, without which the other
        processes would abort.
        """
        self._leaving = True
        if jax.process_index():
            jax.distributed.shutdown()
        for each in self._sockets:
            with suppress(OSError):  # the other process has left already
                each.sendall(FAREWELL)
                each.shutdown(socket.SHUT_WR)
        if jax.process_index() == 0:
            for watcher in self._watchers:
                watcher.join()
            jax.distributed.shutdown()

    def await_loss(self) -> None:
        """Return if no other process is found lost in a while; effects may show before a loss."""
        self._never.wait(GRACE_SECONDS)

    def _watch(self, peer: int, connection: socket.socket, patience: int) -> None:
        _keep_alive(connection, patience)
        self._sockets.append(connection)

        def wait() -> None:
            try:
                said = connection.recv(1)
            except OSError:
                said = b""
            if said != FAREWELL and not self._leaving:
                give_up(f"process {peer} was lost")

        watcher = threading.Thread(target=wait, name="lifeline", daemon=True)
        self._watchers.append(watcher)
        watcher.start()


def own_addresses() -> list[str]:
    """Return the names of this host, which other hosts may not know, and then its IP address."""
    addresses = [socket.getfqdn(), socket.gethostname()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(_ELSEWHERE)  # fails if there is no route
        addresses.append(probe.getsockname()[0])
    return addresses


def _receive(host: str, folder: Path | None, seconds: float) -> dict[int, socket.socket]:
    """Announce the addresses of process 0; return the connections of the other processes."""
    with ExitStack() as stack:
        try:
            known, told = stack.enter_context(secret.offer(folder))
            servers = [stack.enter_context(each) for each in listen(host)]
        except OSError as error:
            reason = f"process 0 cannot receive the others ({error}); is {folder} writable?"
            _broadcast(json.dumps({"error": reason[:500]}))
            raise UserError(reason) from error
        numbers = [each.getsockname()[0] for each in servers]
        narrow = not {"::", "0.0.0.0"} & {*numbers}
        hosts = list(dict.fromkeys(filter(None, [host, *(numbers if narrow else own_addresses())])))
        port = servers[0].getsockname()[1]
        _broadcast(json.dumps({**told, "hosts": hosts, "port": port}))
        return answer(servers, known, jax.process_count() - 1, seconds)


def _keep_alive(connection: socket.socket, patience: int) -> None:
    """Let the kernel probe a connection, which finds a host that vanished without closing it."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": patience // 2, "TCP_KEEPINTVL": patience // 8, "TCP_KEEPCNT": 4}
    for name, value in options.items():
        if hasattr(socket, name):  # not on every system
            bounded = min(max(1, value), _LONGEST_KEEPALIVE)
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), bounded)


def _broadcast(text: str) -> str:
    """Return the text that process 0 gives, on every process."""
    said = np.zeros(_ANNOUNCED_BYTES, np.uint8)
    said[: len(text)] = np.frombuffer(text.encode(), np.uint8)
    heard = np.asarray(multihost_utils.broadcast_one_to_all(said))
    return heard.tobytes().rstrip(b"\0").decode()
