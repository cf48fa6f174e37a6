"""Checkpoints of a run of several processes: one per process and step, whole only together.

Every process saves its environments and its replay. Process 0 saves in the run directory, as a
single process does, and adds the train state for all. The other processes save in folders of their
own (`RunDir.part`). The checkpoints of all processes for one step together are the checkpoint of
the run.

A run may continue with another number of processes. The environments are then dealt anew: the
environments of the first saved process come first, those of the second follow, and so on. In this
order the environments are numbered from 0. Each process of the continued run takes an equal number
of consecutive environments: process 0 the first ones, process 1 the next ones.
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

SHARED = ("state/", "acting/")  # groups of arrays that process 0 saves for all processes


def own_share(config: ConfigDict, processes: int) -> ConfigDict:
    """Return the config of one process: with its share of environments, rows, records, steps.

    Raises:
        UserError: If environments or rows cannot be dealt evenly to the processes.
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
    """Yield, newest first, the whole checkpoints of the run, each as the list of all processes'.

    Every process yields the same lists. Each is in the order of the processes that saved.

    Args:
        rundir: Run directory, on a file system that all processes share.
        exchange: `Compiled.exchange`; all processes must ask for the next list together.
        warn: Receives messages about checkpoints that were skipped.
    """
    found = _candidates(rundir, warn)
    saved = next(found, None)
    while True:
        keys = [tuple(said) for said in exchange(*_key(saved)).tolist()]
        if min(keys) < max(keys):  # some processes cannot read what others can
            while saved and _key(saved) > min(keys):
                saved = next(found, None)
        elif saved is None:
            return
        else:
            yield saved
            saved = next(found, None)


def _key(saved: list[Checkpoint] | None) -> tuple[int, int]:
    """Return numbers that are greater for newer checkpoints; (0, 0) for none."""
    return (saved[0].step + 1, _moment(saved[0])[0]) if saved else (0, 0)


def _moment(part: Checkpoint) -> tuple[int, int]:
    """Return what is the same of all parts of a checkpoint, beside the updates: steps, processes.

    A checkpoint that is saved between two updates replaces the one before it. If a kill comes
    meanwhile, one process has the new one and another process still has the old one.
    """
    steps = part.host.get("counters", {}).get("policy_steps", 0)
    return steps, part.host.get("processes", 1)


def _candidates(rundir: RunDir, warn: Callable[[str], None]) -> Iterator[list[Checkpoint]]:
    """Yield, newest first, the checkpoints of the run that this process finds whole."""
    for first in Checkpointer(rundir.checkpoints, keep=1, warn=warn).candidates():
        saved = [first]
        for process in range(1, first.host.get("processes", 1)):
            folder = rundir.part(process).checkpoints
            parts = Checkpointer(folder, keep=1, warn=warn).candidates(first.step)
            other = next((part for part in parts if _moment(part) == _moment(first)), None)
            if other is None:
                warn(f"skipped checkpoint {first.step}: the part of process {process} is missing")
                break
            saved.append(other)
        else:
            yield saved


def deal_learner(
    found: Sequence[Checkpoint], present: Mapping[str, np.ndarray], process: int, processes: int
) -> State:
    """Return the state that the learner of this process is to load.

    Args:
        found: The checkpoints of all processes that saved, in order.
        present: Arrays of the learner before loading.
        process: Index of this process.
        processes: Number of processes now.
    """
    shared = {k: v for k, v in found[0].arrays.items() if k.startswith(SHARED)}
    if len(found) == processes:
        saved = found[process]
        arrays = {k: v for k, v in saved.arrays.items() if not k.startswith("policy_")}
        return shared | arrays, saved.host["learner"]
    # The rows of the next batch do not continue the batch before, so a fresh carry is as good.
    carry = {k: v for k, v in present.items() if k.startswith("train_carry/")}
    learner = {k: v for k, v in found[0].host["learner"].items() if k != "pending"}
    # Only the sum over all processes has a meaning: process 0 takes it.
    dropped = sum(saved.host["learner"]["dropped"] for saved in found)
    learner["dropped"] = 0 if process else dropped
    return shared | carry, learner


def deal_source(found: Sequence[Checkpoint], source: Source, process: int, processes: int) -> State:
    """Return the state that the source of this process is to load; see `deal_learner`."""
    if len(found) == processes:
        return found[process].arrays, found[process].host["source"]
    states = [
        ({k: v for k, v in saved.arrays.items() if k.startswith("policy_")}, saved.host["source"])
        for saved in found
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
    """Fill the replay of this process; leave the replays of all processes empty if one is damaged.

    Args:
        replay: An empty replay.
        found: The checkpoints of all processes that saved, in order.
        rundir: Run directory, on a file system that all processes share.
        process: Index of this process.
        processes: Number of processes now.
        share: `Compiled.share`; all processes must call this together.

    Returns:
        The number of latents that found no record in this replay, and the damage found by any
        process, in words.

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
    """Fill the replay of this process; return how many latents found no record."""
    manifests = [saved.host["replay"] for saved in found]
    if len(found) == processes:
        replay.restore(rundir.part(process).replay, manifests[process])
        return 0
    streams = len(replay.state()["count"])
    replays = [(rundir.part(i).replay, manifest) for i, manifest in enumerate(manifests)]
    restore_dealt(replay, replays, process * streams, streams)
    counts = [len(manifest["state"]["count"]) for manifest in manifests]
    nothing: dict[str, Any] = {"slots": [[], []], "latents": {}}
    pending = [saved.host["learner"].get("pending", nothing) for saved in found]
    return write_back_dealt(replay, pending, owned(counts, process * streams, streams))
