"""Run a parity case of the maintained code: `python -m experiments.parity IN.npz OUT.npz`.

Loads the case's parameters under their original names, runs probes, policy steps and train steps
with the very functions the trainer compiles, and writes the results under the keys of the case's
expected file. The format is described in tests/parity/README.md. Sampling is deterministic, as in
the cases: the most likely class, and mean + ½·std for normals.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.agent import MAIN, Agent
from dreamer_jax.behavior.actor_critic import ActorCritic
from dreamer_jax.behavior.imagination import imagine
from dreamer_jax.compat.names import export_params, import_params
from dreamer_jax.compat.options import import_options
from dreamer_jax.config import load_config
from dreamer_jax.device.compiled import Compiled
from dreamer_jax.distributions import Sampler
from dreamer_jax.factory import make_agent
from dreamer_jax.heads.predictions import SymlogSquares
from dreamer_jax.types import SIGNALS, Batch, Carry, Replayed, Space, Spaces, TrainState

DETERMINISTIC = Sampler(
    uniform=lambda _, shape: jnp.zeros(shape),
    normal=lambda _, shape: jnp.zeros(shape),
    choose=lambda probs, _: jnp.argmax(probs, -1).astype(jnp.int32),
    move=lambda mean, std, _: mean + 0.5 * std,
)

# Our metric -> its name there.
METRICS = {
    "imag/reward": "rew",
    "imag/cont": "con",
    "imag/value": "val",
    "imag/slow_value": "slowval",
    "imag/weight": "weight",
    "imag/return": "tar",
    "returns/mean": "ret",
    "returns/min": "ret_min",
    "returns/max": "ret_max",
    "returns/large_share": "ret_rate",
    "advantage/mean": "adv",
    "advantage/magnitude": "adv_mag",
    "advantage/std": "adv_std",
    "dynamics/prior_entropy": "dyn_ent",
    "dynamics/post_entropy": "rep_ent",
    "loss/total": "opt/loss",
    "loss/dyn": "loss/dyn",
    "loss/rep": "loss/rep",
    "loss/reward": "loss/rew",
    "loss/cont": "loss/con",
    "loss/actor": "loss/policy",
    "loss/critic": "loss/value",
    "loss/replay_critic": "loss/repval",
    "opt/grad_norm": "opt/grad_norm",
    "opt/grad_rms": "opt/grad_rms",
    "opt/update_rms": "opt/update_rms",
    "opt/param_rms": "opt/param_rms",
}
PREFIXES = {"loss/recon/": "loss/", "actor/entropy/": "ent/", "actor/randomness/": "rand/"}


class Case(NamedTuple):
    """A case file, read."""

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    spaces: Spaces


def read_case(path: str) -> Case:
    """Read the input file of a case."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    meta = json.loads(bytes(arrays.pop("meta")).decode())
    obs = {k: _space(v) for k, v in meta["obs"].items() if k not in SIGNALS}
    action = {k: _space(v) for k, v in meta["act"].items()}
    return Case(meta, arrays, Spaces(obs, action))


def _space(entry: Mapping[str, Any]) -> Space:
    dtype = np.dtype(entry["dtype"])
    classes = 2 if dtype.kind == "b" else entry["classes"]
    return Space(dtype, tuple(entry["shape"]), classes)


def build(case: Case) -> tuple[Agent, TrainState]:
    """Build the agent of a case and its initial state."""
    options, widths = import_options(case.meta["agent"], load_config("default").agent)
    agent = make_agent(
        options,
        widths,
        case.spaces,
        dtype=jnp.dtype("float32"),
        replay_context=case.meta["replay_context"],
        sampler=DETERMINISTIC,
    )
    prefix = "params/"
    params = {k.removeprefix(prefix): v for k, v in case.arrays.items() if k.startswith(prefix)}
    # Every parameter comes from the file; optimiser and counters start at zero.
    shapes = jax.eval_shape(agent.init, jax.random.key(0))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return agent, import_params(zeros, params, case.spaces.obs)


def read_batch(case: Case, index: int) -> Replayed:
    """Return training batch `index` as replay would hand it out."""

    def get(key: str) -> jax.Array:
        return jnp.asarray(case.arrays[f"batch{index}/{key}"])

    records = Batch(
        {key: get(key) for key in case.spaces.obs},
        {key: get(key) for key in case.spaces.action},
        *(get(key) for key in SIGNALS),
    )
    stored = None
    if case.meta["replay_context"]:
        stoch = jnp.argmax(get("dyn/stoch")[:, 0], -1).astype(jnp.uint8)
        stored = {"deter": get("dyn/deter")[:, 0], "stoch": stoch}
    return Replayed(records, stored, get("consec")[:, 0] != 0)


def probe(agent: Agent, state: TrainState, replayed: Replayed) -> dict[str, jax.Array]:
    """Return world model, heads and rollout on one batch with the initial parameters."""
    key, params, model = jax.random.key(0), state.params, agent.world_model
    start, batch, previous = agent.align(agent.initial_carry(len(replayed.follows)), replayed)
    seen = model.observe(params, start, batch.obs, previous, batch.is_first, key)
    filtered, behavior = seen.filtered, agent.behaviors[MAIN]
    assert isinstance(behavior, ActorCritic)
    losses, _ = model.losses(params, seen, batch)
    out = {
        "tokens": seen.embed,
        "deter": seen.latent.deter,
        "stoch": seen.latent.stoch,
        "post_logit": filtered.post_logits,
        "prior_logit": filtered.prior_logits,
        "kl_dyn": losses["dyn"],
        "kl_rep": losses["rep"],
        "rew_pred": model.predict("reward", params, seen.feat),
        "rew_loss": losses["reward"],
        "con_prob": model.predict("cont", params, seen.feat),
        "val_pred": behavior.critic(params["critic"], seen.feat).mean(),
        "slowval_pred": behavior.critic(state.aux[MAIN].slow_critic, seen.feat).mean(),
    }
    for name, predicted in model.decode(params, seen.latent).items():
        # There, vectors stay in symlog space.
        raw = predicted.raw if isinstance(predicted, SymlogSquares) else predicted.mean()
        out[f"recon/{name}"] = raw
        out[f"recon_loss/{name}"] = losses[f"recon/{name}"]
    policy = behavior.actor(params["actor"], seen.feat)
    greedy = Sampler(**(DETERMINISTIC._asdict() | {"move": lambda mean, _std, _noise: mean}))
    mode = policy.sample(greedy, dict.fromkeys(agent.spaces.action, jnp.zeros(())))
    for name in agent.spaces.action:
        out[f"pol_ent/{name}"] = policy.entropy(name)
        out[f"pol_mode/{name}"] = mode[name]
        out[f"pol_logp/{name}"] = policy.log_prob(name, previous[name])
    starts = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), seen.latent)
    rollout = imagine(
        model, behavior.actor, params, starts, behavior.imag_horizon, behavior.sampler, key
    )
    later = jnp.concatenate([rollout.feat[1:], rollout.last[None]]).swapaxes(0, 1)
    width, shape = starts.deter.shape[-1], starts.stoch.shape[1:]
    out["imag_deter"] = later[..., :width]
    out["imag_stoch"] = later[..., width:].reshape(*later.shape[:2], *shape)
    out |= {f"imag_act/{name}": v.swapaxes(0, 1) for name, v in rollout.action.items()}
    return {f"probe/{name}": value for name, value in out.items()}


def run_policy(case: Case, agent: Agent, compiled: Compiled, state: TrainState) -> dict[str, Any]:
    """Return actions and carry after each policy step, from zeros."""
    out: dict[str, Any] = {}
    carry = None
    params = agent.acting_params(state)
    for index in range(case.meta["policy_steps"]):
        obs = {key: case.arrays[f"policy{index}/{key}"] for key in case.spaces.obs}
        is_first = case.arrays[f"policy{index}/is_first"]
        carry = agent.initial_acting_carry(len(is_first)) if carry is None else carry
        carry, action, _ = compiled.policy(params, carry, obs, is_first, index)
        out |= {f"policy{index}/{name}": value for name, value in action.items()}
        out[f"policy{index}/deter"] = carry.latent.deter
        out[f"policy{index}/stoch"] = carry.latent.stoch
    return out


def run_training(case: Case, agent: Agent, compiled: Compiled, state: TrainState) -> dict[str, Any]:
    """Return metrics, carries and latents of each train step, and the final parameters."""
    out: dict[str, Any] = {}
    carry: Carry = agent.initial_carry(case.meta["B"])
    (phase,) = agent.phases
    classes = agent.world_model.dynamics.initial(1).stoch.shape[-1]
    for index in range(case.meta["steps"]):
        update = compiled.train(phase, state, carry, read_batch(case, index))
        state, carry, latents = update.state, update.carry, update.latents
        metrics = dict(zip(compiled.metric_names[phase], update.metrics, strict=True))
        name = f"train{index}"
        out |= {f"{name}/{k}": v for k, v in _rename(metrics).items()}
        out[f"{name}/opt/param_count"] = np.float32(
            sum(x.size for x in jax.tree.leaves(state.params))
        )
        out[f"{name}/opt/updates"] = np.int32(state.grad_steps)
        out[f"{name}/carry_deter"] = carry.latent.deter
        out[f"{name}/carry_stoch"] = carry.latent.stoch
        if case.meta["replay_context"]:
            out[f"{name}/replay/dyn/deter"] = latents["deter"]
            out[f"{name}/replay/dyn/stoch"] = jax.nn.one_hot(latents["stoch"], classes)
    final = export_params(state, case.spaces.obs)
    shaped = {f"params/{k}": v.reshape(case.arrays[f"params/{k}"].shape) for k, v in final.items()}
    return out | shaped


def _rename(metrics: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    renamed = {METRICS[k]: v for k, v in metrics.items() if k in METRICS}
    for ours, theirs in PREFIXES.items():
        renamed |= {
            theirs + k.removeprefix(ours): v for k, v in metrics.items() if k.startswith(ours)
        }
    return renamed


def run_case(path: str) -> dict[str, Any]:
    """Run one case and return everything that its expected file names."""
    case = read_case(path)
    agent, state = build(case)
    compiled = Compiled(agent)
    out = dict(jax.jit(lambda s, b: probe(agent, s, b))(state, read_batch(case, 0)))
    out |= run_policy(case, agent, compiled, state)
    out |= run_training(case, agent, compiled, state)
    return {key: np.asarray(value) for key, value in out.items()}


def main() -> None:
    """Command line: the input file, then the file to write."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m experiments.parity IN.npz OUT.npz")
    np.savez(sys.argv[2], **run_case(sys.argv[1]))


if __name__ == "__main__":
    main()
