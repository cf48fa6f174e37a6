"""Latent states to raw predictions of observations (docs/algorithm.md 3).

Vector predictions live in symlog space; image predictions are in 0 … 1. What they mean and cost is
`heads/predictions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from dreamer_jax.nets.conv import Conv, pictures_at_once
from dreamer_jax.nets.encoder import (
    Resolution,
    image_towers,
    stage_channels,
    stage_count,
    tower_name,
    vector_keys,
)
from dreamer_jax.nets.layers import (
    MLP,
    BlockDense,
    Dense,
    Dtype,
    Layer,
    forward,
    rms_norm,
    to_groups,
)
from dreamer_jax.ops.slices import in_slices
from dreamer_jax.types import Space


class VectorHead(nn.Module):
    """One vector key: class logits if discrete, otherwise the mean in symlog space."""

    space: Space
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., U]` to `[..., *shape, classes]` or `[..., *shape]` float32."""
        shape = self.space.shape + ((self.space.classes,) if self.space.classes else ())
        width = 1
        for size in shape:
            width *= size
        x = Dense(width, self.dtype, name="out")(x)
        return x.reshape(*x.shape[:-1], *shape).astype(jnp.float32)


class UpTower(nn.Module):
    """A latent state to pictures of one resolution, by repeated doubling."""

    size: Resolution
    channels: int  # of all pictures together
    depth: int
    units: int
    blocks: int
    dtype: Dtype

    @nn.compact
    def __call__(self, deter: jax.Array, stoch: jax.Array) -> jax.Array:
        """Map `[N, D]` and `[N, S·K]` to `[N, h, w, channels]` float32 in 0 … 1."""
        widths = stage_channels(self.depth, stage_count(self.size))
        h, w = (s // 2 ** len(widths) for s in self.size)
        c = widths[-1]
        block = BlockDense(h * w * c, self.blocks, self.dtype, name="from_deter")
        x0 = block(to_groups(deter, self.blocks))  # [G, N, h·w·c/G], each block its own channels
        x0 = x0.reshape(self.blocks, -1, h, w, c // self.blocks)
        x0 = x0.transpose(1, 2, 3, 0, 4).reshape(-1, h, w, c)
        x1 = Layer(2 * self.units, self.dtype, name="from_stoch")(stoch)
        x1 = Dense(h * w * c, self.dtype, name="from_stoch_out")(x1).reshape(-1, h, w, c)
        x = nn.silu(rms_norm(x0 + x1, self.param("scale", nn.initializers.ones, (c,))))
        for index, width in reversed(list(enumerate(widths[:-1]))):
            x = Conv(width, self.dtype, "double", name=f"conv{index}")(x)
            scale = self.param(f"scale{index}", nn.initializers.ones, (width,))
            x = nn.silu(rms_norm(x, scale))
        x = Conv(self.channels, self.dtype, "double", name="out")(x)
        return nn.sigmoid(x.astype(jnp.float32))


class Decoder(nn.Module):
    """A latent state to a prediction of every observation key."""

    spaces: Mapping[str, Space]
    layers: int
    units: int
    depth: int
    blocks: int
    dtype: Dtype

    @nn.compact
    def __call__(self, deter: jax.Array, stoch: jax.Array) -> dict[str, jax.Array]:
        """Map `[..., D]` and `[..., S·K]` to raw predictions by key, float32.

        Continuous vectors are in symlog space, discrete ones are logits with a class axis, images
        are in 0 … 1.
        """
        result: dict[str, jax.Array] = {}
        keys = vector_keys(self.spaces)
        if keys:
            x = jnp.concatenate([stoch, deter], -1)
            x = MLP(self.layers, self.units, self.dtype, name="mlp")(x)
            for key in keys:
                result[key] = VectorHead(self.spaces[key], self.dtype, name=f"vector_{key}")(x)
        towers, lead = image_towers(self.spaces), deter.shape[:-1]
        flat = [x.reshape(-1, x.shape[-1]) for x in (deter, stoch)]
        for size, images in towers.items():
            widths = [self.spaces[key].shape[-1] for key in images]
            tower = UpTower(
                size, sum(widths), self.depth, self.units, self.blocks, self.dtype, parent=None
            )
            run = self._tower(tower, tower_name(size, towers), flat)
            x = in_slices(run, pictures_at_once(), *flat).reshape(*lead, *size, -1)
            splits = [sum(widths[: i + 1]) for i in range(len(widths) - 1)]
            result |= dict(zip(images, jnp.split(x, splits, -1), strict=True))
        return result

    def _tower(
        self, tower: UpTower, name: str, latents: list[jax.Array]
    ) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """Return a tower with parameters of this module as a pure function of latents."""
        one = [x[:1] for x in latents]
        params = self.param(name, lambda key: tower.init(key, *one)["params"])
        return lambda deter, stoch: forward(tower, params, deter, stoch)
