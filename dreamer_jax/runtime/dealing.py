"""States of drivers, dealt to another number of processes.

The environments of the first saved process come first, those of the second follow, and so on; in
this order they are numbered from 0. Each process of the resumed run takes an equal number of
consecutive environments, its share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.source import State


def deal_arrays(states: Sequence[State], share: slice) -> dict[str, np.ndarray]:
    """Join the arrays `[E, ...]` of all processes by name; return the rows of a share."""
    names = states[0][0]
    return {k: np.concatenate([arrays[k] for arrays, _ in states])[share] for k in names}


def deal_tally(hosts: Sequence[dict[str, Any]], process: int, share: slice) -> dict[str, Any]:
    """Return the tally of a share of the environments: calls, and sums of the open episodes.

    Raises:
        UserError: If the processes saved too few environments.
    """
    counts = [len(host["score"]) for host in hosts]
    if sum(counts) < share.stop:
        raise UserError(f"the checkpoint lacks environments {share.start} to {share.stop - 1}")
    return {
        "calls": hosts[0]["calls"],
        # Only the sum over all processes has a meaning: process 0 takes it.
        "policy_steps": 0 if process else sum(host["policy_steps"] for host in hosts),
        "score": np.concatenate([host["score"] for host in hosts])[share],
        "length": np.concatenate([host["length"] for host in hosts])[share],
        "logs": join_rows([host["logs"] for host in hosts], counts, share, axis=1, missing=0.0),
    }


def join_rows(
    trees: Sequence[dict[str, np.ndarray]],
    counts: Sequence[int],
    share: slice,
    *,
    axis: int = 0,
    missing: float = np.nan,
) -> dict[str, np.ndarray]:
    """Join arrays by key along the axis of environments, and return a share of them.

    Args:
        trees: Arrays by key, of every process. Some processes may lack a key `log/…`.
        counts: Number of environments of every process.
        share: The environments to return, of all joined ones.
        axis: Axis of the environments.
        missing: Value in the place of a key that a process lacks.
    """
    lead = (2,) * axis
    return {
        key: np.concatenate(
            [
                tree[key] if key in tree else np.full((*lead, count), missing)
                for tree, count in zip(trees, counts, strict=True)
            ],
            axis,
        )[(slice(None),) * axis + (share,)]
        for key in sorted({key for tree in trees for key in tree})
    }
