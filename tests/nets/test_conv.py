"""Rearranged convolutions against the obvious ones, values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import quick_jit

from dreamer_jax.nets import conv as module
from dreamer_jax.nets.conv import Conv, conv, doubled_conv, patch_conv, pooled_conv, tiled_conv

RNG = np.random.default_rng(41)
N, INPUTS, OUTPUTS = 3, 2, 5
H, W = 6, 10


def _draw(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def _plain_doubled(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return conv(x.repeat(2, 1).repeat(2, 2), kernel)


BIAS = jnp.linspace(-1.0, 1.0, OUTPUTS)


def _pooled(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return pooled_conv(x, kernel, BIAS)


def _plain_pooled(x: jax.Array, kernel: jax.Array, bias: jax.Array = BIAS) -> jax.Array:
    n, h, w, _ = x.shape
    out = conv(x, kernel) + bias[None, None, None]
    return out.reshape(n, h // 2, 2, w // 2, 2, -1).max((2, 4))


def _plain_tiles(x: jax.Array, kernel: jax.Array) -> jax.Array:
    n, h, w, _ = x.shape
    out = conv(x, kernel).reshape(n, h // 2, 2, w // 2, 2, -1)
    return out.swapaxes(2, 3).reshape(n, h // 2, w // 2, 4, -1)


def test_conv_by_hand() -> None:
    picture = jnp.arange(1.0, 7.0).reshape(1, 2, 3, 1)  # 1 2 3 / 4 5 6
    kernel = jnp.zeros((3, 3, 1, 1)).at[0, 1].set(10.0).at[1, 2].set(1.0)  # above, and right
    np.testing.assert_array_equal(conv(picture, kernel)[0, ..., 0], [[2, 3, 0], [15, 26, 30]])


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize(
    ("fast", "plain"),
    [
        (patch_conv, conv),
        (doubled_conv, _plain_doubled),
        (_pooled, _plain_pooled),
        (tiled_conv, _plain_tiles),
    ],
)
def test_fast_forms_equal_plain_ones(fast: Any, plain: Any, size: int) -> None:
    x, kernel = _draw(N, H, W, INPUTS), _draw(size, size, INPUTS, OUTPUTS)
    got, want = quick_jit(fast)(x, kernel), quick_jit(plain)(x, kernel)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    weight = _draw(*want.shape)

    def grads(function: Callable[..., jax.Array]) -> Any:
        total = lambda x, kernel: (function(x, kernel) * weight).sum()
        return quick_jit(jax.grad(total, argnums=(0, 1)))(x, kernel)

    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, grads(fast), grads(plain))


def test_pooling_takes_the_values_of_the_convolution_to_the_last_bit() -> None:
    x, kernel = _draw(N, 2 * H, 2 * W, INPUTS), _draw(5, 5, INPUTS, OUTPUTS)
    plain = quick_jit(_plain_pooled)(x, kernel)
    np.testing.assert_array_equal(quick_jit(_pooled)(x, kernel), plain)


def test_a_pooled_bias_gets_the_gradient_of_its_channel() -> None:
    x, kernel, weight = _draw(N, H, W, INPUTS), _draw(3, 3, INPUTS, OUTPUTS), _draw(H // 2, W // 2)
    total = lambda function, bias: (function(x, kernel, bias) * weight[None, :, :, None]).sum()
    got, want = (jax.grad(lambda b, f=f: total(f, b))(BIAS) for f in (pooled_conv, _plain_pooled))
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_ties_are_those_after_the_bias() -> None:
    """1 and 1 + 2⁻²³ are two numbers; with 1024 added they are one."""
    picture = jnp.array([[1.0, 1.0 + 2**-23], [0.0, 0.0]])[None, :, :, None]
    far = jnp.array([1024.0])
    grad = jax.grad(lambda x: pooled_conv(x, jnp.ones((1, 1, 1, 1)), far).sum())(picture)
    np.testing.assert_array_equal(grad[0, ..., 0], [[0.5, 0.5], [0, 0]])


def test_equal_outputs_of_a_tile_share_the_gradient() -> None:
    picture = jnp.array([[2.0, 2.0, 5.0, 1.0], [2.0, 1.0, 5.0, 5.0]])[None, :, :, None]
    grad = jax.grad(lambda x: pooled_conv(x, jnp.ones((1, 1, 1, 1)), jnp.zeros(1)).sum())(picture)
    third = 1 / 3
    expected = [[third, third, third, 0], [third, 0, third, third]]
    np.testing.assert_allclose(grad[0, ..., 0], expected, rtol=1e-6)


@pytest.mark.parametrize("fast", [doubled_conv, _pooled])
def test_other_devices_get_plain_convolutions_of_the_same_values(
    fast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kernel = _draw(N, H, W, INPUTS), _draw(5, 5, INPUTS, OUTPUTS)
    here = fast(x, kernel)
    monkeypatch.setattr(module, "on_cpu", lambda: False)
    text = str(jax.make_jaxpr(jax.grad(lambda k: fast(x, k).sum()))(kernel))
    assert "conv_general_dilated" in text and "custom_vjp" not in text
    np.testing.assert_allclose(fast(x, kernel), here, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "shape"), [("double", (12, 20)), ("stride", (3, 5)), ("pool", (3, 5))]
)
def test_conv_module_adds_its_bias_at_the_right_size(change: str, shape: tuple[int, ...]) -> None:
    layer, x = Conv(OUTPUTS, jnp.dtype("float32"), change), _draw(N, H, W, INPUTS)
    params = layer.init(jax.random.key(0), x)["params"]
    assert params["kernel"].shape == (5, 5, INPUTS, OUTPUTS)
    plain = layer.apply({"params": params}, x)
    assert plain.shape == (N, *shape, OUTPUTS)
    shifted = layer.apply({"params": params | {"bias": jnp.arange(float(OUTPUTS))}}, x)
    expected = np.broadcast_to(np.arange(OUTPUTS), plain.shape)
    np.testing.assert_allclose(shifted - plain, expected, atol=1e-5)
