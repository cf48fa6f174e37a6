"""Small replays whose every value tells the stream and the index it came from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from dreamer_jax.replay import Replay, Slots
from dreamer_jax.types import Space

COLUMNS = {
    "step": Space(np.dtype(np.int64), ()),
    "image": Space(np.dtype(np.uint8), (2, 3, 1)),
    "is_first": Space(np.dtype(bool), ()),
    "is_last": Space(np.dtype(bool), ()),
}
DETER = Space(np.dtype(ml_dtypes.bfloat16), (5,))
STOCH = Space(np.dtype(np.uint8), (3,))
LATENTS = {"deter": DETER, "stoch": STOCH}
Make = Callable[..., Replay]
Feed = Callable[..., None]
Manifest = dict[str, Any]

STREAM_STRIDE = 1000  # step = stream · STREAM_STRIDE + index


@pytest.fixture
def make_replay() -> Callable[..., Replay]:
    """Return a constructor with small prime sizes, any of which can be overridden."""

    def make(**options: Any) -> Replay:
        sizes = {"capacity": 3 * 23, "streams": 3, "batch_size": 2, "length": 5, "block_length": 7}
        return Replay(COLUMNS, LATENTS, **{**sizes, **options})

    return make


@pytest.fixture
def feed() -> Callable[..., None]:
    """Return a function that adds `count` records to every stream; resets at given indices."""

    def add(replay: Replay, count: int, resets: tuple[int, ...] = (0,)) -> None:
        for _ in range(count):
            index = np.array(replay.state()["count"])
            step = np.arange(len(index)) * STREAM_STRIDE + index
            records = {
                "step": step,
                "image": np.broadcast_to(
                    step.astype(np.uint8)[:, None, None, None], (len(step), 2, 3, 1)
                ),
                "is_first": np.isin(index, resets),
                "is_last": np.zeros(len(index), bool),
            }
            deter = np.tile((step % 251)[:, None], 5).astype(DETER.dtype)
            stoch = np.tile((step % 241)[:, None], 3).astype(np.uint8)
            replay.add(records, {"deter": deter, "stoch": stoch})

    return add


def write(replay: Replay, directory: Path) -> Manifest:
    """Return the manifest as it comes back from a JSON file."""
    return json.loads(json.dumps(replay.snapshot().write(directory)))


def alter_latents(replay: Replay, stream: int, start: int, value: int) -> None:
    slots = Slots(np.array([stream]), np.array([start]))
    replay.write_back(slots, equal_latents(replay, 1, value))


def equal_latents(replay: Replay, rows: int, value: int) -> dict[str, np.ndarray]:
    """Return latents `[rows, T, ...]` by column, all numbers of them `value`."""
    lead = (rows, replay.length)
    return {key: np.full((*lead, *s.shape), value, s.dtype) for key, s in LATENTS.items()}


def content(replay: Replay, stream: int) -> dict[str, np.ndarray]:
    state = replay.state()
    oldest, count = state["oldest"][stream], state["count"][stream]
    records = replay._records.read(stream, oldest, count - oldest)
    return records | replay._latents.read(stream, oldest, count - oldest)


def assert_same(one: Replay, two: Replay) -> None:
    assert one.state() == two.state()
    for stream in range(len(one.state()["count"])):
        other = content(two, stream)
        for key, values in content(one, stream).items():
            assert values.dtype == other[key].dtype
            assert values.tobytes() == other[key].tobytes()
