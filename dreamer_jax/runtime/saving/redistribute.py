"""A checkpoint of several processes: one part each, of one step, complete only together.

Process 0 writes the train state and its own part where a single process writes everything; the
others keep theirs in folders of their own (`RunDir.part`). Another number of processes deals the
environments anew: those of all parts in order are numbered from 0, and process i takes its share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from dreamer_jax.cluster.agreement import Exchange
from dreamer_jax.errors import UserError
from dreamer_jax.replay import (
    CorruptReplayError,
    Replay,
    owned,
    restore_dealt,
    write_back_dealt,
)
from dreamer_jax.runtime.saving.checkpoint import Checkpoint, Checkpointer
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.source import Source, State

SHARED = ("state/", "acting/")  # arrays that process 0 writes for all


def own_share(config: ConfigDict, processes: int) -> ConfigDict:
    """Return the config with one process's share of environments, rows, records and steps.

    Raises:
        UserError: If environments or rows cannot be dealt evenly.
    """
    share = ConfigDict(config.to_dict())
    for key in ("envs", "batch_size"):
        if config[key] % processes:
            raise UserError(
                f"config.{key}={config[key]} cannot be dealt evenly to {processes} processes; "
                f"choose a multiple, for instance {processes * -(-config[key] // processes)}"
            )
        share[key] = config[key] // processes
    share.replay.capacity = config.replay.capacity // processes
    share.steps = -(-config.steps // processes)
    return share


def load_parts(
    rundir: RunDir, exchange: Exchange, warn: Callable[[str], None]
) -> Iterator[list[Checkpoint]]:
    """Yield all parts of whole checkpoints, newest first; the same to all processes.

    Args:
        rundir: On a file system that all processes share.
        exchange: `Compiled.exchange`; all processes must ask for the next one together.
        warn: Receives messages about what was skipped.
    """
    found = _candidates(rundir, warn)
    parts = next(found, None)
    while True:
        said = exchange(parts[0].step + 1 if parts else 0)[:, 0]
        if said.min() < said.max():  # some cannot read what others can
            while parts and parts[0].step >= said.min():
                parts = next(found, None)
        elif parts is None:
            return
        else:
            yield parts
            parts = next(found, None)


def _candidates(rundir: RunDir, warn: Callable[[str], None]) -> Iterator[list[Checkpoint]]:
    for first in Checkpointer(rundir.checkpoints, keep=1, warn=warn).candidates():
        parts = [first]
        for process in range(1, first.host.get("processes", 1)):
            folder = rundir.part(process).checkpoints
            part = next(Checkpointer(folder, keep=1, warn=warn).candidates(first.step), None)
            if part is None:
                warn(f"skipped checkpoint {first.step}: the part of process {process} is missing")
                break
            parts.append(part)
        else:
            yield parts


def deal_learner(
    found: Sequence[Checkpoint], own: Mapping[str, np.ndarray], process: int, processes: int
) -> State:
    """Return what `load_state` of this process's learner takes.

    Args:
        found: The checkpoint's part of every process that saved it.
        own: Arrays of the learner as it is.
        process: Which process this is.
        processes: How many there are now.
    """
    shared = {k: v for k, v in found[0].arrays.items() if k.startswith(SHARED)}
    if len(found) == processes:
        part = found[process]
        arrays = {k: v for k, v in part.arrays.items() if not k.startswith("policy_")}
        return shared | arrays, part.host["learner"]
    # Rows do not continue those of the batch before, so a new carry is as good.
    carry = {k: v for k, v in own.items() if k.startswith("train_carry/")}
    learner = {k: v for k, v in found[0].host["learner"].items() if k != "pending"}
    # Only the sum over processes has a meaning.
    dropped = sum(part.host["learner"]["dropped"] for part in found)
    learner["dropped"] = 0 if process else dropped
    return shared | carry, learner


def deal_source(found: Sequence[Checkpoint], source: Source, process: int, processes: int) -> State:
    """Return what `load_state` of this process's source takes; arguments as of `deal_learner`."""
    if len(found) == processes:
        return found[process].arrays, found[process].host["source"]
    states = [
        ({k: v for k, v in part.arrays.items() if k.startswith("policy_")}, part.host["source"])
        for part in found
    ]
    return source.deal(states, process)


def load_replay(
    replay: Replay,
    found: Sequence[Checkpoint],
    rundir: RunDir,
    process: int,
    processes: int,
    share: Callable[[bytes], list[bytes]],
) -> tuple[int, str]:
    """Fill a process's replay from all parts, or leave all replays empty where one is damaged.

    Args:
        replay: Empty.
        found: All parts.
        rundir: On a file system that all processes share.
        process: Which process this is.
        processes: How many there are now.
        share: `Compiled.share`; all processes must call this together.

    Returns:
        How many latents found no record here, and what is damaged anywhere.

    Raises:
        UserError: As `Replay.restore` does.
    """
    dropped, damage = 0, ""
    try:
        dropped = _fill(replay, found, rundir, process, processes)
    except CorruptReplayError as error:
        damage = str(error)
    damages = [each.decode() for each in share(damage.encode()) if each]
    if damages:
        replay.clear()
    return dropped, "; ".join(damages)


def _fill(
    replay: Replay, found: Sequence[Checkpoint], rundir: RunDir, process: int, processes: int
) -> int:
    """Fill a process's replay from all parts; return how many latents found no record."""
    manifests = [part.host["replay"] for part in found]
    if len(found) == processes:
        replay.restore(rundir.part(process).replay, manifests[process])
        return 0
    streams = len(replay.state()["count"])
    parts = [(rundir.part(p).replay, each) for p, each in enumerate(manifests)]
    restore_dealt(replay, parts, process * streams, streams)
    counts = [len(manifest["state"]["count"]) for manifest in manifests]
    nothing: dict[str, Any] = {"slots": [[], []], "latents": {}}
    pending = [part.host["learner"].get("pending", nothing) for part in found]
    return write_back_dealt(replay, pending, owned(counts, process * streams, streams))
