"""All processes decide alike, and as one process with all environments would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dreamer_jax.cluster.agreement import MOST_APART, Agreement
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
