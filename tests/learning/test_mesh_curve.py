"""A run on several devices learns as a run on one does, through the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from learning_options import SMALL

from dreamer_jax.runtime.showing.metrics import read_rows

UPDATES = 500
OPTIONS = {
    **SMALL,
    "task": "testing:chase",
    "steps": 16 * UPDATES,
    "log.every": 400,
    "log.report_every": 4000,
}


def curves(logdir: Path, devices: int, fsdp: int) -> dict[str, np.ndarray]:
    """Train, and return total loss and score of each logged row."""
    options = {**OPTIONS, "mesh.fsdp": fsdp}
    given = [f"--config.{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "dreamer_jax", "train", "--config=debug", *given]
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    subprocess.run([*command, f"--logdir={logdir}"], env=env, check=True, timeout=900)
    rows = list(read_rows(logdir / "metrics.jsonl"))
    names = ("train/loss/total", "episode/score", "report/loss/dyn")
    return {name: np.array([row[name] for row in rows if name in row]) for name in names}


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_the_learning_curve_on_a_mesh_is_that_of_one_device(tmp_path):
    one = curves(tmp_path / "one", devices=1, fsdp=1)
    mesh = curves(tmp_path / "mesh", devices=4, fsdp=2)
    for name in ("train/loss/total", "episode/score"):
        ours, theirs = (curve[name][-5:].mean() for curve in (mesh, one))
        assert abs(ours - theirs) < 0.2 * abs(theirs), (name, ours, theirs)
    assert mesh["train/loss/total"][-1] < 0.5 * mesh["train/loss/total"][0]
    assert len(mesh["report/loss/dyn"]) == len(one["report/loss/dyn"]) == 2
