"""Puts a run together: source of experience, agent, replay, learner, and what a person sees.

Nothing is written and nothing is stepped here, so that whatever a person got wrong shows up
before a run directory exists. `training.py` runs what this file has put together.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TextIO

from dreamer_jax.cluster.agreement import Agreement
from dreamer_jax.device.compiled import Compiled, compile_agent, processes
from dreamer_jax.device.trees import array_table
from dreamer_jax.errors import UserError
from dreamer_jax.named import find_named
from dreamer_jax.replay import Replay, check_memory, record_columns, replay_bytes
from dreamer_jax.replay.memory import MAX_SHARE, present_memory
from dreamer_jax.runtime.accounts import Accounts
from dreamer_jax.runtime.environments import open_environments
from dreamer_jax.runtime.learner import Learner
from dreamer_jax.runtime.saving.diagnosis import Diagnosis
from dreamer_jax.runtime.saving.redistribute import own_share
from dreamer_jax.runtime.saving.rundir import RunDir, steps_before
from dreamer_jax.runtime.showing.console import LiveLine
from dreamer_jax.runtime.source import Origin, Source
from dreamer_jax.types import Space

GIB = 2**30
SOURCES: dict[str, Any] = {"environments": open_environments}


@dataclass
class Assembly:
    """Everything that one process of a run is made of."""

    config: Any  # whole config
    share: Any  # the config with this process's share of environments, rows, records and steps
    rundir: RunDir  # of the run
    folder: RunDir  # of what this process alone keeps
    process: int
    processes: int
    line: LiveLine
    origin: Origin
    compiled: Compiled
    replay: Replay
    source: Source
    learner: Learner
    accounts: Accounts
    agreement: Agreement

    def describe(self) -> str:
        """Return what a person wants to know before a run: task, agent, memory, environments."""
        shapes = array_table(self.learner.train_state.params, "").values()
        count = sum(math.prod(shape) for shape, _ in shapes)
        alone = self.processes == 1
        return (
            f"{self.config.task}, size {self.config.size}: {count:,} parameters, "
            f"{'' if alone else f'process {self.process} of {self.processes}, '}"
            f"{self.origin.description}, "
            f"replay {self.replay.nbytes / GIB:.2f} GiB when full, in {self.rundir.root}"
        )


def assemble(config: Any, size: Any, rundir: RunDir) -> Assembly:
    """Return the parts of this process of a run.

    Args:
        config: Whole config.
        size: Its row of the size table.
        rundir: Of the run; need not exist.

    Raises:
        UserError: If the config, the environments or the memory of this machine forbid the run.
    """
    process, number = processes()
    share, folder = own_share(config, number), rundir.part(process)
    line = LiveLine(_console(process), config.steps)
    make_origin = find_named("source", config.source, SOURCES)
    origin: Origin = make_origin(config, share, process, line.say)
    with ExitStack() as undo:  # no worker outlives what fails below
        undo.callback(origin.close)
        compiled = compile_agent(config, size, origin.spaces, all_devices=True)
        # A resumed run with fewer steps still holds what it was going to hold.
        steps = max(share.steps, -(-steps_before(rundir) // number))
        replay = make_replay(share, origin, compiled.latent_spaces(), process, steps)
        source = origin.connect(compiled, replay)
        diagnosis = Diagnosis(folder.diagnosis, config.stop_after_skips, line.say)
        learner = Learner(compiled, replay, diagnosis)
        rate = config.train_ratio / (config.batch_size * config.batch_length)
        accounts = Accounts({name: rate * share for name, share in compiled.phases.items()})
        most = origin.streams * number * origin.steps  # policy steps of one call, at most
        agreement = Agreement(compiled.exchange, number, most, config.steps)
        undo.pop_all()
    return Assembly(
        config,
        share,
        rundir,
        folder,
        process,
        number,
        line,
        origin,
        compiled,
        replay,
        source,
        learner,
        accounts,
        agreement,
    )


def make_replay(
    config: Any, origin: Origin, latents: dict[str, Space], process: int = 0, steps: int = 0
) -> Replay:
    """Allocate the replay of a process.

    Args:
        config: With the share of the process.
        origin: Of the experience that the replay will hold.
        latents: Columns of stored latents.
        process: Index of the host process.
        steps: Policy steps whose records are to fit, if these are more than the config's.

    Raises:
        UserError: If it needs more than 80 % of the memory, or too few windows would fit.
    """
    columns, streams = record_columns(origin.spaces), origin.streams
    # Every episode brings a reset record, so of episodes of one step half the records are resets.
    most = 2 * max(config.steps, steps) + 2 * streams
    capacity = min(config.replay.capacity, most)
    capacity = max(capacity, 4 * config.batch_size * config.batch_length)
    capacity = fitting_capacity(columns, latents, capacity, streams, usual=config.steps)
    try:
        return Replay(
            columns,
            latents,
            capacity=capacity,
            streams=streams,
            batch_size=config.batch_size,
            length=config.batch_length,
            context=config.replay.context,
            online=config.replay.online,
            recency=config.replay.recency,
            seed=[config.seed, 1, process],
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def fitting_capacity(
    columns: Mapping[str, Space],
    latents: Mapping[str, Space],
    capacity: int,
    streams: int,
    *,
    usual: int,
) -> int:
    """Return a capacity that the memory allows, at least of a run whose episodes are long.

    Args:
        columns: Of records.
        latents: Of stored latents.
        capacity: Records wanted, resets of the shortest episodes included.
        streams: Number of streams.
        usual: Policy steps of the run; its records are hardly more where episodes are long.

    Raises:
        UserError: If not even those fit.
    """
    needed = lambda records: replay_bytes(columns, latents, capacity=records, streams=streams)
    least = min(capacity, usual + usual // 10 + 100 * streams)
    check_memory(needed(least))
    affordable = int(MAX_SHARE * present_memory() / needed(streams)) * streams
    return max(least, min(capacity, affordable))


def _console(process: int) -> TextIO:
    """Return where progress goes: process 0 speaks for all."""
    return sys.stdout if process == 0 else open(os.devnull, "w", encoding="utf-8")
