"""The smallest agents and batches that still have every kind of key, for tests of device code.

Sizes are small distinct numbers, so that a swapped axis cannot fit. Parameters come from NumPy:
compiling the initialisers of many layers would take longer than most tests.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from dreamer_jax.agent import MAIN, Agent
from dreamer_jax.behavior.actor_critic import Kept
from dreamer_jax.config import load_config
from dreamer_jax.distributions import RANDOM, Sampler
from dreamer_jax.factory import make_agent
from dreamer_jax.nets.widths import NETWORKS, Widths
from dreamer_jax.ops.rows import RowMap, all_rows
from dreamer_jax.types import Batch, Replayed, Space, Spaces, TrainState

B, T, H = 2, 5, 3
D, S, K, HIDDEN, UNITS, BLOCKS = 24, 3, 5, 7, 11, 4
F32 = jnp.dtype("float32")
# `jax.jit` for programs that run once or twice, where compiling is all the time there is.
quick_jit = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
INT, FLOAT, BYTE = np.dtype("int32"), np.dtype("float32"), np.dtype("uint8")

VECTOR = Spaces({"speed": Space(FLOAT, (3,))}, {"steer": Space(FLOAT, (2,))})
MIXED = Spaces(
    obs={
        "matrix": Space(FLOAT, (2, 3)),
        "token": Space(INT, (), 7),
    },
    action={
        "jump": Space(INT, (), 4),
        "keys": Space(INT, (3,), 2),
        "steer": Space(FLOAT, (2,)),
    },
)
PICTURES = Spaces(
    {"camera": Space(BYTE, (24, 24, 1)), "speed": Space(FLOAT, (3,))}, {"jump": Space(INT, (), 4)}
)


def tiny_config(**options: Any) -> ConfigDict:
    """Return the `agent` section with few groups, blocks, bins and imagined steps.

    Sections of plug-ins take new names, as they do on a command line.
    """
    config = load_config("default").agent
    small = {"groups": S, "blocks": BLOCKS, "decoder_blocks": 2, "imag_horizon": H, "bins": 41}
    for section in ("objectives", "heads", "behaviors", "loss_scales", "options"):
        with config[section].unlocked():
            config[section].update(options.pop(section, {}))
    config.update(small | options)
    return config


def tiny_agent(
    spaces: Spaces = VECTOR,
    *,
    dtype: Any = F32,
    context: int = 1,
    sampler: Sampler = RANDOM,
    by_rows: RowMap = all_rows,
    **options: Any,
) -> Agent:
    """Return an agent of the smallest widths; `options` override the `agent` section."""
    widths = Widths(D, HIDDEN, K, 1, 1, dict.fromkeys(NETWORKS, UNITS))
    config = tiny_config(**options)
    return make_agent(
        config,
        widths,
        spaces,
        dtype=dtype,
        replay_context=context,
        sampler=sampler,
        by_rows=by_rows,
    )


def random_tree(shapes: Any, seed: int = 0) -> Any:
    """Return arrays like `shapes`: no bias is zero, no scale is one, no head is silent."""
    rng = np.random.default_rng(seed)

    def draw(leaf: Any) -> jax.Array:
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        return jnp.asarray(rng.normal(size=leaf.shape) / fan_in**0.5, leaf.dtype)

    return jax.tree.map(draw, shapes)


def random_params(module: nn.Module, *inputs: Any, seed: int = 0) -> Any:
    """Return random parameters of a module for such inputs."""
    return random_tree(jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"], seed)


def random_state(agent: Agent, seed: int = 0) -> TrainState:
    """Return a state whose modules, slow critic included, have random parameters."""
    shapes = jax.eval_shape(agent.init, jax.random.key(0))
    params = random_tree(shapes.params, seed)
    slow = random_tree(shapes.aux[MAIN].slow_critic, seed + 1)
    stats = {"low": jnp.float32(-1.0), "high": jnp.float32(2.0)}
    opt = {name: phase.optimizer.init(params) for name, phase in agent.phases.items()}
    return TrainState(params, {MAIN: Kept(slow, stats)}, opt, jnp.zeros((), jnp.int32))


def random_values(space: Space, lead: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return values of a key `[*lead, *shape]`."""
    shape = (*lead, *space.shape)
    if space.is_image:
        return rng.integers(0, 256, shape).astype(space.dtype)
    if space.classes is not None:
        return rng.integers(0, space.classes, shape).astype(space.dtype)
    return rng.normal(size=shape).astype(space.dtype)


def random_batch(
    spaces: Spaces, seed: int = 0, context: int = 1, length: int = T, rows: int = B
) -> Replayed:
    """Return a batch as replay hands it out; one row holds a truncation, one a termination."""
    rng = np.random.default_rng(seed)
    lead = (rows, length + context)
    flags = np.zeros((3, *lead), bool)
    is_first, is_last, is_terminal = flags
    is_last[:, context + 1] = is_first[:, context + 2] = True
    is_terminal[1, context + 1] = True
    records = Batch(
        {key: random_values(space, lead, rng) for key, space in spaces.obs.items()},
        {key: random_values(space, lead, rng) for key, space in spaces.action.items()},
        rng.normal(size=lead).astype(np.float32),
        is_first,
        is_last,
        is_terminal,
    )
    stored = None
    if context:
        stoch = rng.integers(0, K, (rows, S)).astype(np.uint8)
        stored = {"deter": rng.normal(size=(rows, D)).astype(np.float32), "stoch": stoch}
    return jax.tree.map(jnp.asarray, Replayed(records, stored, np.zeros(rows, bool)))


def random_obs(spaces: Spaces, envs: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return one observation `[envs, *shape]` by key."""
    rng = np.random.default_rng(seed)
    return {key: random_values(space, (envs,), rng) for key, space in spaces.obs.items()}
