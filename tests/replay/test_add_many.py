"""Records that arrive in bulk leave the replay as records that arrive one by one do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .conftest import COLUMNS, LATENTS, assert_same


def drawn(streams: int, count: int, seed: int = 0) -> tuple[dict[str, np.ndarray], ...]:
    """Return `[count, streams, ...]` records and latents by column."""
    rng, lead = np.random.default_rng(seed), (count, streams)
    values = {k: rng.integers(0, 2, (*lead, *s.shape)).astype(s.dtype) for k, s in COLUMNS.items()}
    values["step"] = np.arange(count * streams).reshape(lead)
    deter, stoch = LATENTS["deter"], LATENTS["stoch"]
    return values, {
        "deter": rng.normal(size=(*lead, *deter.shape)).astype(deter.dtype),
        "stoch": rng.integers(0, 99, (*lead, *stoch.shape)).astype(stoch.dtype),
    }


def rows(columns: dict[str, np.ndarray], which: Any) -> dict[str, np.ndarray]:
    return {key: value[which] for key, value in columns.items()}


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("cuts", [(1, 1, 1), (4, 7, 2, 5, 11, 3), (23,), (24, 1), (60,)])
def test_any_cut_gives_the_replay_of_single_records(make_replay, cuts, online):
    """Up to a ring and more at a time; content, queue and generator."""
    one, many = make_replay(online=online), make_replay(online=online)
    records, latents = drawn(3, sum(cuts))
    for i in range(sum(cuts)):
        one.add(rows(records, i), rows(latents, i))
    start = 0
    for cut in cuts:
        part = slice(start, start + cut)
        many.add_many(rows(records, part), rows(latents, part))
        start += cut
    assert_same(one, many)
    if one.can_sample:
        ours, theirs = one.sample(), many.sample()
        assert all(ours.data[k].tobytes() == theirs.data[k].tobytes() for k in ours.data)
        for key in LATENTS:
            assert ours.latents[key].tobytes() == theirs.latents[key].tobytes()


def test_streams_of_different_length(make_replay):
    """As after streams were dealt anew."""
    one, many = make_replay(), make_replay()
    for replay in (one, many):
        replay._windows.count[:] = (4, 31, 17)
    records, latents = drawn(3, 9)
    for i in range(9):
        one.add(rows(records, i), rows(latents, i))
    many.add_many(records, latents)
    for key, column in one._records.columns.items():
        for stream, count in enumerate(one._windows.count):
            slots = np.arange(count - 9, count) % one._records.capacity
            other = many._records.columns[key][stream, slots]
            assert column[stream, slots].tobytes() == other.tobytes()


@pytest.mark.parametrize("key", ["step", "deter", "streams"])
def test_wrong_records_are_refused_whole(make_replay, key):
    replay = make_replay()
    records, latents = drawn(2 if key == "streams" else 3, 5)
    if key == "step":
        records["step"] = records["step"].astype(np.int32)
    if key == "deter":
        latents["deter"] = latents["deter"].astype(np.float32)
    with pytest.raises(ValueError, match="must be"):
        replay.add_many(records, latents)
    assert replay.size == 0
