"""Restoring the replay of one process from the replays of another number of processes.

The streams of the first saved process come first, those of the second follow, and so on; in this
order they are numbered from 0. Each process takes as many consecutive streams as it has
environments. A stream moves as a whole and keeps the indices of its records, and its windows in the
online queue move with it. The random numbers that draw windows begin anew: the saved processes had
different ones, and none of them is the one to continue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamer_jax.replay.buffer import Replay, Slots
from dreamer_jax.replay.sampling import Move

SavedReplay = tuple[Path, Mapping[str, Any]]  # of one process: directory of blocks, manifest


def owned(counts: Sequence[int], first: int, streams: int) -> list[dict[int, int]]:
    """Return which streams of each saved process this process takes, and as which of its own.

    Args:
        counts: Number of streams of each saved process.
        first: Number of the first stream that this process takes, among the streams of all.
        streams: How many streams this process takes.

    Returns:
        For each saved process: a stream there -> the stream here.
    """
    offsets = np.cumsum([0, *counts])
    return [
        {s: offset + s - first for s in range(count) if first <= offset + s < first + streams}
        for offset, count in zip(offsets.tolist(), counts, strict=False)
    ]


def restore_dealt(replay: Replay, replays: Sequence[SavedReplay], first: int, streams: int) -> None:
    """Fill the empty replay of this process from the saved replays of all processes.

    Args:
        replay: An empty replay.
        replays: The saved replays, in the order of the processes that saved them.
        first: Number of the first stream of this process, among the streams of all.
        streams: Number of streams of this process.

    Raises:
        UserError: The saved replays have other columns.
        CorruptReplayError: A block is missing or damaged; the replay stays empty.
    """
    states = [manifest["state"] for _, manifest in replays]
    picks = owned([len(state["count"]) for state in states], first, streams)
    state: dict[str, Any] = {key: [0] * streams for key in ("count", "oldest", "tile")}
    state |= {"length": states[0]["length"], "queue": [], "rng": replay.state()["rng"]}
    for old, pick in zip(states, picks, strict=True):
        for there, here in pick.items():
            for key in ("count", "oldest", "tile"):
                state[key][here] = old[key][there]
        state["queue"] += [[pick[s], start] for s, start in old["queue"] if s in pick]
    moves = [{there: Move(here, 0) for there, here in pick.items()} for pick in picks]
    replay.restore_moved([(*each, move) for each, move in zip(replays, moves, strict=True)], state)


def write_back_dealt(
    replay: Replay, pending: Sequence[Mapping[str, Any]], picks: Sequence[Mapping[int, int]]
) -> int:
    """Write back the latents that were under way when the processes saved.

    Args:
        replay: A replay that `restore_dealt` has filled.
        pending: Latents of each saved process: `slots` (streams, starts), and `latents` by column.
        picks: The result of `owned`.

    Returns:
        The number of latents that were dropped, because their records are gone.
    """
    dropped = 0
    for waiting, pick in zip(pending, picks, strict=True):
        streams, starts = (np.asarray(each) for each in waiting["slots"])
        rows = np.flatnonzero(np.isin(streams, list(pick)))
        if len(rows):
            slots = Slots(np.array([pick[s] for s in streams[rows].tolist()]), starts[rows])
            latents = {key: np.asarray(x)[rows] for key, x in waiting["latents"].items()}
            dropped += replay.write_back(slots, latents)
    return dropped
