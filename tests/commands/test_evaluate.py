"""`evaluate` says how the agent acted and how well, and leaves the run as it was."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tiny_run import disk, tiny_arguments

from dreamer_jax.__main__ import run

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")

TASK = "gymnasium:CartPole-v1"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cheap_compile: None) -> Path:  # noqa: ARG001
    root = tmp_path_factory.mktemp("trained")
    assert run(tiny_arguments(TASK, root, checkpoint__seconds=0.0)) == 0
    return root


def evaluate(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert run(["evaluate", f"--logdir={root}", *options]) == 0
    return capsys.readouterr().out


def test_prints_statistics_and_changes_nothing(trained, capsys):
    before = disk(trained)
    out = evaluate(trained, capsys, "--episodes=5", "--envs=3")
    assert re.fullmatch(
        r"greedy evaluation after \d+ updates: mean [\d.]+ \(95% interval [\d.]+ to [\d.]+\), "
        r"median [\d.]+, range [\d.]+ to [\d.]+, 5 episodes\n",
        out,
    )
    assert disk(trained) == before


def test_seed_and_sampling_decide_the_result(trained, capsys):
    result = lambda *options: evaluate(trained, capsys, "--episodes=5", "--envs=3", *options)
    assert result() == result() == result("--seed=0")
    assert result() != result("--seed=1")
    sampled = result("--sample")
    assert sampled.startswith("sampled evaluation after") and sampled == result("--sample")
    assert sampled.split(":")[1] != result().split(":")[1]


def test_older_checkpoint_can_be_asked_for(trained, capsys):
    steps = sorted(int(path.name) for path in (trained / "checkpoints").iterdir())
    for step in steps:
        out = evaluate(trained, capsys, "--episodes=1", f"--step={step}")
        assert f"after {step} updates" in out
    assert f"after {steps[-1]} updates" in evaluate(trained, capsys, "--episodes=1")


def test_video_shows_one_episode(trained, capsys, tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "agent.mp4"
    out = evaluate(trained, capsys, "--episodes=1", f"--video={path}")
    length = float(re.search(r"mean ([\d.]+)", out)[1])  # CartPole pays 1 a step
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == length and not np.array_equal(pictures[0], pictures[-1])
    assert f"video: {path}" in out


def test_environment_without_pictures_is_said(tmp_path, capsys):
    """`--video` wrote no file and said nothing."""
    assert run(tiny_arguments("testing:counting", tmp_path, steps=3)) == 0
    path = tmp_path / "agent.mp4"
    out = evaluate(tmp_path, capsys, "--episodes=1", f"--video={path}")
    assert "no video: the environment shows no picture" in out and not path.exists()
