"""The files of one checkpoint folder: written with checksums, believed only if they match.

Invariant: whatever lies in a folder, reading it either returns what was saved there or raises
`Damaged`; nothing in it is executed. Memory stays in proportion to what is there: arrays are not
compressed and each is read once (`arrays.py`), and the texts have bounds, which saving keeps too.
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
# A replay of five million records names some 10,000 blocks in 2 MB; JSON takes up to twenty times
# its size in memory.
TEXT_BYTES = 2**26
HOST_ARRAY_BYTES = 2**30  # the largest: open episodes, last observations, snapshots of simulators

Host = dict[str, Any]


class Checkpoint(NamedTuple):
    """What `Checkpointer.load` returns."""

    arrays: dict[str, np.ndarray]
    host: Host
    step: int


class Damaged(Exception):
    """A checkpoint folder that is incomplete, altered, or of another format."""


def write_json(path: Path, document: Host) -> None:
    """Write JSON and flush it to the disk.

    Raises:
        ValueError: If it is longer than `read_json` reads.
    """
    content = json.dumps(document).encode()
    if len(content) > TEXT_BYTES:
        raise ValueError(f"{path.name} has {len(content):,} bytes, more than {TEXT_BYTES:,}")
    with replacing(path, last=False) as temp:
        temp.write_bytes(content)


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote.

    Raises:
        Damaged: If it is longer than that may be.
        OSError, ValueError, RecursionError: If it cannot be read.
    """
    if path.stat().st_size > TEXT_BYTES:
        raise Damaged(f"{path.name} is longer than {TEXT_BYTES:,} bytes")
    return json.loads(path.read_bytes())


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def write_manifest(folder: Path) -> None:
    """Write format version, sizes and checksums of the files there."""
    files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    write_json(folder / "manifest.json", {"format": FORMAT, "files": files})


def read_folder(folder: Path, step: int, choose: Choose | None = None) -> Checkpoint:
    """Return a checkpoint that matches its manifest.

    Args:
        folder: Where it lies.
        step: Its gradient steps.
        choose: As for `read_arrays`, of the device state.

    Raises:
        Damaged: If it does not, or was not written by this program, whatever the readers then say.
        UserError: What `choose` raises.
    """
    try:
        _verify(folder)
        return Checkpoint(read_arrays(folder / "arrays.npz", choose), read_host(folder), step)
    except (Damaged, UserError):
        raise
    except Exception as error:
        raise Damaged(f"it cannot be read ({type(error).__name__}: {error})") from error


def _verify(folder: Path) -> None:
    """Raise Damaged unless every file is what the manifest says."""
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
    """Return the host state of a folder, unverified.

    Raises:
        Damaged: If it is larger than a host state may be.
        Exception: What the readers raise for damage.
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
    """Check that `read_host` will read these arrays.

    Raises:
        ValueError: If one is too large.
    """
    for array in arrays.values():
        if array.nbytes > HOST_ARRAY_BYTES:
            raise ValueError(
                f"the host state holds {array.dtype}{list(array.shape)}, more than "
                f"{HOST_ARRAY_BYTES:,} bytes"
            )
