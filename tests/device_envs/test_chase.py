"""The toy environment: its rules, walked through by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_jax.device_envs.chase import PIXELS, Chase, ChaseState
from dreamer_jax.device_envs.host import _step
from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.chase import DARK, RULES
from dreamer_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("cheap_compile")

UP, DOWN, LEFT, RIGHT = range(4)


def state(agent: int, target: int, trap: int, clock: int = 0) -> ChaseState:
    places = map(jnp.int32, (agent, target, trap, clock))
    return ChaseState(*places, jax.random.key(5), jax.random.key(6))


def step(env: Chase, before: ChaseState, action: int):
    after, record = _step(env, before, {"action": jnp.int32(action)})
    return after, {key: np.asarray(value) for key, value in record.items()}


@pytest.mark.parametrize(
    ("action", "cell"), [(UP, 1), (DOWN, 7), (LEFT, 3), (RIGHT, 5)]
)  # of 3×3 cells, from the middle
def test_actions_move_one_cell(action, cell):
    after, record = step(Chase(cells=3), state(4, 0, 8), action)
    assert int(after.agent) == cell
    assert record["places"].tolist() == [[cell // 3, cell % 3], [0, 0], [2, 2]]
    assert (record["reward"], record["is_last"], int(after.clock)) == (0, False, 1)


@pytest.mark.parametrize(("action", "cell"), [(UP, 0), (LEFT, 0), (DOWN, 8), (RIGHT, 8)])
def test_walls_hold(action, cell):
    assert int(step(Chase(cells=3), state(cell, 4, 5), action)[0].agent) == cell


def test_the_target_pays_and_moves_to_a_free_cell():
    env, seen = Chase(cells=2), set()
    for seed in range(20):
        before = state(0, 1, 2)._replace(key=jax.random.key(seed))
        after, record = step(env, before, RIGHT)
        assert (record["reward"], record["is_last"]) == (1, False)
        seen.add(int(after.target))
    assert seen == {0, 3}


def test_the_trap_ends_the_episode_and_the_clock_truncates_it():
    env = Chase(cells=3, length=7)
    flags = lambda record: (record["is_last"], record["is_terminal"], record["log/caught"])
    assert flags(step(env, state(4, 0, 5), RIGHT)[1]) == (True, True, 1)
    assert flags(step(env, state(4, 0, 8, clock=6), RIGHT)[1]) == (True, False, 0)
    assert flags(step(env, state(4, 0, 5, clock=6), RIGHT)[1]) == (True, True, 1)
    assert flags(step(env, state(4, 0, 8, clock=5), RIGHT)[1]) == (False, False, 0)


def test_episodes_start_on_three_different_cells():
    states, records = jax.jit(jax.vmap(Chase(cells=2).reset))(
        jax.random.split(jax.random.key(0), 50)
    )
    cells = np.stack([states.agent, states.target, states.trap], -1)
    assert all(len(set(row)) == 3 for row in cells.tolist())
    assert len({tuple(row) for row in cells.tolist()}) > 10
    assert records["is_first"].all() and not records["reward"].any()


def test_the_picture_shows_the_three_cells():
    picture = Chase(cells=3, image=True).render(state(0, 4, 8))
    assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
    assert picture[:16, :16, 0].all() and picture[..., 0].sum() == 255 * 16**2
    assert picture[16:32, 16:32, 1].all() and picture[32:, 32:, 2].all()


@pytest.mark.parametrize(
    ("agent", "target", "action", "paid"),
    [  # of 3×3 cells; the trap is in the middle
        (0, 1, RIGHT, {"reach"}),
        (1, 8, LEFT, {"left", "flee"}),
        (0, 3, UP, {"left"}),  # the wall holds
        (1, 8, RIGHT, {"right", "flee"}),
        (5, 8, DOWN, {"reach", "right"}),
        (0, 2, RIGHT, set()),
        (0, 8, RIGHT, {"flee"}),  # one column and two rows away
    ],
)
def test_every_rule_pays_for_its_own_places(agent, target, action, paid):
    for rule in RULES:
        record = step(Chase(cells=3, rule=rule, reward_scale=0.5), state(agent, target, 4), action)
        assert record[1]["reward"] == 0.5 * (rule in paid), rule
        assert record[1]["reward"].dtype == np.float32


def test_rules_do_not_show_in_what_is_seen():
    before = state(0, 1, 4)
    after, records = zip(
        *(step(Chase(cells=3, rule=rule, image=True), before, RIGHT) for rule in RULES), strict=True
    )
    assert {int(each.target) for each in after} == {int(after[0].target)}
    for record in records:
        np.testing.assert_array_equal(record["places"], records[0]["places"])
        np.testing.assert_array_equal(record["image"], records[0]["image"])


@pytest.mark.parametrize("cells", [3, 5])  # 5 does not divide 48
def test_small_objects_stand_in_their_cells(cells):
    picture = Chase(cells=cells, image=True, object_size=4).render(
        state(0, cells + 1, cells**2 - 1)
    )
    for color, place in enumerate((0, 1, cells - 1)):
        rows, columns = np.nonzero(picture[..., color])
        first = -(-place * PIXELS // cells) + (PIXELS // cells - 4) // 2
        assert sorted(set(rows)) == sorted(set(columns)) == list(range(first, first + 4))
        assert len(rows) == 16


def test_the_noisy_background_moves_and_hides_no_object():
    options = {"cells": 3, "image": True, "object_size": 4}
    clean, noisy = Chase(**options), Chase(**options, background="noise")
    seen = [each.render(state(0, 4, 8, clock=0)) for each in (clean, noisy)]
    objects = seen[0].any(-1)
    np.testing.assert_array_equal(seen[1][objects], seen[0][objects])
    behind = seen[1][~objects]
    assert behind.max() < DARK and (behind == behind[:, :1]).all() and behind.std() > 10
    # Five steps later the same texture stands elsewhere.
    texture, moved = (
        np.asarray(noisy._background(state(0, 4, 8, clock)))[..., 0] for clock in (0, 5)
    )
    shifts = [
        (down, right)
        for down in range(-10, 11)
        for right in range(-10, 11)
        if (np.roll(texture, (down, right), (0, 1)) == moved).all()
    ]
    assert len(shifts) == 1 and shifts != [(0, 0)]


@pytest.mark.parametrize("task", ["device:chase", "device:chase_image"])
def test_the_contract_is_kept(task):
    assert check_env(lambda: make_env(task, length=11), episodes=3) == []


def test_the_contract_is_kept_with_a_background():
    options = {"length": 11, "object_size": 4, "background": "noise", "rule": "left"}
    assert check_env(lambda: make_env("device:chase_image", **options), episodes=2) == []


def test_bad_sizes_and_options_are_named():
    with pytest.raises(UserError, match="cells=17"):
        Chase(cells=17)
    with pytest.raises(UserError, match=r"has no option 'cell' \(did you mean 'cells'"):
        make_env("device:chase", cell=3)
    with pytest.raises(UserError, match="unknown device environment 'chas'; close to it: chase"):
        make_env("device:chas")
    with pytest.raises(UserError, match="rule is 'rest'"):
        Chase(rule="rest")
    with pytest.raises(UserError, match="a cell has room for 16 pixels"):
        Chase(cells=3, image=True, object_size=17)
    with pytest.raises(UserError, match="only chase_image has a picture"):
        Chase(background="noise")
