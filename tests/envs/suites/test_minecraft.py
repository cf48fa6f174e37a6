"""The Minecraft tasks behind MineRL's interface; the game itself runs nowhere near these tests."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from minerl_simulator import Game

from dreamer_jax.config import load_config
from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.naming import check_options
from dreamer_jax.envs.suites.minecraft import Minecraft, make, names
from dreamer_jax.envs.suites.minecraft_tasks import MILESTONES, TASKS
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.errors import UserError

TO_A_DIAMOND = (
    *("attack", "craft_planks", "craft_stick", "craft_crafting_table", "place_crafting_table"),
    *("craft_wooden_pickaxe", "equip_wooden_pickaxe", "attack", "attack", "craft_stone_pickaxe"),
    *("equip_stone_pickaxe", "attack", "craft_furnace", "place_furnace", "smelt_iron_ingot"),
    *("craft_iron_pickaxe", "equip_iron_pickaxe", "attack"),
)


def play(game: Game, task: str = "diamond", **options) -> Minecraft:
    return Minecraft(game, TASKS[task], **({"length": 97, "jump_steps": 3} | options))


def act(env: Minecraft, task: str, *actions: str) -> list[dict]:
    order = list(TASKS[task].actions)
    return [env.step({"action": np.int32(order.index(name))}) for name in actions]


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_contract_is_kept(task):
    assert check_env(lambda: play(Game(), task)) == []


def test_actions_are_those_of_the_published_runs():
    assert names() == ["climb", "diamond", "wood"]
    assert [len(TASKS[name].actions) for name in names()] == [12, 25, 12]
    assert len(MILESTONES) == 12


def test_every_action_is_one_the_game_knows():
    game = Game()
    env = play(game)
    env.reset(3)
    act(env, "diamond", *TASKS["diamond"].actions)
    assert len(game.actions) == 25  # each was checked by the simulator against the spaces


def test_each_milestone_pays_once_in_an_episode():
    env = play(Game())
    for _ in range(2):
        env.reset(3)
        records = act(env, "diamond", *TO_A_DIAMOND, *TO_A_DIAMOND)
        rewards = [float(record["reward"]) for record in records]
        first, second = rewards[: len(TO_A_DIAMOND)], rewards[len(TO_A_DIAMOND) :]
        assert sum(first) == 12 and max(first) == 1 and sum(second) == 0
        assert first[-1] == 1


def test_both_kinds_of_logs_are_wood_and_pay_each_time():
    env = play(Game(), "wood")
    env.reset(3)
    records = act(env, "wood", "attack", "attack", "noop", "attack")
    assert [float(record["reward"]) for record in records] == [1, 1, 0, 1]


def test_height_pays_when_climbing():
    env = play(Game(), "climb")
    env.reset(3)
    records = act(env, "climb", "noop", "jump", "noop", "noop", "noop")
    assert [float(record["reward"]) for record in records] == [0, 1, 1, 1, 0]


def test_health_pays_a_hundredth_of_a_full_bar():
    game = Game()
    env = play(game)
    env.reset(3)
    game.life = 15.0
    (lost,) = act(env, "diamond", "noop")
    assert lost["health"] == np.float32(0.75)
    np.testing.assert_allclose(lost["reward"], -0.01 * 5 / 20)
    game.life = 17.0
    (healed,) = act(env, "diamond", "noop")
    np.testing.assert_allclose(healed["reward"], 0.01 * 2 / 20, rtol=1e-5)


def test_inventory_counts_what_is_held_and_the_most_that_was():
    env = play(Game())
    record = env.reset(3)
    assert not record["inventory"].any() and record["equipped"].sum() == 1
    records = act(env, "diamond", "attack", "attack", "craft_planks")
    assert records[1]["inventory"].sum() == 2 == records[1]["inventory"].max()
    assert sorted(records[2]["inventory"][records[2]["inventory"] > 0]) == [1, 4]
    assert sorted(records[2]["inventory_max"][records[2]["inventory_max"] > 0]) == [2, 4]
    assert env.reset(5)["inventory_max"].sum() == 0


def test_equipped_is_the_item_in_hand():
    env = play(Game())
    first = env.reset(3)["equipped"]
    record = act(env, "diamond", *TO_A_DIAMOND[:7])[-1]
    assert record["equipped"].sum() == 1 and not np.array_equal(record["equipped"], first)


def test_a_jump_is_held_and_moves_forward():
    game = Game()
    env = play(game)
    env.reset(3)
    act(env, "diamond", "jump", "attack", "noop", "noop")
    assert [(each["jump"], each["forward"]) for each in game.actions] == [(1, 1)] * 3 + [(0, 0)]
    act(env, "diamond", "jump")
    env.reset(5)  # an episode does not begin with the last one's jump
    act(env, "diamond", "noop")
    assert game.actions[-1]["jump"] == 0


def test_the_view_stays_within_sixty_degrees():
    game = Game()
    env = play(game)
    env.reset(3)
    act(env, "diamond", *["turn_up"] * 6, *["turn_down"] * 9, "turn_left")
    angles = np.cumsum([each["camera"][0] for each in game.actions])
    assert (angles.min(), angles.max(), angles[-1]) == (-60, 60, 60)
    assert game.actions[-1]["camera"].tolist() == [0, -15]


def test_a_death_is_terminal_and_a_time_limit_is_not():
    env = play(Game(dies_after=3))
    env.reset(3)
    record = act(env, "diamond", "noop", "noop", "noop")[-1]
    assert record["is_last"] and record["is_terminal"]
    np.testing.assert_allclose(record["reward"], -0.01)
    env = play(Game(), length=2)
    env.reset(3)
    record = act(env, "diamond", "attack", "noop")[-1]
    assert record["is_last"] and not record["is_terminal"]
    obtained = {key: float(value) for key, value in record.items() if key.startswith("log/")}
    assert len(obtained) == 12 and obtained["log/obtained/log"] == 1 == sum(obtained.values())


def test_a_broken_connection_is_an_error():
    """MineRL goes on with a random observation, which would enter the replay as if it were seen."""
    env = play(Game(breaks_after=2))
    env.reset(3)
    act(env, "diamond", "noop")
    with pytest.raises(RuntimeError, match="the connection to Minecraft broke: Connection timed"):
        act(env, "diamond", "noop")


def test_the_view_is_the_picture_and_closing_ends_the_game():
    game = Game()
    env = play(game)
    np.testing.assert_array_equal(env.render(), np.zeros((32, 48, 3)))
    record = env.reset(3)
    np.testing.assert_array_equal(env.render(), record["image"])
    env.close(), env.close()
    assert game.closed == 1


def test_an_open_episode_is_closed_on_resume_instead_of_played_again():
    made = []

    def start() -> Minecraft:
        made.append(Game())
        return play(made[-1])

    with VectorEnv(start, 2, seed=3, workers="inline") as env:
        env.reset()
        zeros = {"action": np.zeros(2, np.int32)}
        env.step(zeros)
        state = env.state()
    with VectorEnv(start, 2, seed=3, workers="inline") as env:
        assert env.load_state(state) == [0, 1]
        assert not any(game.actions for game in made[2:])
        assert env.step(zeros)["is_first"].all()


def test_what_cannot_be_played_is_refused():
    with pytest.raises(UserError, match="unknown minecraft task 'diamonds'; close to it: diamond"):
        make("diamonds")
    with pytest.raises(UserError, match="length=0"):
        make("wood", length=0)


@pytest.mark.skipif(importlib.util.find_spec("minerl") is not None, reason="MineRL is installed")
def test_without_minerl_the_message_says_how_to_get_it():
    with pytest.raises(UserError, match=r"needs the package 'minerl': pip install minerl==0\.4\.4"):
        make("diamond")


def test_the_preset_names_options_that_exist():
    config = load_config("minecraft")
    check_options(config.task, make, config.env.to_dict())
    assert config.train_ratio == 32 and config.env.length == 36_000
