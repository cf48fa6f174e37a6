"""Builds the agent that a config describes; with `makers/` the only reader of agent options."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from dreamer_jax.agent import MAIN, Agent
from dreamer_jax.behavior.protocol import Behavior
from dreamer_jax.distributions import RANDOM, Sampler
from dreamer_jax.dynamics.protocol import Dynamics
from dreamer_jax.errors import UserError
from dreamer_jax.heads.protocol import Head
from dreamer_jax.makers import (
    BEHAVIORS,
    DYNAMICS,
    ENCODERS,
    HEADS,
    OBJECTIVES,
    OPTIMIZERS,
    PHASES,
    Context,
    Parts,
    targets,
)
from dreamer_jax.named import find_named
from dreamer_jax.nets.encoder import image_towers, stage_channels, stage_count
from dreamer_jax.nets.layers import Dtype
from dreamer_jax.nets.widths import Widths
from dreamer_jax.ops.rows import RowMap, all_rows
from dreamer_jax.ops.spread import Spread
from dreamer_jax.types import Space, Spaces
from dreamer_jax.world_model import Target, WorldModel

CPU_SLICE_ROWS = 1024  # imagined states at once: their activations stay in a cache


def compute_dtype(name: str) -> Dtype:
    """Return the dtype that layers compute in; `auto` asks the default device.

    Raises:
        UserError: For a name that is neither `auto`, `float32` nor `bfloat16`.
    """
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if name not in ("float32", "bfloat16"):
        raise UserError(f"compute_dtype={name!r} is unknown; use auto, float32 or bfloat16")
    return jnp.dtype(name)


def make_agent(
    agent: ConfigDict,
    widths: Widths,
    spaces: Spaces,
    *,
    dtype: Dtype,
    replay_context: int = 1,
    sampler: Sampler = RANDOM,
    by_rows: RowMap = all_rows,
) -> Agent:
    """Return the agent's pure functions.

    Args:
        agent: The `agent` part of the config.
        widths: Widths of every network.
        spaces: Observation and action keys.
        dtype: Dtype that layers compute in.
        replay_context: 1 if batches bring a leading record with its stored latent, else 0.
        sampler: How latents and actions are drawn.
        by_rows: How an update spreads rows over devices.

    Raises:
        UserError: If an option has no meaning or spaces cannot be learned from.
    """
    if not spaces.obs or not spaces.action:
        raise UserError("an environment needs at least one observation key and one action key")
    for key, space in (*spaces.obs.items(), *spaces.action.items()):
        _check_space(key, space)
    # A GPU would rather have all imagined states at once.
    slice_rows = CPU_SLICE_ROWS if jax.default_backend() == "cpu" else 0
    context = Context(agent, widths, spaces, dtype, sampler, Spread(by_rows, slice_rows))
    try:
        _check_widths(agent, widths, spaces)
        world_model = _make_world_model(context)
        behaviors = _make_behaviors(context, world_model)
        optimizer = partial(find_named("optimizer", agent.optimizer, OPTIMIZERS), context)
        parts = Parts(context, world_model, behaviors, optimizer)
        phases = find_named("phases", agent.phases, PHASES)(parts)
    except ValueError as error:
        raise UserError(str(error)) from error
    if agent.acts not in behaviors:
        raise UserError(f"config.agent.acts={agent.acts!r}; it must be one of {[*behaviors]}")
    return Agent(spaces, world_model, behaviors, agent.acts, phases, replay_context)


def _check_space(key: str, space: Space) -> None:
    """Raise UserError for a key that a device cannot hold as it is declared."""
    if space.dtype.itemsize > 4:
        raise UserError(f"{key!r} is {space.dtype}; declare 32 bits, which is what devices take")
    if space.classes is not None and (space.classes < 1 or space.dtype.kind not in "iub"):
        raise UserError(
            f"{key!r} is {space.dtype} with {space.classes} classes; class indices are integers, "
            "and there is at least one"
        )


def _check_widths(agent: ConfigDict, widths: Widths, spaces: Spaces) -> None:
    """Raise ValueError for pictures that cannot be halved or channels that cannot be blocked."""
    blocks = agent.decoder_blocks
    for size in image_towers(spaces.obs):
        channels = stage_channels(widths.decoder_depth, stage_count(size))[-1]
        if channels % blocks:
            raise ValueError(
                f"the {channels} channels of the decoder's coarsest pictures are not a multiple of "
                f"decoder_blocks={blocks}; take another depth, or --config.agent.decoder_blocks"
            )


def _make_world_model(context: Context) -> WorldModel:
    agent = context.agent
    dynamics: Dynamics = find_named("dynamics", agent.dynamics, DYNAMICS)(context)
    objectives = {
        name: find_named("objective", maker, OBJECTIVES)(context, dynamics)
        for name, maker in agent.objectives.items()
        if maker
    }
    encoder = find_named("encoder", agent.encoder, ENCODERS)(context)
    return WorldModel(
        spaces=context.spaces,
        encoder=encoder,
        dynamics=dynamics,
        objectives=objectives,
        heads=_make_heads(context),
        by_rows=context.spread.by_rows,
    )


def _make_heads(context: Context) -> dict[str, tuple[Head, Target]]:
    """Return every head and its target; heads beyond the published ones bring theirs."""
    known, heads = targets(context.agent), {}
    named = context.agent.heads.to_dict()
    # The published heads first: their random numbers must not depend on those that are added.
    for name in (*(n for n in known if n in named), *sorted(named.keys() - known.keys())):
        maker = named[name]
        make = find_named("head", maker, HEADS)
        # The makers of published heads know no targets.
        made: Any = None if maker in HEADS and name not in known else make(context, name)
        if not isinstance(made, tuple) and name not in known:
            raise ValueError(
                f"config.agent.heads.{name}={maker!r} gives a head without a target; name a maker "
                "of your own (module:attribute) and return (head, target), where target maps a "
                "Batch to an array [B, T, ...]"
            )
        heads[name] = made if isinstance(made, tuple) else (made, known[name])
    if missing := known.keys() - heads.keys():
        raise ValueError(f"config.agent.heads lacks {sorted(missing)}, which behaviours read")
    return heads


def _make_behaviors(context: Context, world_model: WorldModel) -> dict[str, Behavior]:
    """Return all behaviours, `main` first; a later one may read those before it."""
    behaviors: dict[str, Behavior] = {}
    named = context.agent.behaviors.to_dict()
    for name in sorted(named, key=lambda name: (name != MAIN, name)):
        if "/" in name:
            raise ValueError(f"config.agent.behaviors.{name}: a name must not contain a slash")
        maker = find_named("behavior", named[name], BEHAVIORS)
        behaviors[name] = maker(context, world_model, {**behaviors})
    return behaviors
