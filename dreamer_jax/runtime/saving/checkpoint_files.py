"""The files of one checkpoint folder: written with checksums, believed only if they match.

Invariant: whatever lies in a folder, reading it either returns what was saved there or raises
`Damaged`; nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.runtime.saving.host_state import decode, read_arrays

FORMAT = 2

Host = dict[str, Any]


class Checkpoint(NamedTuple):
    """What `Checkpointer.load` returns."""

    arrays: dict[str, np.ndarray]
    host: Host
    step: int


class Damaged(Exception):
    """A checkpoint folder that is incomplete, altered, or of another format."""


def write_json(path: Path, document: Host) -> None:
    """Write JSON and flush it to the disk."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def write_manifest(folder: Path) -> None:
    """Write format version, sizes and checksums of the files there."""
    files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    write_json(folder / "manifest.json", {"format": FORMAT, "files": files})


def read_folder(folder: Path, step: int) -> Checkpoint:
    """Return a checkpoint that matches its manifest.

    Raises:
        Damaged: If it does not, or was not written by this program, whatever the readers then say.
    """
    try:
        _verify(folder)
        return Checkpoint(read_arrays(folder / "arrays.npz"), read_host(folder), step)
    except Damaged:
        raise
    except Exception as error:
        raise Damaged(f"it cannot be read ({type(error).__name__}: {error})") from error


def _verify(folder: Path) -> None:
    """Raise Damaged unless every file is what the manifest says."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
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
    """Return the host state of a folder, unverified."""
    document = json.loads((folder / "host.json").read_text(encoding="utf-8"))
    host: Host = decode(document, read_arrays(folder / "host.npz"))
    return host


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
