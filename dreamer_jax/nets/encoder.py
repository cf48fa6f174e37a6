"""Observations to one embedding vector per step (docs/algorithm.md 3).

Vector keys share an MLP; image keys of one resolution share a convolutional tower, because
channels can only be concatenated where heights and widths agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dreamer_jax.nets.conv import Conv, pictures_at_once
from dreamer_jax.nets.layers import MLP, Dtype, Norm, forward
from dreamer_jax.ops.slices import in_slices
from dreamer_jax.ops.symlog import symlog
from dreamer_jax.types import Space

SMALLEST, LARGEST = 3, 16  # pixels that the coarsest feature map may have

Resolution = tuple[int, int]


def vector_keys(spaces: Mapping[str, Space]) -> list[str]:
    """Return the sorted keys that enter as vectors."""
    return sorted(key for key, space in spaces.items() if not space.is_image)


def image_towers(spaces: Mapping[str, Space]) -> dict[Resolution, list[str]]:
    """Return the sorted image keys of each resolution, resolutions ascending."""
    images = {key: space for key, space in sorted(spaces.items()) if space.is_image}
    sizes = sorted({(space.shape[0], space.shape[1]) for space in images.values()})
    return {size: [k for k, s in images.items() if s.shape[:2] == size] for size in sizes}


def tower_name(size: Resolution, towers: Mapping[Resolution, object]) -> str:
    """Return the module name of a tower; the size is part of it only where there are several."""
    return "conv" if len(towers) == 1 else f"conv_{size[0]}x{size[1]}"


def stage_count(size: Resolution) -> int:
    """Return how many halvings a picture takes: four, or three below 48 pixels.

    Raises:
        ValueError: If the picture cannot be halved that often to 3 … 16 pixels; names the nearest
            size that can.
    """
    stages = 4 if min(size) >= 48 else 3
    unit = 2**stages
    if all(s % unit == 0 and SMALLEST <= s // unit <= LARGEST for s in size):
        return stages
    nearest = tuple(unit * int(np.clip(round(s / unit), SMALLEST, LARGEST)) for s in size)
    raise ValueError(
        f"images of {size[0]}×{size[1]} pixels cannot be halved {stages} times to "
        f"{SMALLEST}…{LARGEST} pixels; resize or pad them to {nearest[0]}×{nearest[1]}"
    )


def stage_channels(depth: int, stages: int) -> list[int]:
    """Return the channels after each halving, `depth·(2, 3, 4, 4)` for four of them."""
    return [depth * multiple for multiple in (2, 3, 4, 4)[:stages]]


def flatten_vectors(obs: Mapping[str, jax.Array], spaces: Mapping[str, Space]) -> jax.Array:
    """Concatenate vector keys: one-hot of discrete ones, symlog of continuous ones.

    Missing values (−inf or −1) become zeros.

    Args:
        obs: `[..., *shape]` by key.
        spaces: Observation spaces; only vector keys are read.

    Returns:
        `[..., width]` float32.
    """
    parts = []
    for key in vector_keys(spaces):
        value, space = obs[key], spaces[key]
        if space.classes is not None:
            value = jax.nn.one_hot(value.astype(jnp.int32), space.classes)
        else:
            value = value.astype(jnp.float32)
            value = symlog(jnp.where(jnp.isneginf(value), 0.0, value))
        lead = obs[key].ndim - len(space.shape)
        parts.append(value.reshape(*value.shape[:lead], -1))
    return jnp.concatenate(parts, -1)


class ConvTower(nn.Module):
    """Pictures of one resolution to a flat vector: conv, halve, norm, silu, per stage."""

    depth: int
    stages: int
    dtype: Dtype
    strided: bool = False  # convolve with stride 2 instead of max-pooling: a quarter of the work

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[N, h, w, c]` in −0.5 … 0.5 to `[N, h'·w'·c']`, row-major."""
        change = "stride" if self.strided else "pool"
        for index, channels in enumerate(stage_channels(self.depth, self.stages)):
            x = Conv(channels, self.dtype, change, name=f"conv{index}")(x)
            x = nn.silu(Norm(name=f"norm{index}")(x))
        return x.reshape(x.shape[0], -1)


class Encoder(nn.Module):
    """All observation keys to the embedding `concat(vectors, pictures)`."""

    spaces: Mapping[str, Space]
    layers: int
    units: int
    depth: int
    dtype: Dtype
    strided: bool = False

    @nn.compact
    def __call__(self, obs: Mapping[str, jax.Array]) -> jax.Array:
        """Map observations `[..., *shape]` to `[..., E]` in the compute dtype."""
        parts, lead = [], self._lead(obs)
        if vector_keys(self.spaces):
            x = flatten_vectors(obs, self.spaces).astype(self.dtype)
            parts.append(MLP(self.layers, self.units, self.dtype, name="mlp")(x))
        towers = image_towers(self.spaces)
        for size, keys in towers.items():
            pictures = jnp.concatenate([obs[key] for key in keys], -1)
            pictures = pictures.reshape(-1, *pictures.shape[len(lead) :])
            tower = ConvTower(self.depth, stage_count(size), self.dtype, self.strided, parent=None)
            run = self._tower(tower, tower_name(size, towers), pictures)
            parts.append(in_slices(run, pictures_at_once(), pictures).reshape(*lead, -1))
        return jnp.concatenate(parts, -1)

    def _tower(
        self, tower: ConvTower, name: str, pictures: jax.Array
    ) -> Callable[[jax.Array], jax.Array]:
        """Return a tower with parameters of this module as a pure function of pictures."""
        scale = lambda x: x.astype(self.dtype) / 255 - 0.5
        params = self.param(name, lambda key: tower.init(key, scale(pictures[:1]))["params"])
        return lambda x: forward(tower, params, scale(x))

    def _lead(self, obs: Mapping[str, jax.Array]) -> tuple[int, ...]:
        key = min(self.spaces)
        return obs[key].shape[: obs[key].ndim - len(self.spaces[key].shape)]
