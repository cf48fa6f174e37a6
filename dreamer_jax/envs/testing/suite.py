"""Environments that check whoever uses them: `testing:NAME`, one file each.

They cost microseconds and are functions of seed and actions, so that tests and checks can prove
what a system does without a simulator: alignment in time (counting), survival (flaky), every kind
of key (mixed), learning (chase, and chase_image from pixels), memory (recall), structure (factors)
and exploration (deepsea, corridor).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dreamer_jax.envs.naming import check_options, unknown_name
from dreamer_jax.envs.spec import Env
from dreamer_jax.envs.testing.chase import Chase, chase_image
from dreamer_jax.envs.testing.corridor import Corridor
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.envs.testing.deepsea import DeepSea
from dreamer_jax.envs.testing.factors import Factors
from dreamer_jax.envs.testing.flaky import Flaky
from dreamer_jax.envs.testing.mixed import Mixed
from dreamer_jax.envs.testing.recall import Recall

_TASKS: dict[str, Callable[..., Env]] = {
    "chase": Chase,
    "chase_image": chase_image,
    "corridor": Corridor,
    "counting": Counting,
    "deepsea": DeepSea,
    "factors": Factors,
    "flaky": Flaky,
    "mixed": Mixed,
    "recall": Recall,
}


def names() -> list[str]:
    """Return every name."""
    return sorted(_TASKS)


def make(name: str, /, **options: Any) -> Env:
    """Build one of the environments; the options are its constructor's.

    Raises:
        UserError: For an unknown name or option, or an option out of range.
    """
    if name not in _TASKS:
        raise unknown_name("testing environment", name, _TASKS)
    check_options(f"testing:{name}", _TASKS[name], options)
    return _TASKS[name](**options)
