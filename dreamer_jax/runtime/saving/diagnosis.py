"""What a skipped update leaves behind: files to repeat it from, and in the end a stop.

The step skips an update whose loss or gradients are not finite (`optim.keep_unless_finite`), and
the learner keeps its latents out of replay. The first one is written down whole: state, carry and
batch as they went in. Single ones may be bad luck; a run of them is a fault that more of the same
cannot mend, so it ends the training and leaves the checkpoints alone.
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
    """An update that changed nothing."""

    grad_steps: int  # updates before it
    total: int  # skipped so far, this one included
    in_a_row: int  # up to this one
    metrics: Mapping[str, float]
    inputs: Callable[[], Mapping[str, np.ndarray]]  # `state/…`, `carry/…`, `batch/…` if known


class Diagnosis:
    """Takes the skipped updates of a run.

    Args:
        directory: Gets the files; made with the first.
        limit: Skipped updates in a row that end the run; 0: none do.
        say: Receives one-line messages.
    """

    def __init__(self, directory: Path, limit: int, say: Callable[[str], None]) -> None:
        self._directory, self._limit, self._say = directory, limit, say

    def __call__(self, skip: Skip) -> None:
        """Write the first one down, and stop where there are too many.

        Raises:
            RunFault: If this is the last one allowed in a row; says what was not finite.
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
    """Return which losses and whose gradients were not finite, in words."""
    bad = [name for name, value in metrics.items() if not np.isfinite(value)]
    parts = {
        "losses": [name.removeprefix(LOSS) for name in bad if name.startswith(LOSS)],
        "gradients": [name.removeprefix(GRADIENT) for name in bad if name.startswith(GRADIENT)],
    }
    found = [f"{kind} {', '.join(names)}" for kind, names in parts.items() if names]
    return "not finite: " + ("; ".join(found) or "the norm of all gradients together")


def culprits(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return one phrase for each input that is not finite, with the share of its values."""
    found = []
    for name, array in _numbers(arrays):
        if count := int((~np.isfinite(array)).sum()):
            found.append(f"{name} is not finite in {count} of {array.size} values")
    return found


def largest(array: np.ndarray) -> float:
    """Return the largest finite magnitude, 0 where there is none."""
    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max(initial=0.0))


def _numbers(arrays: Mapping[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Return the floating-point arrays by name, in a type that NumPy computes with."""
    return [
        (name, array.astype(np.float64))
        for name, array in sorted(arrays.items())
        if array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16
    ]
