"""What replay keeps of a record: its columns, and the way from records to columns and back.

A record of an environment has observation keys and signals beside each other; in replay, keys of
observations and actions carry a prefix, so that no two can clash.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dreamer_jax.types import SIGNAL_SPACES, Batch, Record, Space, Spaces

OBS, ACTION = "obs/", "action/"


def record_columns(spaces: Spaces) -> dict[str, Space]:
    """Return the space of every column that `to_columns` fills."""
    columns = {OBS + key: space for key, space in spaces.obs.items()}
    columns |= {ACTION + key: space for key, space in spaces.action.items()}
    return columns | SIGNAL_SPACES


def to_columns(records: Record, actions: Mapping[str, np.ndarray], spaces: Spaces) -> Record:
    """Return what replay stores of vector steps: records, and the actions chosen after them."""
    stored = {OBS + key: records[key] for key in spaces.obs}
    stored |= {ACTION + key: actions[key] for key in spaces.action}
    return stored | {key: records[key] for key in SIGNAL_SPACES}


def to_batch(columns: Mapping[str, np.ndarray]) -> Batch:
    """Return columns `[B, T, ...]` as a batch of records."""
    part = lambda prefix: {
        key.removeprefix(prefix): value for key, value in columns.items() if key.startswith(prefix)
    }
    signals = {key: columns[key] for key in SIGNAL_SPACES}
    return Batch(obs=part(OBS), action=part(ACTION), **signals)
