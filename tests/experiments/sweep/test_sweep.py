"""Whole sweeps as a person starts them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import small_options

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving.lock import RunLock
from experiments.sweep.__main__ import main

ROOT = Path(__file__).resolve().parents[3]
CHASE = "testing:chase"


def small_sweep(out: Path, *options: str) -> list[str]:
    small = small_options() | {"steps": 60}
    given = [f"--config.{key}={value}" for key, value in small.items()]
    return ["--config=debug", f"--out={out}", *given, *options]


@pytest.fixture
def quick_programs(monkeypatch):
    """Let runs compile as `cheap_compile` does."""
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.usefixtures("quick_programs")
def test_two_runs_train_and_leave_results(tmp_path, capsys):
    arguments = small_sweep(tmp_path, f"--tasks={CHASE}", "--seeds=3,5", "--jobs=1")
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{CHASE} seed 3: running\n{CHASE} seed 3: finished\n")
    assert re.search(rf"{CHASE}  5     finished  60 of 60 +[\d.]+\n2 finished\n", out)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(".lock", "curves.png", "results.csv", "results.jsonl", "testing-chase"),
    }
    columns = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert columns == "task,seed,env_steps,policy_steps,grad_steps,score,kind"
    log = (tmp_path / "testing-chase" / "seed5" / "output.log").read_text()
    assert log.count("--- attempt ") == 1 and f"{CHASE}, size 16/8/3/2/8: " in log

    assert main([*arguments, "--status"]) == main(arguments) == 0  # nothing is run again
    assert "running" not in capsys.readouterr().out
    assert (tmp_path / "testing-chase" / "seed5" / "output.log").read_text() == log


@pytest.mark.slow
@pytest.mark.usefixtures("quick_programs")
def test_an_interrupted_sweep_checkpoints_and_goes_on(tmp_path):
    options = [f"--tasks={CHASE}", "--seeds=0-1", "--jobs=2", "--config.steps=3000"]
    command = [sys.executable, "-m", "experiments.sweep", *small_sweep(tmp_path, *options)]
    folders = [tmp_path / "testing-chase" / f"seed{seed}" for seed in (0, 1)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as sweep:
        while not all((folder / "metrics.jsonl").exists() for folder in folders):
            assert sweep.poll() is None
            os.sched_yield()
        sweep.send_signal(signal.SIGINT)
        out = sweep.communicate()[0]
    assert sweep.returncode == 75 and "\n2 stopped\n" in out
    assert all(any((folder / "checkpoints").iterdir()) for folder in folders)
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and "\n2 finished\n" in again.stdout
    for folder in folders:
        log = (folder / "output.log").read_text()
        assert log.count("--- attempt ") == 2 and "continuing after " in log


def test_the_printed_list_is_what_would_run(tmp_path, capsys):
    options = [f"--tasks={CHASE}", "--seeds=0,1", "--vary=envs=2,3", "--config.steps=9"]
    assert main([f"--out={tmp_path / 'a b'}", *options, "--backend=print"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert shlex.split(lines[0]) == [
        *("python", "-m", "dreamer_jax", "train", "--config=default", f"--config.task={CHASE}"),
        *("--config.seed=0", "--config.steps=9", "--config.envs=2"),
        f"--logdir={tmp_path / 'a b' / 'testing-chase' / 'envs=2' / 'seed0'}",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_failure_shows_the_end_of_its_log(tmp_path, capsys):
    arguments = [f"--out={tmp_path}", "--config=debug", "--tasks=testing:nothing"]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "testing:nothing seed 0 failed with exit code 2; the end of its log," in out
    assert "    error: unknown testing environment 'nothing'" in out
    assert "0 rows" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds=1,x"], "'x' is neither a seed nor a range"),
        (["--seeds="], "names no seed"),
        (["--tasks=,"], "--tasks is empty"),
        (["--jobs=-1"], "--jobs=-1"),
        (["--resources=num_gpus=1"], "--resources are asked of slurm or ray"),
    ],
)
def test_what_says_nothing_is_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        main([f"--out={tmp_path}", "--config=debug", f"--tasks={CHASE}", *options])


def test_a_sweep_has_one_command_at_a_time(tmp_path):
    with RunLock(tmp_path), pytest.raises(UserError, match="in use by another run"):
        main([f"--out={tmp_path}", "--config=debug", f"--tasks={CHASE}"])
