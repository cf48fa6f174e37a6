"""`dreamer-jax check TASK [--config=PRESET] [--config.env.key=value …] [--episodes=2]`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import numpy as np
from absl import flags

from dreamer_jax.commands.flags import define_config, new_flags, parse
from dreamer_jax.config import with_tuples
from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.checking.episodes import examine_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.spec import Env
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.options.limits import check_limits
from dreamer_jax.types import Space

FAULTY = 1  # exit code
TIMED_STEPS = 200


def main(arguments: Sequence[str]) -> int:
    """Play random episodes of a task, and say what it is and what is wrong with it."""
    if not arguments or arguments[0].startswith("-"):
        raise UserError("check needs a task: check SUITE:NAME or check my_package.my_env:make")
    task, *rest = arguments
    values = new_flags()
    rest = define_config(values, "default", rest)
    flags.DEFINE_integer("episodes", 2, "episodes to play", flag_values=values)
    flags.DEFINE_integer("max_steps", 1000, "steps to play of each at most", flag_values=values)
    parse(values, rest)
    for name in ("episodes", "max_steps"):
        if (given := getattr(values, name)) < 1:
            raise UserError(f"--{name}={given}; it must be at least 1")
    check_limits(values.config)
    options = with_tuples(values.config.env.to_dict())
    make = partial(make_env, task, **options)
    describe(task, make())
    # A lost life may end a value without ending the episode (docs/algorithm.md 10).
    problems, hints, played = examine_env(
        make, values.episodes, values.max_steps, options.get("lives") == "discount"
    )
    for episode in played:
        print(f"  episode: {episode.length} steps, {episode.end}")
    for hint in hints:
        print(f"note: {hint}")
    for problem in problems:
        print(f"wrong: {problem}")
    print("the contract is kept" if not problems else f"problems: {len(problems)}")
    return FAULTY if problems else 0


def describe(task: str, env: Env) -> None:
    """Print the keys of an environment and what one of its steps costs, and close it."""
    # What is wrong with a step or with closing, the examination says.
    try:
        cost = f"{1e6 * step_seconds(env):.0f} µs a step"
    except (Exception, SystemExit):  # simulators leave by sys.exit, too
        cost = "no step could be timed"
    print(f"{task}: {cost}, action repeat {env.repeat}")
    for kind, spaces in (("observation", env.spaces.obs), ("action", env.spaces.action)):
        print_spaces(kind, spaces)
    with suppress(Exception, SystemExit):
        env.close()


def print_spaces(kind: str, spaces: Mapping[str, Space]) -> None:
    """Print one line for each key."""
    for key, space in sorted(spaces.items()):
        shape = "×".join(map(str, space.shape)) or "scalar"
        meaning = f", {space.classes} classes" if space.classes else ""
        picture = ", a picture" if space.is_image else ""
        print(f"  {kind} {key}: {shape} {space.dtype}{meaning}{picture}")


def step_seconds(env: Env) -> float:
    """Return the mean time of a step under random actions, resets not counted."""
    rng, spent = np.random.default_rng(0), 0.0
    record = env.reset(0)
    for _ in range(TIMED_STEPS):
        if record["is_last"]:
            record = env.reset(0)
        actions = random_actions(env.spaces.action, rng, 1)
        action = {key: value[0] for key, value in actions.items()}
        start = time.perf_counter()
        record = env.step(action)
        spent += time.perf_counter() - start
    return spent / TIMED_STEPS
