"""Layers against hand-computed numbers, and the deviation of every kind of initial kernel."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dreamer_jax.dynamics.rssm_net import JointLayer
from dreamer_jax.nets.layers import (
    MLP,
    BlockDense,
    BlockLayer,
    Dense,
    forward,
    from_groups,
    kernel_init,
    rms_norm,
    to_groups,
)

F32 = jnp.dtype("float32")
G, N = 3, 7
RNG = np.random.default_rng(11)


def _draw(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def _kernel(module: nn.Module, *inputs: Any, method: str | None = None) -> np.ndarray:
    init = jax.jit(lambda key: module.init(key, *inputs, method=method))
    return np.asarray(init(jax.random.key(0))["params"]["kernel"])


@pytest.mark.parametrize(
    ("kernel", "fan_in"),
    [
        pytest.param(lambda: _kernel(Dense(307, F32), jnp.ones((1, 211))), 211, id="dense"),
        pytest.param(
            lambda: _kernel(
                nn.Conv(101, (5, 5), kernel_init=kernel_init()), jnp.ones((1, 8, 8, 13))
            ),
            5 * 5 * 13,
            id="convolution",
        ),
        pytest.param(
            lambda: _kernel(BlockDense(3 * 151, 3, F32), jnp.ones((3, 1, 101))),
            3 * 101,
            id="block layer",
        ),
        pytest.param(
            # The first layer of the recurrence: own slices of deter and the shared 3·hidden.
            lambda: _kernel(
                BlockLayer(3 * 151, 3, F32), jnp.ones((3, 1, 59)), jnp.ones((1, 3 * 17))
            ),
            3 * 59 + 3 * 3 * 17,
            id="first block layer of the recurrence",
        ),
        pytest.param(
            lambda: _kernel(JointLayer(307, 101, F32), jnp.ones((1, 97)), method="embed_part"),
            101 + 97,
            id="posterior",
        ),
    ],
)
def test_kernels_have_unit_gain_over_their_full_fan_in(kernel: Any, fan_in: int) -> None:
    """A block layer scaled by the fan-in of one block would start √G too large."""
    values = kernel() * np.sqrt(fan_in)
    assert values.size > 25_000
    np.testing.assert_allclose(values.std(), 1.0, rtol=0.02)
    np.testing.assert_allclose(values.mean(), 0.0, atol=0.03)
    # Truncated at two deviations of the normal before truncation.
    assert 0.99 * 2 * 1.1368 < np.abs(values).max() <= 2 * 1.1368 + 1e-5


def test_outscale_scales_the_kernel_and_zero_is_exact() -> None:
    shape, key = (97, 101), jax.random.key(0)
    small = kernel_init(0.01)(key, shape, jnp.float32)
    np.testing.assert_allclose(small, 0.01 * kernel_init()(key, shape, jnp.float32), rtol=1e-5)
    assert not kernel_init(0.0)(key, shape, jnp.float32).any()


def test_biases_start_at_zero_and_norm_scales_at_one() -> None:
    variables = jax.jit(MLP(2, 5, F32).init)(jax.random.key(0), jnp.ones((1, 3)))
    for layer in variables["params"].values():
        assert not layer["dense"]["bias"].any()
        assert (layer["norm"]["scale"] == 1).all()


def test_rms_norm_by_hand() -> None:
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])  # mean squares 12.5 and 0
    expected = [[3 / np.sqrt(12.5001), 8 / np.sqrt(12.5001)], [0, 0]]
    np.testing.assert_allclose(rms_norm(x, jnp.array([1.0, 2.0])), expected, rtol=1e-6)


def test_rms_norm_of_tiny_values_is_held_by_epsilon() -> None:
    normed = rms_norm(jnp.full((1, 2), 1e-3), jnp.ones(2))
    np.testing.assert_allclose(normed, np.full((1, 2), 1e-3 / np.sqrt(1e-6 + 1e-4)), rtol=1e-5)


def test_rms_norm_computes_in_float32() -> None:
    """The square of 1e30 is infinite in float32, that of 300 is in float16."""
    x = jnp.full((1, 2), 300.0, jnp.float16)
    normed = rms_norm(x, jnp.ones(2))
    assert normed.dtype == jnp.float16
    np.testing.assert_allclose(normed, np.ones((1, 2)), rtol=1e-3)


def test_an_mlp_without_layers_is_the_identity() -> None:
    x = _draw(N, 3)
    np.testing.assert_array_equal(forward(MLP(0, 5, F32), {}, x), x)


def test_an_mlp_layer_is_silu_of_norm_of_dense() -> None:
    x, kernel, bias, scale = _draw(N, 3), _draw(3, 5), _draw(5), _draw(5)
    params = {"layer0": {"dense": {"kernel": kernel, "bias": bias}, "norm": {"scale": scale}}}
    np.testing.assert_allclose(
        forward(MLP(1, 5, F32), params, x),
        _silu_norm(np.asarray(x) @ np.asarray(kernel) + np.asarray(bias), scale),
        rtol=1e-5,
        atol=1e-6,
    )


def test_dense_maps_the_last_of_many_axes() -> None:
    x, params = _draw(2, 5, 3), {"kernel": _draw(3, 4), "bias": _draw(4)}
    expected = np.einsum("abi,io->abo", x, params["kernel"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(forward(Dense(4, F32), params, x), expected, rtol=1e-5, atol=1e-6)


def test_groups_are_contiguous_and_come_back() -> None:
    x = jnp.arange(2.0 * 6).reshape(2, 6)
    groups = to_groups(x, 3)
    np.testing.assert_array_equal(groups[1], [[2, 3], [8, 9]])
    np.testing.assert_array_equal(from_groups(groups), x)


def _silu_norm(x: np.ndarray, scale: jax.Array) -> np.ndarray:
    normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-4) * np.asarray(scale)
    return normed / (1 + np.exp(-normed))


def _block_diagonal(kernel: jax.Array) -> np.ndarray:
    """Write `[G, in, out]` blocks on the diagonal of one dense matrix."""
    blocks, width, units = kernel.shape
    dense = np.zeros((blocks * width, blocks * units))
    for g in range(blocks):
        dense[g * width : (g + 1) * width, g * units : (g + 1) * units] = kernel[g]
    return dense


def test_a_block_layer_is_a_block_diagonal_matrix() -> None:
    x, kernel, bias = _draw(N, G * 2), _draw(G, 2, 5), _draw(G * 5)
    params = {"kernel": kernel, "bias": bias}
    out = from_groups(forward(BlockDense(G * 5, G, F32), params, to_groups(x, G)))
    expected = np.asarray(x) @ _block_diagonal(kernel) + np.asarray(bias)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [0, 4])
def test_a_shared_input_is_appended_to_every_block(width: int) -> None:
    x, shared = _draw(N, G * 2), _draw(N, width)
    params = {"kernel": _draw(G, 2 + width, 5), "bias": _draw(G * 5), "scale": _draw(G * 5)}
    slices = np.split(np.asarray(x), G, -1)
    copied = np.concatenate([np.concatenate([own, shared], -1) for own in slices], -1)
    expected = copied @ _block_diagonal(params["kernel"]) + np.asarray(params["bias"])
    inputs = (to_groups(x, G), shared) if width else (to_groups(x, G),)
    out = from_groups(forward(BlockLayer(G * 5, G, F32), params, *inputs))
    np.testing.assert_allclose(out, _silu_norm(expected, params["scale"]), rtol=1e-4, atol=1e-5)
