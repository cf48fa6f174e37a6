"""One block: up to some thousand records of one stream in one immutable file.

    magic | header length, 4 bytes | header, JSON | columns, zstandard | BLAKE2b of all before

The header names the block, the format version and dtype and shape of every column; the columns
are raw little-endian bytes in sorted order of their keys. The file is named by what it holds and
by its digest, so that a name never stands for two contents. Loading believes neither file nor
name: everything is compared with what the reader expects, and nothing in the file is executed. The
reader knows how large the columns are, so no file makes it take more memory than about twice that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zstandard

from dreamer_jax.files import replacing
from dreamer_jax.replay.storage import bytes_per_record
from dreamer_jax.types import Space

MAGIC = b"DJREPLAY"
FORMAT = 1
SUFFIX = ".blk"
DIGEST_BYTES = 16
COMPRESSION_LEVEL = 1
HEADER_BYTES = 2**20  # enough for thousands of columns
WINDOW_BYTES = 2**23  # how far back a frame may refer; that level refers back 2^19


class CorruptReplayError(ValueError):
    """A replay file is missing, damaged or not what the manifest says; the message names it."""


class Block(NamedTuple):
    """The records that a block holds."""

    family: str  # "records" or "latents"
    stream: int
    start: int  # absolute index of the first record
    length: int


def table(spaces: Mapping[str, Space]) -> dict[str, list]:
    """Return dtype and shape per key as values that JSON can hold."""
    return {key: [np.dtype(s.dtype).name, list(s.shape)] for key, s in sorted(spaces.items())}


def encode(block: Block, spaces: Mapping[str, Space], values: Mapping[str, np.ndarray]) -> bytes:
    """Return the file content of a block; `values[key]` is `[length, ...]`, contiguous."""
    header = {"format": FORMAT, **block._asdict(), "columns": table(spaces)}
    text = json.dumps(header).encode()
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compressobj()
    columns = [
        compressor.compress(values[key].reshape(-1).view(np.uint8).data) for key in sorted(spaces)
    ]
    body = b"".join([MAGIC, len(text).to_bytes(4, "little"), text, *columns, compressor.flush()])
    return body + _digest(body)


def decode(
    path: Path, block: Block, digest: str, spaces: Mapping[str, Space]
) -> dict[str, np.ndarray]:
    """Return the columns `[length, ...]` of the block in a file, read-only.

    Args:
        path: The file.
        block: What it should hold; of a length that the caller has room for.
        digest: Its checksum.
        spaces: Its columns.

    Raises:
        CorruptReplayError: The file is missing, cannot be read, is truncated or altered, or holds
            anything but the `block` with this checksum in columns of `spaces`.
    """
    size = block.length * bytes_per_record(spaces)
    content = _read(path, size)
    body = content[:-DIGEST_BYTES]
    if not body.startswith(MAGIC):
        raise CorruptReplayError(f"{path} is not a replay block")
    if content[-DIGEST_BYTES:] != _digest(body):
        raise CorruptReplayError(f"replay block {path} is truncated or damaged")
    begin = len(MAGIC) + 4
    end = begin + int.from_bytes(body[len(MAGIC) : begin], "little")
    try:
        header = json.loads(body[begin:end])
    except (ValueError, RecursionError) as error:
        raise CorruptReplayError(f"replay block {path} has no header: {error}") from error
    expected = {"format": FORMAT, **block._asdict(), "columns": table(spaces)}
    if header != expected or checksum(content) != digest:
        raise CorruptReplayError(
            f"replay block {path} holds {str(header)[:500]} with checksum {checksum(content)},"
            f" expected {expected} with checksum {digest}"
        )
    try:
        raw = _unpack(body[end:], size)
    except zstandard.ZstdError as error:
        raise CorruptReplayError(f"replay block {path} cannot be unpacked: {error}") from error
    if len(raw) != size:
        raise CorruptReplayError(f"replay block {path} does not hold {size} bytes of columns")
    return _split(raw, block.length, spaces)


def _read(path: Path, size: int) -> bytes:
    """Return the content of a file that holds `size` bytes, if it is not longer than such are."""
    longest = size + size // 64 + HEADER_BYTES  # what cannot be compressed grows by less
    try:
        if path.stat().st_size > longest:
            raise CorruptReplayError(f"replay block {path} is longer than {longest:,} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise CorruptReplayError(f"replay block {path} is missing") from None
    except OSError as error:
        raise CorruptReplayError(f"replay block {path} cannot be read: {error}") from error


def _unpack(frame: bytes, size: int) -> bytes:
    """Return what a frame unpacks to; no more memory than `size` and the window is taken."""
    # A frame that gives its content's size would get that, not `max_output_size`.
    said = zstandard.get_frame_parameters(frame).content_size
    if said not in (size, zstandard.CONTENTSIZE_UNKNOWN):
        raise zstandard.ZstdError(f"it says that it holds {said} bytes")
    unpacker = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
    return unpacker.decompress(frame, max_output_size=size)


def _split(raw: bytes, length: int, spaces: Mapping[str, Space]) -> dict[str, np.ndarray]:
    values, offset = {}, 0
    for key, space in sorted(spaces.items()):
        size = length * bytes_per_record({key: space})
        flat = np.frombuffer(raw, np.uint8, size, offset)
        values[key] = flat.view(space.dtype).reshape(length, *space.shape)
        offset += size
    return values


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def checksum(content: bytes) -> str:
    """Return the digest at the end of an encoded block, in hexadecimal."""
    return content[-DIGEST_BYTES:].hex()


def file_name(block: Block, content: bytes) -> str:
    """Return the name of the file that holds an encoded block."""
    place = f"stream{block.stream:03d}-{block.family}-{block.start:012d}-{block.length}"
    return f"{place}-{checksum(content)[:16]}{SUFFIX}"


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; its folder is still to be flushed."""
    with replacing(path, last=False) as temp:
        temp.write_bytes(content)
