"""Observations to embeddings: vectors by hand, pictures against loops of NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_params

from dreamer_jax.nets.encoder import (
    ConvTower,
    Encoder,
    flatten_vectors,
    image_towers,
    stage_channels,
    stage_count,
)
from dreamer_jax.nets.layers import forward
from dreamer_jax.types import Space

F32 = jnp.dtype("float32")
INT, FLOAT, BYTE, BOOL = (np.dtype(x) for x in ("int32", "float32", "uint8", "bool"))
INF = float("inf")
RNG = np.random.default_rng(13)


def _image(*shape: int) -> Space:
    return Space(BYTE, shape)


def test_vectors_by_hand_in_sorted_order() -> None:
    spaces = {
        "b": Space(FLOAT, (2,)),
        "a": Space(INT, (), 3),
        "d": Space(BOOL, (2,), 2),
        "c": Space(FLOAT, (1, 2)),
        "camera": _image(32, 32, 3),
    }
    e = np.e
    obs = {
        "a": jnp.array([2, 0], jnp.int32),
        "b": jnp.array([[0.0, e - 1], [1 - e, 0.0]]),
        "c": jnp.array([[[e - 1, 0.0]], [[0.0, 1 - e**2]]]),
        "d": jnp.array([[True, False], [False, False]]),
    }
    expected = [
        [0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0],
        [1, 0, 0, -1, 0, 0, -2, 1, 0, 1, 0],
    ]
    np.testing.assert_allclose(flatten_vectors(obs, spaces), expected, atol=1e-6)


def test_missing_values_are_fed_as_zeros() -> None:
    spaces = {"a": Space(INT, (2,), 3), "b": Space(FLOAT, (2,))}
    obs = {"a": jnp.array([[-1, 1]]), "b": jnp.array([[-INF, np.e - 1]])}
    expected = [[0, 0, 0, 0, 1, 0, 0, 1]]
    np.testing.assert_allclose(flatten_vectors(obs, spaces), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "stages"),
    [
        ((24, 24), 3),
        ((32, 32), 3),
        ((40, 64), 3),
        ((48, 48), 4),
        ((64, 64), 4),
        ((96, 48), 4),
        ((128, 128), 4),
        ((256, 256), 4),
    ],
)
def test_pictures_are_halved_to_a_few_pixels(size: tuple[int, int], stages: int) -> None:
    assert stage_count(size) == stages


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ((84, 84), "80×80"),
        ((16, 16), "24×24"),
        ((100, 64), "96×64"),
        ((210, 160), "208×160"),
        ((512, 512), "256×256"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest_that_works(
    size: tuple[int, int], nearest: str
) -> None:
    with pytest.raises(ValueError, match=f"{size[0]}×{size[1]} pixels.*to {nearest}$"):
        stage_count(size)
    height, width = map(int, nearest.split("×"))
    assert stage_count((height, width))


def test_channels_per_stage() -> None:
    assert stage_channels(7, 4) == [14, 21, 28, 28]
    assert stage_channels(7, 3) == [14, 21, 28]


def test_pictures_of_one_size_share_a_tower() -> None:
    spaces = {
        "z": _image(32, 32, 3),
        "a": _image(32, 32, 1),
        "m": _image(32, 48, 1),
        "v": Space(FLOAT, (2,)),
    }
    towers = image_towers(spaces)
    assert towers == {(32, 32): ["a", "z"], (32, 48): ["m"]}
    assert list(towers) == [(32, 32), (32, 48)]


def _conv(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """Convolve one picture `[h, w, c]` pixel by pixel, zero-padded to SAME."""
    before = 2 if stride == 1 else 1  # five taps: 2 + 2, or 1 + 2 at even sizes and stride 2
    padded = np.pad(x, ((before, 2), (before, 2), (0, 0)))
    out = np.zeros((x.shape[0] // stride, x.shape[1] // stride, kernel.shape[-1]))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            patch = padded[i * stride : i * stride + 5, j * stride : j * stride + 5]
            out[i, j] = np.tensordot(patch, kernel, 3) + bias
    return out


@pytest.mark.parametrize("strided", [False, True])
def test_tower_agrees_with_loops(strided: bool) -> None:
    tower = ConvTower(depth=1, stages=2, dtype=F32, strided=strided)
    picture = RNG.uniform(-0.5, 0.5, (8, 12, 2)).astype(np.float32)
    params = jax.tree.map(np.asarray, random_params(tower, picture[None]))
    x = picture.astype(np.float64)
    for stage in range(2):
        conv, scale = params[f"conv{stage}"], params[f"norm{stage}"]["scale"]
        x = _conv(x, conv["kernel"], conv["bias"], 2 if strided else 1)
        if not strided:
            h, w, c = x.shape
            x = x.reshape(h // 2, 2, w // 2, 2, c).max((1, 3))
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-4) * scale
        x = x / (1 + np.exp(-x))
    np.testing.assert_allclose(
        jax.jit(forward, static_argnums=0)(tower, params, picture[None])[0],
        x.ravel(),  # row-major h, w, c
        rtol=1e-3,
        atol=1e-4,
    )


SPACES = {
    "wide": _image(24, 32, 1),
    "front": _image(24, 24, 3),
    "back": _image(24, 24, 1),
    "speed": Space(FLOAT, (2,)),
}


def test_embedding_is_vectors_then_towers_of_ascending_size() -> None:
    lead = (2, 3)
    draw = lambda s: RNG.integers(0, 256, (*lead, *s.shape), np.uint8)
    obs = {k: jnp.asarray(draw(s)) for k, s in SPACES.items() if s.is_image}
    obs["speed"] = jnp.asarray(RNG.normal(size=(*lead, 2)), jnp.float32)
    encoder = Encoder(SPACES, layers=1, units=5, depth=1, dtype=F32)
    params = random_params(encoder, obs)
    assert set(params) == {"mlp", "conv_24x24", "conv_24x32"}
    # Channels of the square tower: `back`, then `front`, in −0.5 … 0.5.
    both = np.concatenate([obs["back"], obs["front"]], -1).reshape(-1, 24, 24, 4)
    centred = jnp.asarray(both / 255 - 0.5, jnp.float32)
    tower = ConvTower(depth=1, stages=3, dtype=F32)
    embed, alone = jax.jit(
        lambda: (forward(encoder, params, obs), forward(tower, params["conv_24x24"], centred))
    )()
    square, wide = 3 * 3 * 4, 3 * 4 * 4
    assert embed.shape == (*lead, 5 + square + wide)
    expected = alone.reshape(*lead, -1)
    np.testing.assert_allclose(embed[..., 5 : 5 + square], expected, rtol=1e-3, atol=1e-4)


def test_one_tower_needs_no_size_in_its_name() -> None:
    """Names must not change when the only camera changes its resolution."""
    encoder = Encoder({"front": SPACES["front"]}, layers=1, units=5, depth=1, dtype=F32)
    obs = {"front": jnp.zeros((1, 24, 24, 3), jnp.uint8)}
    assert set(jax.eval_shape(encoder.init, jax.random.key(0), obs)["params"]) == {"conv"}
