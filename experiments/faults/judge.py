"""The judge of a killed run: compares its replay with the tape of its environments; no JAX.

A record is committed once a whole checkpoint names it. A committed record must never be missing
afterwards, and must not be there twice. Every record must be the line that the tape has for its
episode and step: the records of a stream are the lines of its episodes in order, from the first
reset on. The replay of a campaign is so large that no record is ever overwritten.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dreamer_jax.envs.vector.vector_env import episode_seed
from dreamer_jax.replay.blocks import Block, decode
from dreamer_jax.runtime.saving.checkpoint import Checkpoint
from dreamer_jax.runtime.saving.redistribute import load_parts
from dreamer_jax.runtime.saving.rundir import RunDir, read_config
from dreamer_jax.types import Space
from experiments.faults.taped import RESET, Line


class Verdict(NamedTuple):
    """What the judge found in a run; all counts but the first two should be 0."""

    step: int = -1  # updates of the newest whole checkpoint, −1 if there is none
    committed: int = 0  # records in it
    lost: int = 0  # records that are missing between other records
    doubled: int = 0  # records that are there twice
    unlike: int = 0  # records that differ from the tape, or that stand in another place
    diverged: int = 0  # steps that a resumed run did again with another action
    unsaved: int = 0  # steps of the newest start that no record holds, but one for each stream


def judge(root: Path, tape: list[Line], cuts: bool = False, since: int = 0) -> Verdict:
    """Judge the newest whole checkpoint of a run of `taped.make`; see `compare`."""
    rundir = RunDir(root)
    alone = lambda *numbers: np.array([numbers])
    parts = next(load_parts(rundir, alone, lambda _: None), None)
    if parts is None:
        return compare([], tape, 0)
    streams = [
        lines
        for process, part in enumerate(parts)
        for lines in stored_lines(rundir.part(process), part)
    ]
    seed = read_config(rundir)["seed"]
    return compare(streams, tape, seed, len(parts), cuts, since)._replace(step=parts[0].step)


def compare(
    streams: list[list[Line]],
    tape: list[Line],
    seed: int,
    processes: int = 1,
    cuts: bool = False,
    since: int = 0,
) -> Verdict:
    """Compare stored records with the tape of a run with this seed.

    Args:
        streams: By environment, those of process 0 first, equally many for each process.
        tape: Of all environments.
        seed: Of the run.
        processes: Number of processes.
        cuts: Whether an episode may end early where the tape does: its simulator was killed.
        since: First line of the tape that is of the newest start. A kill before that start has cost
            steps that are on the tape and were not done again yet.
    """
    actions: dict[tuple[int, int], set[int]] = defaultdict(set)
    ends: dict[int, int] = {}  # the last step of each episode on the tape
    for line in tape:
        actions[line.seed, line.step].add(line.action)
        ends[line.seed] = max(line.step, ends.get(line.seed, 0))
    lost = doubled = unlike = 0
    for index, stored in enumerate(streams):
        place = divmod(index, len(streams) // processes)
        steps = [(line.seed, line.step) for line in stored]
        expected = _expected(seed, place, stored, ends if cuts else None)
        doubled += len(steps) - len({*steps})
        lost += len({*expected} - {*steps})
        unlike += sum({x.action} != actions[x.seed, x.step] for x in stored)
        if sorted(steps) == sorted(expected):
            unlike += sum(one != two for one, two in zip(steps, expected, strict=True))
    diverged = sum(len(each) > 1 for each in actions.values())
    count = sum(map(len, streams))
    # The newest record of a stream waits for the action that will be chosen after it.
    held = {(line.seed, line.step) for stored in streams for line in stored}
    missing = {(line.seed, line.step) for line in tape[since:]} - held
    unsaved = max(0, len(missing) - len(streams)) if streams else 0
    return Verdict(-1, count, lost, doubled, unlike, diverged, unsaved)


def _expected(
    seed: int, place: tuple[int, int], stored: list[Line], ends: Mapping[int, int] | None
) -> list[tuple[int, int]]:
    """Return the steps that a stream must hold: whole episodes, and the last one so far.

    Args:
        seed: Of the run.
        place: Process and environment.
        stored: Records of the stream.
        ends: The last step of each episode on the tape; None if no episode may be cut short.
    """
    whole = max((line.step for line in stored), default=-1) + 1
    held = Counter(line.seed for line in stored)
    expected: list[tuple[int, int]] = []
    episode = 0
    while stored and len(expected) < len(stored) + whole:
        wanted = episode_seed(seed, *place, episode)
        last, length = wanted == stored[-1].seed, whole
        if last:
            length = stored[-1].step + 1
        elif ends is not None and (end := ends.get(wanted, -1)) < whole - 1:
            # The step that was under way may have reached the tape and nobody else.
            length = min(max(held[wanted], end), end + 1)
        expected += [(wanted, step) for step in range(length)]
        if last:
            break
        episode += 1
    return expected


def stored_lines(rundir: RunDir, found: Checkpoint) -> list[list[Line]]:
    """Return the records of a checkpoint's replay, by environment, as lines of the tape.

    This function reads the block files that the manifest names and does not call `Replay.restore`,
    so that a fault of `Replay.restore` cannot hide itself.
    """
    manifest = found.host["replay"]
    table = manifest["columns"]["records"]
    spaces = {key: Space(np.dtype(dtype), tuple(shape)) for key, (dtype, shape) in table.items()}
    streams = []
    for stream, count in enumerate(manifest["state"]["count"]):
        records: dict[int, dict[str, np.ndarray]] = {}
        for entry in manifest["blocks"]:
            if (entry["family"], entry["stream"]) != ("records", stream):
                continue
            block = Block("records", stream, entry["start"], entry["length"])
            values = decode(rundir.replay / entry["file"], block, entry["checksum"], spaces)
            for i in range(block.length):
                records[block.start + i] = {key: value[i] for key, value in values.items()}
        live = range(manifest["state"]["oldest"][stream], count)
        streams.append(_lines([records[index] for index in live if index in records]))
    return streams


def _lines(records: list[dict[str, np.ndarray]]) -> list[Line]:
    """Return records as lines of the tape; a line holds the action that led to the record."""
    lines, action = [], RESET
    for record in records:
        high, low = record["obs/seed"].astype(int).tolist()
        before = RESET if record["is_first"] else action
        lines.append(Line(high * 2**16 + low, int(record["obs/index"]), before))
        action = int(record["action/action"])
    return lines
