"""Runs of several processes, one per host: how they find each other, and what a loss means.

Flags name the coordinator, or `jax.distributed` reads what the cluster's launcher left in the
environment: Slurm (job steps started by srun), Kubernetes (indexed jobs; needs the package
`kubernetes`), TPU pods (GKE and Cloud TPU). A TPU pod whose variables lie only in its metadata
server, and Open MPI, need `--coordinator=auto`.

All processes compute every update together, so none can go on without the others. Each holds an
open connection to process 0; the kernel closes it with its process, however that ends, and every
other process then says so and ends with the exit code for "start me again". Collectives alone
would wait for the lost one, for minutes or for ever, depending on the backend.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from dreamer_jax.errors import UserError

RESUMABLE = 75
FAREWELL = b"."
GRACE_SECONDS = 10
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")
_KUBERNETES = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")
_ADDRESS_BYTES = 256


def detected(environment: Mapping[str, str]) -> str:
    """Return which launcher of several processes the environment shows, or nothing."""
    if all(name in environment for name in _SLURM) and int(environment["SLURM_NTASKS"]) > 1:
        return "Slurm"
    if all(name in environment for name in _KUBERNETES):
        return "Kubernetes"
    pod = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
    return "TPU pod" if pod or "MEGASCALE_COORDINATOR_ADDRESS" in environment else ""


def start(coordinator: str, processes: int, process: int, patience: int = 100) -> Lifeline | None:
    """Join the other processes of the run, if there are any; call before anything computes.

    Args:
        coordinator: `host:port` of process 0, `auto`, or empty to look for a launcher.
        processes: How many; only with `host:port`.
        process: Which of them this is; only with `host:port`.
        patience: Seconds without a sign of life after which a host counts as lost.

    Returns:
        What ends this process when another is lost; None where there is no other.

    Raises:
        UserError: If the flags contradict each other, or the others cannot be reached.
    """
    explicit = coordinator not in ("", "auto")
    if explicit != (processes > 0) or explicit != (process >= 0):
        raise UserError(
            "--coordinator=HOST:PORT, --processes=COUNT and --process=INDEX belong together; "
            "leave out all three where Slurm, Kubernetes or a TPU pod starts the processes"
        )
    if explicit and not (0 <= process < processes and coordinator.rpartition(":")[2].isdigit()):
        raise UserError(
            f"--coordinator={coordinator} --processes={processes} --process={process}: "
            "the address ends in a port, and indices count from 0"
        )
    if not coordinator and not detected(os.environ):
        return None
    # The service would catch SIGTERM before this program does, and swallow it.
    jax.config.update("jax_enable_preemption_service", False)
    # Otherwise a lost process aborts the others; here they end in order (`Lifeline`).
    jax.config.update("jax_enable_recoverability", True)
    try:
        jax.distributed.initialize(
            coordinator if explicit else None,
            processes if explicit else None,
            process if explicit else None,
            initialization_timeout=max(patience, 30),
            heartbeat_timeout_seconds=patience,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes of this run did not meet: {error}") from error
    if jax.process_count() == 1:
        return None
    host = coordinator.rpartition(":")[0] if explicit else socket.getfqdn()
    return Lifeline(host, patience)


def give_up(reason: str) -> NoReturn:
    """End this process at once: threads and collectives wait for what will not come."""
    print(f"stopped: {reason}; start all processes again to continue", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(RESUMABLE)


class Lifeline:
    """A star of connections, process 0 in its middle; watched by threads.

    Args:
        host: Where the others reach process 0; read there only.
        patience: Seconds after which a silent host counts as lost.
    """

    def __init__(self, host: str, patience: int) -> None:
        self._leaving = False
        self._ended = threading.Event()  # never set: a loss ends the process meanwhile
        self._sockets: list[socket.socket] = []
        self._watchers: list[threading.Thread] = []
        if jax.process_index() == 0:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.create_server(("", 0), family=family) as server:
                server.settimeout(max(patience, 30))
                _broadcast(f"{host} {server.getsockname()[1]}")
                for _ in range(jax.process_count() - 1):
                    self._watch(server.accept()[0], patience)
        else:
            address, port = _broadcast("").split()
            self._watch(socket.create_connection((address, int(port)), max(patience, 30)), patience)

    def leave(self) -> None:
        """End together: the others do not take it for a loss, and process 0 goes last.

        It holds the service of `jax.distributed`, without which the others would abort.
        """
        self._leaving = True
        if jax.process_index():
            jax.distributed.shutdown()
        for each in self._sockets:
            try:
                each.sendall(FAREWELL)
                each.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has left already
        if jax.process_index() == 0:
            for watcher in self._watchers:
                watcher.join()
            jax.distributed.shutdown()

    def await_loss(self) -> None:
        """Return if no other process is found lost; an error may be known before its cause."""
        self._ended.wait(GRACE_SECONDS)

    def _watch(self, connection: socket.socket, patience: int) -> None:
        _keep_alive(connection, patience)
        self._sockets.append(connection)
        if jax.process_index():
            connection.sendall(struct.pack("!i", jax.process_index()))
            peer = 0
        else:
            (peer,) = struct.unpack("!i", connection.recv(4, socket.MSG_WAITALL))

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
    said = np.zeros(_ADDRESS_BYTES, np.uint8)
    said[: len(text)] = np.frombuffer(text.encode(), np.uint8)
    heard = np.asarray(multihost_utils.broadcast_one_to_all(said))
    return heard.tobytes().rstrip(b"\0").decode()
