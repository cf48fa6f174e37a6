"""How much memory a replay takes, known before it is allocated, and the refusal of too much.

The columns are paged in as they fill, so an oversized replay would only fail hours into a run;
the refusal therefore compares the full size with the memory of the machine at the start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dreamer_jax.errors import UserError
from dreamer_jax.replay.storage import bytes_per_record
from dreamer_jax.types import Space

GIB = 2**30
MAX_SHARE = 0.8
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def replay_bytes(
    columns: Mapping[str, Space], latents: Mapping[str, Space], *, capacity: int, streams: int
) -> int:
    """Return `Replay.nbytes` of a replay with these arguments, without allocating it."""
    record = bytes_per_record(columns) + bytes_per_record(latents)
    return record * (capacity // streams) * streams


def present_memory(cgroup_limit: Path = CGROUP_LIMIT) -> int:
    """Return the bytes of RAM that this process may use: the machine's, or its container's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = cgroup_limit.read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


def check_memory(needed: int, present: int | None = None) -> None:
    """Raise UserError if `needed` bytes are more than 80 % of the RAM.

    Args:
        needed: Bytes of all replays on this machine.
        present: Bytes of RAM; measured when not given.
    """
    present = present_memory() if present is None else present
    if needed > MAX_SHARE * present:
        raise UserError(
            f"the replay needs {needed / GIB:.1f} GiB when full, more than {MAX_SHARE:.0%} of the "
            f"{present / GIB:.1f} GiB of memory here; "
            "set fewer records with --config.replay.capacity="
        )
