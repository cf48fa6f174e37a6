"""Restoring a replay from the replays of another number of processes.

The streams of all processes in order are numbered from 0, and each process takes as many as it has
environments, whole and with their own indices. What waited in the online queue goes with its
stream; which windows are drawn next is a new draw, for there is no common past to continue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamer_jax.replay.buffer import Replay, Slots
from dreamer_jax.replay.sampling import Move

Part = tuple[Path, Mapping[str, Any]]  # directory of one process, and its manifest


def owned(counts: Sequence[int], first: int, streams: int) -> list[dict[int, int]]:
    """Return for each part which of its streams become which of streams first … first+streams−1.

    Args:
        counts: Streams of each part.
        first: Number of this process's first stream.
        streams: How many it takes.
    """
    offsets = np.cumsum([0, *counts])
    return [
        {s: offset + s - first for s in range(count) if first <= offset + s < first + streams}
        for offset, count in zip(offsets.tolist(), counts, strict=False)
    ]


def restore_dealt(replay: Replay, parts: Sequence[Part], first: int, streams: int) -> None:
    """Fill an empty replay of `streams` streams from those of all processes.

    Args:
        replay: Empty.
        parts: In the order of the processes that wrote them.
        first: Number of this replay's first stream.
        streams: How many it has.

    Raises:
        UserError: The parts hold another number of streams in all, or other columns.
        CorruptReplayError: A block is missing or damaged; the replay stays empty.
    """
    states = [manifest["state"] for _, manifest in parts]
    picks = owned([len(state["count"]) for state in states], first, streams)
    state: dict[str, Any] = {key: [0] * streams for key in ("count", "oldest", "tile")}
    state |= {"length": states[0]["length"], "queue": [], "rng": replay.state()["rng"]}
    for old, pick in zip(states, picks, strict=True):
        for mine, own in pick.items():
            for key in ("count", "oldest", "tile"):
                state[key][own] = old[key][mine]
        state["queue"] += [[pick[s], start] for s, start in old["queue"] if s in pick]
    moves = [{s: Move(own, 0) for s, own in pick.items()} for pick in picks]
    replay.restore_moved([(*part, move) for part, move in zip(parts, moves, strict=True)], state)


def write_back_dealt(
    replay: Replay, pending: Sequence[Mapping[str, Any]], picks: Sequence[Mapping[int, int]]
) -> int:
    """Write latents back that the processes before had not; return how many were dropped.

    Args:
        replay: Restored by `restore_dealt`.
        pending: Of each part `slots` (streams, starts) and `latents` by column, by rows.
        picks: From `owned`.
    """
    dropped = 0
    for part, pick in zip(pending, picks, strict=True):
        streams, starts = (np.asarray(each) for each in part["slots"])
        rows = np.flatnonzero(np.isin(streams, list(pick)))
        if len(rows):
            slots = Slots(np.array([pick[s] for s in streams[rows].tolist()]), starts[rows])
            latents = {key: np.asarray(x)[rows] for key, x in part["latents"].items()}
            dropped += replay.write_back(slots, latents)
    return dropped
