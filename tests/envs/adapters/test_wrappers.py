"""Wrappers: times in simulator steps, images of the size asked for."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.adapters.wrappers import ActionRepeat, Resize, TimeLimit, wrap
from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.envs.testing.mixed import Mixed
from dreamer_jax.errors import UserError

LEFT = {"action": np.int32(1)}


def test_nothing_asked_for_wraps_nothing():
    env = Counting()
    assert wrap(env) is env


def test_repeat_counts_simulator_steps_and_sums_rewards():
    env = wrap(Counting(length=5, actions=3, ending="terminal"), repeat=2)
    assert env.repeat == 2
    env.reset(0)
    record = env.step(LEFT)
    assert record["index"] == 2
    assert record["reward"] == (1 * 3 + 1) + (2 * 3 + 1)
    env.step(LEFT)
    record = env.step(LEFT)
    assert record["index"] == 5 and record["is_last"] and record["is_terminal"]
    assert record["reward"] == 5 * 3 + 1


def test_a_terminal_record_inside_a_repeat_is_not_lost():
    class LifeLoss(Counting):
        def step(self, action):
            record = super().step(action)
            return record | {"is_terminal": np.bool_(record["index"] == 1)}

    env = ActionRepeat(LifeLoss(length=7), 2)
    env.reset(0)
    record = env.step(LEFT)
    assert record["is_terminal"] and not record["is_last"]


@pytest.mark.parametrize(("repeat", "steps"), [(1, 4), (3, 2)])
def test_the_time_limit_is_in_simulator_steps_and_truncates(repeat, steps):
    env = wrap(Counting(length=11, ending="terminal"), repeat=repeat, time_limit=4)
    for seed in (1, 2):
        record, taken = env.reset(seed), 0
        while not record["is_last"]:
            record = env.step(LEFT)
            taken += 1
        assert taken == steps
        assert record["index"] == 4 and not record["is_terminal"]


def test_a_true_end_at_the_time_limit_stays_terminal():
    env = TimeLimit(Counting(length=4, ending="terminal"), 4)
    record = env.reset(0)
    while not record["is_last"]:
        record = env.step(LEFT)
    assert record["is_terminal"]


def test_padding_keeps_the_pixels_in_the_middle():
    inner = Mixed(size=48)
    env = Resize(inner, (64, 50), "pad")
    assert env.spaces.obs["image"].shape == (64, 50, 3)
    image = env.reset(3)["image"]
    assert (image[8:56, 1:49] == Mixed(size=48).reset(3)["image"]).all()
    border = image.copy()
    border[8:56, 1:49] = 0
    assert not border.any()


def test_resizing_keeps_the_mean_and_every_channel_apart():
    env = Resize(Mixed(size=96), (48, 48))
    image, original = env.reset(3)["image"], Mixed(size=96).reset(3)["image"]
    assert image.shape == (48, 48, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image.mean((0, 1)), original.mean((0, 1)), atol=1.0)


def test_wrapped_environments_keep_the_contract():
    assert check_env(lambda: wrap(Mixed(), repeat=2, time_limit=7, size=(64, 64))) == []


@pytest.mark.parametrize(
    "options",
    [
        {"repeat": 0},
        {"time_limit": 0},
        {"size": (16, 16), "fit": "pad"},
        {"size": (9, 9), "fit": "x"},
    ],
)
def test_senseless_options_are_refused(options):
    with pytest.raises(UserError):
        wrap(Mixed(), **options)


def test_frames_are_stacked_oldest_first_and_begin_with_the_first():
    env, plain = wrap(Mixed(length=7), stack=3), Mixed(length=7)
    assert env.spaces.obs["image"].shape == (48, 48, 9)
    assert env.spaces.obs["vector"] == plain.spaces.obs["vector"]
    action = {"move": np.ones(2, np.float32), "choice": np.int32(1), "pair": np.zeros(2, np.int32)}
    for seed in (3, 5):  # nothing of an episode remains in the next
        frames = [plain.reset(seed)["image"]] * 3
        assert (env.reset(seed)["image"] == np.concatenate(frames, -1)).all()
        for _ in range(4):
            frames = [*frames[1:], plain.step(action)["image"]]
            assert (env.step(action)["image"] == np.concatenate(frames, -1)).all()
    assert check_env(lambda: wrap(Mixed(length=7), stack=3)) == []


@pytest.mark.parametrize(("env", "stack"), [(Mixed(), 0), (Counting(), 2)])
def test_stacks_need_pictures_and_at_least_one_frame(env, stack):
    with pytest.raises(UserError, match=f"stack is {stack}"):
        wrap(env, stack=stack)


def test_what_a_record_lacks_is_marked_as_missing():
    class Forgetful(Mixed):
        def step(self, action):
            record = super().step(action)
            if self._index % 2:
                del record["vector"], record["integer"], record["flags"], record["image"]
            return record

    env = wrap(Forgetful(), fill_missing=True)
    first = env.reset(3)
    assert np.isfinite(first["vector"]).all()
    action = {"move": np.ones(2, np.float32), "choice": np.int32(1), "pair": np.zeros(2, np.int32)}
    record = env.step(action)
    assert np.isneginf(record["vector"]).all() and record["integer"] == -1
    assert not record["flags"].any() and not record["image"].any()
    assert record["image"].shape == (48, 48, 3)
    assert np.isfinite(env.step(action)["vector"]).all()
    assert check_env(lambda: wrap(Forgetful(), fill_missing=True)) == []
    assert "'vector' is missing from a record" in check_env(Forgetful)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("time_limit", "soon", "time_limit is 'soon'; an episode has at least one step"),
        ("time_limit", 2.5, r"time_limit is 2\.5"),
        ("time_limit", True, "time_limit is True"),
        ("time_limit", 0, "time_limit is 0"),
        ("repeat", "2", "repeat is '2'; an action is applied at least once"),
        ("stack", "4", "stack is '4'"),
        ("size", 64, "size is 64; it is height and width in pixels"),
        ("size", (64,), "size is"),
        ("size", (0, 64), "size is"),
        ("size", "64x64", "size is"),
        ("fill_missing", "false", "fill_missing is 'false'; it is True or False"),
    ],
)
def test_senseless_options_are_refused_in_words(option, value, message):
    with pytest.raises(UserError, match=message):
        wrap(Counting(), **{option: value})
