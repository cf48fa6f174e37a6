"""The secret by which the processes of one start know each other.

It travels as a file of the run directory that only the run's user can read, and that is gone once
all have met; what is announced to the others is its name. Where there is no such directory it
travels with the announcement, over the connections that JAX has made: as safe as those are.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from dreamer_jax.cluster.greeting import SECRET_BYTES
from dreamer_jax.errors import UserError

_PREFIX = ".secret-"
_PAUSE = 0.1


@contextmanager
def offer(folder: Path | None) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Give a new secret, and what tells the others of it, to process 0.

    Args:
        folder: The run directory, which all processes see; made if there is none.

    Raises:
        OSError: If it cannot be written to.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    if folder is None:
        yield secret, {"secret": secret.hex()}
        return
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_PREFIX}*"):  # of a start that was killed
        left.unlink(missing_ok=True)
    # Another name at every start: what a network file system remembers of an old one is nothing.
    path = folder / f"{_PREFIX}{secrets.token_hex(8)}"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
        yield secret, {"file": path.name}
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def take(folder: Path | None, told: Mapping[str, str], seconds: float) -> bytes:
    """Return the secret that process 0 offers.

    Args:
        folder: The run directory.
        told: What process 0 told.
        seconds: To wait for the file; network file systems may show it late.

    Raises:
        UserError: If the file cannot be read.
    """
    if "secret" in told:
        return bytes.fromhex(told["secret"])
    name, until, reason = told["file"], time.monotonic() + seconds, "this process was given none"
    while folder is not None and PurePath(name).name == name:
        try:
            with (folder / name).open("rb") as file:
                secret = file.read(SECRET_BYTES + 1)
            if len(secret) == SECRET_BYTES:
                return secret
            reason = f"it has not {SECRET_BYTES} bytes"
        except OSError as error:
            reason = str(error)
        if time.monotonic() > until:
            break
        time.sleep(_PAUSE)
    raise UserError(
        f"the secret of this start is not in the run directory {folder} ({reason}); "
        "give all processes one --logdir that all of them see, as the same user"
    )
