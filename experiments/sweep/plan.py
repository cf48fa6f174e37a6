"""Which runs a sweep has: the product of tasks, seeds and varied options, one directory each.

Every run is one command line of `dreamer_jax train`, whatever starts it. All of them are parsed
here, with the config each would get, so that a wrong key, value or directory is one message before
anything starts.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dreamer_jax.commands.flags import define_config, new_flags, parse
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.options.limits import check_limits
from dreamer_jax.runtime.saving.rundir import RunDir, check_config

# `(key, value)` as on the command line, without the prefix `--config.`.
Override = tuple[str, str]


class Run(NamedTuple):
    """One training run of a sweep."""

    task: str
    seed: int
    varied: tuple[Override, ...]  # what distinguishes it besides task and seed
    logdir: Path
    arguments: tuple[str, ...]  # after `python`
    steps: int  # policy steps it is configured for
    evaluates: bool  # after its last update

    @property
    def variant(self) -> str:
        """The varied options as one word, empty if there are none."""
        return ",".join(f"{key}={value}" for key, value in self.varied)


def split_values(text: str) -> list[str]:
    """Split at commas outside of brackets: `1,(2,3)` are two values."""
    return [value.strip() for value in re.split(r",(?![^(\[]*[)\]])", text) if value.strip()]


def parse_seeds(text: str) -> list[int]:
    """Read seeds such as `0,1,2` or `0-4`.

    Raises:
        UserError: If there are none.
    """
    seeds: list[int] = []
    for part in split_values(text):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if found is None:
            raise UserError(f"--seeds={text}: {part!r} is neither a seed nor a range such as 0-4")
        seeds += range(int(found[1]), int(found[2] or found[1]) + 1)
    if not seeds:
        raise UserError(f"--seeds={text} names no seed")
    return seeds


def parse_vary(texts: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Read `key=v1,v2` of every `--vary`.

    Raises:
        UserError: If one has no key or no values, or a key is varied twice.
    """
    varied: dict[str, list[str]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        key = key.removeprefix("config.")
        if not key or not split_values(values):
            raise UserError(f"--vary={text}: write --vary=KEY=VALUE,VALUE with a config key")
        if key in varied or key in ("task", "seed"):
            raise UserError(f"--vary={text}: {key} is varied already; name all its values at once")
        varied[key] = split_values(values)
    return list(varied.items())


def plan(
    out: Path,
    config: str,
    tasks: Sequence[str],
    seeds: Sequence[int],
    fixed: Sequence[Override] = (),
    varied: Sequence[tuple[str, Sequence[str]]] = (),
) -> list[Run]:
    """Return the runs, seeds innermost, so that the first ones compare everything.

    Args:
        out: Directory of the sweep; a run lies in `out/task[/variant]/seedN`.
        config: Preset or path of a config file.
        tasks: Tasks, `suite:name` each.
        seeds: Seeds of each task and variant.
        fixed: Overrides of every run.
        varied: Values by key; their product is run.

    Raises:
        UserError: For anything `train` would refuse, an option given twice, or two runs that
            would share a directory.
    """
    for key, _ in fixed:
        if key in {"task", "seed", *(name for name, _ in varied)}:
            raise UserError(f"--config.{key} contradicts --tasks, --seeds or --vary; give it once")
    runs: dict[Path, Run] = {}
    choices = [[(key, value) for value in values] for key, values in varied]
    for task, chosen, seed in itertools.product(tasks, itertools.product(*choices), seeds):
        run = _run(out, config, task, seed, fixed, chosen)
        if run.logdir in runs:
            raise UserError(f"{run.logdir} would hold two runs; give each task and value once")
        runs[run.logdir] = run
    return list(runs.values())


def _run(
    out: Path,
    config: str,
    task: str,
    seed: int,
    fixed: Sequence[Override],
    varied: tuple[Override, ...],
) -> Run:
    folders = [task, *(["+".join(f"{k}={v}" for k, v in varied)] if varied else []), f"seed{seed}"]
    logdir = out.joinpath(*(re.sub(r"[^\w.=+-]", "-", folder) for folder in folders))
    overrides = [("task", task), ("seed", str(seed)), *fixed, *varied]
    options = (f"--config={config}", *(f"--config.{key}={value}" for key, value in overrides))
    values = new_flags()
    parse(values, define_config(values, config, options))
    check_limits(values.config)
    check_config(RunDir(logdir), values.config.to_dict())
    arguments = ("-m", "dreamer_jax", "train", *options, f"--logdir={logdir}")
    evaluates = values.config.evaluation.episodes > 0
    return Run(task, seed, varied, logdir, arguments, values.config.steps, evaluates)
