"""What processes tell each other of the way to process 0."""

from __future__ import annotations

import socket

from dreamer_jax.cluster.lifeline import _keep_alive, own_addresses


def test_a_host_has_a_name_and_a_number():
    addresses = own_addresses()
    assert socket.gethostname() in addresses
    assert all(isinstance(each, str) and each for each in addresses)


def test_connections_notice_a_host_that_vanished():
    """Without keep-alive a host that loses its power is never missed; no test noticed it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as caller:
            _keep_alive(caller, patience=80)
            option = lambda level, name: caller.getsockopt(level, name)
            assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 40
            idle_and_probes = 40 + 10 * option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
            assert option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
            assert idle_and_probes == 80, "it is missed within the patience"
            assert caller.gettimeout() is None
