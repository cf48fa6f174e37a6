"""What processes tell each other of the way to process 0."""

from __future__ import annotations

import socket

from dreamer_jax.cluster.lifeline import own_addresses


def test_a_host_has_a_name_and_a_number():
    addresses = own_addresses()
    assert socket.gethostname() in addresses
    assert all(isinstance(each, str) and each for each in addresses)
