"""The mission, the spaces and the messages that MineRL's own code makes of our specification."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("minerl", reason="MineRL needs an environment of its own")
pytestmark = pytest.mark.filterwarnings("ignore")  # of a package of 2021

from minerl_simulator import Game, short_spaces  # noqa: E402

from dreamer_jax.envs.suites.minecraft import Minecraft  # noqa: E402
from dreamer_jax.envs.suites.minecraft_tasks import TASKS  # noqa: E402
from dreamer_jax.envs.suites.minerl_spec import MinecraftSpec  # noqa: E402


def test_the_mission_is_the_published_one():
    text = MinecraftSpec((64, 64), 100.0).to_xml()
    xml = "".join(text.split())
    assert "<BreakSpeedMultiplier>100.0</BreakSpeedMultiplier>" in xml
    assert "<Width>64</Width><Height>64</Height>" in xml
    assert 'mode="Survival"' in text and 'forceReset="true"' in text
    assert "<StartTime>0</StartTime>" in xml


def test_a_wide_view_is_wide():
    assert MinecraftSpec((32, 48), 1.0).observation_space["pov"].shape == (32, 48, 3)


def test_the_simulator_has_spaces_that_minerl_has():
    spec = MinecraftSpec((32, 48), 100.0)
    seen, actions = short_spaces((32, 48))
    assert set(actions.spaces) == set(spec.action_space.spaces)
    assert set(seen["inventory"].spaces) <= set(spec.observation_space["inventory"].spaces)
    for key in ("place", "craft"):
        assert set(actions[key].values) <= {*spec.action_space[key].values}
    assert len(Game().observation_space["inventory"].spaces) == 391 + 1


def test_minerls_own_fake_game_plays_with_us(monkeypatch):
    """It answers with recorded data, through the same handlers that read the real game."""
    # The data was recorded in another mission, and the fake insists on that one.
    monkeypatch.setattr("minerl.env._fake.Navigate", MinecraftSpec)
    game = MinecraftSpec((64, 64), 100.0).make(fake=True)
    env = Minecraft(game, TASKS["diamond"], length=30, jump_steps=10)
    record = env.reset(3)
    for action in range(25):
        assert set(record) >= set(env.spaces.obs)
        for key, space in env.spaces.obs.items():
            assert record[key].shape == space.shape and record[key].dtype == space.dtype
        assert record["equipped"].sum() == 1 and 0 < record["health"] <= 1
        assert np.isfinite(record["reward"])
        record = env.step({"action": np.int32(action)})
