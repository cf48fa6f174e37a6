"""Networks of heads: an MLP trunk on the model state and one output layer (docs/algorithm.md 5).

Outputs are raw, float32. What the numbers mean (two-hot bins, Bernoulli, action distributions) is
`heads/` and `distributions.py`; a module here only holds parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from dreamer_jax.nets.layers import MLP, Dense, Dtype
from dreamer_jax.types import Space

Outputs = dict[str, jax.Array | tuple[jax.Array, jax.Array]]


class HeadNet(nn.Module):
    """A head with one output vector: reward and critic logits, the continue logit."""

    layers: int
    units: int
    outputs: int
    outscale: float
    dtype: Dtype

    @nn.compact
    def __call__(self, feat: jax.Array) -> jax.Array:
        """Map `[..., F]` to `[..., outputs]` float32."""
        x = MLP(self.layers, self.units, self.dtype, name="mlp")(feat)
        return Dense(self.outputs, self.dtype, self.outscale, name="out")(x).astype(jnp.float32)


class ActorNet(nn.Module):
    """Parameters of the action distribution, per action key.

    Continuous keys: `mean = tanh(·)`, `std = (max − min)·σ(· + 2) + min`; the sample is not
    squashed, the environment clips it to ±1.
    """

    spaces: Mapping[str, Space]
    layers: int
    units: int
    outscale: float
    std_range: tuple[float, float]
    dtype: Dtype

    @nn.compact
    def __call__(self, feat: jax.Array) -> Outputs:
        """Map `[..., F]` to logits `[..., *shape, classes]` or (mean, std) `[..., *shape]`."""
        x = MLP(self.layers, self.units, self.dtype, name="mlp")(feat)
        result: Outputs = {}
        for key, space in sorted(self.spaces.items()):
            if space.discrete:
                result[key] = self._out(x, (*space.shape, space.classes or 0), f"logits_{key}")
            else:
                low, high = self.std_range
                mean = jnp.tanh(self._out(x, space.shape, f"mean_{key}"))
                std = nn.sigmoid(self._out(x, space.shape, f"std_{key}") + 2.0)
                result[key] = (mean, (high - low) * std + low)
        return result

    def _out(self, x: jax.Array, shape: tuple[int, ...], name: str) -> jax.Array:
        width = 1
        for size in shape:
            width *= size
        x = Dense(width, self.dtype, self.outscale, name=name)(x).astype(jnp.float32)
        return x.reshape(*x.shape[:-1], *shape)
