"""Checkpoints of several processes, each process a thread that meets the others for real."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meeting import Meeting, together
from tiny_run import tiny_run

from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import compile_agent
from dreamer_jax.device_envs.chase import Chase
from dreamer_jax.device_envs.vector import DeviceVectorEnv
from dreamer_jax.errors import UserError
from dreamer_jax.replay import Replay
from dreamer_jax.runtime.device_driver import DeviceDriver
from dreamer_jax.runtime.saving.checkpoint import Checkpoint, Checkpointer
from dreamer_jax.runtime.saving.redistribute import deal_source, load_parts, load_replay
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.types import Space

COUNT = 2  # processes
LATENTS = {
    "deter": Space(np.dtype(np.float32), (3,)),
    "stoch": Space(np.dtype(np.uint8), (2,)),
}


def save_parts(root: Path, steps: list[int]) -> None:
    for process in range(COUNT):
        parts = Checkpointer(RunDir(root).part(process).checkpoints, keep=len(steps))
        for step in steps:
            parts.save(step, {"x": np.arange(7)}, {"processes": COUNT})
            parts.wait()


def spoil(folder: Path) -> None:
    file = folder / "arrays.npz"
    file.write_bytes(file.read_bytes()[:-1])


def test_processes_take_only_what_all_can_read(tmp_path):
    """One reads another copy, as through the cache of a network file system."""
    roots = [tmp_path / "one", tmp_path / "two"]
    save_parts(roots[0], [2, 3, 5, 7, 11])
    shutil.copytree(roots[0], roots[1])
    spoil(RunDir(roots[0]).part(1).checkpoints / f"{7:012d}")
    spoil(RunDir(roots[1]).part(0).checkpoints / f"{11:012d}")
    spoil(RunDir(roots[1]).part(1).checkpoints / f"{3:012d}")

    def steps(index: int, meeting: Meeting) -> list[int]:
        found = load_parts(RunDir(roots[index]), meeting.exchange(index), lambda _: None)
        return [parts[0].step for parts in found]

    assert together(steps, COUNT) == [[5, 2], [5, 2]]


def make_replay(process: int) -> Replay:
    flag, number = Space(np.dtype(bool), ()), Space(np.dtype(np.int64), ())
    columns = {"step": number, "is_first": flag, "is_last": flag}
    sizes = {"capacity": 2 * 31, "streams": 2, "batch_size": 2, "length": 3, "block_length": 5}
    return Replay(columns, LATENTS, seed=process, **sizes)


def feed(replay: Replay, steps: int) -> None:
    for _ in range(steps):
        index = np.array(replay.state()["count"])
        records = {"step": index, "is_first": index == 0, "is_last": index < 0}
        replay.add(records, {k: np.zeros((2, *s.shape), s.dtype) for k, s in LATENTS.items()})


def save_replays(rundir: RunDir, checkpoints: list[int]) -> list[list[Checkpoint]]:
    """Return the parts of checkpoints after so many records of each stream."""
    replays, saved = [make_replay(process) for process in range(COUNT)], []
    for step in checkpoints:
        parts = []
        for process, replay in enumerate(replays):
            feed(replay, step - replay.state()["count"][0])
            manifest = replay.snapshot().write(rundir.part(process).replay)
            host = {"replay": manifest, "learner": {"dropped": 0}, "processes": COUNT}
            parts.append(Checkpoint({}, host, step))
        saved.append(parts)
    return saved


@pytest.mark.parametrize("count", [COUNT, 1, 4])
def test_a_block_that_one_process_finds_damaged_is_damaged_for_all(tmp_path, count):
    """Whatever was loaded elsewhere goes, and the checkpoint before it can be loaded instead."""
    rundir = RunDir(tmp_path)
    older, newer = save_replays(rundir, [11, 19])
    kept = {entry["file"] for entry in older[1].host["replay"]["blocks"]}
    blocks = newer[1].host["replay"]["blocks"]
    bad = next(b["file"] for b in blocks if b["file"] not in kept and b["stream"] == 0)
    (rundir.part(1).replay / bad).write_bytes(b"not a block")

    def load(index: int, meeting: Meeting) -> Any:
        replay = make_replay(9)
        if count != COUNT:
            replay = Replay(
                replay._records.spaces,
                replay._latents.spaces,
                capacity=31 * 4 // count,
                streams=4 // count,
                batch_size=1,
                length=3,
            )
        said = []
        for found in (newer, older):
            said.append(load_replay(replay, found, rundir, index, count, meeting.share(index))[1])
            if said[-1]:
                assert replay.size == 0
        return said, replay.state()["count"]

    for said, counts in together(load, count):
        assert bad in said[0] and said[1] == ""
        assert counts == [11] * (4 // count)


@pytest.mark.usefixtures("cheap_compile")
def test_environments_on_the_device_are_dealt_with_all_that_they_are():
    """Two processes of two become one of four, four of one, and two again."""
    config, env = tiny_run("device:chase"), Chase(cells=3, length=7)
    compiled = compile_agent(config, find_size(config.size), env.spaces)
    params = compiled.acting(compiled.init())

    def driver(envs: int, process: int) -> DeviceDriver:
        vector = DeviceVectorEnv(env, envs, seed=5, process=process, steps=3)
        return DeviceDriver(vector, compiled, None)

    def part(driver: DeviceDriver) -> Checkpoint:
        arrays, host = driver.state()
        return Checkpoint(arrays, {"source": host}, 0)

    drivers = [driver(2, process) for process in range(2)]
    for each in drivers:
        for _ in range(5):
            each.step(params)
    parts = first = [part(each) for each in drivers]
    for envs in (4, 1, 2):
        drivers = [driver(envs, process) for process in range(4 // envs)]
        for process, each in enumerate(drivers):
            each.load_state(*deal_source(parts, each, process, len(drivers)))
        parts = [part(each) for each in drivers]
        assert sum(each.policy_steps for each in drivers) == sum(
            each.host["source"]["policy_steps"] for each in first
        )
        for name in first[0].arrays:
            before, now = (np.concatenate([p.arrays[name] for p in x]) for x in (first, parts))
            np.testing.assert_array_equal(now, before, err_msg=name)
        for name in ("score", "length", "begun"):
            before, now = (
                np.concatenate([p.host["source"][name] for p in x]) for x in (first, parts)
            )
            np.testing.assert_array_equal(now, before, err_msg=name)
    assert first[0].arrays and first[0].host["source"]["policy_steps"] > 0
    for each in drivers:
        each.step(params)
    with pytest.raises(UserError, match="lacks environments 3 to 5"):
        deal_source(parts, driver(3, 1), 1, 3)


class Moments:
    """Parts of checkpoints of one step, told apart by the policy steps of their moment."""

    def __init__(self, root: Path, processes: int = COUNT) -> None:
        self.rundir, self._processes = RunDir(root), processes
        self._savers = [
            Checkpointer(self.rundir.part(i).checkpoints, 2, keep_replaced=processes > 1)
            for i in range(processes)
        ]

    def save(self, process: int, step: int, policy_steps: int) -> None:
        host = {"processes": self._processes, "counters": {"policy_steps": policy_steps}}
        self._savers[process].save(step, {"x": np.arange(process + 2)}, host)
        self._savers[process].wait()

    def save_all(self, step: int, policy_steps: int) -> None:
        for process in range(self._processes):
            self.save(process, step, policy_steps)

    def load(self) -> list[tuple[int, int]]:
        """Return moments of the newest whole checkpoint's parts, and continue from these."""
        found = next(load_parts(self.rundir, lambda *said: np.array([said]), lambda _: None))
        for saver, part in zip(self._savers, found, strict=True):
            saver.return_to(part)
        assert [len(part.arrays["x"]) for part in found] == [2, 3]
        return [(part.step, part.host["counters"]["policy_steps"]) for part in found]


@pytest.mark.parametrize("late", range(COUNT))
def test_parts_of_one_step_but_of_two_moments_are_no_checkpoint(late, tmp_path):
    """A kill came when one process had replaced its checkpoint of a step and the other had not.

    The processes went on from different vector steps, and stayed so to the end.
    """
    moments = Moments(tmp_path)
    moments.save_all(0, 10)
    for _ in range(3):  # killed, continued, killed at the same place
        moments.save(1 - late, 0, 14)
        assert moments.load() == 2 * [(0, 10)]
    moments.save_all(0, 14)
    assert moments.load() == 2 * [(0, 14)]
    moments.save(1 - late, 1, 18)
    assert moments.load() == 2 * [(0, 14)]
    moments.save_all(1, 18)
    moments.save_all(2, 22)
    assert moments.load() == 2 * [(2, 22)]
    for process in range(COUNT):
        folder = RunDir(tmp_path).part(process).checkpoints
        assert sorted(path.name for path in folder.iterdir()) == [f"{1:012d}", f"{2:012d}"]


def test_parts_of_another_number_of_processes_are_no_checkpoint(tmp_path):
    """A stop right after the start saves at the counters of the checkpoint that was continued."""
    Moments(tmp_path, 4).save_all(3, 10)
    moments = Moments(tmp_path, 2)
    moments.save(0, 3, 10)
    found = next(load_parts(RunDir(tmp_path), lambda *said: np.array([said]), lambda _: None))
    assert [part.host["processes"] for part in found] == 4 * [4]
    moments.save(1, 3, 10)
    assert moments.load() == 2 * [(3, 10)]
