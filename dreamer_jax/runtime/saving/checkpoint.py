"""Checkpoints: complete or not there at all, written beside the run, kept as a history.

A checkpoint is the folder `<directory>/<grad_steps:012d>/`:

    arrays.npz     the device state, flat names such as `params/actor/kernel`
    host.json      counters, generators, environments, replay manifest (coding: `host_state.py`)
    host.npz       the arrays and bytes that occur in host.json
    manifest.json  format version, size and SHA-256 of the other three files; written last

Invariant: a folder gets this name by a rename, after all its files have reached the disk, and no
older checkpoint is deleted before that. A folder that does not match its manifest is never loaded.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dreamer_jax.errors import UserError
from dreamer_jax.files import sync
from dreamer_jax.runtime.saving.arrays import Choose, Header, write_arrays
from dreamer_jax.runtime.saving.checkpoint_files import (
    Checkpoint,
    Damaged,
    Host,
    check_host,
    read_folder,
    read_host,
    write_json,
    write_manifest,
)
from dreamer_jax.runtime.saving.host_state import encode

Table = Mapping[str, tuple[tuple[int, ...], Any]]  # shape and dtype of each array, by name

_FOLDER = re.compile(r"(\.old-)?(\d{12})")


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


class Checkpointer:
    """Saves checkpoints in one background thread, and loads the newest one that is whole.

    Reading changes nothing in the directory, so an evaluation may read beside a training run. Only
    one process may save: the one that holds the lock of the run.

    Args:
        directory: Where the checkpoint folders live; made by the first save.
        keep: Number of checkpoints that stay, at least 1.
        collect_garbage: Called in the saving thread after old checkpoints were deleted, with the
            host states of the checkpoints that stay; deletes replay blocks that none of them names.
        warn: Receives one-line messages about skipped checkpoints, and about failed saves (in the
            saving thread).
        keep_replaced: Whether a checkpoint that another one of its step has replaced stays until
            the next save: the other processes of a run may not have replaced theirs yet.
    """

    def __init__(
        self,
        directory: Path,
        keep: int,
        collect_garbage: Callable[[list[Host]], None] | None = None,
        warn: Callable[[str], None] = _warn,
        keep_replaced: bool = False,
    ) -> None:
        if keep < 1:
            raise UserError(f"checkpoints to keep is {keep}; keep at least 1")
        self.last_error: Exception | None = None  # of the latest save; None if the save succeeded
        self._directory = Path(directory)
        self._keep = keep
        self._collect_garbage = collect_garbage
        self._warn = warn
        self._keep_replaced = keep_replaced
        self._thread: threading.Thread | None = None
        self._leftovers_removed = False

    def save(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        host: Mapping[str, Any],
        before_commit: Callable[[], Host] | None = None,
    ) -> None:
        """Start saving a checkpoint and return; waits first for a save that is still under way.

        A failure (a full disk) is kept in `last_error` and warned about; the run goes on with the
        last good checkpoint. A second save of one step replaces the first. Checkpoints of later
        steps belong to a course that the run has left; they are deleted with the old checkpoints.

        Args:
            step: Gradient steps done; names the folder.
            arrays: Host copies that nobody changes until the save is over.
            host: JSON-like state with arrays and bytes, copied before this method returns.
            before_commit: Called in the saving thread to write replay blocks; the result is stored
                as `host["replay"]`.

        Raises:
            TypeError: If the host state holds a value that cannot be encoded.
        """
        self.wait()
        document, host_arrays = encode({**host})

        def work() -> None:
            self.last_error, failed = None, "was not saved"
            try:
                self._save(step, arrays, document, host_arrays, before_commit)
                failed = "was saved, but old ones were not cleaned up"
                self._prune(step)
            except Exception as error:  # a failed save must never end a long run
                self.last_error = error
                self._warn(f"checkpoint {step} {failed}: {type(error).__name__}: {error}")
                self._free_failed_save()

        self._thread = threading.Thread(target=work, name="checkpoint", daemon=False)
        self._thread.start()

    def wait(self) -> None:
        """Wait until no save is under way; raises nothing (see `last_error`)."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def abandon(self) -> None:
        """Forget the save that is under way: it may end with the process, as if killed."""
        self._thread = None

    def history(self) -> list[int]:
        """Return the steps of all checkpoint folders, newest first, unverified."""
        return sorted({step for step, _ in self._folders()}, reverse=True)

    def load(self, step: int | None = None, expected: Table | None = None) -> Checkpoint | None:
        """Return the newest whole checkpoint, or that of `step`; None if there is no checkpoint.

        Args:
            step: Gradient steps of the wanted checkpoint.
            expected: See `candidates`.

        Raises:
            UserError: If `step` is given and there is no whole checkpoint of this step, or if a
                checkpoint does not hold what is expected.
        """
        found = next(self.candidates(step, expected), None)
        if found is None and step is not None:
            raise UserError(
                f"no whole checkpoint of step {step} in {self._directory}; "
                f"there are: {', '.join(map(str, self.history())) or 'none'}"
            )
        return found

    def candidates(
        self, step: int | None = None, expected: Table | None = None
    ) -> Iterator[Checkpoint]:
        """Yield whole checkpoints, newest first; if `step` is given, only those of this step.

        Args:
            step: Gradient steps of the wanted checkpoints.
            expected: The arrays of the agent to be restored. The headers of a checkpoint are
                compared with these arrays (`match_tree`) before any array is read. Groups
                (`state/…`, `acting/…`) without an expected array are not read. None reads
                everything, of any size that the files have.

        Raises:
            UserError: If a checkpoint does not hold what is expected.
        """
        choose = None if expected is None else _chooser(expected)
        for found, folder in self._folders():
            if step not in (None, found):
                continue
            try:
                read = read_folder(folder, found, choose)
                yield read._replace(replaced=folder.name.startswith("."))
            except Damaged as error:
                self._warn(f"skipped checkpoint {folder}: {error}")

    def return_to(self, found: Checkpoint) -> None:
        """Undo the replacement of a checkpoint that the run goes on from; its replacement goes."""
        if found.replaced:
            final = self._directory / f"{found.step:012d}"
            old = final.with_name(f".old-{final.name}")
            if final.exists():
                self._discard(final)
            old.rename(final)
            sync(self._directory)

    def _folders(self) -> list[tuple[int, Path]]:
        """Return the checkpoint folders, newest first; of one step, a replaced one comes last."""
        if not self._directory.is_dir():
            return []
        matches = ((_FOLDER.fullmatch(path.name), path) for path in self._directory.iterdir())
        found = [(int(m[2]), m[1] is None, path) for m, path in matches if m and path.is_dir()]
        return [(step, path) for step, _, path in sorted(found, reverse=True)]

    def _save(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        document: Host,
        host_arrays: dict[str, np.ndarray],
        before_commit: Callable[[], Host] | None,
    ) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        temp = self._directory / f".tmp-{step:012d}-{os.getpid()}"
        try:
            temp.mkdir()
            if before_commit is not None:
                document["replay"], host_arrays = encode(before_commit(), host_arrays)
            check_host(host_arrays)
            write_arrays(temp / "arrays.npz", arrays)
            write_arrays(temp / "host.npz", host_arrays)
            write_json(temp / "host.json", document)
            write_manifest(temp)
            self._commit(temp, self._directory / f"{step:012d}")
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise

    def _remove_leftovers(self) -> None:
        """Remove folders that an earlier process left half-written or half-deleted."""
        if not self._leftovers_removed:
            for stale in (*self._directory.glob(".tmp-*"), *self._directory.glob(".trash-*")):
                shutil.rmtree(stale, ignore_errors=True)
            self._leftovers_removed = True

    def _commit(self, temp: Path, final: Path) -> None:
        sync(temp)
        if final.exists():
            # `load` still accepts the new name: at every moment there is a whole checkpoint.
            old = final.with_name(f".old-{final.name}")
            shutil.rmtree(old, ignore_errors=True)
            final.rename(old)
        temp.rename(final)
        sync(self._directory)

    def _free_failed_save(self) -> None:
        """Delete the replay blocks of a failed save: on a full disk the next save needs room."""
        try:
            if self._collect_garbage is not None:
                self._collect_garbage([read_host(path) for _, path in self._folders()])
        except Exception as error:  # a host state cannot be read, so nothing was deleted
            self._warn(f"its blocks stay: {type(error).__name__}: {error}")

    def _prune(self, step: int) -> None:
        """Delete all checkpoints but that of `step` and the kept ones before; collect garbage."""
        folders = self._folders()
        whole = [(found, path) for found, path in folders if not path.name.startswith(".")]
        kept = [path for found, path in whole if found <= step][: self._keep]
        if self._keep_replaced:
            kept += [path for found, path in folders if found == step and path not in kept]
        for found, path in folders:
            if path in kept:
                continue
            if found > step:
                self._warn(f"removed checkpoint {found}: the run went on from before it")
            self._discard(path)
        if self._collect_garbage is not None:
            # `read_host` raises, and so nothing is deleted, if a kept state cannot be read.
            self._collect_garbage([read_host(path) for path in kept])

    def _discard(self, path: Path) -> None:
        trash = path.with_name(f".trash-{path.name}")
        path.rename(trash)  # a half-deleted folder must not look like a checkpoint
        shutil.rmtree(trash, ignore_errors=True)


def _chooser(expected: Table) -> Choose:
    """Return a function that compares the groups named in `expected`, and chooses only these."""
    groups = {name.partition("/")[0] for name in expected}

    def choose(headers: Mapping[str, Header]) -> list[str]:
        chosen = {k: v for k, v in headers.items() if k.partition("/")[0] in groups}
        match_tree(expected, chosen)
        return list(chosen)

    return choose


def match_tree(expected: Table, arrays: Mapping[str, np.ndarray | Header]) -> None:
    """Check that a checkpoint fits the agent that is to be restored.

    Args:
        expected: Shape and dtype of every array, by name.
        arrays: Arrays that were loaded, or headers of arrays that are about to be.

    Raises:
        UserError: If they differ; shows the first difference in the order of the names.
    """
    remedy = "use the configuration that the checkpoint was trained with"
    for name in sorted({*expected, *arrays}):
        if name not in arrays:
            raise UserError(f"the checkpoint lacks {name!r}; {remedy}")
        if name not in expected:
            raise UserError(f"the checkpoint holds {name!r}, which this agent lacks; {remedy}")
        shape, dtype = tuple(expected[name][0]), np.dtype(expected[name][1])
        array = arrays[name]
        if (array.shape, array.dtype) != (shape, dtype):
            raise UserError(
                f"{name!r} is {array.dtype}{list(array.shape)} in the checkpoint "
                f"but {dtype}{list(shape)} in this agent; {remedy}"
            )
