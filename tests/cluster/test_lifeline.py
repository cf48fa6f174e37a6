"""How process 0 and the others find each other, with real connections."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dreamer_jax.cluster.lifeline import answer, call, own_addresses
from dreamer_jax.errors import UserError

TOKEN = "0123456789abcdef" * 2


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def port(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def test_every_process_is_known_by_its_number(server, pool):
    calls = [
        pool.submit(call, ["127.0.0.1"], port(server), TOKEN, process, 5) for process in (2, 1)
    ]
    accepted = answer(server, TOKEN, 2, 5)
    two, one = (each.result() for each in calls)
    for process, connection in ((1, one), (2, two)):
        connection.sendall(bytes([process]))
        assert accepted[process].recv(1) == bytes([process])
    for each in (one, two, *accepted.values()):
        each.close()


def test_a_name_that_nobody_knows_ends_nothing(server, pool):
    """The name that a container calls itself by means nothing outside."""
    hosts = ["no-such-host.invalid", "127.0.0.1"]
    called = pool.submit(call, hosts, port(server), TOKEN, 1, 5)
    accepted = answer(server, TOKEN, 1, 5)
    assert list(accepted) == [1]
    called.result().close()
    accepted[1].close()


def test_somebody_else_under_an_address_is_passed_over(server, pool):
    """Two hosts may call themselves by one name, and a port may be of another run."""
    with socket.create_server(("127.0.0.2", port(server))) as other:
        stranger = pool.submit(answer, other, "another run of the same length..", 1, 2)
        hosts = ["127.0.0.2", "127.0.0.1"]
        called = pool.submit(call, hosts, port(server), TOKEN, 1, 5)
        accepted = answer(server, TOKEN, 1, 5)
        called.result().close()
        accepted[1].close()
        with pytest.raises(UserError, match="1 of 1 other processes did not reach process 0"):
            stranger.result()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"x" * 40, b"x" * 99])
def test_strangers_are_turned_away(server, pool, said):
    with socket.create_connection(server.getsockname()) as stranger:
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        called = pool.submit(call, ["127.0.0.1"], port(server), TOKEN, 1, 5)
        accepted = answer(server, TOKEN, 1, 5)
        stranger.settimeout(5)
        with contextlib.suppress(ConnectionResetError):  # where it said more than was read
            while stranger.recv(99):
                pass  # ends once the other side has closed
    assert list(accepted) == [1]
    called.result().sendall(b"!")
    assert accepted[1].recv(1) == b"!"  # the one that knows the token, and no stranger
    called.result().close()
    accepted[1].close()


def test_process_0_that_cannot_be_found_is_an_error_with_a_remedy(server):
    hosts = ["no-such-host.invalid", "127.0.0.2"]
    message = r"cannot reach process 0 .*no-such-host.invalid: .*127.0.0.2: .*--coordinator="
    with pytest.raises(UserError, match=message):
        call(hosts, port(server), TOKEN, 1, 2)


def test_a_host_has_a_name_and_a_number():
    addresses = own_addresses()
    assert socket.gethostname() in addresses
    assert all(isinstance(each, str) and each for each in addresses)
