"""`dreamer-jax evaluate --logdir=DIR [--episodes=100] [--sample] [--video=FILE.mp4]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from dreamer_jax.commands.flags import new_flags, parse
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.evaluation import EVALUATION_PROCESS, evaluate
from dreamer_jax.runtime.saving.load import load_saved
from dreamer_jax.runtime.showing.media import write_video
from dreamer_jax.runtime.showing.summary import describe
from dreamer_jax.types import Space, Spaces


def main(arguments: Sequence[str]) -> int:
    """Run episodes with the newest checkpoint and print their statistics."""
    values = new_flags()
    flags.DEFINE_string("logdir", "", "directory of the run", flag_values=values)
    flags.DEFINE_integer("episodes", 100, "episodes to run", flag_values=values)
    flags.DEFINE_integer("envs", 16, "environments stepped together", flag_values=values)
    flags.DEFINE_integer("seed", 0, "seed of the environments", flag_values=values)
    flags.DEFINE_integer("step", -1, "grad steps of the checkpoint; -1: newest", flag_values=values)
    flags.DEFINE_bool("sample", False, "sample actions instead of the mode", flag_values=values)
    flags.DEFINE_string("video", "", "file for a video of one episode", flag_values=values)
    flags.DEFINE_string("task", "", "where to evaluate; that of the run", flag_values=values)
    flags.DEFINE_bool("trust", False, "run code that config.json names", flag_values=values)
    parse(values, arguments)
    if not values.logdir:
        raise UserError("evaluate needs --logdir=DIRECTORY of a training run")
    for name, least in {"episodes": 1, "envs": 1, "seed": 0}.items():
        if (given := getattr(values, name)) < least:
            raise UserError(f"--{name}={given}; it must be at least {least}")
    step = None if values.step < 0 else values.step
    saved = load_saved(Path(values.logdir), step, trust=values.trust)
    number = min(values.envs, values.episodes)
    watched = bool(values.video)
    with saved.make_envs(
        number,
        seed=values.seed,
        process=EVALUATION_PROCESS,
        watched=watched,
        task=values.task,
    ) as envs:
        check_spaces(saved.compiled.agent.spaces, envs.spaces)
        result = evaluate(
            envs,
            saved.compiled,
            saved.params,
            values.episodes,
            mode="train" if values.sample else "eval",
            video=watched,
        )
    kind = "sampled" if values.sample else "greedy"
    print(f"{kind} evaluation after {saved.grad_steps:,} updates: {describe(result.scores)}")
    if result.frames is not None:
        write_video(Path(values.video), result.frames, 30)
        print(f"video: {values.video}")
    elif watched:
        print("no video: the environment shows no picture")
    return 0


def check_spaces(known: Spaces, found: Spaces) -> None:
    """Check that environments have the observations and actions that an agent knows.

    Raises:
        UserError: Naming the first key that differs.
    """
    for kind, ours, theirs in zip(("observation", "action"), known, found, strict=True):
        for key in sorted(ours.keys() | theirs.keys()):
            if (old := ours.get(key)) != (new := theirs.get(key)):
                raise UserError(
                    f"{kind} {key!r} is {_told(new)} in this task and {_told(old)} to the agent; "
                    "evaluate the task that it was trained on, or restore spaces.json"
                )


def _told(space: Space | None) -> str:
    if space is None:
        return "absent"
    classes = "" if space.classes is None else f" with {space.classes} classes"
    return f"{space.dtype}{list(space.shape)}{classes}"
