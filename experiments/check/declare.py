"""What a check states before it is run: the claim, the arms, the measure, the seeds, the budget.

Three classes of checks:

    S  a system that must do something: beats every named control, interval above the margin
    E  an economy: equal within a tolerance, and something saved, interval above zero
    O  an option: its effect with its interval, whatever it is
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.errors import UserError
from experiments.check import checks

Kind = Literal["S", "E", "O"]
# A number of a finished run directory; raises UserError if the run does not hold it.
Measure = Callable[[Path], float]
# Run directory and seed -> arguments after `python`.
Command = Callable[[Path, int], Sequence[str]]


@dataclass(frozen=True)
class Arm:
    """One of the things that are compared, run once with every seed.

    Args:
        options: Config values by dotted key, `task` and `env.…` included; they precede those of the
            check.
        command: What to run instead of `train`. It ends with exit code 0, and if it writes
            `metrics.jsonl`, then rows with `policy_steps`, as `train` does.
        reads: Name of the arm whose runs are measured instead of runs of its own, for a control
            that differs only in how it is measured.
        measure: Instead of the check's.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    command: Command | None = None
    reads: str = ""
    measure: Measure | None = None


@dataclass(frozen=True)
class Check:
    """A claim and how it is tested.

    Args:
        claim: What is claimed, in a sentence.
        kind: Class of the check.
        arms: By name. An arm that is in no pair is reported only.
        pairs: (system, control) that are compared, seed by seed; the control must lose.
        measure: Larger is better.
        measured: What `measure` returns, in words with its unit.
        minutes: Budget of all arms and seeds on two cores.
        seeds: As on the command line.
        preset: Config that all arms start from.
        options: Config values of all arms.
        margin: Difference that the interval must exceed (S); above 0 where a small one, however
            sure, would not be what is claimed.
        tolerance: Largest difference that counts as equal (E).
        cost: What is saved (E); smaller is better.

    Raises:
        UserError: If something is missing that its class needs, or a name is unknown.
    """

    claim: str
    kind: Kind
    arms: Mapping[str, Arm]
    measure: Measure
    measured: str
    minutes: float
    pairs: Sequence[tuple[str, str]] = ()
    seeds: str = "0-4"
    preset: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)
    margin: float = 0.0
    tolerance: float | None = None
    cost: Measure | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"the class of a check is {self.kind!r}; choose S, E or O")
        if self.kind != "O" and not self.pairs:
            raise UserError(f"a check of class {self.kind} names pairs of system and control")
        if self.kind == "E" and (self.tolerance is None or self.cost is None):
            raise UserError("a check of class E states a tolerance and a cost")
        for name in [name for pair in self.pairs for name in pair]:
            if name not in self.arms:
                raise unknown_name("arm", name, self.arms)
        for arm in self.arms.values():
            if arm.reads and (arm.reads not in self.arms or self.arms[arm.reads].reads):
                raise UserError(f"an arm reads {arm.reads!r}, which is no arm with runs of its own")


def names() -> list[str]:
    """Return the name of every check that ships."""
    return sorted(found.name for found in pkgutil.iter_modules(checks.__path__))


def load(name: str) -> Check:
    """Return the check of a name, or of the path of a Python file that defines `CHECK`.

    Raises:
        UserError: If there is none.
    """
    if name.endswith(".py"):
        module = _from_file(Path(name))
    elif name in names():
        module = importlib.import_module(f"{checks.__name__}.{name}")
    else:
        raise unknown_name("check", name, names())
    check = getattr(module, "CHECK", None)
    if not isinstance(check, Check):
        raise UserError(f"{name} does not define CHECK, a {Check.__name__}")
    return check


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
