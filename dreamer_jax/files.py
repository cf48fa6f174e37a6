"""Files that are whole or absent, whenever the process that writes them dies or the power fails.

One rule for every file that is written whole: write beside it, flush it to the disk, rename, flush
the folder. Without the second step a power cut may leave the new name with nothing under it;
without the last one it may leave the old file, though others already count on the new one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".tmp"  # end of the names of files beside; they begin with a dot


@contextmanager
def replacing(path: Path, last: bool = True) -> Iterator[Path]:
    """Give a path beside `path`; the file written there takes its place if the block succeeds.

    Args:
        path: Its folder is made if there is none.
        last: Flush the folder too. Whoever writes many files there may leave that to the last one,
            or call `sync`, before anything counts on their names.

    Raises:
        OSError: If it cannot be written; what was there before still is, and nothing beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f"{os.getpid()}-{threading.get_ident()}"  # others may write the same file
    temp = path.with_name(f".{path.name}.{own}{UNFINISHED}")
    try:
        yield temp
        sync(temp)
        os.replace(temp, path)
        if last:
            sync(path.parent)
    finally:
        temp.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return once the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
