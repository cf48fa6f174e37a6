"""Latents to predictions, and the price of a wrong one by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_params

from dreamer_jax.nets.decoder import Decoder, UpTower, recon_loss, recon_mean
from dreamer_jax.nets.layers import forward
from dreamer_jax.types import Space

F32 = jnp.dtype("float32")
INT, FLOAT, BYTE = (np.dtype(x) for x in ("int32", "float32", "uint8"))
INF = float("inf")
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


def test_continuous_loss_is_the_squared_error_to_symlog_summed_over_axes() -> None:
    space = Space(FLOAT, (2, 2))
    target = jnp.array([[[0.0, np.e - 1], [1 - np.e**2, 0.0]]])
    raw = jnp.array([[[0.5, 1.0], [1.0, -2.0]]])
    np.testing.assert_allclose(recon_loss(raw, target, space), [0.25 + 0 + 9 + 4], rtol=1e-5)


def test_discrete_loss_is_the_cross_entropy_summed_over_axes() -> None:
    space = Space(INT, (2,), 4)
    raw = jnp.log(jnp.array([[[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]]))
    loss = recon_loss(raw, jnp.array([[1, 3]], jnp.int32), space)
    np.testing.assert_allclose(loss, [-np.log(0.2) - np.log(0.25)], rtol=1e-5)


def test_image_loss_is_the_squared_error_of_pixels_in_zero_to_one() -> None:
    space = Space(BYTE, (1, 2, 3))
    target = jnp.asarray(np.full((1, 1, 2, 3), 255, np.uint8)).at[0, 0, 0, 0].set(51)
    raw = jnp.full((1, 1, 2, 3), 0.5)
    np.testing.assert_allclose(recon_loss(raw, target, space), [5 * 0.25 + 0.09], rtol=1e-5)


def test_missing_values_cost_nothing() -> None:
    raw = jnp.array([[3.0, 1.0]])
    space = Space(FLOAT, (2,))
    target = jnp.array([[-INF, 0.0]])
    np.testing.assert_allclose(recon_loss(raw, target, space), [1.0])
    grad = jax.grad(lambda raw: recon_loss(raw, target, space).sum())(raw)
    np.testing.assert_allclose(grad, [[0.0, 2.0]])
    token = recon_loss(jnp.zeros((1, 2, 4)), jnp.array([[-1, 2]]), Space(INT, (2,), 4))
    np.testing.assert_allclose(token, [np.log(4)], rtol=1e-6)


@pytest.mark.parametrize(
    ("space", "raw", "expected"),
    [
        (Space(FLOAT, (1,)), [[2.0]], [[np.e**2 - 1]]),
        (Space(INT, (), 3), [[0.1, 0.7, 0.2]], [1]),
        (Space(BYTE, (1, 1, 1)), [[[[0.4]]]], [[[[0.4]]]]),
    ],
)
def test_predictions_come_back_in_the_keys_own_units(
    space: Space, raw: list[list[float]], expected: list[list[float]]
) -> None:
    np.testing.assert_allclose(recon_mean(jnp.array(raw), space), expected, rtol=1e-5)
