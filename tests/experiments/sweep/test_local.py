"""How a machine is divided among runs."""

from __future__ import annotations

import os

import pytest
from scripted_runs import scripted_run

from experiments.sweep.attempt import last_lines
from experiments.sweep.local import LocalBackend, divide, visible_gpus


def test_every_slot_has_a_gpu_and_cores_of_its_own():
    slots = divide(2, ["3", "5"], range(6))
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["3", "5"]
    assert [slot.cores for slot in slots] == [(0, 1, 2), (3, 4, 5)]
    assert all(slot.environment["OMP_NUM_THREADS"] == "3" for slot in slots)
    assert all("XLA_PYTHON_CLIENT_MEM_FRACTION" not in slot.environment for slot in slots)


def test_runs_that_share_a_gpu_share_its_memory():
    """JAX takes three quarters of a GPU at the start, so that a second run would find none."""
    slots = divide(3, ["0", "1"], range(4))
    devices = [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots]
    shares = [slot.environment.get("XLA_PYTHON_CLIENT_MEM_FRACTION") for slot in slots]
    assert devices == ["0", "1", "0"] and shares == ["0.450", None, "0.450"]


def test_more_runs_than_cores_share_them():
    assert [slot.cores for slot in divide(3, [], [4, 7])] == [(4,), (7,), (4,)]


def test_a_single_run_has_the_whole_machine():
    assert divide(1, [], range(5)) == [({}, ())]


@pytest.mark.parametrize(("given", "seen"), [("0,2", ["0", "2"]), ("", []), ("-1", [])])
def test_gpus_are_those_that_the_caller_may_use(monkeypatch, given, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == seen


def test_processes_get_the_share_of_their_slot(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,9")
    backend = LocalBackend(2)
    runs = [scripted_run(tmp_path, "ends", seed) for seed in range(2)]
    jobs = [backend.submit(run) for run in runs]
    while not all([job.over() for job in jobs]):
        pass
    cores = sorted(os.sched_getaffinity(0))
    width = max(1, len(cores) // 2)
    for run, gpu, start in zip(runs, "79", (0, width % len(cores)), strict=True):
        # Ctrl-C on a terminal would otherwise reach the runs as well as the sweep.
        alone, share = last_lines(run.logdir, 2)
        assert alone == "session of its own: True"
        assert share == f"cores {cores[start : start + width]} {gpu}"
    backend.close()
