"""Start-up of a run of several processes, one per host or one per device.

Flags name the coordinator, or `jax.distributed` reads what the cluster's launcher left in the
environment: Slurm (job steps started by srun), Kubernetes (indexed jobs; needs the package
`kubernetes`), TPU pods (GKE and Cloud TPU). A TPU pod whose variables lie only in its metadata
server, and Open MPI, need `--coordinator=auto`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from dreamer_jax.cluster.lifeline import LEAST_PATIENCE, Lifeline
from dreamer_jax.errors import UserError

_SLURM = ("JOB_ID", "STEP_NODELIST", "PROCID", "LOCALID", "NTASKS", "STEP_NUM_TASKS")
_KUBERNETES = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")
_TPU_WORKERS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
MOST_PATIENCE = 86_400  # seconds; a day
_BY_HAND = "--coordinator=HOST:PORT --processes=COUNT --process=INDEX"


def detected(environment: Mapping[str, str]) -> str:
    """Return which launcher of several processes the environment shows, or nothing."""
    # In an interactive step NTASKS is that of the whole allocation.
    step = all(environment.get(f"SLURM_{name}") for name in _SLURM)
    if step and _number(environment, "SLURM_STEP_NUM_TASKS") > 1:
        return "Slurm"
    if all(name in environment for name in _KUBERNETES):
        return "Kubernetes"
    pod = any("," in environment.get(name, "") for name in _TPU_WORKERS)
    return "TPU pod" if pod or environment.get("MEGASCALE_COORDINATOR_ADDRESS") else ""


def start(
    coordinator: str,
    processes: int,
    process: int,
    patience: int = 100,
    folder: Path | None = None,
) -> Lifeline | None:
    """Join the other processes of the run, if there are any; call before anything computes.

    Args:
        coordinator: `host:port` of process 0, `auto`, or empty to look for a launcher.
        processes: How many, with `host:port`; or 1 without it, to stay alone whoever starts this.
        process: Which of them this is; only with `host:port`.
        patience: Seconds without a sign of life after which a host counts as lost, 1 … 86,400.
        folder: The run directory, which all processes see; see `Lifeline`.

    Returns:
        What ends this process when another is lost; None where there is no other.

    Raises:
        UserError: If the flags contradict each other, or the others cannot be reached.
    """
    if not 1 <= patience <= MOST_PATIENCE:
        raise UserError(f"--patience={patience}; choose 1 to {MOST_PATIENCE:,} seconds")
    if (coordinator, processes, process) == ("", 1, -1):
        return None
    explicit = _is_explicit(coordinator, processes, process)
    launcher = detected(os.environ)
    if not coordinator and not launcher:
        return None
    # The service would catch SIGTERM before this program does, and swallow it.
    jax.config.update("jax_enable_preemption_service", False)
    # Otherwise a lost process aborts the others; here they end in order (`Lifeline`).
    jax.config.update("jax_enable_recoverability", True)
    given: dict[str, Any] = {"local_device_ids": _devices(os.environ)}
    if explicit:  # launchers have no say
        given = {"coordinator_address": coordinator, "cluster_detection_method": "deactivate"}
        given |= {"num_processes": processes, "process_id": process}
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=max(patience, LEAST_PATIENCE),
            # It aborts this process; the lifeline finds a host that vanished before, and in order.
            heartbeat_timeout_seconds=10 * patience,
        )
        alone = jax.process_count() == 1  # starts the backend, which connects all devices
    except Exception as error:  # every launcher is asked through a client with its own errors
        shown = "flags" if explicit else launcher or "no launcher that is known"
        raise UserError(
            f"the processes of this run did not meet ({shown}): {error}; {_BY_HAND} names them, "
            "and --processes=1 alone starts a run of its own"
        ) from error
    if alone:
        return None
    address = coordinator if explicit else _coordinator(os.environ)
    return Lifeline(address.rpartition(":")[0].strip("[]"), patience, folder)


def _coordinator(environment: Mapping[str, str]) -> str:
    """Return the address under which the others have reached process 0, if it can be known."""
    try:  # JAX keeps what it made of the launcher's variables to itself
        from jax._src import distributed

        known = distributed.global_state.coordinator_address
    except (ImportError, AttributeError):
        known = None
    return known or environment.get("JAX_COORDINATOR_ADDRESS", "")


def _is_explicit(coordinator: str, processes: int, process: int) -> bool:
    """Return whether the flags name the processes; raise if they contradict each other."""
    explicit = coordinator not in ("", "auto")
    if explicit != (processes > 0) or explicit != (process >= 0):
        raise UserError(
            f"{_BY_HAND} belong together; leave out all three where Slurm, Kubernetes or a TPU "
            "pod starts the processes, or give --processes=1 alone for a run of its own"
        )
    if explicit and not (0 <= process < processes and coordinator.rpartition(":")[2].isdigit()):
        raise UserError(
            f"--coordinator={coordinator} --processes={processes} --process={process}: "
            "the address ends in a port, and indices count from 0"
        )
    return explicit


def _devices(environment: Mapping[str, str]) -> list[int] | None:
    """Return which devices of its host a process uses: as the launcher says, or (empty) all.

    JAX gives each task of Slurm the one device of its index on the node; a task that has the node
    for itself takes them all.
    """
    tasks, nodes = (
        environment.get(f"SLURM_{name}") for name in ("STEP_NUM_TASKS", "STEP_NUM_NODES")
    )
    return [] if tasks and tasks == nodes else None


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except ValueError as error:
        raise UserError(
            f"{name}={environment[name]!r} is not a number; unset it, or give {_BY_HAND}, or "
            "--processes=1 alone for a run of its own"
        ) from error
