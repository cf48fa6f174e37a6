"""What a run has left behind; and, as a program, every plug-in on two simulated devices.

    python trained.py FOLDER EPISODES.npz

A process of its own, because the number of simulated devices is fixed when JAX starts.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from plugged import PLUGGED, plugged_run
from tiny_run import make_training

from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.training import Training


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return what every line of a file says in JSON."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows(training: Training) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics."""
    return read_lines(training.parts.rundir.metrics)


def everything(root: Path) -> dict[str, Any]:
    """Return every leaf of a run's newest checkpoint and every row of its metrics, by path."""
    saved = Checkpointer(root / "checkpoints", keep=1).load()
    assert saved is not None
    told = read_lines(root / "metrics.jsonl")
    return leaves({"arrays": saved.arrays, "host": saved.host, "metrics": told})


def leaves(tree: Any, name: str = "") -> dict[str, Any]:
    """Return leaves by path, arrays as (dtype, shape, bytes), so that NaN equals itself."""
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        items = [(str(index), value) for index, value in enumerate(tree)]
    elif isinstance(tree, np.ndarray | np.generic):
        return {name: (tree.dtype.str, tree.shape, tree.tobytes())}
    else:
        return {name: tree}
    return {k: v for key, value in items for k, v in leaves(value, f"{name}/{key}").items()}


class StopAfter:
    """Requests a stop once a training has done so many policy steps; `math.inf`: never."""

    def __init__(self, training: Training, policy_steps: float) -> None:
        self._source, self._policy_steps = training.parts.source, policy_steps

    @property
    def requested(self) -> bool:
        """Whether the run is to stop."""
        return self._source.policy_steps >= self._policy_steps


def train_on_all_devices(name: str, root: Path, options: dict[str, Any]) -> tuple[Any, ...]:
    """Return updates, devices and losses of a run with a plug-in."""
    training = make_training(plugged_run(name, options), root)
    training.restore()
    never: Any = StopAfter(training, math.inf)
    training.run(never)
    state = training.learner.train_state
    devices = len(state.grad_steps.sharding.device_set)
    training.close()
    totals = [
        value
        for row in rows(training)
        for metric, value in row.items()
        if metric.endswith("loss/total")
    ]
    return training.learner.grad_steps, devices, totals


def main() -> None:
    """Command line."""
    folder, episodes = Path(sys.argv[1]), sys.argv[2]
    told = {}
    for name in PLUGGED:
        options = {"env.path": episodes} if name == "source" else {}
        told[name] = train_on_all_devices(name, folder / f"two-{name}", options)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
