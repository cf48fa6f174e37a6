"""Where environments run: in this process when they are cheap, in worker processes when costly.

Handing a vector step to other processes and back costs more than most environments do, so the
choice is made by measuring one of them, and is said in words.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.spec import Env
from dreamer_jax.errors import UserError

_TRIAL_STEPS = 32
_TRIAL_SECONDS = 1.0
# Of a vector step; messages to workers and back cost about a third of it.
_WORTH_SECONDS = 1e-3


def cores() -> int:
    """Return how many cores this process may use."""
    # macOS cannot say which.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose(make: Callable[[], Env], number: int, cores: int) -> tuple[str, str]:
    """Choose "inline" or "process" by what dividing a vector step would save; say why.

    Args:
        make: Builds one environment, which is thrown away afterwards.
        number: How many environments there will be.
        cores: How many of them this process may use.
    """
    if number == 1 or cores == 1:
        return "inline", f"{number} of them on {cores} cores: nothing to divide"
    # Thrown away afterwards, because an environment may carry something over its episodes.
    env = make()
    try:
        seconds = _median_step(env)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # simulators leave by sys.exit, too
        return "process", f"one failed while it was timed ({error!r}), so they are kept apart"
    finally:
        with suppress(Exception, SystemExit):  # the others will say so
            env.close()
    processes = min(number, cores)
    saved = number * seconds * (1 - 1 / processes)
    mode, relation = ("process", "above") if saved > _WORTH_SECONDS else ("inline", "not above")
    return mode, (
        f"a step of one takes {seconds * 1e3:.3f} ms, so {processes} processes would save "
        f"{saved * 1e3:.1f} ms of a vector step: {relation} {_WORTH_SECONDS * 1e3:.0f} ms"
    )


def _median_step(env: Env) -> float:
    rng = np.random.default_rng(0)
    actions = random_actions(env.spaces.action, rng, _TRIAL_STEPS)
    record, costs = env.reset(0), []
    deadline = time.perf_counter() + _TRIAL_SECONDS
    for step in range(_TRIAL_STEPS):
        if record["is_last"]:
            record = env.reset(step)
        action = {key: value[step] for key, value in actions.items()}
        start = time.perf_counter()
        record = env.step(action)
        end = time.perf_counter()
        costs.append(end - start)
        if end > deadline:
            break
    return float(np.median(costs))
