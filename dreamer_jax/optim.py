"""The optimiser of docs/algorithm.md 8 in Optax: AGC, then LaProp, then the learning rate.

LaProp divides by the running RMS *before* momentum, so momentum averages normalised updates and
one outlier gradient cannot dominate it. Every rate and the warm-up count updates from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import chex
import jax
import jax.numpy as jnp
import optax

Tree = TypeVar("Tree")


def clip_by_agc(ratio: float, floor: float = 1e-3) -> optax.GradientTransformation:
    """Clip each tensor's gradient by the norm of the tensor itself.

        g ← g / max(1, ‖g‖ / (ratio·max(floor, ‖w‖)))

    Frobenius norms of whole tensors, biases and norm scales included, which differs from
    `optax.adaptive_grad_clip` (norms per unit).
    """

    def clip(grad: jax.Array, param: jax.Array) -> jax.Array:
        bound = ratio * jnp.maximum(floor, _norm(param))
        return grad / jnp.maximum(1.0, _norm(grad) / bound)

    def update(
        grads: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.EmptyState]:
        return jax.tree.map(clip, grads, params), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _norm(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(x)))


def learning_rate_schedule(
    rate: float, warmup: int, decay: str = "const", decay_updates: int = 0
) -> optax.Schedule:
    """Return the rate of update u: `rate·min(1, u/warmup)`, then constant or decaying to 10 %.

    Args:
        rate: Learning rate after warm-up.
        warmup: Updates of linear warm-up; update 0 has rate 0 unless this is 0.
        decay: `const`, `linear` or `cosine`.
        decay_updates: Update at which a decay reaches its end, counted from the first update.

    Raises:
        ValueError: For an unknown decay, or a decay that ends before the warm-up does.
    """
    if decay not in ("const", "linear", "cosine"):
        raise ValueError(f"decay={decay!r} is unknown; use const, linear or cosine")
    if decay != "const" and decay_updates <= warmup:
        raise ValueError(f"decay_updates={decay_updates} must exceed warmup={warmup}")
    after: optax.Schedule = optax.constant_schedule(rate)
    if decay == "linear":
        after = optax.linear_schedule(rate, 0.1 * rate, decay_updates - warmup)
    elif decay == "cosine":
        after = optax.cosine_decay_schedule(rate, decay_updates - warmup, alpha=0.1)
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup])


def _kernels(params: chex.ArrayTree) -> chex.ArrayTree:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def keep_unless_finite(
    scalars: tuple[jax.Array, ...], new: Tree, old: Tree
) -> tuple[Tree, jax.Array]:
    """Return `new`, or `old` where a scalar is NaN or infinite, and whether that is so (0 or 1).

    One bad batch would otherwise be the end of every parameter. Elementwise, so that XLA makes
    the choice inside the loops that compute `new`; `lax.cond` would keep two copies.
    """
    finite = jnp.isfinite(jnp.stack(scalars)).all()
    kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    return kept, 1.0 - finite.astype(jnp.float32)


def make_optimizer(
    schedules: Mapping[str, optax.Schedule],
    *,
    agc: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> optax.GradientTransformation:
    """Return the one optimiser over all modules.

        u = agc(g);  ν = ema(u²);  d = u / (√ν̂ + ε);  μ = ema(d);  w ← w − lr·(μ̂ + decay·w)

    Args:
        schedules: Learning-rate schedule by module name; the top-level keys of the parameters.
        agc: Largest gradient norm relative to the parameter norm.
        beta1: Decay of the momentum μ.
        beta2: Decay of the mean square ν.
        epsilon: Added outside the root.
        weight_decay: Decoupled, on kernels only; 0 leaves the transformation out.
    """
    transforms = [
        clip_by_agc(agc),
        optax.scale_by_rms(beta2, epsilon, eps_in_sqrt=False, bias_correction=True),
        optax.ema(beta1, debias=True),
    ]
    if weight_decay:
        transforms.append(optax.add_decayed_weights(weight_decay, mask=_kernels))
    transforms.append(_scale_by_module(schedules))
    return optax.chain(*transforms)


def _scale_by_module(schedules: Mapping[str, optax.Schedule]) -> optax.GradientTransformation:
    """Multiply each module's updates by minus its own learning rate; one counter for all."""

    def init(params: optax.Params) -> optax.ScaleByScheduleState:
        if missing := set(params) - set(schedules):
            raise ValueError(f"no learning rate for modules {sorted(missing)}")
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(
        updates: optax.Updates,
        state: optax.ScaleByScheduleState,
        params: optax.Params | None = None,  # noqa: ARG001
    ) -> tuple[optax.Updates, optax.ScaleByScheduleState]:
        rates = {name: -schedules[name](state.count) for name in updates}
        scaled = {
            name: jax.tree.map(lambda u, rate=rates[name]: rate * u, module)
            for name, module in updates.items()
        }
        return scaled, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)
