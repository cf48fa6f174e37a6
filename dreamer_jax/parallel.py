"""The one file that knows devices: mesh, placement, and the compiled functions of the agent.

A run on one device compiles without any sharding and pays for none. On several devices one mesh
with axes `data` and `fsdp` shards the batch over all of them and replicates parameters.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dreamer_jax.agent import Agent, Metrics
from dreamer_jax.types import Carry, Latent, Replayed, TrainState


def make_mesh(devices: int | None = None) -> Mesh | None:
    """Return the mesh over local devices, or None where there is just one.

    Axis types are Auto: the partitioner places every intermediate array.
    """
    available = jax.devices()[:devices]
    if len(available) == 1:
        return None
    shape = (len(available), 1)
    types = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh(shape, ("data", "fsdp"), axis_types=types, devices=available)


class Compiled:
    """The agent's functions behind `jax.jit`; every other file calls these."""

    def __init__(self, agent: Agent, mesh: Mesh | None = None) -> None:
        self.agent = agent
        self.mesh = mesh
        self.init = jax.jit(agent.init)
        self._train = jax.jit(agent.train, donate_argnums=0)
        self._policy = jax.jit(agent.policy, static_argnames="mode")

    def train(
        self, state: TrainState, carry: Carry, replayed: Replayed, key: jax.Array
    ) -> tuple[TrainState, dict[str, Any], Carry, Latent, Metrics]:
        """Run one update; `state` is donated and must not be used again."""
        return self._train(state, carry, replayed, key)

    def policy(
        self,
        params: Any,
        carry: Carry,
        obs: dict[str, np.ndarray],
        is_first: np.ndarray,
        key: jax.Array,
        mode: str,
    ) -> tuple[Carry, dict[str, jax.Array], Latent]:
        """Choose actions for all environments."""
        return self._policy(params, carry, obs, is_first, key, mode=mode)

    def put_batch(self, tree: Any) -> Any:
        """Start the transfer of a host batch; rows are spread over the mesh."""
        if self.mesh is None:
            return jax.device_put(tree)
        sharding = NamedSharding(self.mesh, PartitionSpec(("data", "fsdp")))
        return jax.device_put(tree, sharding)

    def put_state(self, tree: Any) -> Any:
        """Place a tree whole on every device."""
        if self.mesh is None:
            return jax.device_put(tree)
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))


to_host = partial(jax.tree.map, np.asarray)
