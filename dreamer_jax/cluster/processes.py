"""Start-up of a run of several processes, one per host or one per device.

The processes find each other by flags that name the coordinator, or by environment variables that
the launcher of the cluster sets and `jax.distributed` reads: Slurm (job steps started by srun),
Kubernetes (indexed jobs; needs the package `kubernetes`), TPU pods (GKE and Cloud TPU). Two
launchers need `--coordinator=auto`: Open MPI, and a TPU pod that keeps these variables only in its
metadata server.
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
    """Return which launcher the environment variables show, or "" for none of several processes."""
    # In an interactive step, NTASKS counts the tasks of the whole allocation.
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
        processes: How many processes there are; only with `host:port`. Without it, 1 keeps this
            process alone whatever the launcher says.
        process: Index of this process; only with `host:port`.
        patience: Seconds without a sign of life after which a host counts as lost, 1 … 86,400.
        folder: The run directory, which all processes see; see `Lifeline`.

    Returns:
        The lifeline, which ends this process when another is lost; None without other processes.

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
    # The preemption service would catch SIGTERM before this program does, and swallow it.
    jax.config.update("jax_enable_preemption_service", False)
    # Otherwise JAX aborts the others when one is lost; here the others end in order (`Lifeline`).
    jax.config.update("jax_enable_recoverability", True)
    given: dict[str, Any] = {"local_device_ids": _devices(os.environ)}
    if explicit:  # launchers have no say
        given = {"coordinator_address": coordinator, "cluster_detection_method": "deactivate"}
        given |= {"num_processes": processes, "process_id": process}
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=max(patience, LEAST_PATIENCE),
            # A missed heartbeat aborts this process; the lifeline notices a vanished host earlier.
            heartbeat_timeout_seconds=10 * patience,
        )
        alone = jax.process_count() == 1  # starts the backend, which connects all devices
    except Exception as error:  # the client of each launcher raises errors of its own
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
    try:  # JAX derives it from the launcher's variables, and has no public name for it
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
    """Return the devices of the host for this process: [] for all, None as the launcher says.

    JAX gives each task of Slurm one device of the node, by the task's index there. A task that is
    alone on its node takes all devices.
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
