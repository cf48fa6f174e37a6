"""A phase of learning as data: which modules move, by which losses, under which optimiser.

DreamerV3 is one phase that trains everything. An agent that first learns its world model and then
its policy is two. Each phase is one compiled program, has its own optimiser state and its own
account of updates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import optax


class Phase(NamedTuple):
    """One kind of update. The name of a phase is its key in `Agent.phases`."""

    modules: tuple[str, ...]  # entries of `params` that it trains
    losses: Mapping[str, float]  # every loss that it computes, and the scale of its mean
    optimizer: optax.GradientTransformation
    world_model: bool = True  # whether the losses of the world model are computed
    behaviors: tuple[str, ...] = ()  # behaviours whose losses are computed
    share: float = 1.0  # updates of this phase for each update that the train ratio asks for
