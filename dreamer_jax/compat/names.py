"""Names, layout and options of the maintained code's agents, both ways.

The maintained code (danijar/dreamerv3, commit e3f0224) names parameters `enc/mlp0/kernel`,
`dyn/dynhid0/kernel`, `val/head/logits/bias` and so on, and calls the losses rec, rew, con, policy,
value, repval. Kernels have the same axes there and here; only names and, for outputs with several
axes, the shape of the last axis differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamer_jax.agent import MAIN
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space, TrainState

# Our path below a module -> the name there; {0}, {1} stand for the groups of the pattern.
_RULES: dict[str, list[tuple[str, str]]] = {
    "encoder": [
        (r"mlp/layer(\d+)/dense/(\w+)", "enc/mlp{0}/{1}"),
        (r"mlp/layer(\d+)/norm/scale", "enc/mlp{0}norm/scale"),
        (r"conv/conv(\d+)/(\w+)", "enc/cnn{0}/{1}"),
        (r"conv/norm(\d+)/scale", "enc/cnn{0}norm/scale"),
    ],
    "dynamics": [
        (r"from_deter/dense/(\w+)", "dyn/dynin0/{0}"),
        (r"from_deter/norm/scale", "dyn/dynin0norm/scale"),
        (r"from_stoch/dense/(\w+)", "dyn/dynin1/{0}"),
        (r"from_stoch/norm/scale", "dyn/dynin1norm/scale"),
        (r"from_action/dense/(\w+)", "dyn/dynin2/{0}"),
        (r"from_action/norm/scale", "dyn/dynin2norm/scale"),
        (r"core_layers_(\d+)/(kernel|bias)", "dyn/dynhid{0}/{1}"),
        (r"core_layers_(\d+)/scale", "dyn/dynhid{0}norm/scale"),
        (r"gates/(\w+)", "dyn/dyngru/{0}"),
        (r"posterior_joint/norm/scale", "dyn/obs0norm/scale"),
        (r"posterior_joint/(\w+)", "dyn/obs0/{0}"),
        (r"posterior_mlp/layer(\d+)/dense/(\w+)", "dyn/obs{0+1}/{1}"),
        (r"posterior_mlp/layer(\d+)/norm/scale", "dyn/obs{0+1}norm/scale"),
        (r"posterior_out/(\w+)", "dyn/obslogit/{0}"),
        (r"prior_mlp/layer(\d+)/dense/(\w+)", "dyn/prior{0}/{1}"),
        (r"prior_mlp/layer(\d+)/norm/scale", "dyn/prior{0}norm/scale"),
        (r"prior_out/(\w+)", "dyn/priorlogit/{0}"),
    ],
    "decoder": [
        (r"mlp/layer(\d+)/dense/(\w+)", "dec/mlp/linear{0}/{1}"),
        (r"mlp/layer(\d+)/norm/scale", "dec/mlp/norm{0}/scale"),
        (r"vector_(.+)/out/(\w+)", "dec/vec/{0}/{output}/{1}"),
        (r"conv/from_deter/(\w+)", "dec/sp0/{0}"),
        (r"conv/from_stoch/dense/(\w+)", "dec/sp1/{0}"),
        (r"conv/from_stoch/norm/scale", "dec/sp1norm/scale"),
        (r"conv/from_stoch_out/(\w+)", "dec/sp2/{0}"),
        (r"conv/scale", "dec/spnorm/scale"),
        (r"conv/conv(\d+)/(\w+)", "dec/conv{0}/{1}"),
        (r"conv/scale(\d+)", "dec/conv{0}norm/scale"),
        (r"conv/out/(\w+)", "dec/imgout/{0}"),
    ],
    "head": [
        (r"mlp/layer(\d+)/dense/(\w+)", "{head}/mlp/linear{0}/{1}"),
        (r"mlp/layer(\d+)/norm/scale", "{head}/mlp/norm{0}/scale"),
        (r"logits_(.+)/(\w+)", "{head}/head/{0}/logits/{1}"),
        (r"mean_(.+)/(\w+)", "{head}/head/{0}/mean/{1}"),
        (r"std_(.+)/(\w+)", "{head}/head/{0}/stddev/{1}"),
        (r"out/(\w+)", "{head}/head/{output}/{0}"),
    ],
}
_HEADS = {"reward": "rew", "cont": "con", "actor": "pol", "critic": "val", "slow_critic": "slowval"}


def original_name(module: str, path: str, obs: Mapping[str, Space]) -> str:
    """Return the maintained code's name of our parameter `module` / `path`.

    Raises:
        UserError: If the maintained code has no such parameter, e.g. towers of several sizes.
    """
    head = _HEADS.get(module, "")
    for pattern, template in _RULES["head" if head else module]:
        if match := re.fullmatch(pattern, path):
            groups = match.groups()
            output = "logit" if module == "cont" else "logits"
            if module == "decoder" and "{output}" in template:
                output = "logits" if obs[groups[0]].discrete else "pred"
            if "{0+1}" in template:
                groups = (str(int(groups[0]) + 1), *groups[1:])
                template = template.replace("{0+1}", "{0}")
            return template.format(*groups, head=head, output=output)
    raise UserError(f"{module}/{path} has no counterpart in the maintained code")


def _modules(state: TrainState) -> dict[str, Any]:
    return {**state.params, "slow_critic": state.aux[MAIN].slow_critic}


def export_params(state: TrainState, obs: Mapping[str, Space]) -> dict[str, np.ndarray]:
    """Return parameters, slow critic and return percentiles under the original names."""
    named = {
        original_name(module, path, obs): np.asarray(value)
        for module, tree in _modules(state).items()
        for path, value in flatten_dict(tree, sep="/").items()
    }
    named["retnorm/lo/value"] = np.asarray(state.aux[MAIN].stats["low"])
    named["retnorm/hi/value"] = np.asarray(state.aux[MAIN].stats["high"])
    named["slowval_count/value"] = np.asarray(state.grad_steps)
    return named


def import_params(
    state: TrainState, original: Mapping[str, np.ndarray], obs: Mapping[str, Space]
) -> TrainState:
    """Return `state` with parameters, slow critic and percentiles read from original names.

    Optimiser state and update count stay as they are in `state`; names of other things in
    `original` (optimiser slots, counters) are not read.

    Raises:
        UserError: If a parameter is missing or has other axes; names the first.
    """
    modules: dict[str, Any] = {}
    for module, tree in _modules(state).items():
        flat = {}
        for path, ours in flatten_dict(tree, sep="/").items():
            flat[path] = _fetch(original, original_name(module, path, obs), ours.shape)
        modules[module] = unflatten_dict(flat, sep="/")
    slow = modules.pop("slow_critic")
    stats = {
        "low": _fetch(original, "retnorm/lo/value", ()),
        "high": _fetch(original, "retnorm/hi/value", ()),
    }
    kept = state.aux[MAIN]._replace(slow_critic=slow, stats=stats)
    return state._replace(params=modules, aux={**state.aux, MAIN: kept})


def import_optimizer(
    state: TrainState, original: Mapping[str, np.ndarray], obs: Mapping[str, Space]
) -> TrainState:
    """Return `state` with mean squares, momentum and update count of the maintained code's file.

    Its optimiser keeps them as `opt/state/1` and `opt/state/2`, each a counter and one array per
    parameter, and the schedule's counter as `opt/state/3`.

    Raises:
        UserError: If one is missing or has other axes; names the first.
    """

    def slots(prefix: str, like: Any) -> Any:
        named = {}
        for module, tree in like.items():
            for path, ours in flatten_dict(tree, sep="/").items():
                name = f"{prefix}/1/{original_name(module, path, obs)}"
                named[f"{module}/{path}"] = _fetch(original, name, ours.shape)
        return unflatten_dict(named, sep="/")

    count = _fetch(original, "opt/state/3/count", ()).astype(jnp.int32)
    ((phase, slots_here),) = state.opt.items()  # the published agent has one phase
    clip, rms, momentum, *rest, schedule = slots_here
    rms = rms._replace(count=count, nu=slots("opt/state/1", rms.nu))
    momentum = momentum._replace(count=count, ema=slots("opt/state/2", momentum.ema))
    opt = (clip, rms, momentum, *rest, schedule._replace(count=count))
    return state._replace(opt={phase: opt}, grad_steps=count)


def _same_axes(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether two shapes are one but for neighbouring axes that one of them has merged.

    The maintained code keeps the axes of an action apart in an output kernel; ours is flat.
    """
    ends = [set(np.cumprod(shape, dtype=int).tolist()) | {1} for shape in (one, other)]
    return max(ends[0]) == max(ends[1]) and (ends[0] <= ends[1] or ends[1] <= ends[0])


def _fetch(original: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> jax.Array:
    if name not in original:
        raise UserError(f"parameter {name} is missing from the maintained code's file")
    value = original[name]
    if not _same_axes(value.shape, shape):
        raise UserError(f"parameter {name} has shape {value.shape} there and {shape} here")
    return jnp.asarray(value, jnp.float32).reshape(shape)
