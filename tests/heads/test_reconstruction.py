"""The objective to reconstruct: one loss per key, from a decoder that sees latents alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dreamer_jax.heads.predictions import Classes, SymlogSquares
from dreamer_jax.heads.reconstruction import Reconstruct
from dreamer_jax.types import Batch, Observed, Space

B, T = 2, 5
SPACES = {
    "speed": Space(np.dtype("float32"), (3,)),
    "token": Space(np.dtype("int32"), (), 7),
}


class Filtered(NamedTuple):
    latent: dict[str, jax.Array]
    feat: jax.Array


class ReadDecoder(nn.Module):
    """Says what the latent says, times a parameter."""

    @nn.compact
    def __call__(self, deter: jax.Array, stoch: jax.Array) -> dict[str, jax.Array]:
        gain = self.param("gain", nn.initializers.ones, ())
        return {"speed": gain * deter, "token": gain * stoch}


OBJECTIVE = Reconstruct(ReadDecoder(), lambda latent: (latent["slow"], latent["fast"]), SPACES)
RNG = np.random.default_rng(53)


def _observed() -> tuple[Observed, Batch]:
    draw = lambda *shape: jnp.asarray(RNG.normal(size=(B, T, *shape)), jnp.float32)
    obs = {"speed": draw(3), "token": jnp.asarray(RNG.integers(0, 7, (B, T)), jnp.int32)}
    flag = jnp.zeros((B, T), bool)
    batch = Batch(obs, {}, draw(), flag, flag, flag)
    return Observed(draw(11), Filtered({"slow": draw(3), "fast": draw(7)}, draw(13))), batch


def test_parameters_are_those_of_the_decoder() -> None:
    latent = {"slow": jnp.zeros((1, 3)), "fast": jnp.zeros((1, 7))}
    params = OBJECTIVE.init(jax.random.key(0), latent, jnp.zeros((1, 13)), jnp.zeros((1, 11)))
    assert params == {"gain": 1.0}


def test_every_key_has_the_loss_of_its_prediction() -> None:
    params: Any = {"gain": jnp.float32(0.5)}
    observed, batch = _observed()
    losses, seen = OBJECTIVE.losses(params, observed, batch)
    assert tuple(losses) == OBJECTIVE.losses_made == ("recon/speed", "recon/token")
    assert seen == {}
    latent = observed.latent
    speed = SymlogSquares(0.5 * latent["slow"], SPACES["speed"]).loss(batch.obs["speed"])
    token = Classes(0.5 * latent["fast"], SPACES["token"]).loss(batch.obs["token"])
    assert speed.shape == token.shape == (B, T)
    np.testing.assert_allclose(losses["recon/speed"], speed, rtol=1e-5)
    np.testing.assert_allclose(losses["recon/token"], token, rtol=1e-5)


def test_latents_are_decoded_into_predictions_of_every_key() -> None:
    observed, _ = _observed()
    predicted = OBJECTIVE.decode({"gain": jnp.float32(2.0)}, observed.latent)
    means = {key: each.mean() for key, each in predicted.items()}
    assert means["speed"].shape == (B, T, 3) and means["token"].shape == (B, T)
    np.testing.assert_array_equal(means["token"], jnp.argmax(observed.latent["fast"], -1))


def test_losses_reach_decoder_and_latent() -> None:
    observed, batch = _observed()

    def total(params: Any, latent: Any) -> jax.Array:
        seen = observed._replace(filtered=observed.filtered._replace(latent=latent))
        return sum(x.sum() for x in OBJECTIVE.losses(params, seen, batch)[0].values())

    grads = jax.grad(total, argnums=(0, 1))({"gain": jnp.float32(0.5)}, observed.latent)
    assert all(leaf.any() for leaf in jax.tree.leaves(grads))
