"""Start-up from what launchers leave in the environment: real processes over loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import joined
import joined_by_secret
import kubernetes_api
import pytest

PREFIXES = ("SLURM_", "TPU_", "MEGASCALE_", "KUBERNETES_", "JOB_COMPLETION", "JAX_COORDINATOR")
SLURM_PORTS = 65536 - 4096, 4096  # JAX takes the first plus the number of the job modulo the second


def join(
    environments: Sequence[Mapping[str, str]],
    within: Sequence[str] = (),
    script: Sequence[str] = (joined.__file__,),
) -> list[tuple[int, str]]:
    """Start one process for each environment; return exit codes and what they said."""
    return finish([start_one(each, script, within) for each in environments])


def start_one(
    environment: Mapping[str, str], script: Sequence[str], within: Sequence[str] = ()
) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(PREFIXES)}
    clean["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [*within, sys.executable, *script],
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(members: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Return exit codes and what they said."""
    try:
        said = [member.communicate(timeout=100)[0] for member in members]
    finally:
        for member in members:
            member.kill()
    return [(member.returncode, text) for member, text in zip(members, said, strict=True)]


def free_port(ports: Sequence[int]) -> int:
    """Return one that nobody listens at."""
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("all ports are taken")


def assert_joined(
    environments: Sequence[Mapping[str, str]], devices: Sequence[str], within: Sequence[str] = ()
) -> None:
    count = len(environments)
    for index, (code, said) in enumerate(join(environments, within)):
        assert code == 0, said
        assert f"joined {index}/{count}, devices {devices[index]}\n" in said


def slurm_task(index: int, nodes: int) -> dict[str, str]:
    """Return what `srun -n2` sets, as read from one (Slurm 22.05)."""
    first, count = SLURM_PORTS
    job = free_port(range(first + os.getpid() % count, first + count)) - first
    variables = {
        "JOB_ID": f"{count + job}",
        "NTASKS": "2",
        "PROCID": f"{index}",
        "LOCALID": f"{index if nodes == 1 else 0}",
        "STEP_NODELIST": "localhost" if nodes == 1 else "localhost,127.0.0.1",
        "STEP_NUM_NODES": f"{nodes}",
        "STEP_NUM_TASKS": "2",
    }
    return {f"SLURM_{name}": value for name, value in variables.items()}


def test_slurm_tasks_join():
    """JAX derives the coordinator from the step's nodes and the number of the job."""
    assert_joined([slurm_task(0, nodes=1), slurm_task(1, nodes=1)], ["0", "1"])


def test_the_secret_travels_through_the_run_directory(tmp_path):
    """Process 0 listens only where JAX says that the others reach it, launcher or not."""
    script = (joined_by_secret.__file__, str(tmp_path / "run"))
    ended = join([slurm_task(0, nodes=1), slurm_task(1, nodes=1)], script=script)
    assert [code for code, _ in ended] == [0, 0], ended
    (where,) = [line for line in ended[0][1].splitlines() if line.startswith("listens at ")]
    assert {*where.split()[2:]} <= {"127.0.0.1", "::1"}
    assert "joined\n" in ended[0][1] and "joined\n" in ended[1][1]
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.slow
def test_processes_that_do_not_share_the_run_directory_are_told(tmp_path):
    """Each then waits for the other in vain, and says what it lacks."""
    port = free_port(range(20000 + os.getpid() % 9999, 30000))
    members = []
    for index in range(2):
        flags = [str(tmp_path / f"run{index}"), f"127.0.0.1:{port}", "2", str(index)]
        members.append(start_one({}, [joined_by_secret.__file__, *flags]))
    ended = finish(members)
    assert [code for code, _ in ended] == [1, 1], ended
    assert "1 of 1 other processes did not reach process 0" in ended[0][1]
    assert "is not in the run directory" in ended[1][1] and "--logdir that all" in ended[1][1]


def test_a_slurm_task_alone_on_its_node_takes_all_devices():
    """JAX by itself would give it the first."""
    assert_joined([slurm_task(0, nodes=2), slurm_task(1, nodes=2)], ["all", "all"])


def pod_host(index: int, port: int, slices: int) -> dict[str, str]:
    """Return what a TPU pod sets; metadata that JAX would ask a server for is given as well."""
    one = {
        "TPU_WORKER_HOSTNAMES": "localhost,localhost",
        "TPU_WORKER_ID": f"{index}",
        "MEGASCALE_COORDINATOR_ADDRESS": "",
        "MEGASCALE_NUM_SLICES": "",
        "MEGASCALE_SLICE_ID": "",
    }
    two = {
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "MEGASCALE_COORDINATOR_ADDRESS": "localhost:8080",
        "MEGASCALE_NUM_SLICES": "2",
        "MEGASCALE_SLICE_ID": f"{index}",
    }
    # JAX reads these variables only where it sees chips, or is told to believe that it does.
    forced = {"JAX_FORCE_TPU_INIT": "1", "JAX_COORDINATOR_PORT": f"{port}"}
    return forced | (one if slices == 1 else two)


@pytest.mark.parametrize("slices", [1, 2])
def test_hosts_of_a_tpu_pod_join(slices):
    port = free_port(range(20000 + os.getpid() % 9999, 30000))
    assert_joined([pod_host(0, port, slices), pod_host(1, port, slices)], ["all", "all"])


def test_pods_of_an_indexed_job_join(tmp_path):
    """JAX's detection and Kubernetes' client are the real ones; the cluster is imitated."""
    pytest.importorskip("kubernetes")
    if not may_make_pods():
        pytest.skip("needs mount namespaces of one's own, and openssl")
    port = free_port(range(20000 + os.getpid() % 9999, 30000))
    with kubernetes_api.cluster(tmp_path, pods=2) as (within, variables):
        variables |= {"JAX_COORDINATOR_PORT": f"{port}"}
        pods = [variables | {"JOB_COMPLETION_INDEX": f"{index}"} for index in range(2)]
        assert_joined(pods, ["all", "all"], within)


def may_make_pods() -> bool:
    trial = ["unshare", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs none /var/run"]
    if not (shutil.which("unshare") and shutil.which("openssl") and Path("/var/run").exists()):
        return False
    return subprocess.run(trial, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "0"}, "TPU pod"),
        ({"KUBERNETES_SERVICE_HOST": "127.0.0.1", "JOB_COMPLETION_INDEX": "0"}, "Kubernetes"),
    ],
)
def test_a_launcher_that_cannot_be_asked_is_an_error_with_a_remedy(environment, launcher):
    """Without chips JAX does not read a pod's variables, nor Kubernetes' without its package."""
    ((code, said),) = join([environment])
    assert code == 1
    assert f"did not meet ({launcher}): " in said
    assert "--processes=1 alone starts a run of its own" in said
