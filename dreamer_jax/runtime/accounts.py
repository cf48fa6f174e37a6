"""Accounts of updates: how many each phase owes after a number of policy steps.

A step of the policy credits every account with a fraction of an update; whole ones are owed. The
first credit owes one update of each phase. What is owed is done phase by phase, in order, one
update at a time, so that a run can stop between any two and go on exactly there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Accounts:
    """One account for each phase.

    Args:
        rates: Updates per policy step, by phase, in the order in which they are done.
    """

    def __init__(self, rates: Mapping[str, float]) -> None:
        self._rates = dict(rates)
        self._owed = dict.fromkeys(rates, 0.0)
        self._seen: int | None = None  # policy steps that were credited; None: none yet

    def credit(self, policy_steps: int) -> None:
        """Credit the policy steps since the last call."""
        for phase, rate in self._rates.items():
            steps = 0 if self._seen is None else policy_steps - self._seen
            self._owed[phase] += 1.0 if self._seen is None else steps * rate
        self._seen = policy_steps

    def take(self) -> str | None:
        """Take one whole update off its account; return its phase, or None if none is owed."""
        for phase, owed in self._owed.items():
            if owed >= 1.0:
                self._owed[phase] = owed - 1.0
                return phase
        return None

    @property
    def owed(self) -> bool:
        """Whether `take` would return a phase."""
        return any(owed >= 1.0 for owed in self._owed.values())

    def would_owe(self, policy_steps: int) -> bool:
        """Return whether an update would be owed at a number of policy steps."""
        if self._seen is None:
            return True
        steps = policy_steps - self._seen
        return any(self._owed[phase] + steps * rate >= 1.0 for phase, rate in self._rates.items())

    def state(self) -> dict[str, Any]:
        """Return all accounts, for a checkpoint."""
        return {"owed": dict(self._owed), "seen": self._seen}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._owed, self._seen = dict(state["owed"]), state["seen"]
