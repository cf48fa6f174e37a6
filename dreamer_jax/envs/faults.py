"""What happens when an environment fails: its episode is dropped, it is built again, and counted.

There is no record of a step that failed. The environment delivers the reset record of its next
episode instead, and a record whose successor is `is_first` counts as a truncated end when replay
hands it out (docs/algorithm.md 9). So nothing wrong is ever recorded, and nothing needs to be
taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from dreamer_jax.errors import UserError

_LONGEST = 1_000_000  # seconds that the system can be told to wait
_MOST_FORGIVEN = 100

Kind = Literal["failure", "value", "record"]


class Fault(NamedTuple):
    """One failure of one environment, or of the worker process that runs several."""

    environments: tuple[int, ...]  # whose open episodes are lost
    report: str  # traceback, or what is known in words
    # Or its record has a value, or a layout ("record"), that its spaces rule out.
    kind: Kind = "failure"

    @property
    def where(self) -> str:
        """The environments in words."""
        first, *others = self.environments
        return f"environments {first} to {others[-1]}" if others else f"environment {first}"

    @property
    def told(self) -> str:
        """Where and what, in one line."""
        return f"{self.where}: {' '.join(self.report.split())}"

    def shifted(self, by: int) -> Fault:
        """Count the environments from another one."""
        return self._replace(environments=tuple(i + by for i in self.environments))


class FaultPolicy(NamedTuple):
    """What is tolerated.

    Args:
        timeout: Seconds that worker processes may take for one vector step, resets included.
        restarts: Failures in a run after which the next one ends it.
        invalid_values: What becomes of an episode with a value that its space rules out: "error"
            ends the run, "drop" treats it as a failure.
    """

    timeout: float = 300.0
    restarts: int = 100
    invalid_values: str = "error"

    @classmethod
    def from_config(cls, faults: Any) -> FaultPolicy:
        """Return the policy of `config.faults`.

        Raises:
            UserError: For a value out of range.
        """
        if not 0 < faults.timeout <= _LONGEST or faults.restarts < 0:
            raise UserError(
                f"config.faults.timeout={faults.timeout}, config.faults.restarts="
                f"{faults.restarts}: the first is above 0 and at most {_LONGEST} seconds, the "
                "second at least 0"
            )
        if faults.invalid_values not in ("error", "drop"):
            raise UserError(
                f"config.faults.invalid_values={faults.invalid_values!r}; choose error or drop"
            )
        return cls(faults.timeout, faults.restarts, faults.invalid_values)


class EnvironmentFault(RuntimeError):
    """Environments failed more often than the policy allows; holds the last traceback."""


class Restarts:
    """Counts the failures of a run.

    Args:
        policy: How many are allowed.
        warn: Told about each in a line.

    Attributes:
        count: Failures that count.
        stopping: Whether a stop was asked for; what fails then, the stop may have ended.
    """

    def __init__(self, policy: FaultPolicy, warn: Callable[[str], None]) -> None:
        self.count = 0
        self.stopping: Callable[[], bool] = lambda: False
        self._forgiven = 0
        self._policy, self._warn = policy, warn

    def add(self, fault: Fault) -> None:
        """Count a failure.

        Raises:
            UserError: If it is a wrong record that is not to be dropped.
            EnvironmentFault: If it is one too many.
        """
        if fault.kind == "record":
            raise UserError(f"{fault.where}: {fault.report}; mend it in the environment")
        if fault.kind == "value" and self._policy.invalid_values == "error":
            raise UserError(
                f"{fault.where}: {fault.report}; mend it in the environment, or drop such episodes "
                "with --config.faults.invalid_values=drop"
            )
        reason = fault.report.strip().splitlines()[-1]
        # Even a stop ends if nothing can be built again.
        if self.stopping() and self._forgiven < _MOST_FORGIVEN:
            self._forgiven += 1
            counted = "not counted: a stop was asked for"
        elif self.count < self._policy.restarts:
            self.count += 1
            counted = f"failure {self.count} of {self._policy.restarts}"
        else:
            raise EnvironmentFault(
                f"{fault.where} failed, and the {self._policy.restarts} restarts that "
                f"config.faults.restarts allows are used up:\n{fault.report}"
            )
        self._warn(f"{fault.where}: {reason}; episode closed, next one begun ({counted})")
