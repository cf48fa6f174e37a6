"""All processes decide alike, and as one process with all environments would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from meeting import Meeting, together

from dreamer_jax.cluster.agreement import ERRAND_SECONDS, MOST_APART, Agreement, Errand
from dreamer_jax.runtime.accounts import Accounts

ENVS = 3  # of each process


def account(rate: float) -> Accounts:
    return Accounts({"joint": rate})


def due(accounts: Accounts, policy_steps: int) -> int:
    """Credit the steps and take all that is owed; return how many updates."""
    accounts.credit(policy_steps)
    return sum(1 for _ in iter(accounts.take, None))


class World:
    """Some processes in lock step; `exchange` answers with what all of them say."""

    def __init__(self, count: int, steps: int = 10**6) -> None:
        self.said: list[tuple[int, ...]] = []
        self.own = [0] * count
        self.agreement = Agreement(self.exchange, count, ENVS * count, steps)
        self.meetings = 0

    def exchange(self, *_: int) -> Any:
        return np.array(self.said)

    def meet(self, ready: list[bool], stop: list[bool]) -> None:
        self.meetings += 1
        rest = zip(self.own, ready, stop, strict=True)
        self.said = [(steps, int(r), int(s), 0) for steps, r, s in rest]
        self.agreement.meet(self.own[0], ready[0], stop[0], False)


@pytest.mark.parametrize("rate", [0.31, 0.07, 0.9])
def test_updates_are_due_exactly_as_in_one_process(rate):
    """Resets are not steps, and come at other times in every process."""
    rng = np.random.default_rng(0)
    world, together, alone = World(2), account(rate), account(rate)
    world.meet([True, True], [False, False])
    for _ in range(400):
        world.own = [own + int(rng.integers(ENVS + 1)) for own in world.own]
        one = due(alone, sum(world.own))
        many = 0
        if world.agreement.is_due(together.would_owe):
            world.meet([True, True], [False, False])
            many = due(together, world.agreement.policy_steps)
        assert many == one
    assert world.meetings < 400 or rate * 2 * ENVS >= 1


def test_the_last_to_have_enough_decides_and_the_first_to_stop():
    world, accounts = World(3), account(0.1)
    world.meet([True, False, True], [False] * 3)
    assert not world.agreement.can_sample and not world.agreement.stop
    assert world.agreement.is_due(accounts.would_owe), "before training nothing is lost by meeting"
    world.meet([True] * 3, [False, False, True])
    assert world.agreement.can_sample and world.agreement.stop


def test_a_request_is_heard_although_nothing_is_due():
    world, accounts = World(2), account(1e-9)
    world.meet([True, True], [False, False])
    due(accounts, 0)
    meets = [world.agreement.is_due(accounts.would_owe) for _ in range(MOST_APART)]
    assert meets.index(True) == MOST_APART - 1


def test_the_end_is_not_overrun():
    world, accounts = World(2, steps=20), account(1e-9)
    world.meet([True, True], [False, False])
    due(accounts, 0)
    assert [world.agreement.is_due(accounts.would_owe) for _ in range(4)] == [
        False,
        False,
        False,
        True,
    ]


def test_one_process_agrees_with_itself_without_asking():
    def never(*_: int) -> Any:
        raise AssertionError("asked")

    agreement, accounts = Agreement(never, 1, ENVS, 100), account(1e-9)
    agreement.meet(7, True, False, True)
    assert (agreement.policy_steps, agreement.can_sample, agreement.save) == (7, True, True)
    assert agreement.is_due(accounts.would_owe)


class Clock:
    """Passes a second with every look."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 1.0
        return self._now


@pytest.mark.parametrize("asked", [None, 0, 1, 2])
def test_all_hear_of_a_stop_while_process_0_is_busy_and_end_alike(asked):
    """A stop during the final evaluation ended process 0 with code 75 and the others with 0."""
    looks = []

    def process(index: int, meeting: Meeting) -> bool:
        told = lambda: index == asked
        errand = Errand(meeting.exchange(index), 3, told, Clock())
        if index:
            return errand.wait()
        done = True
        for _ in range(100):
            looks.append(None)
            if errand.requested:
                done = False
                break
        errand.end(done)
        return done

    assert together(process, 3) == [asked is None] * 3
    assert len(looks) == (100 if asked is None else 1)


def test_waiting_processes_are_met_now_and_then_and_not_at_every_look():
    meetings = []

    def exchange(*said: int) -> Any:
        meetings.append(said)
        return np.array([said, (0, 0, 0)])

    errand = Errand(exchange, 2, lambda: False, Clock())
    assert not any(errand.requested for _ in range(60))
    assert 60 / (ERRAND_SECONDS + 2) <= len(meetings) <= 30
    errand.end(True)
    assert meetings[-1] == (0, 1, 0) and {*meetings[:-1]} == {(1, 0, 0)}


def test_one_process_waits_for_nobody():
    def exchange(*_: int) -> Any:
        pytest.fail("there is nobody to meet")

    errand = Errand(exchange, 1, lambda: True)
    assert errand.requested
    errand.end(False)
