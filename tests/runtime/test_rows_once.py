"""Every episode is in the metrics exactly once, whatever interrupted the run; looking is free."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trained
from tiny_run import make_training, tiny_run
from trained import StopAfter

from dreamer_jax.runtime.run import run_training
from dreamer_jax.runtime.training import Training

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")
TASK, STEPS = "testing:counting", 60


def config(**options: Any) -> Any:
    dotted = {name.replace("__", "."): value for name, value in options.items()}
    return tiny_run(TASK, {"steps": STEPS, "env.length": 5, "train_ratio": 4.0} | dotted)


def counted(root: Path) -> tuple[int, float, int]:
    """Return how many episodes the rows hold, their summed score, and their summed length."""
    rows = trained.read_lines(root / "metrics.jsonl")
    told = [row for row in rows if "episode/count" in row]
    total = lambda name: sum(row[name] * row["episode/count"] for row in told)
    count = sum(row["episode/count"] for row in told)
    return count, round(total("episode/score"), 6), round(total("episode/length"))


def taped(training: Training) -> tuple[int, float, int]:
    """Return the same of the episodes that ended, read from replay, which lost no record."""
    replay = training.parts.replay
    columns, count = replay._records.columns, int(replay.state()["count"][0])
    newest = training.parts.source._records
    join = lambda key: np.concatenate([columns[key][:, :count], newest[key][:, None]], 1)
    reward, first, last = (join(key) for key in ("reward", "is_first", "is_last"))
    episodes, scores, lengths = 0, 0.0, 0
    for stream in range(len(reward)):
        score, length = 0.0, 0
        for r, f, end in zip(reward[stream], first[stream], last[stream], strict=True):
            score, length = (0.0, 0) if f else (score + float(r), length + 1)
            if end:
                episodes, scores, lengths = episodes + 1, scores + score, lengths + length
    return episodes, round(scores, 6), lengths


def interrupt(root: Path, seed: int) -> Training:
    """Train to the end with stops and kills at random steps, and with an extension at the end."""
    rng = random.Random(seed)
    for _ in range(4):
        training = make_training(config(log__every=rng.choice([7, 1000])), root)
        training.restore()
        if rng.random() < 0.5:  # a kill: rows and steps since the last save are lost
            training.save = lambda: None  # type: ignore[method-assign]
        training.run(StopAfter(training, rng.randrange(STEPS)))
        training.close()
    for steps in (STEPS, STEPS + 20):
        training = make_training(config(steps=steps, log__every=rng.choice([11, 1000])), root)
        training.restore()
        assert training.run(StopAfter(training, 10**9))
        training.close()
    return training


@pytest.mark.parametrize("seed", range(6))
def test_every_episode_is_counted_exactly_once(seed, tmp_path):
    """Twice when a finished run was extended; never when the last interval was not complete."""
    training = interrupt(tmp_path, seed)
    assert counted(tmp_path) == taped(training)
    assert counted(tmp_path)[0] > 10


def test_a_run_shorter_than_its_interval_still_leaves_a_row(tmp_path):
    """Symptom: an empty metrics.jsonl and exit code 0."""
    assert run_training(config(steps=30, log__every=100), tmp_path) == 0
    (row,) = trained.read_lines(tmp_path / "metrics.jsonl")
    assert row["policy_steps"] >= 30 and row["episode/count"] > 0


def test_an_evaluation_adds_a_row_of_its_own_and_no_episode(tmp_path):
    options = {"log__every": 1000, "evaluation__episodes": 2, "evaluation__envs": 2}
    for _ in range(2):  # once more says nothing new
        assert run_training(config(**options), tmp_path) == 0
    before = counted(tmp_path)
    assert run_training(config(steps=STEPS + 20, **options), tmp_path) == 0
    rows = trained.read_lines(tmp_path / "metrics.jsonl")
    assert ["eval/score" in row for row in rows] == [False, True, False, True]
    assert counted(tmp_path)[0] > before[0]
    assert [row["policy_steps"] for row in rows] == sorted(row["policy_steps"] for row in rows)


LOOKING = {
    "rows": {"log__every": 3},
    "reports": {"log__report_every": 10},
    "outputs": {"log__outputs": "tensorboard"},
    "checkpoints": {"checkpoint__seconds": 0.0, "checkpoint__keep": 3},
    "evaluation": {"evaluation__episodes": 3, "evaluation__envs": 2},
}


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("unwatched")
    assert run_training(config(log__every=1000), root) == 0
    return state(root)


def state(root: Path) -> dict[str, Any]:
    """Return all that a checkpoint holds but what the options of looking are about."""
    everything = trained.everything(root)
    kept = {k: v for k, v in everything.items() if not k.startswith("/metrics")}
    return {k: v for k, v in kept.items() if not k.startswith(("/host/metrics", "/host/replay"))}


@pytest.mark.parametrize("name", LOOKING)
def test_looking_does_not_change_what_is_learned(name, tmp_path, unwatched):
    """A report drew from the online queue and from the sampler's generator."""
    assert run_training(config(**({"log__every": 1000} | LOOKING[name])), tmp_path) == 0
    watched = state(tmp_path)
    assert watched.keys() == unwatched.keys() and len(watched) > 100
    assert [key for key in watched if watched[key] != unwatched[key]] == []
