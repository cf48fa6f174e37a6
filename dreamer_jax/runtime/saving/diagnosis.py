"""What a skipped update leaves behind: files to repeat the update from, and in the end a stop.

The train step skips an update whose loss or gradients are not finite (`optim.keep_unless_finite`),
and the learner keeps the latents of this update out of replay. The first skipped update is written
to files: state, carry and batch, as they went in. A single skipped update may be bad luck. Many in
a row are a fault that more updates cannot mend: they end the training, and leave the checkpoints
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from dreamer_jax.errors import RunFault
from dreamer_jax.runtime.saving.arrays import write_arrays

LOSS, GRADIENT = "loss/", "opt/grad_norm/"


class Skip(NamedTuple):
    """A skipped update: one that changed nothing."""

    grad_steps: int  # updates before this one
    total: int  # skipped updates of the run, this one included
    in_a_row: int  # skipped updates without a good one between them, this one included
    metrics: Mapping[str, float]
    inputs: Callable[[], Mapping[str, np.ndarray]]  # `state/…`, `carry/…`, `batch/…` if known


class Diagnosis:
    """Receives the skipped updates of a run, and writes files about the first one.

    Args:
        directory: Where the files go; made with the first file.
        limit: Number of skipped updates in a row that ends the run; 0: no number does.
        say: Receives one-line messages.
    """

    def __init__(self, directory: Path, limit: int, say: Callable[[str], None]) -> None:
        self._directory, self._limit, self._say = directory, limit, say

    def __call__(self, skip: Skip) -> None:
        """Write files about the first skipped update; stop the run after too many in a row.

        Raises:
            RunFault: If `limit` updates in a row were skipped; says what was not finite.
        """
        if skip.total == 1:
            self._say(f"update {skip.grad_steps} skipped: {summary(skip.metrics)}")
            self._write(skip)
        if self._limit and skip.in_a_row >= self._limit:
            found = culprits(skip.inputs())
            raise RunFault(
                f"{skip.in_a_row} updates in a row were not finite ({summary(skip.metrics)}; "
                f"{'; '.join(found) or 'state and batch are finite'}); see {self._directory}. "
                "The checkpoints are those from before; the same command continues from the newest"
            )

    def _write(self, skip: Skip) -> None:
        arrays, path = skip.inputs(), self._directory / f"skipped_{skip.grad_steps:012d}.npz"
        text = [f"Update {skip.grad_steps} was skipped.", summary(skip.metrics), *culprits(arrays)]
        text += ["", "Largest finite magnitudes of the batch:"]
        text += [f"  {name} {largest(x):.4g}" for name, x in _numbers(arrays) if "batch/" in name]
        text += ["", "Metrics:", *(f"  {name} {x:.6g}" for name, x in skip.metrics.items())]
        text += ["", f"numpy.load({path.name!r}) holds what went in.", ""]
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".txt").write_text("\n".join(text), encoding="utf-8")
            write_arrays(path, arrays)
            self._say(f"its state and batch: {path}")
        except OSError as error:  # a full disk must not end a run that could go on
            self._say(f"could not write {path}: {error}")


def summary(metrics: Mapping[str, float]) -> str:
    """Return in words which losses, and the gradients of which modules, were not finite."""
    bad = [name for name, value in metrics.items() if not np.isfinite(value)]
    parts = {
        "losses": [name.removeprefix(LOSS) for name in bad if name.startswith(LOSS)],
        "gradients": [name.removeprefix(GRADIENT) for name in bad if name.startswith(GRADIENT)],
    }
    found = [f"{kind} {', '.join(names)}" for kind, names in parts.items() if names]
    return "not finite: " + ("; ".join(found) or "the norm of all gradients together")


def culprits(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return a phrase for each input with values that are not finite: how many of how many."""
    found = []
    for name, array in _numbers(arrays):
        if count := int((~np.isfinite(array)).sum()):
            found.append(f"{name} is not finite in {count} of {array.size} values")
    return found


def largest(array: np.ndarray) -> float:
    """Return the largest finite magnitude in an array, 0 if no value is finite."""
    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max(initial=0.0))


def _numbers(arrays: Mapping[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Return the floating-point arrays by name, in a type that NumPy computes with."""
    return [
        (name, array.astype(np.float64))
        for name, array in sorted(arrays.items())
        if array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16
    ]
