"""Two updates of one tiny agent on each of several meshes, saved for `test_mesh.py` to compare.

    python sharded_updates.py OUT.npz KEYS MESH…      KEYS: of SPACES
                                                      MESH: `1` (no mesh) or `DATAxFSDP`

A process of its own, because the number of simulated devices is fixed when JAX starts.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import tiny
from collectives import collectives
from jax.sharding import AxisType

from dreamer_jax.agent import MAIN
from dreamer_jax.config import load_config
from dreamer_jax.device.compiled import Compiled, name_arrays
from dreamer_jax.device.mesh import AXES, Placement, make_placement

DEVICES, ROWS = 8, 8
PHASE = "joint"
SLICE_ROWS = 5
LEAST = 100  # elements; tiny kernels are split as well
SHALLOW = {key: 1 for key in load_config("default").agent if key.endswith("_layers")}
OPTIONS = {**SHALLOW, "warmup": 1, "learning_rate": 0.01}
SPACES = {
    "vector": tiny.VECTOR,
    "attached": tiny.VECTOR,  # the actor learns through the rollout
    "mixed": tiny.MIXED,
    "pictures": tiny.PICTURES,
}


def place(mesh: str) -> Placement | None:
    """Return a placement on the first devices, or None for `1`."""
    if mesh == "1":
        return None
    shape = tuple(map(int, mesh.split("x")))
    devices = jax.devices()[: int(np.prod(shape))]
    if len(devices) == DEVICES:  # as a run does
        placement = make_placement(shape[1], ROWS)
        assert placement is not None
        return replace(placement, least=LEAST)
    types = (AxisType.Auto, AxisType.Auto)
    return Placement(jax.make_mesh(shape, AXES, devices=devices, axis_types=types), LEAST)


def start(keys: str, placement: Placement | None) -> tuple[Compiled, Any, Any, Any]:
    """Return agent, state, carry and batch; the same numbers whatever the placement."""
    by_rows = {} if placement is None else {"by_rows": placement.by_rows}
    loss = "plugins:make_climb" if keys == "attached" else "reinforce"
    agent = tiny.tiny_agent(SPACES[keys], **OPTIONS, **by_rows, actor_loss=loss)
    # Shorter than a device's share of the imagined states.
    behavior: Any = agent.behaviors[MAIN]
    behavior = replace(behavior, spread=replace(behavior.spread, slice_rows=SLICE_ROWS))
    agent = agent._replace(behaviors={MAIN: behavior})
    compiled = Compiled(agent, 3, placement)
    on_host = lambda tree: jax.tree.map(np.asarray, tree)
    batch = compiled.put_batch(on_host(tiny.random_batch(SPACES[keys], rows=ROWS)))
    state = compiled.put_state(on_host(tiny.random_state(compiled.agent)))
    return compiled, state, compiled.put_batch(compiled.initial_carry(ROWS)), batch


def results(keys: str, placement: Placement | None) -> dict[str, np.ndarray]:
    """Return everything that two updates yield, by name."""
    compiled, state, carry, batch = start(keys, placement)
    out = {}
    for _ in range(2):
        update = compiled.train(PHASE, state, carry, batch)
        state, carry = update.state, update.carry
    names = compiled.metric_names[PHASE]
    for name, value in zip(names, np.asarray(update.metrics), strict=True):
        out[f"metrics/{name}"] = value
    for part in ("acting", "carry", "latents", "state"):
        out |= name_arrays(getattr(update, part), f"{part}/")
    for part in ("state", "carry", "latents"):
        for name, leaf in _named(getattr(update, part)):
            size = np.array([leaf.size, leaf.addressable_data(0).size])
            out[f"share/{part}/{name}"] = size
    return out | ({} if placement is None else traffic(compiled, placement, state, carry, batch))


def traffic(
    compiled: Compiled, placement: Placement, state: Any, carry: Any, batch: Any
) -> dict[str, np.ndarray]:
    """Return how many elements an update gathers and has to gather, and what its loops send."""
    train, key = compiled._train[PHASE], compiled._keys["train"]
    program = train.lower(state, carry, batch, key).compile()
    sent = collectives(program.as_text())
    # Before the update what losses read; after it, because it is new, what acting reads.
    read = (state.params, state.aux, compiled.agent.acting_params(state))
    pairs = zip(jax.tree.leaves(read), jax.tree.leaves(placement.state(read)), strict=True)
    split = sum(leaf.size for leaf, sharding in pairs if not sharding.is_fully_replicated)
    return {
        "traffic/gathered": np.array(sum(x.elements for x in sent if x.kind == "all-gather")),
        "traffic/needed": np.array(split + tiny.H * ROWS * tiny.T),  # and the returns' percentiles
        "traffic/sent": np.array(sum(x.elements for x in sent)),
        "traffic/in_loops": np.array(sum(x.elements for x in sent if x.in_loop)),
    }


def _named(part: Any) -> list[tuple[str, jax.Array]]:
    leaves = jax.tree_util.tree_leaves_with_path(part)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return [(name(path), leaf) for path, leaf in leaves]


def main(out: str, keys: str, *meshes: str) -> None:
    """Run and save."""
    jax.config.update("jax_num_cpu_devices", DEVICES)
    arrays = {
        f"{mesh}/{name}": value
        for mesh in meshes
        for name, value in results(keys, place(mesh)).items()
    }
    np.savez(out, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
