"""How the processes of a run find process 0 and recognise each other among strangers.

    caller  → process 0    nonce, process, HMAC(secret, "caller", nonce, process)
    caller  ←  process 0   HMAC(secret, "process 0", nonce, process)

Process 0 speaks last: a stranger, who does not know the secret, hears nothing, and nothing that a
stranger says counts. Every start has a new secret, and every nonce counts once, so a greeting that
was overheard is worth nothing. Process 0 waits for nobody: it listens to all callers at the same
time, to each for a few seconds, and to no more bytes than a greeting has.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from dreamer_jax.errors import UserError

SECRET_BYTES = 32
GREETING_SECONDS = 5.0  # for one attempt of one caller: a round trip and some arithmetic
MOST_CALLERS = 100  # that wait to be recognised; of more, the one that waited longest goes
_NONCE_BYTES, _PROCESS_BYTES, _PROOF_BYTES = 16, 4, 32
_HELLO_BYTES = _NONCE_BYTES + _PROCESS_BYTES + _PROOF_BYTES
_PAUSE = 0.2  # seconds between attempts


def listen(host: str) -> list[socket.socket]:
    """Return sockets that listen at one port, at the addresses that `host` stands for.

    Args:
        host: Where others reach this machine, or empty. The sockets listen at every address of
            this machine if `host` is empty, or stands for no address that this machine knows as its
            own (network translation on the way).
    """
    sockets: list[socket.socket] = []
    for family, address in _own_addresses(host):
        port = sockets[0].getsockname()[1] if sockets else 0
        # The address may not be one of this machine, or the port may be taken there.
        with suppress(OSError):
            place = (address[0], port, *address[2:])
            sockets.append(socket.create_server(place, family=family, backlog=MOST_CALLERS))
    return sockets or [_listen_everywhere()]


def _own_addresses(host: str) -> Sequence[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Return the addresses that `host` stands for, or none where the name misleads."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):  # a name that nobody knows, or that is no name at all
        return []
    addresses = list(dict.fromkeys((info[0], info[4]) for info in found))
    inside = [_is_loopback(str(address[0])) for _, address in addresses]
    # Many machines resolve their own name to 127.0.1.1, an address that no other machine reaches.
    if any(inside) and host != "localhost" and not _is_loopback(host):
        return []
    return addresses


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _listen_everywhere() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=MOST_CALLERS
        )
    return socket.create_server(("", 0), backlog=MOST_CALLERS)


def answer(
    servers: Sequence[socket.socket], secret: bytes, count: int, seconds: float
) -> dict[int, socket.socket]:
    """Return the connections of the other processes, by the numbers 1 … count of the processes.

    Args:
        servers: Sockets that listen.
        secret: The secret of this start.
        count: How many other processes there are.
        seconds: How long to wait for all of the other processes.

    Raises:
        UserError: If some processes do not come.
    """
    door, until = _Door(servers, secret, count), time.monotonic() + seconds
    try:
        while len(door.accepted) < count:
            if time.monotonic() > until:
                raise UserError(
                    f"{count - len(door.accepted)} of {count} other processes did not reach "
                    f"process 0 within {seconds:g} seconds; let them connect to any port of it"
                )
            door.attend(until)
    except BaseException:
        for connection in door.accepted.values():
            connection.close()
        raise
    finally:
        door.close()
    for connection in door.accepted.values():
        connection.setblocking(True)
    return door.accepted


class _Door:
    """The door of process 0: which callers wait to be recognised, and which processes are in.

    Args:
        servers: Sockets that listen.
        secret: The secret of this start.
        count: How many other processes there are.
    """

    def __init__(self, servers: Sequence[socket.socket], secret: bytes, count: int) -> None:
        self.accepted: dict[int, socket.socket] = {}
        self._secret, self._count = secret, count
        self._nonces: set[bytes] = set()
        self._callers: dict[socket.socket, tuple[float, bytearray]] = {}  # oldest first
        self._selector = selectors.DefaultSelector()
        for server in servers:
            server.setblocking(False)
            self._selector.register(server, selectors.EVENT_READ, self._open)

    def attend(self, until: float) -> None:
        """Hear the callers that say something next, or return when some caller's time is over."""
        soonest = min((limit for limit, _ in self._callers.values()), default=until)
        wait = max(0.0, min(soonest, until) - time.monotonic())
        for key, _ in self._selector.select(wait):
            # A caller may have been turned away meanwhile.
            if key.data == self._open or key.fileobj in self._callers:
                key.data(key.fileobj)
        now = time.monotonic()
        for caller in [c for c, (limit, _) in self._callers.items() if limit <= now]:
            self._turn_away(caller)

    def close(self) -> None:
        """Turn away all callers that were not recognised."""
        for caller in list(self._callers):
            self._turn_away(caller)
        self._selector.close()

    def _open(self, server: socket.socket) -> None:
        if len(self._callers) >= MOST_CALLERS:
            self._turn_away(next(iter(self._callers)))
        try:
            caller = server.accept()[0]
        except OSError:  # the caller is gone already
            return
        caller.setblocking(False)
        self._callers[caller] = (time.monotonic() + GREETING_SECONDS, bytearray())
        self._selector.register(caller, selectors.EVENT_READ, self._hear)

    def _hear(self, caller: socket.socket) -> None:
        heard = self._callers[caller][1]
        try:
            more = caller.recv(_HELLO_BYTES - len(heard))
        except BlockingIOError:
            return
        except OSError:
            more = b""
        heard += more
        if not more or (len(heard) == _HELLO_BYTES and not self._recognise(caller, bytes(heard))):
            self._turn_away(caller)

    def _recognise(self, caller: socket.socket, hello: bytes) -> bool:
        """Answer a caller that proves to be a process of this run; return whether it did."""
        nonce, process = hello[:_NONCE_BYTES], hello[_NONCE_BYTES:-_PROOF_BYTES]
        proof = _proof(self._secret, b"caller", nonce, process)
        if not hmac.compare_digest(proof, hello[-_PROOF_BYTES:]) or nonce in self._nonces:
            return False
        number = int.from_bytes(process, "big")
        if not 1 <= number <= self._count:
            return False
        self._nonces.add(nonce)
        try:
            caller.sendall(_proof(self._secret, b"process 0", nonce, process))
        except OSError:
            return False
        if number in self.accepted:  # the process gave up an attempt that had come through
            self.accepted[number].close()
        self.accepted[number] = caller
        self._selector.unregister(caller)
        del self._callers[caller]
        return True

    def _turn_away(self, caller: socket.socket) -> None:
        self._selector.unregister(caller)
        del self._callers[caller]
        caller.close()


def call(
    hosts: Sequence[str], port: int, secret: bytes, process: int, seconds: float
) -> socket.socket:
    """Return a connection to process 0, under the first address where process 0 answers.

    Args:
        hosts: Addresses to try, again and again.
        port: The port of process 0.
        secret: The secret of this start.
        process: The number of this process, from 1.
        seconds: How long to try.

    Raises:
        UserError: If process 0 answers under none of the addresses.
    """
    reasons, until = {}, time.monotonic() + seconds
    while time.monotonic() < until:
        for host in hosts:
            limit = min(until, time.monotonic() + GREETING_SECONDS)
            try:
                connection = socket.create_connection((host, port), _seconds_left(limit))
            except (OSError, UnicodeError) as error:  # an unknown name, a closed port, silence
                reasons[host] = str(error)
                continue
            if _answers_as_process_0(connection, secret, process, limit):
                connection.settimeout(None)
                return connection
            connection.close()
            reasons[host] = "somebody else answers"
        time.sleep(min(_PAUSE, _seconds_left(until)))
    shown = "; ".join(f"{host}: {reason}" for host, reason in reasons.items())
    raise UserError(
        f"process {process} cannot reach process 0 at port {port} ({shown}); name a "
        "host that all can reach: --coordinator=HOST:PORT --processes=COUNT --process=INDEX"
    )


def _answers_as_process_0(
    connection: socket.socket, secret: bytes, process: int, limit: float
) -> bool:
    """Greet whoever is at the other end; return whether it proves to be process 0."""
    nonce, number = secrets.token_bytes(_NONCE_BYTES), process.to_bytes(_PROCESS_BYTES, "big")
    heard = b""
    with suppress(OSError):
        connection.sendall(nonce + number + _proof(secret, b"caller", nonce, number))
        while len(heard) < _PROOF_BYTES:
            connection.settimeout(_seconds_left(limit))
            more = connection.recv(_PROOF_BYTES - len(heard))
            if not more:
                break
            heard += more
    return hmac.compare_digest(heard, _proof(secret, b"process 0", nonce, number))


def _proof(secret: bytes, speaker: bytes, nonce: bytes, process: bytes) -> bytes:
    return hmac.digest(secret, b"dreamer_jax " + speaker + nonce + process, "sha256")


def _seconds_left(limit: float) -> float:
    return max(0.01, limit - time.monotonic())
