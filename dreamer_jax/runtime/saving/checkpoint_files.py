"""The files of one checkpoint folder: written with checksums, believed only if these match.

Invariant: whatever lies in a folder, reading the folder either returns what was saved there or
raises `Damaged`; nothing in a file is executed. Memory stays in proportion to the files: arrays are
not compressed and each is read once (`arrays.py`), and JSON files have a largest size, which saving
keeps to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.errors import UserError
from dreamer_jax.files import replacing
from dreamer_jax.runtime.saving.arrays import Choose, Header, read_arrays
from dreamer_jax.runtime.saving.host_state import decode, names

FORMAT = 2
# The manifest of a replay of five million records names some 10,000 blocks in 2 MB. JSON takes up
# to twenty times the size of its file in memory.
TEXT_BYTES = 2**26
HOST_ARRAY_BYTES = 2**30  # of one array: open episodes, last observations, simulator snapshots

Host = dict[str, Any]


class Checkpoint(NamedTuple):
    """A checkpoint in memory, as `Checkpointer.load` returns it."""

    arrays: dict[str, np.ndarray]
    host: Host
    step: int
    replaced: bool = False  # by another one of its step


class Damaged(Exception):
    """A checkpoint folder that is incomplete, altered, or of another format."""


def write_json(path: Path, document: Host) -> None:
    """Write JSON and flush it to the disk.

    Raises:
        ValueError: If the file would be longer than `read_json` reads.
    """
    content = json.dumps(document).encode()
    if len(content) > TEXT_BYTES:
        raise ValueError(f"{path.name} has {len(content):,} bytes, more than {TEXT_BYTES:,}")
    with replacing(path, last=False) as temp:
        temp.write_bytes(content)


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote.

    Raises:
        Damaged: If the file is longer than `write_json` writes.
        OSError, ValueError, RecursionError: If the file cannot be read.
    """
    if path.stat().st_size > TEXT_BYTES:
        raise Damaged(f"{path.name} is longer than {TEXT_BYTES:,} bytes")
    return json.loads(path.read_bytes())


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def write_manifest(folder: Path) -> None:
    """Write the manifest: format version, and size and checksum of every file in the folder."""
    files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    write_json(folder / "manifest.json", {"format": FORMAT, "files": files})


def read_folder(folder: Path, step: int, choose: Choose | None = None) -> Checkpoint:
    """Return a checkpoint that matches its manifest.

    Args:
        folder: Folder of the checkpoint.
        step: Gradient steps of the checkpoint.
        choose: As for `read_arrays`, of the device state.

    Raises:
        Damaged: If a file does not match, or cannot be read for whatever reason.
        UserError: If `choose` raises it.
    """
    try:
        _verify(folder)
        return Checkpoint(read_arrays(folder / "arrays.npz", choose), read_host(folder), step)
    except (Damaged, UserError):
        raise
    except Exception as error:
        raise Damaged(f"it cannot be read ({type(error).__name__}: {error})") from error


def _verify(folder: Path) -> None:
    """Raise Damaged unless every file has the size and checksum that the manifest says."""
    try:
        manifest = read_json(folder / "manifest.json")
        version, files = manifest["format"], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"its manifest cannot be read ({error})") from error
    if version != FORMAT:
        raise Damaged(f"its format is {version}, this program reads {FORMAT}")
    for name in ("arrays.npz", "host.json", "host.npz"):
        if name not in files or not (folder / name).is_file():
            raise Damaged(f"{name} is missing")
        if _digest(folder / name) != files[name]:
            raise Damaged(f"{name} does not match its checksum")


def read_host(folder: Path) -> Host:
    """Return the host state of a folder, without comparing checksums.

    Raises:
        Damaged: If the host state is larger than one may be.
        Exception: Errors of the readers for damage.
    """
    document = read_json(folder / "host.json")
    needed = list(names(document))

    def choose(headers: Mapping[str, Header]) -> Iterable[str]:
        if len(set(needed)) < len(needed):
            raise Damaged("host.json names an array twice")
        if any(headers[name].nbytes > HOST_ARRAY_BYTES for name in needed):
            raise Damaged(f"an array of host.npz is larger than {HOST_ARRAY_BYTES:,} bytes")
        return needed

    host: Host = decode(document, read_arrays(folder / "host.npz", choose))
    return host


def check_host(arrays: Mapping[str, np.ndarray]) -> None:
    """Check that no array is larger than `read_host` reads.

    Raises:
        ValueError: If an array is too large.
    """
    for array in arrays.values():
        if array.nbytes > HOST_ARRAY_BYTES:
            raise ValueError(
                f"the host state holds {array.dtype}{list(array.shape)}, more than "
                f"{HOST_ARRAY_BYTES:,} bytes"
            )
