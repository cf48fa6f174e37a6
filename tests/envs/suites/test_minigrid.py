"""MiniGrid: symbols as classes, pixels from both views, missions as words."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("minigrid")

from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.suites.minigrid import _WORDS, names
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space

BYTE, INT = np.dtype(np.uint8), np.dtype(np.int32)
EMPTY, KEY, FETCH = "MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-6x6-v0", "MiniGrid-Fetch-5x5-N2-v0"
LEFT, FORWARD = 0, 2
AGENT, GOAL = 10, 8


def _sentence(record):
    return " ".join(_WORDS[i] for i in record["mission"]).strip()


@pytest.mark.parametrize("view", ["symbols", "pixels"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", [KEY, "BabyAI-PutNextLocal-v0"])
def test_the_contract_is_kept(name, whole, view):
    make = lambda: make_env(f"minigrid:{name}", view=view, whole=whole)
    assert check_env(make, max_steps=30) == []


def test_symbols_are_classes_of_cells():
    env = make_env(f"minigrid:{EMPTY}")
    assert env.spaces.obs == {
        "direction": Space(INT, (), 4),
        "object": Space(INT, (7, 7), 11),
        "color": Space(INT, (7, 7), 6),
        "state": Space(INT, (7, 7), 4),
    }
    assert env.spaces.action == {"action": Space(INT, (), 7)}
    record = env.reset(0)
    assert (record["object"] == GOAL).sum() == 1
    turned = env.step({"action": np.int32(LEFT)})
    assert (record["direction"], turned["direction"]) == (0, 3)


def test_the_whole_grid_shows_the_agent_and_its_direction():
    env = make_env(f"minigrid:{EMPTY}", whole=True)
    assert env.spaces.obs["object"].shape == (5, 5)
    record = env.reset(0)
    assert record["object"][1, 1] == AGENT and record["object"][3, 3] == GOAL
    record = env.step({"action": np.int32(FORWARD)})
    assert record["object"][2, 1] == AGENT
    assert env.step({"action": np.int32(LEFT)})["state"][2, 1] == 3


def test_pixels_are_cells_centred_on_black():
    part = make_env(f"minigrid:{EMPTY}", view="pixels")
    whole = make_env(f"minigrid:{EMPTY}", view="pixels", whole=True, size=(48, 64))
    assert part.spaces.obs["image"] == Space(BYTE, (64, 64, 3))
    assert whole.spaces.obs["image"] == Space(BYTE, (48, 64, 3))
    image = whole.reset(0)["image"]
    # Five cells of nine pixels in 48 × 64: one and nine lines of black above and to the left.
    assert not image[0].any() and not image[:, :9].any() and image[1, 9].any()
    assert part.reset(0)["image"].std() > 0
    assert whole.render().shape == (160, 160, 3)


def test_missions_that_differ_are_read_word_by_word():
    env = make_env(f"minigrid:{FETCH}")
    assert env.spaces.obs["mission"] == Space(INT, (6,), len(_WORDS))
    sentences = {_sentence(env.reset(seed)) for seed in range(20)}
    assert len(sentences) > 5
    assert {sentence.split()[-1] for sentence in sentences} == {"key", "ball"}


def test_missions_that_never_change_or_are_dropped_are_no_key():
    assert "mission" not in make_env(f"minigrid:{KEY}").spaces.obs
    assert "mission" not in make_env(f"minigrid:{FETCH}", mission="drop").spaces.obs
    baby = make_env("minigrid:BabyAI-GoToLocal-v0")
    assert _sentence(baby.reset(0)).startswith("go to")


def test_babyai_is_silent_about_layouts_it_gave_up(capsys):
    env = make_env("minigrid:BabyAI-PutNextLocal-v0")
    for seed in range(20):
        env.reset(seed)
    assert capsys.readouterr().out == ""


def test_reaching_the_goal_is_terminal_and_the_time_limit_is_not():
    env = make_env(f"minigrid:{EMPTY}")
    env.reset(0)
    for action in (FORWARD, FORWARD, 1, FORWARD, FORWARD):
        record = env.step({"action": np.int32(action)})
    assert record["is_terminal"] and record["is_last"] and record["reward"] > 0.9
    record = env.reset(0)
    while not record["is_last"]:
        record = env.step({"action": np.int32(LEFT)})
    assert not record["is_terminal"] and record["reward"] == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("MiniGrid-DoorKey-6x6", {}, r"unknown minigrid id.*MiniGrid-DoorKey-6x6-v0"),
        ("MiniGrid-WFC-MazeSimple-v0", {}, "patterns that the package does not ship"),
        (EMPTY, {"view": "rgb"}, "view='rgb'.*symbols, pixels"),
        (EMPTY, {"mission": "text"}, "mission='text'.*words, drop"),
        (
            "MiniGrid-FourRooms-v0",
            {"view": "pixels", "whole": True, "size": (48, 48)},
            r"19×19 cells in 48×48 pixels.*size=\(64, 64\)",
        ),
    ],
)
def test_what_cannot_work_is_said(name, options, message):
    with pytest.raises(UserError, match=message):
        make_env(f"minigrid:{name}", **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_every_mission_of_every_grid_can_be_read():
    ids = names()
    assert len(ids) > 150
    for name in ids:
        env = make_env(f"minigrid:{name}")
        for seed in range(10):
            env.reset(seed)
