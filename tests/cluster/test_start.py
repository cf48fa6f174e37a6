"""How the start of several processes reads flags and launchers."""

from __future__ import annotations

import jax
import pytest

from dreamer_jax.cluster.processes import detected, start
from dreamer_jax.errors import UserError

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
}


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({}, ""),
        (SLURM, "Slurm"),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}, ""),
        (SLURM | {"SLURM_STEP_NUM_TASKS": ""}, ""),  # was a traceback
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, ""),  # the interactive step of an allocation
        ({k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}, ""),  # no job step
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ""),  # any pod
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}, "Kubernetes"),
        ({"TPU_WORKER_HOSTNAMES": "a"}, ""),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "TPU pod"),
        ({"TPU_PROCESS_ADDRESSES": "a:1,b:1"}, "TPU pod"),
        ({"MEGASCALE_COORDINATOR_ADDRESS": ""}, ""),
        ({"MEGASCALE_COORDINATOR_ADDRESS": "a"}, "TPU pod"),
    ],
)
def test_launchers_are_detected(environment, launcher):
    assert detected(environment) == launcher


def test_launcher_that_counts_without_numbers_is_named():
    message = r"SLURM_STEP_NUM_TASKS='2\(x3\)' is not a number; unset it"
    with pytest.raises(UserError, match=message):
        detected(SLURM | {"SLURM_STEP_NUM_TASKS": "2(x3)"})


@pytest.mark.parametrize("patience", [-5, 0, 86_401, 10**9])
@pytest.mark.parametrize("flags", [("127.0.0.1:1", 2, 0), ("", 1, -1), ("", 0, -1)])
def test_patience_that_nobody_can_have_is_refused(flags, patience):
    """--patience=-5 ended all processes by SIGABRT."""
    with pytest.raises(UserError, match=f"--patience={patience}; choose 1 to 86,400 seconds"):
        start(*flags, patience)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("127.0.0.1:1", 0, -1), "belong together"),
        (("", 2, -1), "belong together"),
        (("auto", 1, -1), "belong together"),
        (("", 0, 1), "belong together"),
        (("auto", 2, 1), "belong together"),
        (("127.0.0.1:1", 2, 2), "indices count from 0"),
        (("127.0.0.1", 2, 1), "ends in a port"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        start(*flags)


def test_one_process_starts_no_service(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: pytest.fail("started"))
    for name in (*SLURM, "JOB_COMPLETION_INDEX", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    assert start("", 0, -1) is None


def test_one_process_may_stay_alone_whoever_starts_it(monkeypatch):
    """Tasks of one job step may be seeds: runs of their own."""
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: pytest.fail("started"))
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert start("", 1, -1) is None


def test_sigterm_stays_with_this_program(monkeypatch):
    """The preemption service of `jax.distributed` catches SIGTERM and swallows it."""
    seen = {}
    monkeypatch.setattr(jax.config, "update", lambda name, value: seen.update({name: value}))
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: None)
    assert start("127.0.0.1:1", 1, 0) is None
    assert seen == {"jax_enable_preemption_service": False, "jax_enable_recoverability": True}
