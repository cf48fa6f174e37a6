"""One block: up to some thousand records of one stream in one immutable file.

    magic | header length, 4 bytes | header, JSON | columns, zstandard | BLAKE2b of all before

The header names the block, the format version and dtype and shape of every column; the columns
are raw little-endian bytes in sorted order of their keys. The file is named by what it holds and
by its digest, so that a name never stands for two contents. Loading believes neither file nor
name: everything is compared with what the reader expects, and nothing in the file is executed.
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

    Raises:
        CorruptReplayError: The file is missing, truncated, altered, or holds anything but
            the `block` with this checksum in columns of `spaces`.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CorruptReplayError(f"replay block {path} is missing") from None
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
            f"replay block {path} holds {header} with checksum {checksum(content)},"
            f" expected {expected} with checksum {digest}"
        )
    size = block.length * bytes_per_record(spaces)
    try:
        # Reads no more than is wanted, whatever the frame says of itself.
        raw = zstandard.ZstdDecompressor().stream_reader(body[end:]).read(size + 1)
    except zstandard.ZstdError as error:
        raise CorruptReplayError(f"replay block {path} cannot be unpacked: {error}") from error
    if len(raw) != size:
        raise CorruptReplayError(f"replay block {path} does not hold {size} bytes of columns")
    return _split(raw, block.length, spaces)


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
