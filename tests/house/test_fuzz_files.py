"""Whatever is read from a disk or put into the replay comes out right or is refused in words.

Never a crash, a hang, or a file made worse; nothing that a file names is run.
"""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import DTYPES, JSON, SHAPES, fuzz
from hypothesis import strategies as st
from ml_collections import ConfigDict
from tiny_run import tiny_run

from dreamer_jax.compat.pickles import read_author_checkpoint
from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import compile_agent
from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import UserError
from dreamer_jax.replay import CorruptReplayError, Replay
from dreamer_jax.replay.blocks import Block, _digest, checksum, decode, encode
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.checkpoint_files import write_manifest
from dreamer_jax.runtime.saving.rundir import (
    RunDir,
    check_config,
    claim,
    read_config,
    read_spaces,
)
from dreamer_jax.types import Space

COLUMNS = {
    "x": Space(np.dtype(np.float32), (2,)),
    "is_first": Space(np.dtype(bool), ()),
    "is_last": Space(np.dtype(bool), ()),
}
LATENTS = {
    "deter": Space(np.dtype(np.float32), (3,)),
    "stoch": Space(np.dtype(np.uint8), (2,)),
}
Rows = dict[str, np.ndarray]


def make_replay(streams: int = 2) -> Replay:
    sizes = {"capacity": 20 * streams, "batch_size": 1, "length": 3, "block_length": 4}
    return Replay(COLUMNS, LATENTS, streams=streams, **sizes)


def records(number: int, streams: int = 2) -> tuple[Rows, Rows]:
    flag = np.full(streams, number % 5 == 0)
    values = {"x": np.full((streams, 2), number, np.float32), "is_first": flag, "is_last": ~flag}
    latents = {
        "deter": np.full((streams, 3), number, np.float32),
        "stoch": np.full((streams, 2), 1, np.uint8),
    }
    return values, latents


def fill(replay: Replay, count: int) -> None:
    for number in range(count):
        replay.add(*records(number))


def records_into_replay(data: st.DataObject, folder: Path) -> None:  # noqa: ARG001
    """Records or latents of other keys, types or shapes are refused whole; nothing is stored."""
    replay = make_replay()
    fill(replay, 7)
    both = records(7)
    which = data.draw(st.integers(0, 1))
    values, spaces = both[which], (COLUMNS, LATENTS)[which]
    key = data.draw(st.sampled_from([*spaces, "another"]))
    change = data.draw(st.sampled_from(["nothing", "drop", "dtype", "shape"]))
    if change == "drop":
        values.pop(key, None)
    elif change != "nothing":
        dtype, shape = data.draw(DTYPES), (2, *data.draw(SHAPES))
        old = values.get(key, np.zeros((2, 2), np.float32))
        values[key] = old.astype(dtype) if change == "dtype" else np.zeros(shape, old.dtype)
    before = replay.state()
    right = values.keys() == spaces.keys() and all(
        (values[k].dtype, values[k].shape) == (s.dtype, (2, *s.shape)) for k, s in spaces.items()
    )
    try:
        replay.add(*both)
        assert right and replay.size == 16
    except ValueError as error:
        assert not right and str(error) and replay.state() == before


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """Return content with one thing done to it: cut, flipped, overwritten, extended or foreign."""
    at = data.draw(st.integers(0, len(content) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=30))
    ways = {
        "cut": content[:at],
        "flip": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
        "overwrite": content[:at] + junk + content[at + len(junk) :],
        "insert": content[:at] + junk + content[at:],
        "foreign": junk,
        "zeros": bytes(len(content)),
    }
    return ways[data.draw(st.sampled_from(sorted(ways)))]


def block_files(data: st.DataObject, folder: Path) -> None:
    """A block file of any content, also one whose own checksums are right."""
    block, values = Block("records", 0, 8, 4), {"x": np.arange(8, dtype=np.float32).reshape(4, 2)}
    spaces = {"x": COLUMNS["x"]}
    good = encode(block, spaces, values)
    content = damaged(data, good)
    if data.draw(st.booleans()):  # somebody computed the digests anew
        content = content[:-16] + _digest(content[:-16])
    (folder / "b").write_bytes(content)
    try:
        found = decode(folder / "b", block, checksum(content), spaces)
    except CorruptReplayError as error:
        assert str(folder) in str(error)
        return
    assert found["x"].shape == (4, 2) and found["x"].dtype == np.float32
    if content == good:
        np.testing.assert_array_equal(found["x"], values["x"])


def replay_manifests(data: st.DataObject, folder: Path) -> None:
    """A manifest of any form: restored as it says, or refused with the replay still empty."""
    replay = make_replay()
    fill(replay, data.draw(st.integers(0, 29)))
    manifest = json.loads(json.dumps(replay.snapshot().write(folder)))
    for _ in range(data.draw(st.integers(0, 2))):
        _mutate(data, manifest)
    other = make_replay(data.draw(st.sampled_from([2, 2, 1, 3])))
    try:
        other.restore(folder, manifest)
    except (CorruptReplayError, UserError) as error:
        assert str(error) and other.size == other.windows == 0
        return
    assert other.size <= sum(manifest["state"]["count"])
    for _ in range(3):
        other.add(*records(3, len(other.state()["count"])))
        if other.can_sample:
            other.sample()


def _mutate(data: st.DataObject, tree: Any) -> None:
    """Replace, remove or duplicate one thing somewhere in a JSON document."""
    while True:
        places = range(len(tree)) if isinstance(tree, list) else sorted(tree)
        if not places:
            return
        at = data.draw(st.sampled_from(places))
        if not isinstance(tree[at], dict | list) or data.draw(st.integers(0, 3)) == 0:
            break
        tree = tree[at]
    way = data.draw(st.sampled_from(["replace", "near", "remove", "twice"]))
    if way == "remove":
        del tree[at]
    elif way == "twice" and isinstance(tree, list):
        tree.append(copy.deepcopy(tree[at]))
    elif way == "near" and type(tree[at]) is int:
        tree[at] += data.draw(st.integers(-3, 3))
    else:
        tree[at] = data.draw(JSON)


def checkpoint_files(data: st.DataObject, folder: Path) -> None:
    """One file of the newest checkpoint damaged: the one before it is used, and it is said."""
    said: list[str] = []
    saver = Checkpointer(folder, keep=2, warn=said.append)
    for step in (3, 5):
        arrays = {"a": np.full((2, 3), step, np.float32), "b": np.arange(step)}
        host = {"step": step, "bytes": b"xyz", "array": np.arange(3)}
        saver.save(step, arrays, host, lambda: {"blocks": []})
        saver.wait()
    newest = folder / f"{5:012d}"
    path = data.draw(st.sampled_from(sorted(newest.iterdir())))
    content = path.read_bytes()
    if data.draw(st.integers(0, 4)) == 0:
        other = data.draw(st.sampled_from(sorted((folder / f"{3:012d}").iterdir())))
        shutil.copy(other, path)
    else:
        path.write_bytes(damaged(data, content))
    changed = path.read_bytes() != content
    consistent = data.draw(st.booleans()) and path.name != "manifest.json"
    if consistent:  # a foreign program that keeps the form of a checkpoint
        (newest / "manifest.json").unlink()
        write_manifest(newest)
    found = saver.load()
    assert found is not None
    if found.step == 3:
        assert changed and len(said) == 1 and str(newest) in said[0]
        assert (found.arrays["a"] == 3).all() and found.host["step"] == 3
    else:
        assert not changed or consistent
        assert all(isinstance(value, np.ndarray) for value in found.arrays.values())


def run_files(data: st.DataObject, folder: Path) -> None:
    """The config and the spaces of a run, of which anything was changed: an agent, or a line."""
    rundir = RunDir(folder)
    config, spaces = tiny_run("testing:mixed").to_dict(), make_env("testing:mixed").spaces
    claim(rundir, config, spaces)
    path = data.draw(st.sampled_from([rundir.config, rundir.config, rundir.spaces]))
    document = json.loads(path.read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        _mutate(data, document)
    path.write_text(json.dumps(document))
    for use in (_agent_of, lambda each: check_config(each, config)):
        try:
            use(rundir)
        except UserError as error:
            assert str(error) and len(str(error)) < 1000


def _agent_of(rundir: RunDir) -> None:
    """Read a run as `load_saved` does, but for its checkpoint; trace its agent."""
    config = ConfigDict(read_config(rundir))
    compile_agent(config, find_size(config.size), read_spaces(rundir)).shape()


class Run:
    """What a hostile pickle would like to have done."""

    def __reduce__(self) -> Any:
        return (Path.write_text, (Path("/tmp/dreamer-jax-was-run"), "x"))


def author_pickles(data: st.DataObject, folder: Path) -> None:
    """A pickle of any content: arrays come out, or an error; nothing that it names is called."""
    content: Any = {"params": {"enc/w": np.arange(6.0).reshape(2, 3)}, "counters": {"step": 3}}
    if data.draw(st.booleans()):
        content[data.draw(st.sampled_from(["params", "more"]))] = Run()
    path = folder / "agent.pkl"
    good = pickle.dumps(content, data.draw(st.sampled_from([2, 4, 5])))
    path.write_bytes(damaged(data, good) if data.draw(st.booleans()) else good)
    try:
        params, _ = read_author_checkpoint(path)
        assert all(isinstance(value, np.ndarray) for value in params.values())
    except UserError as error:
        assert str(error)
    assert not Path("/tmp/dreamer-jax-was-run").exists()


test_records_and_files = fuzz(
    records_into_replay, block_files, replay_manifests, checkpoint_files, author_pickles
)
# Tracing the initialisers of an agent takes a second.
test_files_of_a_run = fuzz(run_files, fast=15, full=300)
