"""A source of experience without an environment: episodes that a file holds.

The file is an `.npz` of columns `[N, ...]`, as `replay.records.to_columns` names them, of whole
episodes one after the other. Every call inserts the next record into each stream, round and round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamer_jax.runtime.episodes import Tally
from dreamer_jax.types import SIGNALS, Space, Spaces


@dataclass
class Stored:
    columns: dict[str, np.ndarray]
    spaces: Spaces
    streams: int
    steps = 1
    description = "stored episodes"

    def connect(self, compiled, replay) -> Player:
        latents = {
            key: np.zeros((self.streams, *space.shape), space.dtype)
            for key, space in compiled.latent_spaces().items()
        }
        return Player(self, replay, latents)

    def forgive_failures(self, when) -> None:
        pass

    def close(self) -> None:
        pass


class Player:
    repeat, restarts, can_act = 1, 0, False

    def __init__(self, stored: Stored, replay: Any, latents: dict[str, np.ndarray]) -> None:
        self.calls = 0
        self._stored, self._replay, self._latents = stored, replay, latents
        self._tally = Tally(stored.streams)

    @property
    def policy_steps(self) -> int:
        return self._tally.policy_steps

    def step(self, params):  # noqa: ARG002
        length, streams = len(self._stored.columns["is_first"]), self._stored.streams
        # Streams begin at different places.
        at = (self.calls + np.arange(streams) * (length // streams)) % length
        columns = {key: column[at] for key, column in self._stored.columns.items()}
        self._replay.add(columns, self._latents)
        self.calls += 1
        return self._tally.receive({key: columns[key] for key in SIGNALS})

    def state(self):
        return {}, {"calls": self.calls, **self._tally.state()}

    def load_state(self, arrays, host):  # noqa: ARG002
        self.calls = host["calls"]
        self._tally.load_state(host)
        return []

    def deal(self, states, process):
        raise NotImplementedError


def make(config, share, process, warn) -> Stored:  # noqa: ARG001
    with np.load(config.env.path) as file:
        columns = {key: file[key] for key in file.files}
    space = lambda key: Space(columns[key].dtype, columns[key].shape[1:])
    named = lambda prefix: {
        key.removeprefix(prefix): space(key) for key in columns if key.startswith(prefix)
    }
    return Stored(columns, Spaces(named("obs/"), named("action/")), share.envs)
