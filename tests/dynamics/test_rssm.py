"""The recurrence against a plain loop of NumPy, its resets, and its stored form.

`NaiveRSSM` is written from SPEC 4 alone and shares no code with the package: blocks are sliced by
hand, time is a Python loop, and classes are drawn by walking along the probabilities.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import F32, quick_jit, random_tree

from dreamer_jax.distributions import GREEDY, RANDOM
from dreamer_jax.dynamics.rssm import RSSM, Latent
from dreamer_jax.dynamics.rssm_net import RSSMNet

B, T, E, A = 2, 7, 11, 3
D, HIDDEN, S, K, G = 20, 6, 3, 5, 4
UNIMIX = 0.3  # a large uniform share, so that forgetting it changes samples

NET = RSSMNet(
    deter=D,
    hidden=HIDDEN,
    groups=S,
    classes=K,
    blocks=G,
    dynamics_layers=2,
    prior_layers=2,
    posterior_layers=2,
    dtype=F32,
)
RSSM_TINY = RSSM(NET, UNIMIX, free_nats=1.0, sampler=RANDOM)
PARAMS = random_tree(jax.eval_shape(lambda: RSSM_TINY.init(jax.random.key(0), E, A)), seed=1)
observe = quick_jit(RSSM_TINY.observe)


@quick_jit
def imagine(params: Any, start: Latent, action: Any, noise: Any) -> tuple[Latent, Latent, Any]:
    """Roll out under given actions `[H, N, A]`; collect the first recurrent unit at each step."""
    act = lambda latent, given: (given, latent.deter[:, 0])
    return RSSM_TINY.imagine(params, start, act, action, noise)


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _norm(x: np.ndarray, scale: Any) -> np.ndarray:
    return x / np.sqrt((x * x).mean() + 1e-4) * np.asarray(scale, np.float64)


def _dense(p: Any, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(p["kernel"], np.float64) + np.asarray(p["bias"], np.float64)


def _layer(p: Any, x: np.ndarray) -> np.ndarray:
    return _silu(_norm(_dense(p["dense"], x), p["norm"]["scale"]))


def _block_dense(p: Any, parts: list[np.ndarray]) -> list[np.ndarray]:
    biases = np.split(np.asarray(p["bias"], np.float64), G)
    kernels = np.asarray(p["kernel"], np.float64)
    return [x @ kernel + bias for x, kernel, bias in zip(parts, kernels, biases, strict=True)]


class NaiveRSSM:
    """One row of SPEC 4, in float64, one step at a time."""

    def __init__(self, params: Any) -> None:
        self.p = params

    def core(self, deter: np.ndarray, stoch: np.ndarray, action: np.ndarray) -> np.ndarray:
        p = self.p
        action = action / np.maximum(1, np.abs(action))
        shared = [
            _layer(p["from_deter"], deter),
            _layer(p["from_stoch"], stoch.ravel()),
            _layer(p["from_action"], action),
        ]
        slices = np.split(deter, G)
        parts = [np.concatenate([own, *shared]) for own in slices]
        for name in ("core_layers_0", "core_layers_1"):
            x = np.concatenate(_block_dense(p[name], parts))
            parts = np.split(_silu(_norm(x, p[name]["scale"])), G)
        new = []
        for own, gates in zip(slices, _block_dense(p["gates"], parts), strict=True):
            reset, cand, update = np.split(gates, 3)
            cand = np.tanh(_sigmoid(reset) * cand)
            update = _sigmoid(update - 1)
            new.append(update * cand + (1 - update) * own)
        return np.concatenate(new)

    def posterior(self, deter: np.ndarray, embed: np.ndarray) -> np.ndarray:
        joint = self.p["posterior_joint"]
        x = _dense(joint, np.concatenate([deter, embed]))
        x = _silu(_norm(x, joint["norm"]["scale"]))
        x = _layer(self.p["posterior_mlp"]["layer0"], x)
        return _dense(self.p["posterior_out"], x).reshape(S, K)

    def prior(self, deter: np.ndarray) -> np.ndarray:
        x = _layer(self.p["prior_mlp"]["layer0"], deter)
        x = _layer(self.p["prior_mlp"]["layer1"], x)
        return _dense(self.p["prior_out"], x).reshape(S, K)

    def sample(self, logits: np.ndarray, noise: np.ndarray) -> np.ndarray:
        probs = np.exp(logits - logits.max(-1, keepdims=True))
        probs = (1 - UNIMIX) * probs / probs.sum(-1, keepdims=True) + UNIMIX / K
        stoch = np.zeros((S, K))
        for group in range(S):
            index, total = 0, probs[group, 0]
            while total <= noise[group] and index < K - 1:
                index += 1
                total += probs[group, index]
            stoch[group, index] = 1
        return stoch


class Inputs(NamedTuple):
    start: Latent
    embed: Any
    action: Any
    is_first: Any
    noise: Any


def _inputs(seed: int) -> Inputs:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: np.asarray(rng.normal(size=shape), np.float32)
    stoch = np.eye(K, dtype=np.float32)[rng.integers(0, K, (B, S))]
    is_first = np.zeros((B, T), bool)
    is_first[0, 3] = is_first[1, 0] = is_first[1, 5] = True
    noise = rng.uniform(size=(B, T, S)).astype(np.float32)
    return Inputs(Latent(draw(B, D), stoch), draw(B, T, E), 2 * draw(B, T, A), is_first, noise)


def test_observe_equals_a_plain_loop() -> None:
    inputs, naive = _inputs(0), NaiveRSSM(PARAMS)
    latent, feat, logits, prior = observe(PARAMS, *inputs)
    assert latent.deter.shape == (B, T, D) and latent.stoch.shape == (B, T, S, K)
    np.testing.assert_array_equal(feat, RSSM_TINY.feat(latent))
    for row in range(B):
        deter, stoch = (np.asarray(x, np.float64)[row] for x in inputs.start)
        for t in range(T):
            action = inputs.action[row, t]
            if inputs.is_first[row, t]:
                deter, stoch, action = 0 * deter, 0 * stoch, 0 * action
            deter = naive.core(deter, stoch, action)
            expected = naive.posterior(deter, inputs.embed[row, t])
            stoch = naive.sample(expected, inputs.noise[row, t])
            np.testing.assert_allclose(latent.deter[row, t], deter, atol=2e-5)
            np.testing.assert_allclose(logits[row, t], expected, atol=1e-4)
            np.testing.assert_array_equal(latent.stoch[row, t], stoch)
            np.testing.assert_allclose(prior[row, t], naive.prior(deter), atol=1e-4)


def test_imagine_equals_a_plain_loop() -> None:
    inputs, naive = _inputs(1), NaiveRSSM(PARAMS)
    action, noise = (x[:, :3].swapaxes(0, 1) for x in (inputs.action, inputs.noise))
    latents, last, collected = imagine(PARAMS, inputs.start, action, noise)
    assert latents.deter.shape == (3, B, D) and latents.stoch.shape == (3, B, S, K)
    np.testing.assert_array_equal(collected, latents.deter[:, :, 0])
    for row in range(B):
        deter, stoch = (np.asarray(x, np.float64)[row] for x in inputs.start)
        for h in range(3):
            np.testing.assert_allclose(latents.deter[h, row], deter, atol=1e-5)
            np.testing.assert_array_equal(latents.stoch[h, row], stoch)
            deter = naive.core(deter, stoch, action[h, row])
            stoch = naive.sample(naive.prior(deter), noise[h, row])
        np.testing.assert_allclose(last.deter[row], deter, atol=1e-5)
        np.testing.assert_array_equal(last.stoch[row], stoch)


def _splice(before: Inputs, after: Inputs, t: int) -> Inputs:
    """Return inputs whose steps up to t are those of `before`, and the rest those of `after`.

    The action that leads to step t is of `before`, the embedding and noise at t of `after`.
    """
    join = lambda x, y, end: np.concatenate([x[:, :end], y[:, end:]], 1)
    return Inputs(
        before.start,
        join(before.embed, after.embed, t),
        join(before.action, after.action, t + 1),
        np.broadcast_to(np.arange(T) == t, (B, T)),
        join(before.noise, after.noise, t),
    )


@pytest.mark.parametrize("t", [0, 4])
def test_nothing_before_is_first_can_influence_what_follows(t: int) -> None:
    """Bit by bit: state, observations, noise, and the previous action must all be forgotten.

    Resetting the state but not the previous action passes every comparison of losses.
    """
    mine, other = _inputs(2), _inputs(3)
    one = observe(PARAMS, *_splice(mine, mine, t))
    two = observe(PARAMS, *_splice(other, mine, t))
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(x[:, t:], y[:, t:])
        assert t == 0 or (np.asarray(x[:, :t]) != np.asarray(y[:, :t])).any()


def test_without_is_first_the_past_matters() -> None:
    mine, other = _inputs(2), _inputs(3)
    never = np.zeros((B, T), bool)
    logits = lambda inputs: observe(PARAMS, *inputs._replace(is_first=never)).post_logits
    one, two = logits(_splice(mine, mine, 4)), logits(_splice(other, mine, 4))
    assert (np.abs(one[:, 4:] - two[:, 4:]) > 1e-3).any((0, 2, 3)).all()


def test_a_reset_survives_a_broken_carry() -> None:
    """Multiplying with a mask would keep NaN."""
    inputs = _splice(_inputs(2), _inputs(2), 0)
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan), inputs.start)
    one, two = observe(PARAMS, *inputs), observe(PARAMS, *inputs._replace(start=broken))
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_the_action_after_a_reset_matters() -> None:
    inputs = _splice(_inputs(2), _inputs(2), 3)
    moved = inputs.action.copy()
    moved[:, 4] = 0.1 - moved[:, 4]
    one = observe(PARAMS, *inputs).post_logits
    two = observe(PARAMS, *inputs._replace(action=moved)).post_logits
    np.testing.assert_array_equal(one[:, :4], two[:, :4])
    assert (one[:, 4] != two[:, 4]).any()


def test_actions_are_scaled_into_one_elementwise() -> None:
    inputs = _inputs(1)
    large, scaled = np.array([[5.0, -0.5, -2.0]] * B), np.array([[1.0, -0.5, -1.0]] * B)
    noise = inputs.noise[None, :, 0]
    one, two = (imagine(PARAMS, inputs.start, a[None], noise)[1] for a in (large, scaled))
    np.testing.assert_array_equal(one.deter, two.deter)


def test_samples_carry_the_gradient_of_their_probabilities() -> None:
    """Without straight-through gradients the encoder hears nothing through the latents."""
    inputs = _inputs(4)

    def later(embed: jax.Array) -> jax.Array:
        filtered = RSSM_TINY.observe(PARAMS, inputs.start, embed, *inputs[2:])
        return filtered.latent.deter[1, 4].sum()  # the second row has no reset between 1 and 4

    grad = quick_jit(jax.grad(later))(inputs.embed)
    assert (np.abs(grad[1, :4]).sum(-1) > 0).all()
    assert not grad[1, 4:].any() and not grad[0].any()


def test_initial_state_is_zero() -> None:
    latent = RSSM_TINY.initial(B)
    assert latent.deter.shape == (B, D) and latent.stoch.shape == (B, S, K)
    assert not latent.deter.any() and not latent.stoch.any()


def test_pack_and_unpack_are_inverse() -> None:
    latent = observe(PARAMS, *_inputs(5)).latent
    packed = RSSM_TINY.pack(latent)
    assert packed["stoch"].dtype == jnp.uint8 and packed["stoch"].shape == (B, T, S)
    jax.tree.map(np.testing.assert_array_equal, RSSM_TINY.unpack(packed), latent)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_packed_fits_the_spaces_that_replay_was_told(dtype: str) -> None:
    rssm = dataclasses.replace(RSSM_TINY, net=NET.clone(dtype=jnp.dtype(dtype)))
    spaces, latent = rssm.latent_spaces(), rssm.initial(B)
    packed = rssm.pack(latent)
    assert {name: (column.shape[1:], column.dtype) for name, column in packed.items()} == {
        name: (space.shape, space.dtype) for name, space in spaces.items()
    }
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert shapes(rssm.unpack(packed)) == shapes(latent)


def test_noise_of_every_group_is_drawn_by_the_sampler() -> None:
    noise = RSSM_TINY.draw_noise(jax.random.key(2), (B, T))
    assert noise.shape == (B, T, S)
    np.testing.assert_array_equal(noise, RANDOM.uniform(jax.random.key(2), (B, T, S)))
    greedy = dataclasses.replace(RSSM_TINY, sampler=GREEDY)
    np.testing.assert_array_equal(
        greedy.draw_noise(jax.random.key(2), (B, T)), GREEDY.uniform(jax.random.key(2), (B, T, S))
    )


def test_decoder_inputs_are_the_two_parts_of_feat() -> None:
    latent = observe(PARAMS, *_inputs(5)).latent
    deter, stoch = RSSM_TINY.decoder_inputs(latent)
    assert deter.shape == (B, T, D) and stoch.shape == (B, T, S * K)
    np.testing.assert_array_equal(jnp.concatenate([deter, stoch], -1), RSSM_TINY.feat(latent))


def test_feat_is_deter_then_stoch_row_major() -> None:
    latent = Latent(jnp.arange(2.0)[None], jnp.arange(2.0, 8.0).reshape(1, 2, 3))
    np.testing.assert_array_equal(RSSM_TINY.feat(latent), np.arange(8.0)[None])
