"""The replay on disk: blocks shared by all snapshots of a directory, and manifests naming them.

Records never change, so a full block of them is written once; latents are columns of their own, of
which only blocks changed by a write-back are written again. Block files are immutable; a snapshot
is a manifest that names some of them. `Ledger` knows which blocks of the ring already are on disk;
a block counts as written only when the whole snapshot was, so after a failure the next snapshot
writes it again.
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
    version: int  # of the latents when they were copied
    file: str
    checksum: str


class Ledger:
    """Which blocks are on disk, and which changed since. Shared with threads that write.

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
        # A ring of blocks: live ones never share an entry. 2 more for the partial ends.
        self._versions = np.zeros((streams, capacity // block_length + 2), np.int64)

    def change(self, stream: int, start: int, stop: int) -> None:
        """Note that the latents of records start … stop−1 of a stream were written."""
        numbers = np.arange(start // self.block_length, (stop - 1) // self.block_length + 1)
        self._versions[stream, numbers % self._versions.shape[1]] += 1

    def version(self, block: Block) -> int:
        """Return a number that grows whenever the block's content is altered."""
        if block.family == "records":
            return 0
        number = block.start // self.block_length
        return int(self._versions[block.stream, number % self._versions.shape[1]])

    def cut(self, family: str, stream: int, oldest: int, count: int) -> list[Block]:
        """Return the live records oldest … count−1 as blocks; those at the ends may be partial."""
        size = self.block_length
        numbers = range(oldest // size, -(-count // size))
        spans = [(max(oldest, n * size), min(count, (n + 1) * size)) for n in numbers]
        return [Block(family, stream, start, stop - start) for start, stop in spans]

    def find(self, block: Block) -> Stored | None:
        """Return a stored block with the present content of `block`, if there is one."""
        with self._lock:
            stored = self._stored.get(self._key(block))
        if stored is None or stored.version != self.version(block):
            return None
        # A stored block may begin earlier, with records that the ring has overwritten since.
        same_end = stored.block.start + stored.block.length == block.start + block.length
        return stored if same_end and stored.block.start <= block.start else None

    def forget_deleted(self) -> None:
        """Drop blocks whose files are gone, for instance because their manifest was not kept."""
        with self._lock:
            if self._directory is not None:
                names = _names(self._directory)
                self._stored = {k: s for k, s in self._stored.items() if s.file in names}

    def use(self, directory: Path) -> None:
        """Set the directory in which stored blocks are looked for."""
        with self._lock:
            self._directory = directory

    def commit(self, stored: Iterable[Stored]) -> None:
        """Replace what is known by the blocks of a complete snapshot."""
        with self._lock:
            self._stored = {self._key(entry.block): entry for entry in stored}

    def _key(self, block: Block) -> tuple[str, int, int]:
        return block.family, block.stream, block.start // self.block_length


class Snapshot:
    """A replay at one moment, ready to be written by another thread while the replay goes on.

    Holds copies of the blocks that are not on disk yet, and the names of those that are.
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
        """Bytes of memory that the copies occupy until the snapshot is let go."""
        return sum(column.nbytes for _, _, values in self._copied for column in values.values())

    def write(self, directory: str | Path) -> dict[str, Any]:
        """Write the new and changed blocks and return the manifest of the whole snapshot.

        One directory serves all snapshots of a run. Only with the returned manifest is the
        snapshot complete; the caller stores it.

        Raises:
            OSError: A block could not be written; its records go into the next snapshot again.
            CorruptReplayError: A block written earlier is not in this directory; the next
                snapshot holds it again.
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
    _check(manifest, families, windows)
    streams = len(windows.count)
    old = manifest["state"]
    state, moves = redeal(old, streams)
    stored = [_stored(entry) for entry in manifest["blocks"]]
    _check_complete(stored, old, families)
    _load(directory, stored, old, state, dict(enumerate(moves)), families)
    _mark_seams(families["records"], old, state, moves)
    windows.load_state(state)
    # Blocks are cut the same way again only where neither streams nor their indices moved.
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
        _check(manifest, families, windows)
        old, stored = manifest["state"], [_stored(entry) for entry in manifest["blocks"]]
        _check_complete(stored, old, families)
        chosen = (entry for entry in stored if entry.block.stream in moves)
        _load(directory, chosen, old, state, moves, families)
    windows.load_state(dict(state))


def _check(manifest: Mapping[str, Any], families: Families, windows: Windows) -> None:
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
    """Copy blocks to where `moves` puts their streams, whose new counters `state` holds."""
    for entry in stored:
        ring = families[entry.block.family]
        file = directory / entry.file
        values = blocks.decode(file, entry.block, entry.checksum, ring.spaces)
        move = moves[entry.block.stream]
        # Where less fits than before, the newest stay.
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
    own: dict[tuple[str, int], list[Block]] = {}
    for entry in stored:
        own.setdefault(entry.block[:2], []).append(entry.block)
    for family in families:
        for stream, (oldest, count) in enumerate(zip(state["oldest"], state["count"], strict=True)):
            at = oldest
            for block in sorted(own.get((family, stream), []), key=lambda block: block.start):
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
    """Set `is_first` where a segment follows another in one stream, so that no state crosses."""
    for (stream, shift), oldest, count in zip(moves, old["oldest"], old["count"], strict=True):
        seam = oldest + shift
        if seam > max(0, new["count"][stream] - records.capacity) and count > oldest:
            records.columns["is_first"][stream, seam % records.capacity] = True


def collect_garbage(
    directory: str | Path, manifests_kept: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Delete the block files that no kept manifest names; return their names.

    Also deletes what an interrupted write left behind. Not to be called while a snapshot is being
    written to the directory. Other files are left alone.
    """
    directory = Path(directory)
    named = {entry["file"] for manifest in manifests_kept for entry in manifest["blocks"]}
    deleted = sorted(name for name in _names(directory) if name not in named)
    for name in deleted:
        (directory / name).unlink()
    return deleted


def _names(directory: Path) -> set[str]:
    """Return block files and leftovers of interrupted writes."""
    patterns = (f"stream*{blocks.SUFFIX}", f".stream*{blocks.SUFFIX}.*{UNFINISHED}")
    return {path.name for pattern in patterns for path in directory.glob(pattern)}
