"""A star of connections, process 0 in its middle, that tells every process when one is lost.

All processes compute every update together, so none can go on without the others. The kernel
closes a connection with its process, however that ends; whoever sees it says so and ends with the
exit code for "start me again". Collectives alone would wait for the lost one, for minutes or for
ever, depending on the backend.

Process 0 names every address that it may have, for the name a host calls itself by often means
nothing to others; `greeting.py` says how they know each other there.
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
LEAST_PATIENCE = 30  # seconds; processes that start together still start apart
_ANNOUNCED_BYTES = 4096
_ELSEWHERE = ("192.0.2.1", 9)  # reserved for documentation; nothing is sent there
_LONGEST_KEEPALIVE = 32767  # seconds, in Linux


def give_up(reason: str) -> NoReturn:
    """End this process at once: threads and collectives wait for what will not come."""
    print(f"stopped: {reason}; start all processes again to continue", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(RESUMABLE)


class Lifeline:
    """Watches the other processes in threads.

    Args:
        host: Where the others have already reached process 0, if that is known; read there only.
        patience: Seconds after which a silent host counts as lost.
        folder: The run directory, which all processes see; the secret of this start travels
            through it. Without it the secret goes the way of all other data, through JAX.

    Raises:
        UserError: If a process and process 0 cannot reach each other.
    """

    def __init__(self, host: str, patience: int, folder: Path | None = None) -> None:
        self._leaving = False
        self._ended = threading.Event()  # never set: a loss ends the process meanwhile
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
        """End together: the others do not take it for a loss, and process 0 goes last.

        It holds the service of `jax.distributed`, without which the others would abort.
        """
        self._leaving = True
        if jax.process_index():
            jax.distributed.shutdown()
        for each in self._sockets:
            with suppress(OSError):  # it has left already
                each.sendall(FAREWELL)
                each.shutdown(socket.SHUT_WR)
        if jax.process_index() == 0:
            for watcher in self._watchers:
                watcher.join()
            jax.distributed.shutdown()

    def await_loss(self) -> None:
        """Return if no other process is found lost; an error may be known before its cause."""
        self._ended.wait(GRACE_SECONDS)

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
    """Return what others may call this host: names, which they may not know, then a number."""
    addresses = [socket.getfqdn(), socket.gethostname()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(_ELSEWHERE)  # fails where there is no route
        addresses.append(probe.getsockname()[0])
    return addresses


def _receive(host: str, folder: Path | None, seconds: float) -> dict[int, socket.socket]:
    """Tell the other processes where process 0 is; return their connections."""
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
    """Notice a host that vanished without closing its connections."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": patience // 2, "TCP_KEEPINTVL": patience // 8, "TCP_KEEPCNT": 4}
    for name, value in options.items():
        if hasattr(socket, name):  # not everywhere
            bounded = min(max(1, value), _LONGEST_KEEPALIVE)
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), bounded)


def _broadcast(text: str) -> str:
    """Return what process 0 says."""
    said = np.zeros(_ANNOUNCED_BYTES, np.uint8)
    said[: len(text)] = np.frombuffer(text.encode(), np.uint8)
    heard = np.asarray(multihost_utils.broadcast_one_to_all(said))
    return heard.tobytes().rstrip(b"\0").decode()
