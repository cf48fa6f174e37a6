"""Replay alone: insertion, gathering of whole batches, and memory, beside `memcpy`."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from dreamer_jax.replay import Replay, record_columns
from dreamer_jax.types import Space
from experiments.benchmark.workload import (
    WARMUP,
    build,
    percentiles,
    random_values,
    workload_spaces,
)

STREAMS = 16


def bench_replay(args: argparse.Namespace) -> dict[str, Any]:
    """Fill a ring of `--records` records from 16 streams and draw batches from it."""
    columns = record_columns(workload_spaces(args.obs, args.action))
    latents = build(args).latent_spaces()
    replay = Replay(
        columns,
        latents,
        capacity=args.records,
        streams=STREAMS,
        batch_size=args.batch,
        length=args.length,
    )
    rng = np.random.default_rng(0)
    record, latent = (
        {k: random_values(s, (STREAMS,), rng) for k, s in spaces.items()}
        for spaces in (columns, latents)
    )
    start = time.perf_counter()
    for _ in range(args.records // STREAMS):
        replay.add(record, latent)
    inserted = args.records / (time.perf_counter() - start)

    seconds, copies = [], []
    memory = np.zeros(replay.nbytes, np.uint8)
    memory += 1  # pages of its own, as the ring has them
    for _ in range(WARMUP + args.steps):
        start = time.perf_counter()
        batch = replay.sample()
        middle = time.perf_counter()
        _copy_windows(memory, sum(array.nbytes for array in batch.data.values()), args.batch, rng)
        seconds.append(middle - start)
        copies.append(time.perf_counter() - middle)
    raw = args.records * (_bytes(columns) + _bytes(latents))
    return {
        **percentiles(seconds[WARMUP:]),
        "memcpy_ms_median": 1e3 * float(np.median(copies[WARMUP:])),
        "inserted_per_s": inserted,
        "bytes": replay.nbytes,
        "bytes_over_raw": replay.nbytes / raw,
    }


def _copy_windows(memory: np.ndarray, size: int, windows: int, rng: np.random.Generator) -> None:
    """Copy as many bytes as a batch has, from as many places, which no cache holds."""
    length = size // windows
    target = np.empty((windows, length), np.uint8)
    for row, start in zip(target, rng.integers(0, len(memory) - length, windows), strict=True):
        row[:] = memory[start : start + length]


def _bytes(spaces: dict[str, Space]) -> int:
    return sum(int(np.prod(s.shape)) * s.dtype.itemsize for s in spaces.values())
