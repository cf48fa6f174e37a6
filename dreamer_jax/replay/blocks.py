"""The file of one block: up to some thousand records of one stream, written once.

    magic | header length, 4 bytes | header, JSON | columns, zstandard | BLAKE2b of all before

The header names the block, the format version, and dtype and shape of every column. The columns are
raw little-endian bytes, in sorted order of their keys. The name of the file contains the place of
the block and the digest of the content, so a name never stands for two contents. The reader trusts
neither the file nor its name: it compares everything with what it expects, and executes nothing.
The reader knows how large the columns are, and takes no more memory than about twice that.
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
HEADER_BYTES = 2**20  # at most; enough for thousands of columns
WINDOW_BYTES = 2**23  # how far back a frame may refer; level 1 refers back 2^19


class CorruptReplayError(ValueError):
    """The error for a replay file that is missing, damaged or not what the manifest says."""


class Block(NamedTuple):
    """A block by the records that it holds."""

    family: str  # "records" or "latents"
    stream: int
    start: int  # absolute index of the first record
    length: int


def table(spaces: Mapping[str, Space]) -> dict[str, list]:
    """Return dtype and shape of every column, as values that JSON can hold."""
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
    """Return the columns `[length, ...]` of the block in a file; the arrays are read-only.

    Args:
        path: The file.
        block: The block that the file should hold, of a length that the caller has room for.
        digest: Expected checksum of the content.
        spaces: Expected columns.

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
    """Return the content of a file, unless it is too long for a block of `size` bytes."""
    longest = size + size // 64 + HEADER_BYTES  # bytes that cannot be compressed grow by less
    try:
        if path.stat().st_size > longest:
            raise CorruptReplayError(f"replay block {path} is longer than {longest:,} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise CorruptReplayError(f"replay block {path} is missing") from None
    except OSError as error:
        raise CorruptReplayError(f"replay block {path} cannot be read: {error}") from error


def _unpack(frame: bytes, size: int) -> bytes:
    """Unpack a frame of `size` bytes, with no more memory than these bytes and the window."""
    # The unpacker would follow a size that the frame itself gives, and not `max_output_size`.
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
    """Return the checksum of an encoded block: the digest at its end, in hexadecimal."""
    return content[-DIGEST_BYTES:].hex()


def file_name(block: Block, content: bytes) -> str:
    """Return the name of the file that holds an encoded block."""
    place = f"stream{block.stream:03d}-{block.family}-{block.start:012d}-{block.length}"
    return f"{place}-{checksum(content)[:16]}{SUFFIX}"


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; the caller still flushes the folder."""
    with replacing(path, last=False) as temp:
        temp.write_bytes(content)
