"""Who learns from what: every loss times every group of parameters, zero or not.

The walls are those of docs/algorithm.md 6 and 7. Parameters are random and the free nats are off,
so that a zero means a wall and not a head that is still silent or a divergence under its floor.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from tiny import VECTOR, B, quick_jit, random_batch, random_state, tiny_agent

WORLD = ("encoder", "dynamics")
REACHES = {
    "dyn": WORLD,
    "rep": WORLD,
    "recon/speed": (*WORLD, "decoder"),
    "reward": (*WORLD, "reward"),
    "cont": (*WORLD, "cont"),
    "actor": ("actor",),
    "critic": ("critic",),
    "replay_critic": (*WORLD, "critic"),
}
Table = dict[str, dict[str, jax.Array]]
GROUPS = (*WORLD, "decoder", "reward", "cont", "actor", "critic", "aux")


@pytest.fixture(scope="module")
def table() -> Table:
    """Return the largest absolute gradient by loss and group."""
    agent = tiny_agent(VECTOR, free_nats=0.0)
    state = random_state(agent)
    aligned = agent.align(agent.initial_carry(B), random_batch(VECTOR))

    names = sorted(agent.phases["joint"].losses)

    def chosen(params: Any, aux: Any, choice: jax.Array) -> jax.Array:
        means, _ = agent.losses(params, aux, *aligned, jax.random.key(0), jnp.zeros((), jnp.int32))
        return jnp.vdot(choice, jnp.stack([means[name] for name in names]))

    @quick_jit
    def measure(choice: jax.Array) -> dict[str, jax.Array]:
        params, aux = jax.grad(chosen, argnums=(0, 1))(state.params, state.aux, choice)
        groups = params | {"aux": aux}  # slow critic and percentiles
        leaves = {name: jax.tree.leaves(tree) for name, tree in groups.items()}
        return {name: jnp.stack([jnp.abs(x).max() for x in g]).max() for name, g in leaves.items()}

    rows = jnp.eye(len(names))
    return {name: measure(row) for name, row in zip(names, rows, strict=True)}


def test_the_table_covers_every_loss(table: Table) -> None:
    assert set(table) == set(REACHES)
    assert all(set(row) == set(GROUPS) for row in table.values())


@pytest.mark.parametrize("loss", REACHES)
def test_gradients_reach_exactly_their_groups(loss: str, table: Table) -> None:
    """No other test sees a missing stop-gradient: all losses still fall."""
    reached = {group for group, size in table[loss].items() if size > 0}
    assert reached == set(REACHES[loss]), table[loss]
