"""Latents to raw predictions of every key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from tiny import random_params

from dreamer_jax.nets.decoder import Decoder, UpTower
from dreamer_jax.nets.layers import forward
from dreamer_jax.types import Space

F32 = jnp.dtype("float32")
INT, FLOAT, BYTE = (np.dtype(x) for x in ("int32", "float32", "uint8"))
RNG = np.random.default_rng(17)
SPACES = {
    "wide": Space(BYTE, (24, 32, 1)),
    "front": Space(BYTE, (24, 24, 3)),
    "back": Space(BYTE, (24, 24, 1)),
    "speed": Space(FLOAT, (2, 3)),
    "token": Space(INT, (2,), 5),
}


def test_every_key_is_predicted_in_its_own_shape() -> None:
    decoder = Decoder(SPACES, layers=1, units=5, depth=2, blocks=4, dtype=F32)
    lead = (2, 3)
    deter, stoch = (jnp.asarray(RNG.normal(size=(*lead, n)), jnp.float32) for n in (8, 6))
    params = random_params(decoder, deter, stoch)
    tower = UpTower((24, 24), 4, depth=2, units=5, blocks=4, dtype=F32)

    def decode() -> tuple[dict[str, jax.Array], jax.Array]:
        flat = (deter.reshape(-1, 8), stoch.reshape(-1, 6))
        square = forward(tower, params["conv_24x24"], *flat)
        return forward(decoder, params, deter, stoch), square.reshape(*lead, 24, 24, 4)

    raw, square = jax.jit(decode)()
    assert {k: v.shape for k, v in raw.items()} == {
        "wide": (*lead, 24, 32, 1),
        "front": (*lead, 24, 24, 3),
        "back": (*lead, 24, 24, 1),
        "speed": (*lead, 2, 3),
        "token": (*lead, 2, 5),
    }
    assert all(value.dtype == jnp.float32 for value in raw.values())
    assert set(params) == {"mlp", "vector_speed", "vector_token", "conv_24x24", "conv_24x32"}
    assert square.min() > 0 and square.max() < 1
    np.testing.assert_allclose(raw["back"], square[..., :1], rtol=1e-5)
    np.testing.assert_allclose(raw["front"], square[..., 1:], rtol=1e-5)


def _conv(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((2, 2), (2, 2), (0, 0)))
    out = np.zeros((*x.shape[:2], kernel.shape[-1]))
    for i, j in np.ndindex(*x.shape[:2]):
        out[i, j] = np.tensordot(padded[i : i + 5, j : j + 5], kernel, 3) + bias
    return out


def _silu_norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-4) * scale
    return x / (1 + np.exp(-x))


def test_pictures_agree_with_loops() -> None:
    """The block layer's outputs lie as (block, h, w, c): each block owns some channels."""
    depth, units, blocks, h, w = 2, 3, 4, 3, 4
    tower = UpTower((24, 32), 1, depth, units, blocks, F32)
    deter, stoch = (RNG.normal(size=(1, n)).astype(np.float32) for n in (8, 6))
    params = jax.tree.map(np.asarray, random_params(tower, deter, stoch))
    c = 4 * depth
    x0 = np.zeros((h, w, c))
    for block in range(blocks):
        own = deter[0, 2 * block : 2 * block + 2] @ params["from_deter"]["kernel"][block]
        own = own + np.split(params["from_deter"]["bias"], blocks)[block]
        x0[..., block * c // blocks : (block + 1) * c // blocks] = own.reshape(h, w, c // blocks)
    hidden, out = params["from_stoch"], params["from_stoch_out"]
    x1 = stoch[0] @ hidden["dense"]["kernel"] + hidden["dense"]["bias"]
    assert x1.shape == (2 * units,)
    x1 = _silu_norm(x1, hidden["norm"]["scale"]) @ out["kernel"] + out["bias"]
    x = _silu_norm(x0 + x1.reshape(h, w, c), params["scale"])
    for name, channels in (("conv1", 3 * depth), ("conv0", 2 * depth), ("out", 1)):
        x = _conv(x.repeat(2, 0).repeat(2, 1), **params[name])
        assert x.shape[-1] == channels
        if name != "out":
            x = _silu_norm(x, params[f"scale{name[-1]}"])
    got = jax.jit(forward, static_argnums=0)(tower, params, deter, stoch)[0]
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-x)), rtol=1e-3, atol=1e-4)
