"""Dense and block layers, their normalisation and initialisation (docs/algorithm.md 2).

Parameters are float32; products run in the module's `dtype`; the norm always runs in float32.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dreamer_jax.types import ModuleParams

Dtype = Any
NORM_EPSILON = 1e-4


def kernel_init(outscale: float = 1.0) -> nn.initializers.Initializer:
    """Return a normal truncated at ±2 with deviation `1.1368·outscale/√fan_in` before truncation.

    The constant makes the deviation *after* truncation `outscale/√fan_in`. Fan-in is the product
    of all axes but the last: `in` of a dense layer, `kh·kw·c_in` of a convolution, and the full
    input width of a block layer `[G, in/G, out/G]`.
    """
    if outscale == 0.0:
        return nn.initializers.zeros

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> jax.Array:
        fan_in = 1
        for size in shape[:-1]:
            fan_in *= size
        scale = 1.1368 * outscale / fan_in**0.5
        return scale * jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)

    return init


def forward(module: nn.Module, params: ModuleParams, *args: Any, method: str | None = None) -> Any:
    """Return what a module computes from its parameters; nothing here has other variables."""
    return module.apply({"params": params}, *args, method=method)


def rms_norm(x: jax.Array, scale: jax.Array, axes: int | tuple[int, ...] = -1) -> jax.Array:
    """Return `x·rsqrt(mean(x²) + 1e-4)·scale`, computed in float32, in the dtype of `x`."""
    wide = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.square(wide).mean(axes, keepdims=True) + NORM_EPSILON)
    scale = scale.reshape((1,) * (x.ndim - scale.ndim) + scale.shape)
    return (wide * inverse * scale).astype(x.dtype)


def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: Dtype) -> jax.Array:
    """Return `x·kernel + bias` over the last axis, in `dtype`.

    Leading axes are flattened first: the kernel's gradient is then one plain matrix product, up
    to four times faster on a CPU than a contraction over several axes.
    """
    flat = x.reshape(-1, x.shape[-1]).astype(dtype)
    product = flat @ kernel.astype(dtype) + bias[None].astype(dtype)
    return product.reshape(*x.shape[:-1], kernel.shape[-1])


class Norm(nn.Module):
    """RMSNorm over the last axis, without shift."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return `[..., C]` with the mean square of each vector near 1 before scaling."""
        return rms_norm(x, self.param("scale", nn.initializers.ones, (x.shape[-1],)))


class Dense(nn.Module):
    """Affine map of the last axis."""

    units: int
    dtype: Dtype
    outscale: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., in]` to `[..., units]`."""
        kernel = self.param("kernel", kernel_init(self.outscale), (x.shape[-1], self.units))
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        return affine(x, kernel, bias, self.dtype)


class Layer(nn.Module):
    """One MLP layer, `silu(norm(dense(x)))`."""

    units: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., in]` to `[..., units]`."""
        return nn.silu(Norm(name="norm")(Dense(self.units, self.dtype, name="dense")(x)))


class MLP(nn.Module):
    """A stack of `layers` MLP layers of equal width."""

    layers: int
    units: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., in]` to `[..., units]`; the identity when there are no layers."""
        for index in range(self.layers):
            x = Layer(self.units, self.dtype, name=f"layer{index}")(x)
        return x


class BlockDense(nn.Module):
    """Block-diagonal affine map on group-major input.

    Each of the G blocks maps its own slice of the features. Group-major arrays `[G, N, C]` make
    it one batched product without a transpose, 2.3 times faster on a CPU than `[N, G, C]`.
    """

    units: int  # outputs over all blocks
    blocks: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[G, N, in/G]` to `[G, N, units/G]`."""
        blocks, _, width = x.shape
        kernel = self.param("kernel", kernel_init(), (blocks, width, self.units // blocks))
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        product = jnp.einsum("gni,gio->gno", x.astype(self.dtype), kernel.astype(self.dtype))
        return product + bias.reshape(blocks, 1, -1).astype(self.dtype)


class BlockLayer(nn.Module):
    """`silu(norm(block_dense(x)))` on group-major input; the norm spans all blocks.

    Optionally every block also reads one input that all share. It is part of the same kernel
    (rows after the block's own), but multiplied once as a dense product, not copied per block.
    """

    units: int
    blocks: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, shared: jax.Array | None = None) -> jax.Array:
        """Map `[G, N, in/G]`, and `[N, W]` shared by all blocks, to `[G, N, units/G]`."""
        blocks, _, width = x.shape
        extra = 0 if shared is None else shared.shape[-1]
        kernel = self.param("kernel", kernel_init(), (blocks, width + extra, self.units // blocks))
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        scale = self.param("scale", nn.initializers.ones, (self.units,))
        kernel = kernel.astype(self.dtype)
        product = jnp.einsum("gni,gio->gno", x.astype(self.dtype), kernel[:, :width])
        if shared is None:
            product += bias.reshape(blocks, 1, -1).astype(self.dtype)
        else:
            dense = kernel[:, width:].swapaxes(0, 1).reshape(extra, self.units)
            product += to_groups(affine(shared, dense, bias, self.dtype), blocks)
        return nn.silu(rms_norm(product, scale.reshape(blocks, 1, -1), axes=(0, 2)))


def to_groups(x: jax.Array, groups: int) -> jax.Array:
    """Turn `[N, G·C]` into group-major `[G, N, C]`; the inverse of `from_groups`."""
    return x.reshape(x.shape[0], groups, -1).swapaxes(0, 1)


def from_groups(x: jax.Array) -> jax.Array:
    """Turn group-major `[G, N, C]` into `[N, G·C]`; the inverse of `to_groups`."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)
