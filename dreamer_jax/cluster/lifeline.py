"""A star of connections, process 0 in its middle, that tells every process when one is lost.

All processes compute every update together, so none can go on without the others. The kernel
closes a connection with its process, however that ends; whoever sees it says so and ends with the
exit code for "start me again". Collectives alone would wait for the lost one, for minutes or for
ever, depending on the backend.

Process 0 names every address that it may have, for the name a host calls itself by often means
nothing to others. Both ends show the token of the run, so nobody takes a stranger for the other.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from dreamer_jax.errors import UserError

RESUMABLE = 75
FAREWELL = b"."
GRACE_SECONDS = 10
LEAST_PATIENCE = 30  # seconds; processes that start together still start apart
_GREETING_BYTES = 40  # token, process
_ANNOUNCED_BYTES = 2048
_ELSEWHERE = ("192.0.2.1", 9)  # reserved for documentation; nothing is sent there


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

    Raises:
        UserError: If a process and process 0 cannot reach each other.
    """

    def __init__(self, host: str, patience: int) -> None:
        self._leaving = False
        self._ended = threading.Event()  # never set: a loss ends the process meanwhile
        self._sockets: list[socket.socket] = []
        self._watchers: list[threading.Thread] = []
        seconds = max(patience, LEAST_PATIENCE)
        if jax.process_index() == 0:
            with _server() as server:
                token = secrets.token_hex(16)
                hosts = list(dict.fromkeys(filter(None, [host, *own_addresses()])))
                _broadcast(json.dumps([token, hosts, server.getsockname()[1]]))
                accepted = answer(server, token, jax.process_count() - 1, seconds)
            for peer, connection in accepted.items():
                self._watch(peer, connection, patience)
        else:
            token, hosts, port = json.loads(_broadcast(""))
            self._watch(0, call(hosts, port, token, jax.process_index(), seconds), patience)

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


def answer(
    server: socket.socket, token: str, count: int, seconds: float
) -> dict[int, socket.socket]:
    """Return the connections of the other processes; strangers are turned away.

    Args:
        server: Listens.
        token: Of this run.
        count: How many others there are.
        seconds: To wait for all of them.

    Raises:
        UserError: If some do not come.
    """
    accepted: dict[int, socket.socket] = {}
    until = time.monotonic() + seconds
    while len(accepted) < count:
        try:
            server.settimeout(max(0.1, until - time.monotonic()))
            connection = server.accept()[0]
        except TimeoutError as error:
            raise UserError(
                f"{count - len(accepted)} of {count} other processes did not reach process 0 "
                f"within {seconds} seconds; let them connect to any port of it"
            ) from error
        peer = _greet(connection, token, 0, until)
        if peer is None:
            connection.close()
        else:
            accepted[peer] = connection
    return accepted


def call(
    hosts: Sequence[str], port: int, token: str, process: int, seconds: float
) -> socket.socket:
    """Return a connection to process 0 under the first address that is its own.

    Args:
        hosts: Addresses to try.
        port: There.
        token: Of this run.
        process: Which process this is.
        seconds: To try for.

    Raises:
        UserError: If it is found under none.
    """
    reasons = []
    for host in hosts:
        try:
            connection = socket.create_connection((host, port), seconds / len(hosts))
        except OSError as error:  # an unknown name, a closed port, silence
            reasons.append(f"{host}: {error}")
            continue
        if _greet(connection, token, process, time.monotonic() + seconds / len(hosts)) == 0:
            return connection
        connection.close()
        reasons.append(f"{host}: somebody else answers")
    raise UserError(
        f"process {process} cannot reach process 0 at port {port} ({'; '.join(reasons)}); name a "
        "host that all can reach: --coordinator=HOST:PORT --processes=COUNT --process=INDEX"
    )


def _greet(connection: socket.socket, token: str, process: int, until: float) -> int | None:
    """Show the token and return which process showed the same one."""
    connection.settimeout(max(0.1, until - time.monotonic()))
    heard = b""
    with suppress(OSError):
        connection.sendall(f"{token}{process:8d}".encode())
        while len(heard) < _GREETING_BYTES and (more := connection.recv(_GREETING_BYTES)):
            heard += more
    shown, number = heard[:-8], heard[-8:]
    known = len(heard) == _GREETING_BYTES and secrets.compare_digest(shown, token.encode())
    return int(number) if known else None


def _server() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _keep_alive(connection: socket.socket, patience: int) -> None:
    """Notice a host that vanished without closing its connections."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": patience // 2, "TCP_KEEPINTVL": patience // 8, "TCP_KEEPCNT": 4}
    for name, value in options.items():
        if hasattr(socket, name):  # not everywhere
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), max(1, value))


def _broadcast(text: str) -> str:
    """Return what process 0 says."""
    said = np.zeros(_ANNOUNCED_BYTES, np.uint8)
    said[: len(text)] = np.frombuffer(text.encode(), np.uint8)
    heard = np.asarray(multihost_utils.broadcast_one_to_all(said))
    return heard.tobytes().rstrip(b"\0").decode()
