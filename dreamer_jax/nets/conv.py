"""Convolutions, also before a halving or after a doubling of the picture (docs/algorithm.md 3).

A picture that is doubled before a convolution can be convolved in 2×2 tiles at the smaller size:
the same sums with a rearranged kernel, and as doubled pixels are equal, their taps are added up
first: 9 instead of 25 products for each input pixel and output.

XLA for CPU is slow at gradients of convolutions with few channels. There they are matrix products
of patches, a few pictures at a time so that patches stay in a cache.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dreamer_jax.nets.layers import Dtype, kernel_init
from dreamer_jax.ops.slices import in_slices

KERNEL = 5  # pixels, each way
CPU_PICTURES = 16  # at once
HIGHEST = jax.lax.Precision.HIGHEST


def on_cpu() -> bool:
    """Return whether programs are compiled for a CPU."""
    return jax.default_backend() == "cpu"


def pictures_at_once() -> int:
    """Return how many pictures should be worked on at once; 0: all."""
    return CPU_PICTURES if on_cpu() else 0


class Conv(nn.Module):
    """A convolution that keeps the size of a picture, doubles it before, or halves it.

    `change` is `double` (each pixel repeated 2×2 first), `stride` (every second output) or `pool`
    (maximum over 2×2 outputs).
    """

    channels: int
    dtype: Dtype
    change: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[N, h, w, c]` to `[N, h', w', channels]`."""
        shape = (KERNEL, KERNEL, x.shape[-1], self.channels)
        kernel = self.param("kernel", kernel_init(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,)).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.change == "pool":
            return pooled_conv(x, kernel, bias)
        out = {"double": doubled_conv, "stride": strided_conv}[self.change](x, kernel)
        return out + bias[None, None, None]


def conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolve `[N, h, w, i]` with `[k, k, i, o]` in the dtype of `x`, zeros around the picture."""
    strides, layout = (stride, stride), ("NHWC", "HWIO", "NHWC")
    kernel = kernel.astype(x.dtype)
    return jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=layout)


def strided_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return every second row and column of a convolution."""
    return conv(x, kernel, 2)


def patch_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return `conv(x, kernel)` as one matrix product of patches `[N·h·w, k·k·i]`, k odd."""
    size, _, inputs, outputs = kernel.shape
    n, h, w, _ = x.shape
    reach = size // 2
    padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    taps = [padded[:, i : i + h, j : j + w] for i in range(size) for j in range(size)]
    patches = jnp.concatenate(taps, -1).reshape(n * h * w, size * size * inputs)
    return (patches @ kernel.astype(x.dtype).reshape(-1, outputs)).reshape(n, h, w, outputs)


def doubled_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return `conv(repeat(x, 2 × 2), kernel)` without repeating anything.

        out[2p + a] = Σ_t (Σ_{k: ⌊(a + k − r)/2⌋ = t} kernel[k])·x[p + t],   r = (size − 1)/2

    Args:
        x: `[N, h, w, i]`.
        kernel: `[size, size, i, o]`, size odd.

    Returns:
        `[N, 2h, 2w, o]`.
    """
    taps = _connect(kernel.shape[0]).sum(2)  # both pixels of a tile are one
    tiled = jnp.einsum("atk,bsl,klio->tsiabo", taps, taps, kernel, precision=HIGHEST)
    outputs = kernel.shape[-1]
    tiled = tiled.reshape(*tiled.shape[:3], 4 * outputs)
    out = patch_conv(x, tiled) if on_cpu() else conv(x, tiled)
    n, h, w, _ = x.shape
    out = out.reshape(n, h, w, 2, 2, outputs).transpose(0, 1, 3, 2, 4, 5)
    return out.reshape(n, 2 * h, 2 * w, outputs)


def pooled_conv(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Return the maximum over 2×2 tiles of `conv(x, kernel) + bias`, `[N, h/2, w/2, o]`.

    Where outputs of a tile are equal, they share the gradient equally.
    """
    if on_cpu():
        return _pooled_with_patch_gradient(x, kernel, bias)
    return _biased_tiles(x, kernel, bias).max(-2)


def _biased_tiles(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    # The bias comes before the maximum: rounding makes ties where there were none.
    return _tiles(conv(x, kernel) + bias[None, None, None])


@jax.custom_vjp
def _pooled_with_patch_gradient(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return _biased_tiles(x, kernel, bias).max(-2)


def _pooled_forward(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> tuple[jax.Array, Any]:
    # The values are those of `conv` to the last bit: near a tie another order of summation would
    # choose another pixel. Of them the backward pass needs only which were greatest.
    tiles = _biased_tiles(x, kernel, bias)
    out = tiles.max(-2)
    return out, (x, kernel, tiles == out[..., None, :])


def _pooled_backward(kept: Any, grad: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, kernel, greatest = kept
    shares = greatest * (grad / greatest.sum(-2))[..., None, :]

    # Linear in both, so the gradient of this sum is the product with the Jacobian.
    def total(x: jax.Array, kernel: jax.Array) -> jax.Array:
        weigh = lambda x, shares: (tiled_conv(x, kernel) * shares).sum((1, 2, 3, 4))
        return in_slices(weigh, pictures_at_once(), x, shares).sum()

    by_x, by_kernel = jax.grad(total, argnums=(0, 1))(x, kernel)
    return by_x, by_kernel, grad.sum((0, 1, 2))


_pooled_with_patch_gradient.defvjp(_pooled_forward, _pooled_backward)


def tiled_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return the 2×2 tiles `[N, h/2, w/2, 4, o]` of `conv(x, kernel)`, from tiles of `x`.

    out[2p + a] = Σ_{t,b} kernel[2t + b − a + r]·x[2(p + t) + b],   r = (size − 1)/2
    """
    taps = _connect(kernel.shape[0])
    tiled = jnp.einsum("atxk,bsyl,klio->tsxyiabo", taps, taps, kernel, precision=HIGHEST)
    inputs, outputs = kernel.shape[-2:]
    tiles = _tiles(x)
    tiles = tiles.reshape(*tiles.shape[:3], 4 * inputs)
    out = patch_conv(tiles, tiled.reshape(*tiled.shape[:2], 4 * inputs, 4 * outputs))
    return out.reshape(*out.shape[:3], 4, outputs)


def _tiles(x: jax.Array) -> jax.Array:
    """Turn `[N, h, w, c]` into its 2×2 tiles `[N, h/2, w/2, 4, c]`."""
    n, h, w, c = x.shape
    tiles = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return tiles.reshape(n, h // 2, w // 2, 4, c)


def _connect(size: int) -> np.ndarray:
    """Return `[2, t, 2, size]`: which tap connects pixel b of tile t to output a of the middle."""
    reach = size // 2
    far = (reach + 1) // 2
    taps = np.zeros((2, 2 * far + 1, 2, size), np.float32)
    for a in range(2):
        for k in range(size):
            tile, b = divmod(a + k - reach, 2)
            taps[a, tile + far, b, k] = 1.0
    return taps
