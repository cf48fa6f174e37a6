"""The divergences of posterior and prior: equal values, different gradients, one floor."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tiny import K, S, quick_jit, tiny_agent

from dreamer_jax.dynamics.rssm import RSSM, Filtered

FREE, UNIMIX = 1.0, 0.3
RNG = np.random.default_rng(23)
DYNAMICS = tiny_agent(unimix=UNIMIX, free_nats=FREE).world_model.dynamics
assert isinstance(DYNAMICS, RSSM)


def _losses(post: jax.Array, prior: jax.Array) -> tuple[dict[str, jax.Array], Any]:
    nothing = jnp.zeros((0,))  # latents do not enter
    return DYNAMICS.losses({}, Filtered(nothing, nothing, post, prior))


def _divergences(post: jax.Array, prior: jax.Array) -> tuple[jax.Array, jax.Array]:
    losses, _ = _losses(post, prior)
    assert tuple(losses) == DYNAMICS.losses_made == ("dyn", "rep")
    return losses["dyn"], losses["rep"]


def test_dyn_and_rep_are_equal_in_value_and_different_in_gradient() -> None:
    post, prior = (jnp.asarray(2 * RNG.normal(size=(S, K)), jnp.float32) for _ in range(2))
    dyn, rep = _divergences(post, prior)
    assert dyn == rep
    mixed = lambda x: (1 - UNIMIX) * jax.nn.softmax(x) + UNIMIX / K
    p, q = np.asarray(mixed(post)), np.asarray(mixed(prior))
    np.testing.assert_allclose(dyn, (p * np.log(p / q)).sum(), rtol=1e-5)
    assert dyn > FREE
    grad = quick_jit(jax.jacrev(_divergences, argnums=(0, 1)))
    (dyn_post, dyn_prior), (rep_post, rep_prior) = grad(post, prior)
    assert not dyn_post.any() and dyn_prior.any()
    assert rep_post.any() and not rep_prior.any()


def test_free_nats_apply_to_the_sum_over_groups() -> None:
    """Flooring every group by itself would give S nats."""
    probs = np.array([0.8, 0.05, 0.05, 0.05, 0.05], np.float32)
    post = jnp.tile(jnp.log(probs), (S, 1))
    mixed = (1 - UNIMIX) * probs + UNIMIX / K
    each = (mixed * np.log(mixed * K)).sum()  # to uniform
    assert each < FREE < S * each < S * FREE
    np.testing.assert_allclose(_divergences(post, jnp.zeros((S, K)))[0], S * each, rtol=1e-4)


def test_below_the_free_nats_there_is_no_gradient() -> None:
    post = jnp.asarray(0.1 * RNG.normal(size=(S, K)), jnp.float32)
    prior = jnp.zeros((S, K))
    assert _divergences(post, prior) == (FREE, FREE)
    grads = quick_jit(jax.jacrev(_divergences, argnums=(0, 1)))(post, prior)
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads))


def test_entropy_is_that_of_the_mixed_distribution() -> None:
    sharp = jnp.array([[1e3, 0.0, 0.0, 0.0, 0.0]] * S)
    p = np.array([1 - UNIMIX, 0, 0, 0, 0]) + UNIMIX / K
    _, seen = _losses(sharp, jnp.zeros((S, K)))
    assert set(seen) == {"dynamics/post_entropy", "dynamics/prior_entropy"}
    post, prior = seen["dynamics/post_entropy"], seen["dynamics/prior_entropy"]
    np.testing.assert_allclose(post, -S * (p * np.log(p)).sum(), rtol=1e-4)
    np.testing.assert_allclose(prior, S * np.log(K), rtol=1e-5)


def test_losses_and_entropies_belong_to_their_step() -> None:
    post, prior = (jnp.asarray(2 * RNG.normal(size=(2, 7, S, K)), jnp.float32) for _ in range(2))
    losses, seen = _losses(post, prior)
    one_loss, one_seen = _losses(post[1, 4], prior[1, 4])
    for whole, one in ((losses, one_loss), (seen, one_seen)):
        assert whole.keys() == one.keys()
        for name, value in whole.items():
            assert value.shape == (2, 7)
            np.testing.assert_allclose(value[1, 4], one[name], rtol=1e-5)
