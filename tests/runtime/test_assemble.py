"""What a run is made of, before its first step: how much replay it gets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tiny_run import make_training, tiny_run
from trained import StopAfter

from dreamer_jax.errors import UserError
from dreamer_jax.runtime import assemble
from dreamer_jax.runtime.assemble import fitting_capacity, make_replay
from dreamer_jax.runtime.environments import Environments, make_envs
from dreamer_jax.runtime.run import run_training
from dreamer_jax.types import Space

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")
COLUMNS = {"x": Space(np.dtype(np.float32), (3,))}  # 12 bytes
LATENTS = {"h": Space(np.dtype(np.float32), (1,))}  # 4 bytes


def train(config: Any, root: Any) -> Any:
    training = make_training(config, root)
    training.restore()
    training.run(StopAfter(training, math.inf))
    training.close()
    return training.parts.replay


def test_episodes_of_one_step_fill_a_replay_without_losing_any(tmp_path):
    """Each makes two records a step; the margin over the steps was a tenth."""
    config = tiny_run("testing:counting", {"steps": 700, "env.length": 1, "train_ratio": 0.1})
    replay = train(config, tmp_path)
    assert replay.size == sum(replay.state()["count"]) >= 1390


def test_fewer_steps_on_resume_cut_nothing_from_replay(tmp_path):
    """654 records became 210 in the checkpoint that was overwritten at the same step."""
    options = {"env.length": 5, "train_ratio": 0.5}
    for steps in (900, 300):
        assert run_training(tiny_run("testing:counting", options | {"steps": steps}), tmp_path) == 0
    training = make_training(tiny_run("testing:counting", options | {"steps": 900}), tmp_path)
    assert training.restore() and training.parts.replay.size > 900
    training.close()


def test_every_seed_and_every_process_draws_windows_of_its_own():
    """Nothing noticed processes that all drew the same windows of their own replays."""
    config = tiny_run("testing:counting", {"env_workers": "inline"})

    def drawn(seed: int, process: int) -> str:
        config.seed = seed
        with make_envs(config, 3, seed=0) as envs:
            return str(make_replay(config, Environments(envs), LATENTS, process).state()["rng"])

    assert len({drawn(seed, process) for seed in (0, 1) for process in (0, 1)}) == 4
    assert drawn(1, 1) == drawn(1, 1)


@pytest.mark.parametrize(
    ("present", "capacity"),
    [
        (10**6, 2000),  # all that is asked for
        (30_000, 1500),  # 80 % of the memory
        (24_000, 1200),  # just what long episodes need
    ],
)
def test_capacity_is_what_is_asked_for_as_far_as_the_memory_allows(present, capacity, monkeypatch):
    monkeypatch.setattr(assemble, "present_memory", lambda: present)
    monkeypatch.setattr("dreamer_jax.replay.memory.present_memory", lambda: present)
    assert fitting_capacity(COLUMNS, LATENTS, 2000, 1, usual=1000) == capacity


def test_a_replay_of_long_episodes_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr("dreamer_jax.replay.memory.present_memory", lambda: 23_000)
    with pytest.raises(UserError, match="GiB"):
        fitting_capacity(COLUMNS, LATENTS, 2000, 1, usual=1000)
