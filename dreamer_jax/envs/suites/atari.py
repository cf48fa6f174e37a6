"""Atari games on the Arcade Learning Environment's own interface: `atari:<game>`.

The defaults are the protocol of the published 200M-frame runs. Every episode is a function of its
seed. ALE seeds itself only when a ROM is loaded, which costs a tenth of a second, and its reset
leaves traces of the game before; so each game starts from one saved state, for the 5 ms of a reset
anyway, and the repeated ("sticky") actions are drawn here as ALE would: once per frame.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import numpy as np
from ale_py import ALEInterface, ALEState, LoggerMode, roms

from dreamer_jax.envs.adapters.images import resized
from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.envs.spec import signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

_STICKINESS = 0.25
_NOOP = 0
_LIVES = ("unused", "discount", "reset")
_ACTIONS = ("all", "needed")
# ALE's `tetris` writes outside its memory when a state is put back.
_BROKEN = ("tetris",)
# A state put back may show remains of another frame: for two frames at most in all games but this.
_STALE_FRAMES = 2
_INEXACT = ("tic_tac_toe_3d",)


def names() -> list[str]:
    """Return every game that ALE can play."""
    ale = _quiet_emulator()
    ids = (rom for rom in roms.get_all_rom_ids() if rom not in _BROKEN)
    return [rom for rom in ids if _playable(ale, rom)]


def _quiet_emulator() -> ALEInterface:
    # The first emulator greets on stderr otherwise.
    ALEInterface.setLoggerMode(LoggerMode.Error)
    return ALEInterface()


def _playable(ale: ALEInterface, name: str) -> bool:
    # Loading a ROM that ALE has no rules for ends the process.
    return ale.isSupportedROM(roms.get_rom_path(name)) is not None  # type: ignore[arg-type]


def make(
    name: str,
    /,
    *,
    size: tuple[int, int] = (96, 96),
    gray: bool = True,
    repeat: int = 4,
    sticky: bool = True,
    actions: str = "all",
    noops: int = 30,
    lives: str = "unused",
    pooling: int = 2,
    clip_reward: bool = False,
    time_limit: int = 108_000,
) -> Atari:
    """Build a game; the Atari100k protocol differs in `size`, `gray`, `sticky` and `actions`.

    Args:
        name: Snake-case name of the game, for example `ms_pacman`.
        size: Height and width of the observed picture.
        gray: Whether pictures have one channel of luminance instead of three of colour.
        repeat: Frames per step.
        sticky: Whether a frame repeats the last one's action with probability 0.25.
        actions: "all" for the full action set, "needed" for those that matter in this game.
        noops: Largest number of idle frames before an episode; drawn uniformly from 0 on.
        lives: What losing a life is: "unused" nothing; "discount" a terminal record inside
            the episode (`is_terminal` without `is_last`); "reset" the end of the episode, and
            the next one continues the game, so only the first is a function of its seed alone.
        pooling: Last frames of a step whose pixelwise maximum is observed.
        clip_reward: Whether a step's reward is replaced by its sign.
        time_limit: Frames of play after which a game is truncated.

    Raises:
        UserError: For an unknown game or an option out of range.
    """
    ale = _quiet_emulator()
    if name in _BROKEN:
        raise UserError(f"atari:{name} corrupts memory in ALE; choose another game")
    if name not in roms.get_all_rom_ids() or not _playable(ale, name):
        raise unknown_name("Atari game", name, names())
    _check_words(lives, actions)
    _check_counts(pooling, repeat, noops, time_limit)
    exact = name not in _INEXACT and repeat - pooling >= _STALE_FRAMES
    return (AtariWithSnapshots if exact else Atari)(
        name,
        size=(size[0], size[1]),
        gray=gray,
        repeat=repeat,
        sticky=sticky,
        minimal=actions == "needed",
        noops=noops,
        lives=lives,
        pooling=pooling,
        clip_reward=clip_reward,
        time_limit=time_limit,
    )


def _check_words(lives: str, actions: str) -> None:
    if lives not in _LIVES or actions not in _ACTIONS:
        raise UserError(
            f"lives={lives!r}, actions={actions!r}: lives is one of {', '.join(_LIVES)} and "
            f"actions one of {', '.join(_ACTIONS)}"
        )


def _check_counts(pooling: int, repeat: int, noops: int, time_limit: int) -> None:
    if not 1 <= pooling <= repeat or noops < 0 or time_limit < 1:
        raise UserError(
            f"pooling={pooling}, repeat={repeat}, noops={noops}, time_limit={time_limit}: "
            "pooling is at least 1 and at most repeat, noops at least 0, time_limit at least 1"
        )


class Atari:
    """One game. `make` documents and checks the arguments."""

    def __init__(
        self,
        name: str,
        *,
        size: tuple[int, int],
        gray: bool,
        repeat: int,
        sticky: bool,
        minimal: bool,
        noops: int,
        lives: str,
        pooling: int,
        clip_reward: bool,
        time_limit: int,
    ) -> None:
        self._ale = ale = _quiet_emulator()
        ale.setInt("random_seed", 0)
        ale.setFloat("repeat_action_probability", 0.0)
        ale.loadROM(roms.get_rom_path(name))  # type: ignore[arg-type]
        legal = ale.getMinimalActionSet() if minimal else ale.getLegalActionSet()
        self._actions = [action.value for action in legal]
        self._size, self._gray, self._sticky = size, gray, sticky
        self._noops, self._lives_mean, self._pooling = noops, lives, pooling
        self._clip, self._time_limit = clip_reward, time_limit
        self.repeat = repeat
        self.spaces = Spaces(
            {"image": Space(np.dtype(np.uint8), (*size, 1 if gray else 3))},
            {"action": Space(np.dtype(np.int32), (), len(self._actions))},
        )
        # One frame in, because Q*bert's first one needs what a saved state does not hold.
        ale.reset_game()
        ale.act(_NOOP)
        self._start = ale.cloneSystemState()
        self._start_screen, self._start_picture = self._screen(), ale.getScreenRGB()
        # Replaces the emulator's, which a state put back does not change.
        self._picture: np.ndarray | None = None
        self._image = np.zeros(0, np.uint8)  # observed last
        self._goes_on = False  # whether the next reset continues the game
        self._frames = 0
        self._lives = 0
        self._previous = _NOOP
        self._rng = np.random.default_rng(0)

    def reset(self, seed: int) -> Record:
        """Start the game that `seed` determines, or continue one after a lost life."""
        self._rng = np.random.default_rng(seed)
        if not self._goes_on:
            self._image = resized(self._new_game(), self._size)
        self._goes_on = False
        self._lives = self._ale.lives()
        return {"image": self._image.copy(), **signals(is_first=True)}

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action for `repeat` frames, fewer at an end."""
        chosen = self._actions[int(action["action"])]
        reward = 0.0
        screens: list[np.ndarray] = []
        for frame in range(1, self.repeat + 1):
            reward += self._act(chosen)
            self._frames += 1
            over, late = self._ale.game_over(), self._frames >= self._time_limit
            if over or late or frame > self.repeat - self._pooling:
                screens.append(self._screen())
            if over or late:
                break
        lost = self._ale.lives() < self._lives
        self._lives = self._ale.lives()
        ended_by_life = lost and self._lives_mean == "reset"
        self._goes_on = ended_by_life and not (over or late)
        pooled = screens[0]
        for screen in screens[1:]:
            np.maximum(pooled, screen, out=pooled)
        self._image = resized(pooled, self._size)
        return {
            "image": self._image.copy(),
            **signals(
                np.sign(reward) if self._clip else reward,
                is_last=over or late or ended_by_life,
                is_terminal=over or (lost and self._lives_mean != "unused"),
            ),
        }

    def render(self) -> np.ndarray:
        """Return the emulator's full colour frame `[210, 160, 3]`."""
        return self._ale.getScreenRGB() if self._picture is None else self._picture

    def close(self) -> None:
        """Do nothing: the emulator goes with the object."""

    def _new_game(self) -> np.ndarray:
        """Start a game from the saved state and idle; return the first observed frame."""
        while True:
            self._put_back(self._start)
            self._picture = self._start_picture
            self._frames, self._previous = 0, _NOOP
            idle = int(self._rng.integers(self._noops + 1))
            for _ in range(idle):
                self._act(_NOOP)
            if not self._ale.game_over():
                return self._screen() if idle else self._start_screen

    def _put_back(self, state: ALEState) -> None:
        # What a state does not hold (seen in Q*bert) gets one value by a reset and a frame.
        self._ale.reset_game()
        self._ale.act(_NOOP)
        self._ale.restoreSystemState(state)

    def _act(self, action: int) -> float:
        """Play one frame, sticky actions included, idle frames too."""
        if self._sticky and self._rng.random() < _STICKINESS:
            action = self._previous
        self._previous, self._picture = action, None
        return self._ale.act(action)

    def _screen(self) -> np.ndarray:
        if self._gray:
            return self._ale.getScreenGrayscale()[..., None]
        return self._ale.getScreenRGB()


class AtariWithSnapshots(Atari):
    """A game whose states can be put back exactly, as far as `make` knows.

    Compared over all games: memory, rewards and lives continue bit for bit; up to two frames
    after a restore may show remains of another picture, which these settings never observe.
    """

    def snapshot(self) -> bytes:
        """Return the whole state of the open episode."""
        file = io.BytesIO()
        own = {
            "frames": self._frames,
            "lives": self._lives,
            "goes_on": self._goes_on,
            "previous": self._previous,
            "rng": self._rng.bit_generator.state,
        }
        state = self._ale.cloneSystemState().serialize()
        np.savez_compressed(
            file,
            system=np.frombuffer(state, np.uint8),
            own=np.frombuffer(json.dumps(own).encode(), np.uint8),
            image=self._image,
            picture=self.render(),
        )
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Continue from a state that `snapshot` returned."""
        with np.load(io.BytesIO(state), allow_pickle=False) as file:
            system, own = file["system"], file["own"]
            self._image, self._picture = file["image"], file["picture"]
        self._put_back(ALEState(system.tobytes()))
        fields = json.loads(own.tobytes())
        self._frames, self._lives = fields["frames"], fields["lives"]
        self._goes_on, self._previous = fields["goes_on"], fields["previous"]
        self._rng.bit_generator.state = fields["rng"]
