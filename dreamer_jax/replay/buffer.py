"""The replay buffer: records of several streams in, batches of windows out, latents back.

    index      i           i+1   …   i+T          T + context consecutive records (context 1)
    carry      latent[i], action[i]               stored latent of the leading context record
    trained                i+1   …   i+T          slots.start = i+1; their latents are written back

Stored records never change, but for their latents. What a batch repairs (`is_last` before an
`is_first`, `is_first` at the head of a window without context), it repairs in its own copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.replay import persistence
from dreamer_jax.replay.persistence import Ledger, Snapshot
from dreamer_jax.replay.sampling import Move, Windows
from dreamer_jax.replay.storage import Ring
from dreamer_jax.types import Space

Rows = Mapping[str, np.ndarray]  # by key, with leading axes for time and streams


class Slots(NamedTuple):
    """Where the trained records of a batch came from."""

    stream: np.ndarray  # [B]
    start: np.ndarray  # [B] absolute index of the first trained record


class Batch(NamedTuple):
    """Windows drawn by `Replay.sample`; all arrays belong to the caller."""

    data: dict[str, np.ndarray]  # [B, context + T, ...] by key
    latents: dict[str, np.ndarray] | None  # [B, ...] of the context record; None without context
    slots: Slots


class Replay:
    """Ring buffer of experience with one stream per environment (docs/algorithm.md 9).

    Args:
        columns: Space of every key of a record, `is_first` and `is_last` among them.
        latents: Space of every column of a stored latent.
        capacity: Records in all; every stream holds capacity // streams.
        streams: Number of environments E.
        batch_size: Rows B of a batch.
        length: Trained records T of a row.
        context: Records before them, 0 or 1.
        online: Whether each non-overlapping window is served once, before all others.
        recency: Fraction of the other rows that prefer recent windows; see `sampling.Windows`.
        seed: Entropy of `np.random.SeedSequence`.
        block_length: Records per file on disk.

    Raises:
        ValueError: An argument is out of range, or B·T windows can never exist.
    """

    def __init__(
        self,
        columns: Mapping[str, Space],
        latents: Mapping[str, Space],
        *,
        capacity: int,
        streams: int,
        batch_size: int,
        length: int,
        context: int = 1,
        online: bool = True,
        recency: float = 0.0,
        seed: int | Sequence[int] = 0,
        block_length: int = 1024,
    ) -> None:
        per_stream = capacity // streams
        windows_at_most = streams * (per_stream - length - context + 1)
        if not {"is_first", "is_last"} <= columns.keys():
            raise ValueError(f"records need is_first and is_last, got the keys {sorted(columns)}")
        if context not in (0, 1):
            raise ValueError(f"context must be 0 or 1, got {context}")
        if not 0 <= recency <= 1:
            raise ValueError(f"recency must be between 0 and 1, got {recency}")
        if windows_at_most < batch_size * length:
            raise ValueError(
                f"capacity {capacity} in {streams} streams is too small: at most {windows_at_most} "
                f"windows, but training starts with {batch_size * length}; raise the capacity"
            )
        self.batch_size = batch_size
        self.length = length
        self.context = context
        self._seed = seed
        self._records = Ring(columns, streams, per_stream)
        self._latents = Ring(latents, streams, per_stream)
        self._families = {"records": self._records, "latents": self._latents}
        self._windows = Windows(
            streams,
            per_stream,
            length + context,
            online=online,
            recency=recency,
            rng=np.random.default_rng(np.random.SeedSequence(seed)),
        )
        self._ledger = Ledger(streams, per_stream, block_length)

    @property
    def size(self) -> int:
        """Number of live records in all streams."""
        return int((self._windows.count - self._windows.oldest).sum())

    @property
    def nbytes(self) -> int:
        """Bytes of memory when full, as `replay_bytes` foretells."""
        return self._records.nbytes + self._latents.nbytes

    @property
    def windows(self) -> int:
        """Number of start indices over all streams."""
        return int(self._windows.starts.sum())

    @property
    def can_sample(self) -> bool:
        """Whether B·T windows exist, the condition for training to start (docs/algorithm.md 9)."""
        return self.windows >= self.batch_size * self.length

    def add(self, records: Rows, latents: Rows) -> None:
        """Copy one record of every stream into the replay.

        Args:
            records: `[E, ...]` by key, exactly the keys, dtypes and shapes of `columns`.
            latents: `[E, ...]` by column, of the policy at these records.

        Raises:
            ValueError: A key, dtype or shape differs; nothing is stored then.
        """
        indices = self._windows.count
        self._records.check(records, indices.shape)
        self._latents.check(latents, indices.shape)
        self._records.append(indices, records)
        self._latents.append(indices, latents)
        self._windows.advance()

    def add_many(self, records: Rows, latents: Rows) -> None:
        """Do as `add` does with one vector of records after the other.

        Args:
            records: `[K, E, ...]` by key.
            latents: `[K, E, ...]` by column.

        Raises:
            ValueError: A key, dtype or shape differs; nothing is stored then.
        """
        steps = len(records["is_first"])
        leading = (steps, len(self._windows.count))
        self._records.check(records, leading)
        self._latents.check(latents, leading)
        # At most a ring at a time: of two records for one slot the order would be undefined.
        for start in range(0, steps, self._records.capacity):
            part = slice(start, min(steps, start + self._records.capacity))
            offsets = np.arange(part.stop - part.start)
            indices = self._windows.count + offsets[:, None]
            for ring, values in ((self._records, records), (self._latents, latents)):
                ring.append(indices, {key: value[part] for key, value in values.items()})
            for _ in offsets:
                self._windows.advance()

    def sample(self) -> Batch:
        """Draw B windows, those of the online queue first.

        Returns:
            A batch of fresh copies. `is_last` is set where the next record of the stream, if there
            is one, is a reset; `is_first` is set at the head of every row if context is 0.

        Raises:
            ValueError: Fewer than B·T windows exist.
        """
        self._check_windows()
        return self._collect(*self._windows.draw(self.batch_size))

    def look(self, at: int) -> Batch:
        """Draw B windows as `sample` does, and leave no trace.

        The online queue and the random numbers of `sample` stay as they are, so that training
        does not depend on who looks, or how often.

        Args:
            at: A number that determines the draw, for instance of policy steps.

        Raises:
            ValueError: Fewer than B·T windows exist.
        """
        self._check_windows()
        rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(at,)))
        return self._collect(*self._windows.draw_unqueued(self.batch_size, rng))

    def _check_windows(self) -> None:
        if not self.can_sample:
            raise ValueError(
                f"cannot sample: {self.windows} windows exist, "
                f"{self.batch_size * self.length} are needed; check can_sample"
            )

    def _collect(self, streams: np.ndarray, starts: np.ndarray) -> Batch:
        """Return copies of the windows of `length` plus context that begin at `starts`."""
        data = self._records.gather(streams, starts, self.context + self.length)
        self._repair(data, streams, starts)
        slots = Slots(streams, starts + self.context)
        if not self.context:
            return Batch(data, None, slots)
        latents = self._latents.gather(streams, starts, 1)
        return Batch(data, {key: value[:, 0] for key, value in latents.items()}, slots)

    def _repair(self, data: dict[str, np.ndarray], streams: np.ndarray, starts: np.ndarray) -> None:
        """Set `is_last` before resets and, without context, `is_first` at the head of rows."""
        after = starts + self.context + self.length
        stored = self._records.columns["is_first"][streams, after % self._records.capacity]
        # The slot after the newest record holds the oldest one, or nothing yet.
        reset_follows = stored & (after < self._windows.count[streams])
        data["is_last"][:, :-1] |= data["is_first"][:, 1:]
        data["is_last"][:, -1] |= reset_follows
        if not self.context:
            data["is_first"][:, 0] = True

    def write_back(self, slots: Slots, latents: Rows) -> int:
        """Store the latents of a training pass in the records they came from.

        Records overwritten since the batch was drawn are left alone. Where rows overlap, the last
        row wins.

        Args:
            slots: Of the batch.
            latents: `[B, T, ...]` by column.

        Returns:
            Number of latents dropped because their record is gone, of B·T.

        Raises:
            ValueError: A dtype or shape differs; nothing is stored then.
        """
        self._latents.check(latents, (len(slots.stream), self.length))
        oldest = self._windows.oldest[slots.stream]
        gone = np.clip(oldest - slots.start, 0, self.length)
        # One row after the other: the order of one indexed assignment would be undefined.
        rows = zip(slots.stream.tolist(), slots.start.tolist(), gone.tolist(), strict=True)
        for row, (stream, start, skip) in enumerate(rows):
            if skip < self.length:
                kept = {key: values[row, skip:] for key, values in latents.items()}
                self._latents.write(stream, start + skip, kept)
                self._ledger.change(stream, start + skip, start + self.length)
        return int(gone.sum())

    def state(self) -> dict[str, Any]:
        """Return counters, online queue and random state, without content; JSON can hold it."""
        return self._windows.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to a `state` of this replay whose records are all still stored.

        Raises:
            ValueError: The state is of another number of streams.
        """
        self._windows.load_state(state)

    def clear(self) -> None:
        """Forget all records, also that they are on disk; only the random state stays."""
        nothing = [0] * len(self._windows.count)
        emptied = {"count": nothing, "oldest": nothing, "tile": nothing, "queue": []}
        self._windows.load_state(self._windows.state() | emptied)
        self._ledger.commit([])

    def snapshot(self) -> Snapshot:
        """Copy what is new or changed since the last written snapshot, for writing by a thread."""
        return Snapshot(self._families, self._windows, self._ledger)

    def restore(self, directory: str | Path, manifest: Mapping[str, Any]) -> None:
        """Load the snapshot that `Snapshot.write(directory)` returned `manifest` for.

        Content, counters, online queue and random state come back exactly. With another number of
        streams they are dealt anew, whole and in order (`sampling.redeal`); where several share
        one stream, `is_first` is set on the first record of each but the first, and the record
        added next to any stream must be a reset. If less fits than before, the newest stay.

        Raises:
            ValueError: This replay is not empty.
            UserError: The snapshot has other columns, or another format version.
            CorruptReplayError: A block is missing or damaged; this replay stays empty.
        """
        if self.size:
            raise ValueError(f"restore needs an empty replay, this one holds {self.size} records")
        persistence.restore(Path(directory), manifest, self._families, self._windows, self._ledger)

    def restore_moved(
        self,
        parts: Sequence[tuple[Path, Mapping[str, Any], Mapping[int, Move]]],
        state: Mapping[str, Any],
    ) -> None:
        """Load streams of several snapshots as `dealing.restore_dealt` dealt them.

        Args:
            parts: Directory, manifest, and where each chosen stream goes.
            state: Counters, queue and random state of this replay afterwards.

        Raises:
            UserError, CorruptReplayError: As `restore` does.
        """
        if self.size:
            raise ValueError(f"restore needs an empty replay, this one holds {self.size} records")
        persistence.restore_moved(parts, state, self._families, self._windows)
