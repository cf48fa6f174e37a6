"""Replay of experience in NumPy: storage, sampling, persistence (docs/algorithm.md 9). No JAX."""

from dreamer_jax.replay.blocks import CorruptReplayError
from dreamer_jax.replay.buffer import Batch, Replay, Slots
from dreamer_jax.replay.dealing import owned, restore_dealt, write_back_dealt
from dreamer_jax.replay.memory import check_memory, replay_bytes
from dreamer_jax.replay.persistence import Snapshot, collect_garbage
from dreamer_jax.replay.records import record_columns, to_batch, to_columns

__all__ = [
    "Batch",
    "CorruptReplayError",
    "Replay",
    "Slots",
    "Snapshot",
    "check_memory",
    "collect_garbage",
    "owned",
    "record_columns",
    "replay_bytes",
    "restore_dealt",
    "to_batch",
    "to_columns",
    "write_back_dealt",
]
