"""Whether an environment keeps the contract in `spec.py`, said in words.

It plays random episodes twice, in two instances with the same seeds and actions but different
pasts, so that what depends on anything but the seed shows as a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.checking.records import (
    end_problems,
    is_set,
    record_problems,
    reset_problems,
)
from dreamer_jax.envs.spec import Env
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record

_SEED = 2_147_483_629  # near the largest, where 32-bit arithmetic would show
_PAST_STEPS = 3  # of another episode, before the one that is compared
_SNAPSHOT_STEPS = 3  # before and after a snapshot
# Episodes that all end terminally after the same number of steps are suspicious from here on.
_SHORTEST_LIMIT = 10


class Played(NamedTuple):
    """One episode."""

    length: int  # steps
    end: str  # "terminal", "truncated", or "unfinished" after the most steps allowed


class Findings(NamedTuple):
    """What a check has come to."""

    problems: list[str]  # breaches of the contract, each once
    hints: list[str]  # what is allowed but rarely meant
    episodes: list[Played]


def check_env(
    make: Callable[[], Env],
    episodes: int = 2,
    max_steps: int = 1000,
    inner_terminals: bool = False,
) -> list[str]:
    """Return the problems that `examine_env` finds; empty if there are none."""
    return examine_env(make, episodes, max_steps, inner_terminals).problems


def examine_env(
    make: Callable[[], Env],
    episodes: int = 2,
    max_steps: int = 1000,
    inner_terminals: bool = False,
) -> Findings:
    """Play an environment and say what it does wrong.

    Args:
        make: Builds an environment; called twice.
        episodes: How many to play.
        max_steps: Steps after which an episode is left unfinished.
        inner_terminals: Whether `is_terminal` may come without `is_last`, as lost lives do.
    """
    examination = _Examination(make(), make(), max_steps, inner_terminals)
    try:
        examination.run(episodes)
    finally:
        examination.close()
    return Findings(list(examination.problems), examination.hints(), examination.played)


class _Failed(Exception):
    """An environment raised; there is nothing left to play."""


class _Examination:
    """Two instances that are played side by side, and what was found."""

    def __init__(self, first: Env, second: Env, max_steps: int, inner: bool) -> None:
        self.problems: dict[str, None] = {}  # a set that keeps its order
        self.played: list[Played] = []
        self._first, self._second = first, second
        self._max_steps, self._inner = max_steps, inner
        self._rng = np.random.default_rng(_SEED)
        self._unseen = ""  # why there is no picture

    def run(self, episodes: int) -> None:
        if self._first.spaces != self._second.spaces:
            self._add("two instances have different spaces")
            return
        if self._first.repeat < 1:
            self._add(f"repeat is {self._first.repeat}; it is at least 1")
        try:
            for episode in range(episodes):
                # Another past than the first one's shows what an episode carries over.
                self._give_a_past(self._second, episode)
                self._play(_SEED - episode)
            self._check_snapshots()
        except _Failed as failure:
            self._add(str(failure))

    def hints(self) -> list[str]:
        hints = [*getattr(self._first, "notes", [])]
        hints += [self._unseen] if self._unseen else []
        lengths = {played.length for played in self.played}
        if (
            len(self.played) > 1
            and len(lengths) == 1
            and min(lengths) >= _SHORTEST_LIMIT
            and all(played.end == "terminal" for played in self.played)
        ):
            hints.append(
                f"all {len(self.played)} episodes end with is_terminal after {min(lengths)} steps: "
                "if that is a time limit, it is a truncation, is_last without is_terminal"
            )
        return hints

    def close(self) -> None:
        for env in (self._first, self._second):
            for again in ("", "; closing again does nothing"):
                try:
                    self._call(env, "close")
                except _Failed as failure:
                    self._add(f"{failure}{again}")
                    break

    def _add(self, *problems: str) -> None:
        self.problems |= dict.fromkeys(problems)

    def _call(self, env: Env, method: str, *arguments: Any) -> Any:
        """Call a method; what it raises is a finding and ends the play."""
        try:
            return getattr(env, method)(*arguments)
        except UserError as error:
            raise _Failed(str(error)) from error
        except (Exception, SystemExit) as error:  # simulators leave by sys.exit, too
            raise _Failed(f"{method} raised {type(error).__name__}: {error}") from error

    def _record(self, env: Env, method: str, argument: Any) -> Record:
        """Call `reset` or `step`."""
        record = self._call(env, method, argument)
        if not isinstance(record, Mapping):
            raise _Failed(
                f"{method} returned a {type(record).__name__}; it returns a record, a dict"
            )
        return dict(record)

    def _action(self) -> dict[str, np.ndarray]:
        actions = random_actions(self._first.spaces.action, self._rng, 1)
        return {key: value[0] for key, value in actions.items()}

    def _give_a_past(self, env: Env, seed: int) -> None:
        record = self._record(env, "reset", seed)
        for _ in range(_PAST_STEPS):
            if is_set(record, "is_last"):
                return
            record = self._record(env, "step", self._action())

    def _play(self, seed: int) -> None:
        """Play one episode in both."""
        first, second = self._first, self._second
        record, twin = self._record(first, "reset", seed), self._record(second, "reset", seed)
        self._add(*reset_problems(record))
        for step in range(self._max_steps + 1):
            self._add(*record_problems(record, first.spaces.obs))
            self._add(*_differences(record, twin, "two instances with the same seed and actions"))
            self._add(*end_problems(record, step, self._inner))
            if is_set(record, "is_last") or is_set(twin, "is_last"):
                end = "terminal" if is_set(record, "is_terminal") else "truncated"
                self.played.append(Played(step, end))
                self._look(first)
                return
            if step < self._max_steps:
                action = self._action()
                record = self._record(first, "step", action)
                twin = self._record(second, "step", action)
        self.played.append(Played(self._max_steps, "unfinished"))

    def _look(self, env: Env) -> None:
        try:
            self._add(*_picture_problems(self._call(env, "render")))
        except _Failed as failure:
            # Often a machine without a display or a GPU; only videos need pictures.
            self._unseen = f"{failure}; there will be no videos"

    def _check_snapshots(self) -> None:
        """Put a state of one instance into the other and compare how both go on."""
        if not hasattr(self._first, "snapshot"):
            return
        record = self._record(self._first, "reset", _SEED)
        self._give_a_past(self._second, 0)
        for _ in range(_SNAPSHOT_STEPS):
            if is_set(record, "is_last"):
                return
            record = self._record(self._first, "step", self._action())
        self._call(self._second, "restore", self._call(self._first, "snapshot"))
        for _ in range(_SNAPSHOT_STEPS):
            if is_set(record, "is_last"):
                return
            action = self._action()
            record = self._record(self._first, "step", action)
            twin = self._record(self._second, "step", action)
            self._add(*_differences(record, twin, "an episode and its restored snapshot"))


def _picture_problems(picture: Any) -> Iterator[str]:
    if picture is None:
        return
    if not (
        isinstance(picture, np.ndarray)
        and picture.dtype == np.uint8
        and picture.ndim == 3
        and picture.shape[2] == 3
    ):
        found = f"{getattr(picture, 'dtype', type(picture).__name__)} {np.shape(picture)}"
        yield f"render returns {found}; it returns uint8 [height, width, 3], or None"


def _differences(record: Mapping[str, Any], twin: Record, between: str) -> Iterator[str]:
    for key in sorted(record.keys() & twin.keys()):
        # Log values may be times and memory.
        if key.startswith("log/"):
            continue
        if np.asarray(record[key]).tobytes() != np.asarray(twin[key]).tobytes():
            yield f"{key!r} differs between {between}"
