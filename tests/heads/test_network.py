"""A head is its module and the meaning of its outputs, and nothing else."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import F32, quick_jit, random_params

from dreamer_jax.heads.network import NetworkHead
from dreamer_jax.heads.predictions import Bernoulli, TwoHot
from dreamer_jax.nets.head_nets import HeadNet
from dreamer_jax.nets.layers import forward
from dreamer_jax.ops.twohot import symexp_bins, twohot_loss, twohot_mean

BINS = symexp_bins(41)
RNG = np.random.default_rng(47)
FEAT = jnp.asarray(RNG.normal(size=(2, 3, 11)), jnp.float32)
TARGET = jnp.asarray(RNG.normal(size=(2, 3)), jnp.float32)
NET = HeadNet(layers=1, units=7, outputs=41, outscale=0.0, dtype=F32)
TWOHOT = NetworkHead(NET, partial(TwoHot, bins=BINS))


def test_a_head_means_what_its_module_says() -> None:
    params = random_params(NET, FEAT)
    logits = quick_jit(lambda p, x: forward(NET, p, x))(params, FEAT)
    loss, mean = quick_jit(lambda p, x: (TWOHOT(p, x).loss(TARGET), TWOHOT(p, x).mean()))(
        params, FEAT
    )
    assert loss.shape == mean.shape == (2, 3)
    np.testing.assert_allclose(loss, twohot_loss(logits, TARGET, BINS), rtol=1e-5)
    np.testing.assert_allclose(mean, twohot_mean(logits, BINS), rtol=1e-4, atol=1e-5)


def test_parameters_are_those_of_the_module() -> None:
    key = jax.random.key(1)
    ours, its = TWOHOT.init(key, FEAT[0]), NET.init(key, FEAT[0])["params"]
    jax.tree.map(np.testing.assert_array_equal, ours, its)


def test_a_number_is_exactly_zero_at_first() -> None:
    """A random output kernel would predict rewards of up to symexp(20)."""
    assert (TWOHOT(TWOHOT.init(jax.random.key(0), FEAT), FEAT).mean() == 0).all()


@pytest.mark.parametrize("logit", [-1.5, 0.0, 2.0])
def test_a_probability_is_that_of_the_only_output(logit: float) -> None:
    net = HeadNet(layers=0, units=7, outputs=1, outscale=1.0, dtype=F32)
    params = {"out": {"kernel": jnp.zeros((11, 1)), "bias": jnp.full(1, logit)}}
    mean = NetworkHead(net, Bernoulli)(params, FEAT).mean()
    np.testing.assert_allclose(mean, np.full((2, 3), 1 / (1 + np.exp(-logit))), rtol=1e-5)
