"""How process 0 and the others find each other, with real connections and real strangers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from dreamer_jax.cluster import greeting
from dreamer_jax.cluster.greeting import answer, call, listen
from dreamer_jax.errors import UserError

SECRET, ANOTHER = b"s" * 32, b"a" * 32


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=300) as server:
        yield server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def port(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def hello(process: int, secret: bytes = SECRET, nonce: bytes = b"n" * 16) -> bytes:
    number = process.to_bytes(4, "big", signed=process < 0)
    return nonce + number + greeting._proof(secret, b"caller", nonce, number)


def heard(connection: socket.socket) -> bytes:
    """Return everything that the other side says before it closes."""
    connection.settimeout(10)
    said = b""
    with suppress(ConnectionResetError):  # where it was told more than it read
        while more := connection.recv(99):
            said += more
    return said


def test_every_process_is_known_by_its_number(server, pool):
    calls = [
        pool.submit(call, ["127.0.0.1"], port(server), SECRET, process, 5) for process in (2, 1)
    ]
    accepted = answer([server], SECRET, 2, 5)
    two, one = (each.result() for each in calls)
    for process, connection in ((1, one), (2, two)):
        connection.sendall(bytes([process]))
        assert accepted[process].recv(1) == bytes([process])
    for each in (one, two, *accepted.values()):
        assert each.gettimeout() is None  # a lifeline waits for as long as the run takes
        each.close()


def test_a_name_that_nobody_knows_ends_nothing(server, pool):
    """The name that a container calls itself by means nothing outside."""
    hosts = ["no-such-host.invalid", ".", "127.0.0.1"]
    called = pool.submit(call, hosts, port(server), SECRET, 1, 5)
    accepted = answer([server], SECRET, 1, 5)
    assert list(accepted) == [1]
    called.result().close()
    accepted[1].close()


def test_somebody_else_under_an_address_is_passed_over(server, pool):
    """Two hosts may call themselves by one name, and a port may be of another run."""
    with socket.create_server(("127.0.0.2", port(server))) as other:
        stranger = pool.submit(answer, [other], ANOTHER, 1, 2)
        hosts = ["127.0.0.2", "127.0.0.1"]
        called = pool.submit(call, hosts, port(server), SECRET, 1, 5)
        accepted = answer([server], SECRET, 1, 5)
        called.result().close()
        accepted[1].close()
        with pytest.raises(UserError, match="1 of 1 other processes did not reach process 0"):
            stranger.result()


def test_process_0_that_comes_late_is_found(server, pool):
    """Its port may be closed, or full, at the first attempt."""
    place = server.getsockname()
    server.close()
    called = pool.submit(call, ["127.0.0.1"], place[1], SECRET, 1, 10)
    time.sleep(0.5)
    with socket.create_server(place) as late:
        accepted = answer([late], SECRET, 1, 10)
    assert list(accepted) == [1]
    with called.result() as caller, accepted[1] as found:
        caller.sendall(b"here")
        assert found.recv(4) == b"here", "both ends are of one connection"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 52,
        b"x" * 99,
        hello(1, ANOTHER),
        hello(1)[:-1] + b"x",
        hello(0),
        hello(3),
        hello(-7),
        hello(2**31),
    ],
    ids=["nothing", "http", "x", "long", "secret", "proof", "0", "count", "-7", "large"],
)
def test_strangers_are_turned_away_and_told_nothing(server, pool, said):
    """Process 0 told its token to whoever connected, took a process −7, and broke over a number."""
    with socket.create_connection(server.getsockname()) as stranger:
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        called = pool.submit(call, ["127.0.0.1"], port(server), SECRET, 1, 5)
        other = pool.submit(call, ["127.0.0.1"], port(server), SECRET, 2, 5)
        accepted = answer([server], SECRET, 2, 5)
        assert heard(stranger) == b""
    assert sorted(accepted) == [1, 2]
    called.result().sendall(b"!")
    assert accepted[1].recv(1) == b"!"  # the one that knows the secret, and no stranger
    for each in (called.result(), other.result(), *accepted.values()):
        each.close()


def test_greeting_of_before_is_worth_nothing(server, pool):
    """Somebody may have heard it on the way and say it again, as process 1."""
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_connection(server.getsockname()))
        first.sendall(hello(1))
        again = stack.enter_context(socket.create_connection(server.getsockname()))
        answered = pool.submit(answer, [server], SECRET, 2, 10)
        assert len(first.recv(32)) == 32
        again.sendall(hello(1))
        assert heard(again) == b""
        called = pool.submit(call, ["127.0.0.1"], port(server), SECRET, 2, 5)
        accepted = answered.result()
        first.sendall(b"!")
        assert accepted[1].recv(1) == b"!"
        for each in (called.result(), *accepted.values()):
            each.close()


def test_second_attempt_of_a_process_takes_the_place_of_its_first(server, pool):
    """An attempt may be given up on a slow way, and yet arrive."""
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_connection(server.getsockname()))
        first.sendall(hello(1))
        answered = pool.submit(answer, [server], SECRET, 2, 10)
        assert len(first.recv(32)) == 32
        second = call(["127.0.0.1"], port(server), SECRET, 1, 5)
        other = call(["127.0.0.1"], port(server), SECRET, 2, 5)
        accepted = answered.result()
        second.sendall(b"!")
        assert accepted[1].recv(1) == b"!" and heard(first) == b""
        for each in (second, other, *accepted.values()):
            each.close()


def test_two_hundred_strangers_change_nothing(server, pool):
    """One that was silent kept process 0 from everybody else for the whole patience."""
    earlier = hello(1, ANOTHER)  # as heard in another run
    kinds = [b"", b"slow", b"\0" * 52, earlier]
    with ExitStack() as stack:
        strangers = [
            stack.enter_context(socket.create_connection(server.getsockname())) for _ in range(200)
        ]
        for number, stranger in enumerate(strangers):
            said = kinds[number % 4]
            stranger.sendall(b"s" if said == b"slow" else said)
        slow, over = strangers[1::4], threading.Event()

        def dribble() -> None:
            while not over.wait(0.05):
                for each in slow:
                    with suppress(OSError):
                        each.send(b"s")

        dribbling = pool.submit(dribble)
        begun = time.monotonic()
        calls = [pool.submit(call, ["127.0.0.1"], port(server), SECRET, p, 10) for p in (1, 2, 3)]
        accepted = answer([server], SECRET, 3, 10)
        taken = time.monotonic() - begun
        over.set()
        dribbling.result()
        told = [heard(stranger) for stranger in strangers]
    assert sorted(accepted) == [1, 2, 3] and taken < 3
    assert told == [b""] * 200
    for process, each in enumerate((each.result() for each in calls), 1):
        each.sendall(bytes([process]))
        assert accepted[process].recv(1) == bytes([process])
        each.close()
        accepted[process].close()


def test_silent_strangers_alone_end_in_a_word_and_in_time(server, monkeypatch):
    monkeypatch.setattr(greeting, "GREETING_SECONDS", 0.2)
    with socket.create_connection(server.getsockname()) as stranger:
        begun = time.monotonic()
        with pytest.raises(UserError, match=r"2 of 2 other processes did not reach .* 1 seconds"):
            answer([server], SECRET, 2, 1)
        assert time.monotonic() - begun < 2
        assert heard(stranger) == b""


def test_a_silent_stranger_is_hung_up_on_while_the_others_are_waited_for(server, pool, monkeypatch):
    """Nothing noticed strangers who stayed, and process 0 that never slept because of them."""
    monkeypatch.setattr(greeting, "GREETING_SECONDS", 1.0)
    with socket.create_connection(server.getsockname()) as stranger:
        answered, begun = pool.submit(answer, [server], SECRET, 1, 8), time.monotonic()
        assert heard(stranger) == b""
        assert time.monotonic() - begun < 5
    called = call(["127.0.0.1"], port(server), SECRET, 1, 5)
    answered.result()[1].close()
    called.close()


def test_an_echo_is_not_taken_for_process_0(server, pool):
    """The proof of a caller, sent back, would prove process 0 if both were made alike."""

    def echo() -> None:
        connection = server.accept()[0]
        with connection, suppress(ConnectionError):
            said = b""
            while len(said) < greeting._HELLO_BYTES:
                said += connection.recv(99)
            connection.sendall(said[-greeting._PROOF_BYTES :])
            connection.recv(1)

    echoed = pool.submit(echo)
    with pytest.raises(UserError, match="cannot reach process 0"):
        call(["127.0.0.1"], port(server), SECRET, 1, 1)
    echoed.result()


def test_process_0_that_cannot_be_found_is_an_error_with_a_remedy(server):
    hosts = ["no-such-host.invalid", "127.0.0.2"]
    message = r"cannot reach process 0 .*no-such-host.invalid: .*127.0.0.2: .*--coordinator="
    with pytest.raises(UserError, match=message):
        call(hosts, port(server), SECRET, 1, 2)


@pytest.mark.parametrize(
    ("host", "where"),
    [
        ("127.0.0.1", {"127.0.0.1"}),
        ("127.0.0.3", {"127.0.0.3"}),
        ("localhost", {"127.0.0.1", "::1"}),
        ("203.0.113.7", {"::", "0.0.0.0"}),  # of nobody: translated on the way, perhaps
        ("no-such-host.invalid", {"::", "0.0.0.0"}),
        ("", {"::", "0.0.0.0"}),
    ],
)
def test_process_0_listens_where_the_coordinator_is(host, where):
    """It listened at every interface, whatever the flags named."""
    servers = listen(host)
    found = [each.getsockname()[:2] for each in servers]
    for each in servers:
        each.close()
    assert {address for address, _ in found} <= where
    assert len({port for _, port in found}) == 1


def test_own_name_that_only_this_machine_calls_so_is_not_believed(monkeypatch):
    """Debian gives a machine's own name 127.0.1.1, where no other machine can reach it."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert greeting._own_addresses("node7") == []
    assert greeting._own_addresses("127.0.1.1") == [(socket.AF_INET, ("127.0.1.1", 0))]
