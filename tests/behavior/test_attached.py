"""An actor that learns through the rollout, against central differences of a plain NumPy loop.

The loop is in float64 and shares no code with the package. Weights are those of the actor that is
differentiated: the loss does not differentiate them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear import STD_RANGE, Filtered, H, P, linear_behavior, linear_world, same_normals
from tiny import quick_jit, random_tree

from dreamer_jax.behavior.actor_critic import ActorCritic, Kept
from dreamer_jax.behavior.equations import Reinforce
from dreamer_jax.ops.spread import Spread
from dreamer_jax.types import Batch, Observed

B, T = 2, 3
N = B * T
LAMBDA, ETA, SCALE = 0.8, 0.05, 3.0
WORLD = linear_world()
REINFORCE = Reinforce()
Numbers = dict[str, Any]


def _params() -> Numbers:
    """Return random parameters under which places neither vanish nor explode."""
    behavior = linear_behavior(WORLD)
    shapes = jax.eval_shape(
        lambda: {
            **WORLD.init(jax.random.key(0)),
            **behavior.init(jax.random.key(0), jnp.zeros((1, P)))[0],
        }
    )
    return random_tree(shapes, 5)


PARAMS = _params()
KEPT = Kept(random_tree(PARAMS["critic"], 6), {"low": jnp.float32(0), "high": jnp.float32(0)})


def _observed() -> tuple[Observed, Batch]:
    rng = np.random.default_rng(67)
    places = jnp.asarray(rng.normal(size=(B, T, P)), jnp.float32)
    flag = jnp.zeros((B, T), bool)
    action = {"steer": jnp.zeros((B, T, 2))}
    reward = jnp.asarray(rng.normal(size=(B, T)), jnp.float32)
    batch = Batch({}, action, reward, flag, flag, flag)
    return Observed(jnp.zeros((B, T, 7)), Filtered({"place": places}, places)), batch


def _losses(behavior: ActorCritic, params: Any, observed: Observed | None = None) -> Any:
    seen, batch = _observed()
    seen = seen if observed is None else observed
    losses, *_ = behavior.losses(
        params, KEPT, seen, batch, jax.random.key(0), jnp.zeros((), jnp.int32)
    )
    return {name: loss.mean() for name, loss in losses.items()}


class Trace(NamedTuple):
    """A rollout in NumPy; `[H, N, ...]`."""

    places: np.ndarray
    action: np.ndarray
    log_std: np.ndarray
    returns: np.ndarray
    value: np.ndarray
    weight: np.ndarray


def _wide(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def _head(params: Any, place: np.ndarray, curved: bool) -> np.ndarray:
    total = place @ params["weight"] + params["offset"]
    return total + np.sin(total) if curved else total


def _policy(actor: Any, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    out = lambda name: place @ actor[name]["kernel"] + actor[name]["bias"]
    low, high = STD_RANGE
    return np.tanh(out("mean_steer")), low + (high - low) / (1 + np.exp(-out("std_steer") - 2))


def _trace(actor: Any) -> Trace:
    params = _wide(PARAMS)
    noise = np.asarray(same_normals(jax.random.key(0), (H, N, 2)), np.float64)
    place = np.asarray(_observed()[0].feat, np.float64).reshape(N, P)
    places, actions, log_stds = [place], [], []
    for h in range(H):
        mean, std = _policy(actor, place)
        actions.append(mean + std * noise[h])
        log_stds.append(np.log(std).sum(-1))
        place = place @ params["dynamics"]["move"] + actions[-1] @ params["dynamics"]["push"]
        places.append(place)
    value = [_head(params["critic"], each, True) for each in places]
    cont = [1 / (1 + np.exp(-_head(params["cont"], each, False))) for each in places]
    returns: list[np.ndarray] = []
    later = value[H]
    for h in reversed(range(H)):
        mixed = (1 - LAMBDA) * value[h + 1] + LAMBDA * later
        later = _head(params["reward"], places[h + 1], True) + cont[h + 1] * mixed
        returns.insert(0, later)
    weight = np.cumprod(cont, 0)[:H]
    parts = (places[:H], actions, log_stds, returns, value[:H], list(weight))
    return Trace(*(np.stack(part) for part in parts))


def _climb(actor: Any, fixed: Trace) -> float:
    """Return the attached loss of an actor, weighted as in another's rollout."""
    trace = _trace(actor)
    entropy = trace.log_std + 1 + np.log(2 * np.pi)
    return float((fixed.weight * (-trace.returns / SCALE - ETA * entropy)).mean())


def _reinforce(actor: Any, fixed: Trace) -> float:
    """Return the detached loss of an actor on another's rollout."""
    mean, std = _policy(actor, fixed.places)
    z = (fixed.action - mean) / std
    log_prob = (-0.5 * z**2 - np.log(std) - 0.5 * np.log(2 * np.pi)).sum(-1)
    entropy = np.log(std).sum(-1) + 1 + np.log(2 * np.pi)
    advantage = (fixed.returns - fixed.value) / SCALE
    return float((fixed.weight * (-log_prob * advantage - ETA * entropy)).mean())


def _differences(loss: Any) -> Numbers:
    """Return the gradient of `loss(actor, trace)` by central differences."""
    actor, step = _wide(PARAMS["actor"]), 1e-5
    fixed = _trace(actor)
    leaves, structure = jax.tree.flatten(actor)
    grads = [np.zeros_like(leaf) for leaf in leaves]
    for leaf, grad in zip(leaves, grads, strict=True):
        for index in np.ndindex(leaf.shape):
            middle, sides = leaf[index], []
            for side in (step, -step):
                leaf[index] = middle + side
                sides.append(loss(jax.tree.unflatten(structure, leaves), fixed))
            leaf[index] = middle
            grad[index] = (sides[0] - sides[1]) / (2 * step)
    return jax.tree.unflatten(structure, grads)


def _close(got: Any, want: Any) -> None:
    size = max(np.abs(leaf).max() for leaf in jax.tree.leaves(want))
    assert size > 0.01
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4 * size)
    jax.tree.map(close, got, want)


@pytest.mark.parametrize("slice_rows", [0, 7])
def test_an_attached_loss_is_differentiated_through_the_rollout(slice_rows: int) -> None:
    """Slices drop the gradients of what they are given, unless told that these are wanted."""
    behavior = linear_behavior(WORLD, spread=Spread(slice_rows=slice_rows))
    grad = quick_jit(jax.value_and_grad(lambda p: _losses(behavior, p)["actor"]))
    loss, grads = grad(PARAMS)
    actor = _wide(PARAMS["actor"])
    np.testing.assert_allclose(loss, _climb(actor, _trace(actor)), rtol=1e-4)
    _close(grads["actor"], _differences(_climb))


def test_the_detached_loss_has_the_score_alone() -> None:
    """States, actions and returns are data to it: no term goes through the dynamics."""
    behavior = linear_behavior(WORLD, actor_loss=REINFORCE)
    grad = quick_jit(jax.value_and_grad(lambda p: _losses(behavior, p)["actor"]))
    loss, grads = grad(PARAMS)
    actor = _wide(PARAMS["actor"])
    np.testing.assert_allclose(loss, _reinforce(actor, _trace(actor)), rtol=1e-4)
    _close(grads["actor"], _differences(_reinforce))


@pytest.mark.parametrize("attached", [True, False])
def test_only_an_attached_rollout_carries_gradients(attached: bool) -> None:
    behavior = linear_behavior(WORLD) if attached else linear_behavior(WORLD, actor_loss=REINFORCE)
    start = _observed()[0].latent

    def total(params: Any, start: Any) -> jax.Array:
        imagined = behavior._imagine(params, start, jax.random.key(0))
        return (imagined.last**2).sum() + (imagined.action["steer"] ** 2).sum()

    by_params, by_start = quick_jit(jax.grad(total, argnums=(0, 1)))(PARAMS, start)
    moved = {
        name for name, tree in by_params.items() if any(x.any() for x in jax.tree.leaves(tree))
    }
    assert moved == ({"actor"} if attached else set())
    assert not by_start["place"].any()


REACHES = {"actor": {"actor"}, "critic": {"critic"}, "replay_critic": {"critic", "observed"}}


@pytest.mark.parametrize("loss", REACHES)
@pytest.mark.parametrize("attached", [True, False])
def test_an_attached_actor_changes_nobody_elses_gradient(attached: bool, loss: str) -> None:
    """The critic must not be made to lower its loss by moving the actor or the model."""
    behavior = linear_behavior(WORLD) if attached else linear_behavior(WORLD, actor_loss=REINFORCE)

    def chosen(params: Any, observed: Observed) -> jax.Array:
        return _losses(behavior, params, observed)[loss]

    by_params, observed = quick_jit(jax.grad(chosen, argnums=(0, 1)))(PARAMS, _observed()[0])
    groups = by_params | {"observed": observed}
    reached = {n for n, tree in groups.items() if any(x.any() for x in jax.tree.leaves(tree))}
    assert reached == REACHES[loss]
