"""The secret by which the processes of one start recognise each other.

The secret travels as a file of the run directory. Only the user of the run can read this file, and
it is deleted once all processes have met; process 0 announces the name of the file through JAX.
Without a run directory the announcement holds the secret itself, and the secret is as safe as the
connections of JAX are.
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
    """Make a new secret on process 0, and give it with the announcement for the other processes.

    Args:
        folder: The run directory, which all processes see; made if it does not exist.

    Raises:
        OSError: If the directory cannot be written to.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    if folder is None:
        yield secret, {"secret": secret.hex()}
        return
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f"{_PREFIX}*"):  # left by a start that was killed
        stale.unlink(missing_ok=True)
    # A new name at every start: a network file system may still show the content of an old name.
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
        told: The announcement of process 0.
        seconds: How long to wait for the file; network file systems may show it late.

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
