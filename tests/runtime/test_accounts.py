"""Accounts of updates: what each phase owes, in which order, and that a stop loses nothing."""

from __future__ import annotations

import json

import pytest

from dreamer_jax.runtime.accounts import Accounts

ONE = "joint"


def taken(accounts: Accounts) -> list[str]:
    """Take all that is owed; return the phases in order."""
    phases = []
    while (phase := accounts.take()) is not None:
        phases.append(phase)
    return phases


def due(accounts: Accounts, policy_steps: int) -> int:
    """Credit the steps and take all that is owed; return how many updates of one phase."""
    accounts.credit(policy_steps)
    return len(taken(accounts))


def test_owes_one_at_first_and_keeps_fractions():
    accounts = Accounts({ONE: 0.75})
    assert [due(accounts, step) for step in (100, 101, 102, 103, 104)] == [1, 0, 1, 1, 1]
    assert due(accounts, 108) == 3
    assert due(accounts, 108) == 0


def test_counts_from_the_first_credit():
    """Steps before the first possible batch are not made up for."""
    accounts = Accounts({ONE: 2.0})
    assert due(accounts, 1000) == 1
    assert due(accounts, 1003) == 6


def test_a_rate_below_one_gives_every_nth():
    accounts = Accounts({ONE: 0.25})
    assert [due(accounts, step) for step in range(0, 10)] == [1, 0, 0, 0, 1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("rate", [0.375, 0.07, 1.0, 2.6])
def test_would_owe_foretells_what_a_credit_brings(rate):
    """Processes meet where it says so; said too late, updates would be late."""
    accounts = Accounts({"often": rate, "rarely": rate / 3})
    for step in (5, 6, 7, 9, 13, 13, 20, 41):
        foretold = accounts.would_owe(step)
        assert foretold == (due(accounts, step) > 0)
        assert not accounts.would_owe(step)


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_continues_from_its_state(calls):
    one, two = Accounts({ONE: 0.375}), Accounts({ONE: 0.375})
    for step in range(calls):
        due(one, step)
    two.load_state(json.loads(json.dumps(one.state())))
    steps = range(calls, calls + 20)
    assert [due(one, step) for step in steps] == [due(two, step) for step in steps]


def test_every_phase_has_an_account_of_its_own():
    accounts = Accounts({"model": 1.0, "policy": 0.5})
    counts = {"model": 0, "policy": 0}
    for step in range(0, 101):
        accounts.credit(step)
        for phase in taken(accounts):
            counts[phase] += 1
    assert counts == {"model": 1 + 100, "policy": 1 + 50}


def test_what_is_owed_is_taken_phase_by_phase_in_their_order():
    """The order of the table of rates, not that of the names."""
    accounts = Accounts({"world": 2.0, "act": 1.0})
    assert accounts.take() is None and not accounts.owed
    accounts.credit(10)
    assert accounts.owed
    assert taken(accounts) == ["world", "act"]
    accounts.credit(12)
    assert taken(accounts) == ["world"] * 4 + ["act"] * 2
    assert not accounts.owed


@pytest.mark.parametrize("stop", range(7))
def test_a_stop_within_a_burst_leaves_the_rest_to_the_next_run(stop):
    """A run that was stopped in a burst of updates lost those that were still owed."""
    rates = {"model": 2.0, "policy": 1.0}
    straight, stopped = Accounts(rates), Accounts(rates)
    for accounts in (straight, stopped):
        accounts.credit(3)
        taken(accounts)
        accounts.credit(5)
    before = [stopped.take() for _ in range(stop)]
    resumed = Accounts(rates)
    resumed.load_state(json.loads(json.dumps(stopped.state())))
    assert before + taken(resumed) == taken(straight) == ["model"] * 4 + ["policy"] * 2
    for accounts in (straight, resumed):
        accounts.credit(6)
    assert taken(resumed) == taken(straight) == ["model"] * 2 + ["policy"]


def test_a_state_is_a_copy():
    """The checkpoint is written by a thread while the run goes on."""
    accounts = Accounts({ONE: 1.0})
    accounts.credit(0)
    state = accounts.state()
    accounts.take(), accounts.credit(7)
    assert state == {"owed": {ONE: 1.0}, "seen": 0}
    other = Accounts({ONE: 1.0})
    other.load_state(state)
    other.take()
    assert state["owed"] == {ONE: 1.0}
