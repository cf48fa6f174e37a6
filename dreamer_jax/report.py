"""What the world model predicts when it may no longer look (docs/algorithm.md 9, Report).

The first half of each sequence is observed, the second half imagined under the recorded actions;
decoding both shows whether the latent state carries what matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dreamer_jax.agent import Agent
from dreamer_jax.types import Batch, Carry, Latent, Params, Replayed, TrainState
from dreamer_jax.world_model import encode_action


class OpenLoop(NamedTuple):
    """Predictions of a few sequences, and scalars."""

    images: dict[str, jax.Array]  # [rows, T, h, w, c] float32 in 0 … 1, by image key
    metrics: dict[str, jax.Array]


def imagine_open_loop(
    agent: Agent, params: Params, start: Latent, action: jax.Array, key: jax.Array
) -> Latent:
    """Return latents `[B, T, ...]` imagined from `start` under encoded actions `[B, T, A]`.

    Index t of `action` is the action that leads to latent t.
    """
    dynamics = agent.world_model.dynamics
    rows, length = action.shape[:2]
    noise = dynamics.draw_noise(key, (length, rows))
    latents, last, _ = dynamics.imagine(
        params["dynamics"], start, lambda _, given: (given, None), action.swapaxes(0, 1), noise
    )
    later = jax.tree.map(lambda x, end: jnp.concatenate([x[1:], end[None]]), latents, last)
    return jax.tree.map(lambda x: x.swapaxes(0, 1), later)


def report(
    agent: Agent, state: TrainState, carry: Carry, replayed: Replayed, key: jax.Array, rows: int = 6
) -> OpenLoop:
    """Return every training loss on the batch, and open-loop predictions of its first rows.

    Args:
        agent: Pure functions.
        state: Read only.
        carry: For rows that follow the previous batch.
        replayed: `[B, T + context, ...]`, T at least 2.
        key: Consumed.
        rows: Sequences to predict.

    Returns:
        Metrics `loss/…` as in training and `open_loop/<key>`, the reconstruction loss per step of
        the imagined half up to a reset; pictures of all T steps, the first T // 2 observed.
    """
    loss_key, imagine_key = jax.random.split(key)
    start, batch, previous = agent.align(carry, replayed)
    _, (observed, _, metrics) = agent.losses(
        state.params, state.aux, start, batch, previous, loss_key, state.grad_steps
    )
    crop = lambda tree: jax.tree.map(lambda x: x[:rows], tree)
    latent, batch, previous = crop(observed.latent), crop(batch), crop(previous)
    half = batch.reward.shape[1] // 2
    action = encode_action(previous, agent.spaces.action)[:, half:]
    middle = jax.tree.map(lambda x: x[:, half - 1], latent)
    ahead = imagine_open_loop(agent, state.params, middle, action, imagine_key)
    joined = jax.tree.map(lambda x, y: jnp.concatenate([x[:, :half], y], 1), latent, ahead)
    return _compare(agent, state.params, joined, batch, half, metrics)


def _compare(
    agent: Agent,
    params: Params,
    latent: Latent,
    batch: Batch,
    half: int,
    metrics: Mapping[str, jax.Array],
) -> OpenLoop:
    kept = {name: value for name, value in metrics.items() if name.startswith("loss/")}
    images = {}
    # What follows a reset could not be foreseen.
    foreseen = jnp.cumsum(batch.is_first.at[:, :half].set(False), 1) == 0
    count = foreseen[:, half:].sum()
    for name, predicted in agent.world_model.decode(params, latent).items():
        loss = predicted.loss(batch.obs[name])
        kept[f"open_loop/{name}"] = (loss * foreseen)[:, half:].sum() / jnp.maximum(1, count)
        if agent.spaces.obs[name].is_image:
            images[name] = predicted.mean()
    return OpenLoop(images, kept)
