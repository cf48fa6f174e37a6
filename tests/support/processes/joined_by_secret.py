"""A process that joins the others of its run by the secret in a run directory, and says where.

Run as a script: the run directory, then the flags of `processes.start` unless a launcher is there.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from dreamer_jax.cluster import lifeline
from dreamer_jax.cluster.processes import start
from dreamer_jax.errors import UserError

listen = lifeline.listen


def say_where(host: str) -> list[socket.socket]:
    """Listen, and print at which addresses."""
    servers = listen(host)
    print("listens at", *sorted({each.getsockname()[0] for each in servers}), flush=True)
    return servers


if __name__ == "__main__":
    lifeline.listen = say_where
    folder, coordinator, processes, process = (*sys.argv[1:], "", "0", "-1")[:4]
    try:
        joined = start(coordinator, int(processes), int(process), 30, Path(folder))
    except UserError as error:
        sys.exit(str(error))
    assert joined is not None
    print("joined", flush=True)
    joined.leave()
