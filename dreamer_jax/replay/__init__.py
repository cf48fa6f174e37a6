"""Replay of experience in NumPy: storage, sampling, persistence (SPEC 9). Imports no JAX."""

from dreamer_jax.replay.blocks import CorruptReplayError
from dreamer_jax.replay.buffer import Batch, Replay, Slots
from dreamer_jax.replay.dealing import owned, restore_dealt, write_back_dealt
from dreamer_jax.replay.memory import check_memory, replay_bytes
from dreamer_jax.replay.persistence import Snapshot, collect_garbage

__all__ = [
    "Batch",
    "CorruptReplayError",
    "Replay",
    "Slots",
    "Snapshot",
    "check_memory",
    "collect_garbage",
    "owned",
    "replay_bytes",
    "restore_dealt",
    "write_back_dealt",
]
