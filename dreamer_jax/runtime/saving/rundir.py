"""The run directory: which file lies where; and the rule that a run keeps its config."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.config import with_tuples
from dreamer_jax.errors import UserError
from dreamer_jax.files import replacing
from dreamer_jax.runtime.options.limits import check_limits
from dreamer_jax.types import Space, Spaces

# Options that a resumed run may change: they do not change what an update computes.
FREE = (
    "steps",
    "debug_nans",
    "stop_after_skips",
    "faults",
    "log",
    "checkpoint",
    "evaluation",
    "mesh",
)

_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)


class RunDir(NamedTuple):
    """Paths inside a run directory."""

    root: Path

    @property
    def config(self) -> Path:
        """The file with the complete config as JSON."""
        return self.root / "config.json"

    @property
    def spaces(self) -> Path:
        """The file with the spaces as JSON, so that an agent acts without its simulator."""
        return self.root / "spaces.json"

    @property
    def metrics(self) -> Path:
        """The file of metrics, one JSON object per line."""
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, each a folder itself."""
        return self.root / "checkpoints"

    @property
    def replay(self) -> Path:
        """The folder of replay blocks, which all checkpoints share."""
        return self.root / "replay"

    def part(self, process: int) -> RunDir:
        """Return the directory in which a process keeps its own environments and replay."""
        return self if process == 0 else RunDir(self.root / f"process{process:03d}")

    @property
    def diagnosis(self) -> Path:
        """The folder with state and batch of an update that was not finite."""
        return self.root / "diagnosis"

    @property
    def trace(self) -> Path:
        """The folder of profiler traces."""
        return self.root / "trace"

    @property
    def media(self) -> Path:
        """The folder of pictures and videos."""
        return self.root / "media"


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield `key: old → new` for every leaf that differs between two nested configs."""
    for key in sorted({*old, *new}):
        name, after, before = f"{path}{key}", new.get(key), old.get(key)
        if isinstance(after, Mapping) and isinstance(before, Mapping):
            yield from differences(before, after, f"{name}.")
        elif after != before:
            yield f"{name}: {before!r} → {after!r}"


def check_config(rundir: RunDir, config: Mapping[str, Any]) -> None:
    """Check that a directory holds no run, or a run with the same config; changes nothing.

    Args:
        rundir: Run directory; need not exist.
        config: Plain nested config.

    Raises:
        UserError: If the directory holds a run with another config; names what differs.
    """
    if not rundir.config.exists():
        return
    old, new = read_config(rundir), with_tuples(json.loads(json.dumps(config)))
    old, new = ({k: v for k, v in each.items() if k not in FREE} for each in (old, new))
    if changed := list(differences(old, new)):
        raise UserError(
            f"{rundir.root} holds a run with another config ({'; '.join(changed)}); "
            "use the same options or another --logdir"
        )


def claim(rundir: RunDir, config: Mapping[str, Any], spaces: Spaces) -> None:
    """Write the config and the spaces of a run into its directory.

    Args:
        rundir: Run directory, locked by this process.
        config: Plain nested config.
        spaces: Spaces of the experience.

    Raises:
        UserError: As `check_config` does, or if a file cannot be written.
    """
    check_config(rundir, config)
    texts = {rundir.spaces: _spaces_table(spaces), rundir.config: config}
    try:
        # There from the start: a folder moved away later is not taken for one without checkpoints.
        rundir.checkpoints.mkdir(parents=True, exist_ok=True)
        for path, value in texts.items():
            with replacing(path) as temp, temp.open("w", encoding="utf-8") as file:
                json.dump(value, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"cannot write in {rundir.root}: {error}; make room there") from error


def read_config(rundir: RunDir) -> dict[str, Any]:
    """Return the config of a run, as `check_limits` passes it, with tuples for lists.

    Raises:
        UserError: If there is no run, its config cannot be read, or no run of this version has
            written it.
    """
    found = _read_config_file(rundir)
    try:
        check_limits(found)
    except UserError as error:
        raise UserError(
            f"{rundir.config} is damaged or of another version ({error}); restore it or start a "
            "new run"
        ) from error
    return found


def read_task(rundir: RunDir) -> str:
    """Return the task of a run of whatever version, by which its metrics are read.

    Raises:
        UserError: If there is no run, or its config cannot be read or names no task.
    """
    task = _read_config_file(rundir).get("task")
    if not isinstance(task, str):
        raise UserError(f"{rundir.config} names no task; restore it")
    return task


def steps_before(rundir: RunDir) -> int:
    """Return the policy steps that a run in this directory was last going to do; 0 without one."""
    return int(read_config(rundir)["steps"]) if rundir.config.exists() else 0


def read_spaces(rundir: RunDir) -> Spaces:
    """Return the spaces of a run's experience.

    Raises:
        UserError: If the file of spaces is missing or cannot be read.
    """
    if not rundir.spaces.is_file():
        raise UserError(f"{rundir.root} lacks spaces.json; start the run once more to write it")
    table = _read_object(rundir.spaces)
    try:
        obs, action = ({k: _space(v) for k, v in table[name].items()} for name in Spaces._fields)
        return Spaces(obs, action)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{rundir.spaces} does not describe spaces ({error}); restore it"
        ) from error


def _read_config_file(rundir: RunDir) -> dict[str, Any]:
    if not rundir.config.is_file():
        raise UserError(f"{rundir.root} holds no run: there is no config.json; check --logdir")
    return _read_object(rundir.config)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = with_tuples(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON; restore it or start a new run") from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error}); restore it or start a new run"
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no options; restore it or start a new run")
    return found


def _spaces_table(spaces: Spaces) -> dict[str, Any]:
    """Return spaces as plain values; `_space` makes each space of its entry again."""
    return {
        name: {
            key: {"dtype": space.dtype.name, "shape": list(space.shape), "classes": space.classes}
            for key, space in each.items()
        }
        for name, each in spaces._asdict().items()
    }


def _space(entry: Mapping[str, Any]) -> Space:
    name, shape, classes = (entry[field] for field in Space._fields)
    if not isinstance(shape, tuple):
        raise ValueError(f"shape {shape!r}")
    whole = [*shape, *([] if classes is None else [classes])]
    if not all(type(size) is int and 0 <= size for size in whole) or math.prod(whole) >= 2**31:
        raise ValueError(f"shape {list(shape)} with {classes} classes")
    if name not in _DTYPES:
        raise ValueError(f"dtype {name!r}")
    return Space(np.dtype(name), shape, classes)
