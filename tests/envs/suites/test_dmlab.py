"""DMLab behind the interface of its own package; the game itself runs nowhere near these tests."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from dreamer_jax.config import load_config
from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.naming import check_options
from dreamer_jax.envs.suites.dmlab import ACTIONS, LEVELS, embedded, make, names
from dreamer_jax.errors import UserError

# As `deepmind_lab.Lab.action_spec` has them: name, least, greatest.
_CONTROLS = (
    ("LOOK_LEFT_RIGHT_PIXELS_PER_FRAME", -512, 512),
    ("LOOK_DOWN_UP_PIXELS_PER_FRAME", -512, 512),
    ("STRAFE_LEFT_RIGHT", -1, 1),
    ("MOVE_BACK_FORWARD", -1, 1),
    ("FIRE", 0, 1),
    ("JUMP", 0, 1),
    ("CROUCH", 0, 1),
)


class Lab:
    """The package's interface: frames that count, until `FRAMES` are over."""

    FRAMES = 30
    made: Lab

    def __init__(self, level, observations, config=None, renderer="software", **rest):
        assert not rest and all(isinstance(value, str) for value in config.values())
        self.level, self.config, self.renderer = level, config, renderer
        self._asked, self._running = observations, False
        self.actions: list[list[int]] = []
        self.closed = 0
        Lab.made = self

    def action_spec(self):
        return [{"name": name, "min": low, "max": high} for name, low, high in _CONTROLS]

    def reset(self, episode=-1, seed=None):  # noqa: ARG002
        assert isinstance(seed, int) and 0 <= seed < 2**31
        self._rng, self._frame, self._running = np.random.default_rng(seed), 0, True

    def is_running(self):
        return self._running

    def observations(self):
        if not self._running:
            raise RuntimeError("Environment in wrong status for call to observations()")
        shape = (int(self.config["height"]), int(self.config["width"]), 3)
        pixels = self._rng.integers(256, size=shape).astype(np.uint8)
        everything = {"RGB_INTERLEAVED": pixels, "INSTR": "pick up the Hat"}
        return {name: everything[name] for name in self._asked}

    def step(self, action, num_steps=1):
        assert self._running and action.dtype == np.intc and action.shape == (7,)
        for value, (_, low, high) in zip(action, _CONTROLS, strict=True):
            assert low <= value <= high
        self.actions.append(action.tolist())
        self._frame += num_steps
        self._running = self._frame < self.FRAMES
        return float(action[3]) * num_steps

    def close(self):
        self.closed += 1


@pytest.fixture(autouse=True)
def deepmind_lab(monkeypatch):
    package = types.ModuleType("deepmind_lab")
    package.Lab = Lab
    monkeypatch.setitem(sys.modules, "deepmind_lab", package)


@pytest.mark.parametrize("level", ["rooms_watermaze", "language_execute_random_task"])
def test_the_contract_is_kept(level):
    assert check_env(lambda: make(level, size=(24, 32), repeat=7)) == []


def test_there_are_thirty_levels():
    assert len(set(LEVELS)) == 30 == len(names())


def test_every_action_of_the_published_set_reaches_the_game():
    env = make("rooms_watermaze", repeat=1)
    env.reset(3)
    for index in range(15):
        env.step({"action": np.int32(index)})
    sent = Lab.made.actions
    assert len(ACTIONS) == 15 == len({tuple(action) for action in sent})
    assert sent[0] == [0, 0, 0, 1, 0, 0, 0] and sent[2] == [0, 0, -1, 0, 0, 0, 0]
    assert sent[12] == [-60, 0, 0, 1, 0, 0, 0] and sent[14] == [0, 0, 0, 0, 1, 0, 0]


def test_actions_are_held_and_the_last_picture_stays_after_the_end():
    env = make("rooms_watermaze", repeat=15)
    env.reset(3)
    record = env.step({"action": np.int32(0)})
    assert record["reward"] == 15 and not record["is_last"] and env.repeat == 15
    last = env.step({"action": np.int32(0)})
    assert last["is_last"] and last["is_terminal"]
    np.testing.assert_array_equal(last["image"], record["image"])
    np.testing.assert_array_equal(env.render(), record["image"])


def test_levels_are_found_and_configured():
    make("rooms_exploit_deferred_effects_train", size=(24, 32), renderer="software")
    lab = Lab.made
    assert lab.level == "contributed/dmlab30/rooms_exploit_deferred_effects_train"
    assert lab.config == {"height": "24", "width": "32", "logLevel": "WARN"}
    assert lab.renderer == "software"
    make("rooms_exploit_deferred_effects_train", hold_out=True)
    assert Lab.made.level == "contributed/dmlab30/rooms_exploit_deferred_effects_test"
    assert Lab.made.config["allowHoldOutLevels"] == "true"
    assert Lab.made.config["mixerSeed"] == str(0x600D5EED)


def test_instructions_are_words_with_numbers_of_their_own():
    env = make("language_select_located_object")
    heard = env.reset(3)["instruction"].reshape(32, 32)
    assert np.all(np.any(heard[:4] != 0, axis=1)) and not heard[4:].any()
    other = embedded("HAT, the").reshape(32, 32)
    np.testing.assert_array_equal(other[0], heard[3])  # hat
    np.testing.assert_array_equal(other[2], heard[2])  # the
    assert not np.array_equal(other[1], heard[0])
    assert embedded("many words " * 30).shape == (1024,) and not embedded("").any()


def test_closing_twice_closes_once():
    env = make("rooms_watermaze")
    env.close(), env.close()
    assert Lab.made.closed == 1


def test_what_cannot_be_played_is_refused(monkeypatch):
    with pytest.raises(UserError, match="unknown dmlab level 'watermaze'; close to it: rooms_wat"):
        make("watermaze")
    with pytest.raises(UserError, match="repeat is 0"):
        make("rooms_watermaze", repeat=0)
    with pytest.raises(UserError, match="renderer is 'gpu'"):
        make("rooms_watermaze", renderer="gpu")
    monkeypatch.setitem(sys.modules, "deepmind_lab", None)
    with pytest.raises(UserError, match="'deepmind_lab', which has no wheel"):
        make("rooms_watermaze")


def test_the_preset_names_options_that_exist():
    config = load_config("dmlab")
    check_options(config.task, make, config.env.to_dict())
    assert config.train_ratio == 32 and tuple(config.env.size) == (64, 64)
