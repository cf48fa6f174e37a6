"""Atari: the protocol's defaults and options, seeds, first frames, ends, snapshots."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ale_py")

from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.suites.atari import Atari
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space

BYTE, INT = np.dtype(np.uint8), np.dtype(np.int32)
ATARI100K = {"size": (64, 64), "gray": False, "sticky": False, "actions": "needed"}


def _play(env, record, steps, seed=0):
    """Play random actions until an end; return what follows `record`."""
    rng = np.random.default_rng(seed)
    records = []
    for _ in range(steps):
        if record is not None and record["is_last"]:
            break
        record = env.step({"action": np.int32(rng.integers(env.spaces.action["action"].classes))})
        records.append(record)
    return records


def _equal(first, second):
    return len(first) == len(second) and all(
        all(np.array_equal(a[key], b[key]) for key in a) for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("options", [{}, ATARI100K], ids=["atari200m", "atari100k"])
def test_both_protocols_keep_the_contract(options):
    assert check_env(lambda: make_env("atari:pong", **options), max_steps=40) == []


def test_the_two_protocols_observe_and_act_differently():
    published, small = make_env("atari:pong"), make_env("atari:pong", **ATARI100K)
    assert published.spaces.obs == {"image": Space(BYTE, (96, 96, 1))}
    assert small.spaces.obs == {"image": Space(BYTE, (64, 64, 3))}
    assert published.spaces.action["action"] == Space(INT, (), 18)
    assert small.spaces.action["action"] == Space(INT, (), 6)
    assert published.repeat == small.repeat == 4


@pytest.mark.parametrize("noops", [0, 30])
@pytest.mark.parametrize("game", ["pong", "breakout"])
def test_the_first_frame_is_the_picture_of_the_reset_state(game, noops):
    """The maintained code's first frame was black until May 2026 (docs/algorithm.md 10)."""
    env = make_env(f"atari:{game}", noops=noops)
    for seed in range(3):
        image = env.reset(seed)["image"]
        assert image.max() > 0 and image.std() > 0
        # Neither the picture of the game before.
        _play(env, None, 5)


def test_the_first_frame_does_not_show_the_game_before():
    """The emulator shows remains of the game before after a reset, here in Sir Lancelot."""
    env = make_env("atari:sir_lancelot", noops=0)
    first, picture = env.reset(1)["image"], env.render()
    for steps in (1, 3, 20):
        played = _play(env, None, steps)[-1]["image"]
        assert (played != first).any()
        assert (env.reset(1)["image"] == first).all()
        assert (env.render() == picture).all()


@pytest.mark.parametrize("game", ["pong", "tennis", "qbert"])
@pytest.mark.parametrize("sticky", [True, False])
def test_an_episode_is_a_function_of_its_seed(game, sticky):
    """ALE's own reset leaves traces of the game before (tennis), and its seed needs a reload."""
    first, second = (make_env(f"atari:{game}", sticky=sticky) for _ in range(2))
    second.reset(1)
    _play(second, None, 17, seed=5)
    expected, found = [first.reset(9)], [second.reset(9)]
    expected += _play(first, None, 25)
    found += _play(second, None, 25)
    assert _equal(expected, found)
    first.reset(8)
    assert not _equal(expected[1:], _play(first, None, 25))


def test_a_state_put_back_hides_what_it_does_not_hold():
    """Q*bert goes on differently in an instance that was reset and has played no frame since."""
    first, second = (make_env("atari:qbert", noops=0, repeat=1, pooling=1) for _ in range(2))
    second._ale.reset_game()
    assert _equal(_play(first, first.reset(3), 30), _play(second, second.reset(3), 30))


def test_sticky_actions_repeat_a_quarter_of_the_frames(monkeypatch):
    env = make_env("atari:pong", noops=0)
    env.reset(3)
    played = []
    ale = env._ale

    class Recorder:
        def act(self, action):
            played.append(int(action))
            return ale.act(action)

        def __getattr__(self, name):
            return getattr(ale, name)

    monkeypatch.setattr(env, "_ale", Recorder())
    wanted = []
    for step in range(500):
        action = 2 + step % 2  # no two steps choose the same
        env.step({"action": np.int32(action)})
        wanted += [action] * 4
    # Only a step's first frames can show a repeat: the later ones choose what was chosen before.
    first = np.array([p != w for p, w in zip(played[::4], wanted[::4], strict=True)])
    assert 0.2 < first.mean() < 0.3
    second = np.array([p != w for p, w in zip(played[1::4], wanted[1::4], strict=True)])
    assert 0.02 < second.mean() < 0.11  # a quarter of a quarter
    assert played[0] in (0, 2)


def test_noops_are_drawn_from_the_seed():
    env = make_env("atari:pong", noops=7, sticky=False)
    frames = []
    for seed in range(60):
        env.reset(seed)
        frames.append(env._ale.getEpisodeFrameNumber())
    assert len(set(frames)) == 8
    assert max(frames) - min(frames) == 7


def test_a_time_limit_is_truncation_and_not_termination():
    """The maintained code returns `is_last` for `is_terminal` (docs/algorithm.md 10)."""
    env = make_env("atari:pong", time_limit=21)
    for seed in range(2):
        records = _play(env, env.reset(seed), 100)
        assert len(records) == 6  # 21 frames: five steps of four, and one
        assert records[-1]["is_last"] and not records[-1]["is_terminal"]
        assert not any(record["is_last"] for record in records[:-1])


# Breakout has five lives, and a random player loses them fast.
BREAKOUT = {"actions": "needed", "noops": 0}


def test_game_over_is_termination_and_lives_are_unused_by_default():
    env = make_env("atari:breakout", **BREAKOUT)
    records = _play(env, env.reset(0), 2000)
    assert records[-1]["is_last"] and records[-1]["is_terminal"]
    assert sum(bool(record["is_terminal"]) for record in records) == 1
    assert env.reset(1)["is_first"] and env._ale.lives() == 5


def test_a_lost_life_can_be_terminal_inside_the_episode():
    env = make_env("atari:breakout", lives="discount", **BREAKOUT)
    records = _play(env, env.reset(0), 2000)
    terminal = [bool(record["is_terminal"]) for record in records]
    assert sum(terminal) == 5 and terminal[-1]
    assert [bool(record["is_last"]) for record in records] == [False] * (len(records) - 1) + [True]
    same = _play(unused := make_env("atari:breakout", **BREAKOUT), unused.reset(0), 2000)
    assert len(same) == len(records), "lives change what is said of the game, not the game"


def test_a_lost_life_can_end_the_episode_and_the_game_goes_on():
    env = make_env("atari:breakout", lives="reset", **BREAKOUT)
    for left in (4, 3, 2, 1, 0):
        record = env.reset(0)
        assert record["is_first"] and not record["is_terminal"]
        assert env._ale.lives() == left + 1
        records = _play(env, record, 2000)
        assert records[-1]["is_last"] and records[-1]["is_terminal"]
        assert env._ale.lives() == left
        last = records[-1]["image"]
        if left:
            # The same game goes on from the same picture, also after it was put back.
            env.restore(state := env.snapshot())
            assert (env.reset(1)["image"] == last).all()
            env.restore(state)
    env.reset(2)
    assert env._ale.lives() == 5


def test_rewards_are_summed_and_clipped_on_request():
    plain, clipped = make_env("atari:qbert"), make_env("atari:qbert", clip_reward=True)
    rewards = [r["reward"] for r in _play(plain, plain.reset(0), 150)]
    signs = [r["reward"] for r in _play(clipped, clipped.reset(0), 150)]
    assert max(rewards) >= 25
    assert np.sign(rewards).tolist() == signs


def test_pooling_takes_the_maximum_of_the_last_frames():
    one = {"noops": 0, "sticky": False, "size": (210, 160), "repeat": 1, "pooling": 1}
    single = make_env("atari:pong", **one)
    pooled = make_env("atari:pong", **(one | {"repeat": 4, "pooling": 2}))
    single.reset(0), pooled.reset(0)
    for _ in range(30):
        action = {"action": np.int32(2)}
        frames = [single.step(action)["image"] for _ in range(4)]
        image = pooled.step(action)["image"]
        assert (image == np.maximum(frames[2], frames[3])).all()
    assert (frames[2] != frames[3]).any(), "the ball must move"


def test_render_is_the_full_colour_frame():
    env = make_env("atari:pong")
    env.reset(0)
    picture = env.render()
    assert picture.shape == (210, 160, 3) and picture.dtype == np.uint8


@pytest.mark.parametrize("game", ["pong", "qbert", "yars_revenge"])
def test_a_snapshot_continues_bit_for_bit_in_another_instance(game):
    """What ALE's state does not hold showed first in Q*bert and Yars' Revenge."""
    first, second = make_env(f"atari:{game}"), make_env(f"atari:{game}")
    for seed in range(3):
        first.reset(seed)
        _play(first, None, 10 + 7 * seed, seed)
        state, picture = first.snapshot(), first.render()
        second.reset(seed + 5)
        _play(second, None, 5, seed)
        second.restore(state)
        assert (second.render() == picture).all()
        assert _equal(_play(first, None, 30, 1), _play(second, None, 30, 1))
        # Sticky actions go on too: their generator is part of the state.
        assert first._rng.bit_generator.state == second._rng.bit_generator.state


def test_a_snapshot_keeps_the_clock_and_the_lives():
    options = BREAKOUT | {"lives": "discount", "time_limit": 400}
    first, second = (make_env("atari:breakout", **options) for _ in range(2))
    first.reset(0)
    _play(first, None, 50, 1)
    second.restore(first.snapshot())
    expected, found = (
        _play(first, {"is_last": False}, 500, 2),
        _play(second, {"is_last": False}, 500, 2),
    )
    assert len(expected) == 50 and any(record["is_terminal"] for record in expected)
    assert _equal(expected, found)


@pytest.mark.slow
def test_snapshots_of_every_game_continue_bit_for_bit():
    from dreamer_jax.envs.suites.atari import names

    wrong = []
    for game in names():
        first, second = make_env(f"atari:{game}"), make_env(f"atari:{game}")
        if not hasattr(first, "snapshot"):
            continue
        first.reset(1)
        for cut in range(5):
            _play(first, None, 29, cut)
            second.reset(2)
            _play(second, None, 3, cut)
            second.restore(first.snapshot())
            alive = {"is_last": first._ale.game_over()}
            if not _equal(_play(first, alive, 11, cut), _play(second, alive, 11, cut)):
                wrong.append((game, cut))
    assert wrong == []


def test_games_and_settings_whose_snapshots_are_not_exact_have_none():
    assert type(make_env("atari:tic_tac_toe_3d")) is Atari
    assert type(make_env("atari:pong", repeat=3)) is Atari
    assert hasattr(make_env("atari:pong"), "restore")


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("atari:tetris", {}, "corrupts memory"),
        ("atari:combat", {}, "unknown Atari game 'combat'"),
        ("atari:pong", {"lives": "none"}, "lives is one of unused, discount, reset"),
        ("atari:pong", {"actions": "some"}, "actions one of all, needed"),
        ("atari:pong", {"repeat": 1}, "pooling=2, repeat=1"),
        ("atari:pong", {"time_limit": 0}, "time_limit at least 1"),
    ],
)
def test_senseless_options_are_refused(task, options, message):
    with pytest.raises(UserError, match=message):
        make_env(task, **options)
