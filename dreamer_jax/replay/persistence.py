"""The replay on disk: block files, which all snapshots share, and manifests that name blocks.

A block file never changes. A snapshot is a manifest that names the blocks it consists of. Records
never change, so a full block of records is written once. Latents have blocks of their own, and only
those that a write-back changed are written again. The `Ledger` knows which blocks of the ring are
on disk already. A block counts as written only when its whole snapshot was written; after a
failure, the next snapshot therefore writes the block again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.files import UNFINISHED, sync
from dreamer_jax.replay import blocks
from dreamer_jax.replay.blocks import Block, CorruptReplayError
from dreamer_jax.replay.manifest import FORMAT, check_manifest
from dreamer_jax.replay.sampling import Move, Windows, redeal
from dreamer_jax.replay.storage import Ring

Families = Mapping[str, Ring]  # "records" and "latents"


class Stored(NamedTuple):
    """A block on disk."""

    block: Block
    version: int  # `Ledger.version` of the block when its content was copied
    file: str
    checksum: str


class Ledger:
    """The account of the blocks on disk and of those that changed since; used by several threads.

    Args:
        streams: Number of streams.
        capacity: Records per stream.
        block_length: Records per full block; block n begins at absolute index n·block_length.
    """

    def __init__(self, streams: int, capacity: int, block_length: int) -> None:
        self.block_length = block_length
        self._lock = threading.Lock()
        self._directory: Path | None = None
        self._stored: dict[tuple[str, int, int], Stored] = {}
        # A ring of version numbers: no two live blocks share one. 2 more for the partial blocks.
        self._versions = np.zeros((streams, capacity // block_length + 2), np.int64)

    def change(self, stream: int, start: int, stop: int) -> None:
        """Note that the latents of the records start … stop−1 of a stream have changed."""
        numbers = np.arange(start // self.block_length, (stop - 1) // self.block_length + 1)
        self._versions[stream, numbers % self._versions.shape[1]] += 1

    def version(self, block: Block) -> int:
        """Return a number that grows with every change of the content of a block."""
        if block.family == "records":
            return 0
        number = block.start // self.block_length
        return int(self._versions[block.stream, number % self._versions.shape[1]])

    def cut(self, family: str, stream: int, oldest: int, count: int) -> list[Block]:
        """Cut the live records oldest … count−1 into blocks; the first and last may be partial."""
        size = self.block_length
        numbers = range(oldest // size, -(-count // size))
        spans = [(max(oldest, n * size), min(count, (n + 1) * size)) for n in numbers]
        return [Block(family, stream, start, stop - start) for start, stop in spans]

    def find(self, block: Block) -> Stored | None:
        """Return the stored block that holds the present content of `block`, if there is one."""
        with self._lock:
            stored = self._stored.get(self._key(block))
        if stored is None or stored.version != self.version(block):
            return None
        # A stored block may begin earlier, with records that the ring has overwritten since.
        same_end = stored.block.start + stored.block.length == block.start + block.length
        return stored if same_end and stored.block.start <= block.start else None

    def forget_deleted(self) -> None:
        """Forget the blocks whose files are gone, for instance with a deleted checkpoint."""
        with self._lock:
            if self._directory is not None:
                names = _names(self._directory)
                self._stored = {k: s for k, s in self._stored.items() if s.file in names}

    def use(self, directory: Path) -> None:
        """Set the directory of the stored blocks."""
        with self._lock:
            self._directory = directory

    def commit(self, stored: Iterable[Stored]) -> None:
        """Make the blocks of a complete snapshot the stored blocks, in place of all others."""
        with self._lock:
            self._stored = {self._key(entry.block): entry for entry in stored}

    def _key(self, block: Block) -> tuple[str, int, int]:
        return block.family, block.stream, block.start // self.block_length


class Snapshot:
    """A replay at one moment, ready to be written by another thread while the replay goes on.

    A snapshot holds copies of the blocks that are not on disk yet, and the names of the others.
    """

    def __init__(self, families: Families, windows: Windows, ledger: Ledger) -> None:
        self._ledger = ledger
        self._spaces = {family: ring.spaces for family, ring in families.items()}
        self._state = windows.state()
        self._kept: list[Stored] = []
        self._copied: list[tuple[Block, int, dict[str, np.ndarray]]] = []
        ledger.forget_deleted()
        spans = list(zip(self._state["oldest"], self._state["count"], strict=True))
        for family, ring in families.items():
            for stream, (oldest, count) in enumerate(spans):
                for block in ledger.cut(family, stream, oldest, count):
                    if stored := ledger.find(block):
                        self._kept.append(stored)
                    else:
                        values = ring.read(stream, block.start, block.length)
                        self._copied.append((block, ledger.version(block), values))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the copied blocks occupy until the snapshot is let go."""
        return sum(column.nbytes for _, _, values in self._copied for column in values.values())

    def write(self, directory: str | Path) -> dict[str, Any]:
        """Write the new and changed blocks and return the manifest of the whole snapshot.

        One directory serves all snapshots of a run. The caller stores the returned manifest,
        without which the snapshot is not complete.

        Raises:
            OSError: A block could not be written; the next snapshot will write it again.
            CorruptReplayError: A block written earlier is not in this directory; the next
                snapshot will write it again.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self._ledger.use(directory)
        names = _names(directory)
        for stored in self._kept:
            if stored.file not in names:
                raise CorruptReplayError(f"replay block {directory / stored.file} is missing")
        written = [self._write_block(directory, *copied) for copied in self._copied]
        sync(directory)
        self._ledger.commit([*self._kept, *written])
        return {
            "format": FORMAT,
            "columns": {family: blocks.table(spaces) for family, spaces in self._spaces.items()},
            "block_length": self._ledger.block_length,
            "state": self._state,
            "blocks": [
                {**stored.block._asdict(), "file": stored.file, "checksum": stored.checksum}
                for stored in (*self._kept, *written)
            ],
        }

    def _write_block(
        self, directory: Path, block: Block, version: int, values: Mapping[str, np.ndarray]
    ) -> Stored:
        content = blocks.encode(block, self._spaces[block.family], values)
        name = blocks.file_name(block, content)
        blocks.write_durably(directory / name, content)
        return Stored(block, version, name, blocks.checksum(content))


def restore(
    directory: Path,
    manifest: Mapping[str, Any],
    families: Families,
    windows: Windows,
    ledger: Ledger,
) -> None:
    """Load a snapshot into an empty replay; see `Replay.restore`."""
    _check_manifest(manifest, families, windows)
    streams = len(windows.count)
    old = manifest["state"]
    state, moves = redeal(old, streams)
    stored = [_stored(entry) for entry in manifest["blocks"]]
    _check_complete(stored, old, families)
    _load(directory, stored, old, state, dict(enumerate(moves)), families)
    _mark_seams(families["records"], old, state, moves)
    windows.load_state(state)
    # The next snapshot cuts the same blocks only if neither streams nor their indices moved.
    if len(moves) == streams and manifest["block_length"] == ledger.block_length:
        ledger.use(directory)
        ledger.commit(stored)


def restore_moved(
    parts: Sequence[tuple[Path, Mapping[str, Any], Mapping[int, Move]]],
    state: Mapping[str, Any],
    families: Families,
    windows: Windows,
) -> None:
    """Load chosen streams of several snapshots; see `Replay.restore_moved`."""
    for directory, manifest, moves in parts:
        _check_manifest(manifest, families, windows)
        old, stored = manifest["state"], [_stored(entry) for entry in manifest["blocks"]]
        _check_complete(stored, old, families)
        chosen = (entry for entry in stored if entry.block.stream in moves)
        _load(directory, chosen, old, state, moves, families)
    windows.load_state(dict(state))


def _check_manifest(manifest: Mapping[str, Any], families: Families, windows: Windows) -> None:
    spaces = {name: ring.spaces for name, ring in families.items()}
    room = len(windows.count) * min(ring.capacity for ring in families.values())
    check_manifest(manifest, spaces, room)


def _load(
    directory: Path,
    stored: Iterable[Stored],
    old: Mapping[str, Any],
    state: Mapping[str, Any],
    moves: Mapping[int, Move],
    families: Families,
) -> None:
    """Read blocks from disk into the rings.

    Args:
        directory: Folder of the block files.
        stored: The blocks to read.
        old: State of the windows when the blocks were saved.
        state: State of the windows of the replay that is filled.
        moves: Where every stream of the blocks goes.
        families: The rings that are filled.
    """
    for entry in stored:
        ring = families[entry.block.family]
        file = directory / entry.file
        values = blocks.decode(file, entry.block, entry.checksum, ring.spaces)
        move = moves[entry.block.stream]
        # If the ring is smaller than the saved one was, the newest records stay.
        fitting = state["count"][move.stream] - ring.capacity - move.shift
        begin = max(old["oldest"][entry.block.stream], fitting)
        skip = max(begin - entry.block.start, 0)
        kept = {key: column[skip:] for key, column in values.items()}
        ring.write(move.stream, entry.block.start + skip + move.shift, kept)


def _stored(entry: Mapping[str, Any]) -> Stored:
    block = Block(entry["family"], entry["stream"], entry["start"], entry["length"])
    return Stored(block, 0, entry["file"], entry["checksum"])


def _check_complete(stored: list[Stored], state: Mapping[str, Any], families: Families) -> None:
    """Raise CorruptReplayError unless the blocks hold every live record in every family."""
    of_stream: dict[tuple[str, int], list[Block]] = {}
    for entry in stored:
        of_stream.setdefault(entry.block[:2], []).append(entry.block)
    for family in families:
        for stream, (oldest, count) in enumerate(zip(state["oldest"], state["count"], strict=True)):
            at = oldest
            named = of_stream.get((family, stream), [])
            for block in sorted(named, key=lambda block: block.start):
                if block.start > at:
                    break
                at = max(at, block.start + block.length)
            if at != count:
                raise CorruptReplayError(
                    f"the replay manifest names no block for {family} from {at} of stream {stream}"
                )


def _mark_seams(
    records: Ring, old: Mapping[str, Any], new: Mapping[str, Any], moves: list[Move]
) -> None:
    """Set `is_first` at each seam between two old streams in one new stream: episodes end there."""
    for (stream, shift), oldest, count in zip(moves, old["oldest"], old["count"], strict=True):
        seam = oldest + shift
        if seam > max(0, new["count"][stream] - records.capacity) and count > oldest:
            records.columns["is_first"][stream, seam % records.capacity] = True


def collect_garbage(
    directory: str | Path, manifests_kept: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Delete the block files that no kept manifest names; return their names.

    Leftovers of interrupted writes are deleted too; other files are left alone. Not to be called
    while a snapshot is being written to the directory.
    """
    directory = Path(directory)
    named = {entry["file"] for manifest in manifests_kept for entry in manifest["blocks"]}
    deleted = sorted(name for name in _names(directory) if name not in named)
    for name in deleted:
        (directory / name).unlink()
    return deleted


def _names(directory: Path) -> set[str]:
    """Return the names of block files, and of leftovers of interrupted writes."""
    patterns = (f"stream*{blocks.SUFFIX}", f".stream*{blocks.SUFFIX}.*{UNFINISHED}")
    return {path.name for pattern in patterns for path in directory.glob(pattern)}
