"""The check that a replay manifest must pass before it is used.

A manifest comes out of a checkpoint whose checksums are right. A wrong manifest was therefore
written by another program, by another version, or for another run. Invariant: with a manifest that
passes, `restore` can fail only because a block is missing or is not what the manifest says; and no
block that the manifest names is larger than the ring that is to take the block.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from dreamer_jax.errors import UserError
from dreamer_jax.replay.blocks import CorruptReplayError, table
from dreamer_jax.types import Space

FORMAT = 1


def check_manifest(manifest: Any, spaces: Mapping[str, Mapping[str, Space]], records: int) -> None:
    """Check format, columns, counters and the list of blocks of a manifest.

    Args:
        manifest: Manifest, as read from a file.
        spaces: Columns of each family, in the replay that is to be restored.
        records: How many records this replay has room for.

    Raises:
        UserError: If the manifest has another format, or comes from a run with other columns.
        CorruptReplayError: If it is no manifest at all.
    """
    _require(isinstance(manifest, dict), "it is not a dict")
    if manifest.get("format") != FORMAT:
        raise UserError(
            f"the replay manifest has format {manifest.get('format')}, this version reads "
            f"{FORMAT}: resume with the version that wrote it"
        )
    _check_columns(manifest.get("columns"), {name: table(each) for name, each in spaces.items()})
    _require(_is_count(manifest.get("block_length")), "block_length is not a count")
    streams = _check_state(manifest.get("state"))
    _require(isinstance(manifest.get("blocks"), list), "it has no list of blocks")
    for entry in manifest["blocks"]:
        _check_block(entry, spaces, streams, min(records, manifest["block_length"]))


def _check_columns(stored: Any, here: Mapping[str, Any]) -> None:
    if stored == here:
        return
    for family, columns in here.items():
        there = stored.get(family) if isinstance(stored, dict) else None
        if not isinstance(there, dict):
            raise CorruptReplayError(f"the replay manifest is malformed: no columns of {family}")
        for key in sorted({*there, *columns}):
            if there.get(key) != columns.get(key):
                raise UserError(
                    f"the stored replay has columns unlike this run's: {key} is "
                    f"{there.get(key, 'absent')} there and {columns.get(key, 'absent')} here; "
                    "resume with the same environment and sizes, or use another --logdir"
                )
    _require(False, f"it has other families than {sorted(here)}")


def _check_state(state: Any) -> int:
    """Check counters, online queue and random numbers; return the number of streams."""
    if not isinstance(state, dict):
        raise CorruptReplayError("the replay manifest is malformed: it has no state")
    count, oldest, tile = (state.get(name) for name in ("count", "oldest", "tile"))
    if not (isinstance(count, list) and isinstance(oldest, list) and isinstance(tile, list)):
        raise CorruptReplayError("the replay manifest is malformed: it has no counters")
    _require(bool(count), "it has no streams")
    _require(len(count) == len(oldest) == len(tile), "its counters are of unequal length")
    _require(all(_is_count(x) for x in (*count, *oldest, *tile)), "its counters are not counts")
    ordered = all(o <= t <= c for o, t, c in zip(oldest, tile, count, strict=True))
    _require(ordered, "its counters contradict each other")
    _require(
        _is_count(state.get("length")) and isinstance(state.get("queue"), list), "it has no queue"
    )
    for window in state["queue"]:
        fits = isinstance(window, list) and len(window) == 2 and all(map(_is_count, window))
        fits = fits and window[0] < len(count) and window[1] + state["length"] <= count[window[0]]
        _require(fits, f"its queue holds {window}")
    try:
        np.random.PCG64().state = state["rng"]
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        _require(False, f"its random state is not one ({error!r})")
    return len(count)


def _check_block(entry: Any, spaces: Mapping[str, Any], streams: int, longest: int) -> None:
    fits = isinstance(entry, dict) and entry.get("family") in [*spaces]
    fits = fits and all(_is_count(entry.get(name)) for name in ("stream", "start", "length"))
    fits = fits and entry["stream"] < streams and 0 < entry["length"] <= longest
    fits = fits and all(isinstance(entry.get(name), str) for name in ("file", "checksum"))
    # All blocks lie in one folder; a longer path could name any file of the machine.
    _require(fits and PurePath(entry["file"]).name == entry["file"], f"it names the block {entry}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CorruptReplayError(f"the replay manifest is malformed: {otherwise}")
