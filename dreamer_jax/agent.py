"""The agent as pure functions, unjitted: `make_agent` reads the config, nothing below it does.

World model, imagination, behaviours, optimiser, slow copies and return statistics are one
function of (state, carry, batch, key), so that one compiled program holds a whole update.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dreamer_jax.behavior.protocol import Behavior
from dreamer_jax.masks import widen
from dreamer_jax.nets.layers import forward
from dreamer_jax.optim import keep_unless_finite
from dreamer_jax.phase import Phase
from dreamer_jax.types import (
    Aux,
    Batch,
    Carry,
    Columns,
    Latent,
    ModuleParams,
    Observed,
    Params,
    Replayed,
    Spaces,
    TrainState,
)
from dreamer_jax.world_model import WorldModel, encode_action

Metrics = dict[str, jax.Array]
MAIN = "main"  # the behaviour whose entries, losses and metrics bear no prefix


class Agent(NamedTuple):
    """The functions of an agent, closed over modules and scalars."""

    spaces: Spaces
    world_model: WorldModel
    behaviors: Mapping[str, Behavior]
    acts: str  # the behaviour that chooses actions
    phases: Mapping[str, Phase]
    replay_context: int

    def init(self, key: jax.Array) -> TrainState:
        """Return the state before the first update."""
        world_key, behavior_key = jax.random.split(key)
        params = self.world_model.init(world_key)
        feat = self.world_model.dynamics.feat(self.world_model.dynamics.initial(1))
        aux: dict[str, Aux] = {}
        for name, own_key in self._keys(behavior_key):
            own, aux[name] = self.behaviors[name].init(own_key, feat)
            params |= {_prefix(name) + entry: tree for entry, tree in own.items()}
        opt = {
            name: phase.optimizer.init({entry: params[entry] for entry in phase.modules})
            for name, phase in self.phases.items()
        }
        return TrainState(params, aux, opt, jnp.zeros((), jnp.int32))

    def initial_carry(self, batch: int) -> Carry:
        """Return the carry `[batch, ...]` of training before anything has been seen: zeros."""
        action = {k: jnp.zeros((batch, *s.shape), s.dtype) for k, s in self.spaces.action.items()}
        return Carry(self.world_model.dynamics.initial(batch), action)

    def initial_acting_carry(self, batch: int) -> Carry:
        """Return the carry `[batch, ...]` of acting: that of training, and the actor's memory."""
        memory = self.behaviors[self.acts].initial_memory(batch)
        return self.initial_carry(batch)._replace(memory=memory)

    def acting_params(self, state: TrainState) -> dict[str, ModuleParams]:
        """Return the parameters that `policy` reads, under the names that it knows them by."""
        params = self._view(self.acts, state.params)
        return {name: params[name] for name in self._acting}

    def policy(
        self,
        params: Params,
        carry: Carry,
        obs: Mapping[str, jax.Array],
        is_first: jax.Array,
        key: jax.Array,
        mode: str = "train",
    ) -> tuple[Carry, dict[str, jax.Array], Columns]:
        """Filter one observation per environment and choose an action.

        Args:
            params: From `acting_params`, or as `train` returned them.
            carry: `[E, ...]` from the previous call.
            obs: `[E, *shape]` by key.
            is_first: `[E]` bool; the carry of such an environment is not used.
            key: Consumed.
            mode: `train` samples actions, `eval` takes the behaviour's best. Static.

        Returns:
            The next carry, actions by key, and the packed latents to store in replay.

        Raises:
            ValueError: For another mode.
        """
        if mode not in ("train", "eval"):
            raise ValueError(f"mode={mode!r} is unknown; use 'train' or 'eval'")
        latent_key, action_key = jax.random.split(key)
        obs, previous = jax.tree.map(lambda x: x[:, None], (obs, carry.action))
        embed = forward(self.world_model.encoder, params["encoder"], obs)
        dynamics, count = self.world_model.dynamics, is_first.shape[0]
        filtered = dynamics.observe(
            params["dynamics"],
            carry.latent,
            embed,
            encode_action(previous, self.spaces.action),
            is_first[:, None],
            dynamics.draw_noise(latent_key, (count, 1)),
        )
        latent = jax.tree.map(lambda x: x[:, 0], filtered.latent)
        memory, action = self.behaviors[self.acts].act(
            params, carry.memory, latent, is_first, action_key, mode
        )
        return Carry(latent, action, memory), action, dynamics.pack(latent)

    def losses(
        self,
        params: Params,
        aux: Mapping[str, Aux],
        start: Latent,
        batch: Batch,
        previous_action: Mapping[str, jax.Array],
        key: jax.Array,
        updates: jax.Array,
        *,
        world_model: bool = True,
        behaviors: Iterable[str] | None = None,
    ) -> tuple[dict[str, jax.Array], tuple[Observed, dict[str, Aux], Metrics]]:
        """Return every mean loss by name, and (observed, what behaviours keep, metrics).

        Args:
            params: All entries.
            aux: Of all behaviours.
            start: `[B, *]` latents before the first step.
            batch: Records `[B, T, ...]`.
            previous_action: Actions that led to each record.
            key: Consumed.
            updates: `[]` int32 updates that were done before this one.
            world_model: Whether the world model's own losses are wanted.
            behaviors: Names of those whose losses are wanted; None: of all.
        """
        observe_key, imagine_key = jax.random.split(key)
        observed = self.world_model.observe(
            params, start, batch.obs, previous_action, batch.is_first, observe_key
        )
        losses: dict[str, jax.Array] = {}
        metrics: Metrics = {}
        if world_model:
            losses, seen = self.world_model.losses(params, observed, batch)
            metrics = {name: each.mean() for name, each in seen.items()}
        wanted = self.behaviors if behaviors is None else behaviors
        moved = dict(aux)
        for name, own_key in self._keys(imagine_key):
            if name in wanted:
                own, moved[name], seen = self.behaviors[name].losses(
                    self._view(name, params), aux[name], observed, batch, own_key, updates
                )
                losses |= {_prefix(name) + loss: value for loss, value in own.items()}
                metrics |= {_prefix(name) + metric: value for metric, value in seen.items()}
        means = {name: loss.mean() for name, loss in losses.items()}
        metrics |= {f"loss/{name}": mean for name, mean in means.items()}
        return means, (observed, moved, metrics)

    def train(
        self, phase: str, state: TrainState, carry: Carry, replayed: Replayed, key: jax.Array
    ) -> tuple[TrainState, dict[str, ModuleParams], Carry, Columns, Metrics]:
        """Do one update of what a phase trains, or none where loss or gradients are not finite.

        A skipped update leaves state and carry as they were but for `grad_steps`, which names
        the randomness of the next one; its latents are of no use. `opt/skipped` tells.

        Args:
            phase: Key of `phases`. Static.
            state: Donated by the caller that compiles this.
            carry: Latent and action after the previous batch, for rows that follow it.
            replayed: `[B, T + context, ...]` records.
            key: Consumed.

        Returns:
            The new state; the parameters for acting; the carry after this batch; packed latents
            `[B, T, ...]` to write back to the records; scalar metrics.
        """
        modules, scales, optimizer, world_model, behaviors, _ = self.phases[phase]
        start, batch, previous = self.align(carry, replayed)

        def total(trained: Params) -> tuple[jax.Array, Any]:
            means, aux = self.losses(
                {**state.params, **trained},
                state.aux,
                start,
                batch,
                previous,
                key,
                state.grad_steps,
                world_model=world_model,
                behaviors=behaviors,
            )
            _check_scales(means, scales)
            scaled = (scales[name] * mean for name, mean in means.items())
            return sum(scaled, start=jnp.zeros(())), aux

        # Losses and gradients.
        trained = {name: state.params[name] for name in modules}
        (loss, (observed, aux, metrics)), grads = jax.value_and_grad(total, has_aux=True)(trained)
        # Optimiser step.
        updates, opt = optimizer.update(grads, state.opt[phase], trained)
        params = {**state.params, **optax.apply_updates(trained, updates)}
        # Slow copies follow.
        for name in behaviors:
            aux[name] = self.behaviors[name].after_update(self._view(name, params), aux[name])
        metrics |= {"loss/total": loss, **_optimizer_metrics(grads, updates, trained)}

        # Keep if finite.
        last = Carry(*jax.tree.map(lambda x: x[:, -1], (observed.latent, batch.action)))
        new = TrainState(params, aux, {**state.opt, phase: opt}, state.grad_steps), last
        (new_state, carry), skipped = keep_unless_finite(
            (loss, metrics["opt/grad_norm"]), new, old=(state, carry)
        )
        metrics["opt/skipped"] = skipped
        new_state = new_state._replace(grad_steps=state.grad_steps + 1)
        latents = self.world_model.dynamics.pack(observed.latent)
        return new_state, self.acting_params(new_state), carry, latents, metrics

    def align(self, carry: Carry, replayed: Replayed) -> tuple[Latent, Batch, dict[str, jax.Array]]:
        """Return the starting latent, the records to train on, and the actions that led to them.

        With context, the leading record is dropped: its stored latent starts the recurrence and
        its action is the first previous action. Rows that follow the previous batch start from
        the carry's latent instead. Without context, latent and action come from the carry.

        Raises:
            ValueError: If the agent expects context and the batch has none, or the reverse.
        """
        records, stored = replayed.records, replayed.stored
        if (stored is not None) != bool(self.replay_context):
            raise ValueError(
                f"replay_context={self.replay_context}, but the batch "
                + ("brings no stored latent" if stored is None else "brings a stored latent")
            )
        if stored is None:
            lead = {k: v[:, None] for k, v in carry.action.items()}
            previous = {
                k: jnp.concatenate([lead[k], v[:, :-1]], 1) for k, v in records.action.items()
            }
            return carry.latent, records, previous
        fresh = self.world_model.dynamics.unpack(stored)
        pick = lambda ours, theirs: jnp.where(widen(replayed.follows, ours), ours, theirs)
        start = jax.tree.map(pick, carry.latent, fresh)
        batch = jax.tree.map(lambda x: x[:, 1:], records)
        return start, batch, {k: v[:, :-1] for k, v in records.action.items()}

    @property
    def _acting(self) -> tuple[str, ...]:
        return ("encoder", "dynamics", *self.behaviors[self.acts].acting)

    def _view(self, behavior: str, params: Params) -> dict[str, ModuleParams]:
        """Return all entries, those of a behaviour under the names that it gives them itself."""
        own = self.behaviors[behavior].modules
        return {**params, **{name: params[_prefix(behavior) + name] for name in own}}

    def _keys(self, key: jax.Array) -> list[tuple[str, jax.Array]]:
        """Return a key for each behaviour; the first one's is not changed by others."""
        later = [jax.random.fold_in(key, index) for index in range(1, len(self.behaviors))]
        return list(zip(self.behaviors, [key, *later], strict=True))


def _prefix(behavior: str) -> str:
    """Return what stands before the entries, losses and metrics of a behaviour."""
    return "" if behavior == MAIN else f"{behavior}/"


def _check_scales(losses: Iterable[str], scales: Iterable[str]) -> None:
    """Raise ValueError unless every loss has a scale and every scale a loss."""
    if set(losses) != set(scales):
        raise ValueError(f"losses {sorted(losses)} but scales {sorted(scales)}")


def _optimizer_metrics(grads: Params, updates: Params, params: Params) -> Metrics:
    """Return norms; `params` before the update, of which clipping needs the same ones."""
    count = sum(x.size for x in jax.tree.leaves(params))
    grad_norm = optax.tree.norm(grads)
    return {
        **{f"opt/grad_norm/{name}": optax.tree.norm(grad) for name, grad in grads.items()},
        "opt/grad_norm": grad_norm,
        "opt/grad_rms": grad_norm / count**0.5,
        "opt/update_rms": optax.tree.norm(updates) / count**0.5,
        "opt/param_rms": optax.tree.norm(params) / count**0.5,
    }
