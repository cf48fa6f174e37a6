"""The maintained code's hyperparameters, in its own nesting, as our config and sizes.

An option whose value changes the mathematics and that we do not offer is refused by name; values
that cannot matter for the given case are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from dreamer_jax.errors import UserError
from dreamer_jax.nets.widths import Widths

# Original option -> the one value that this package implements.
_FIXED = {
    "ac_grads": False,
    "dyn.typ": "rssm",
    "dyn.rssm.act": "silu",
    "dyn.rssm.norm": "rms",
    "dyn.rssm.absolute": False,
    "dyn.rssm.outscale": 1.0,
    "enc.typ": "simple",
    "enc.simple.symlog": True,
    "enc.simple.outer": False,
    "enc.simple.kernel": 5,
    "enc.simple.mults": [2, 3, 4, 4],
    "dec.simple.outer": False,
    "dec.simple.strided": False,
    "dec.simple.kernel": 5,
    "dec.simple.outscale": 1.0,
    "dec.simple.mults": [2, 3, 4, 4],
    "rewhead.output": "symexp_twohot",
    "value.output": "symexp_twohot",
    "conhead.output": "binary",
    "policy_dist_disc": "categorical",
    "policy_dist_cont": "bounded_normal",
    "slowvalue.every": 1,
    "retnorm.impl": "perc",
    "retnorm.debias": False,
    "valnorm.impl": "none",
    "advnorm.impl": "none",
    "reward_grad": True,
    "repval_loss": True,
    "repval_grad": True,
    "opt.momentum": True,
}

# Ours -> original option with the same meaning.
_SAME = {
    "groups": "dyn.rssm.stoch",
    "blocks": "dyn.rssm.blocks",
    "decoder_blocks": "dec.simple.bspace",
    "dynamics_layers": "dyn.rssm.dynlayers",
    "prior_layers": "dyn.rssm.imglayers",
    "posterior_layers": "dyn.rssm.obslayers",
    "encoder_layers": "enc.simple.layers",
    "decoder_layers": "dec.simple.layers",
    "reward_layers": "rewhead.layers",
    "cont_layers": "conhead.layers",
    "actor_layers": "policy.layers",
    "critic_layers": "value.layers",
    "encoder_strided": "enc.simple.strided",
    "unimix": "dyn.rssm.unimix",
    "actor_outscale": "policy.outscale",
    "actor_min_std": "policy.minstd",
    "actor_max_std": "policy.maxstd",
    "bins": "value.bins",
    "free_nats": "dyn.rssm.free_nats",
    "discount_horizon": "horizon",
    "contdisc": "contdisc",
    "imag_horizon": "imag_length",
    "imag_last": "imag_last",
    "imag_lambda": "imag_loss.lam",
    "replay_lambda": "repl_loss.lam",
    "entropy_scale": "imag_loss.actent",
    "slow_regularizer": "imag_loss.slowreg",
    "replay_slow_regularizer": "repl_loss.slowreg",
    "slow_target": "imag_loss.slowtar",
    "slow_rate": "slowvalue.rate",
    "return_rate": "retnorm.rate",
    "return_low": "retnorm.perclo",
    "return_high": "retnorm.perchi",
    "return_limit": "retnorm.limit",
    "learning_rate": "opt.lr",
    "warmup": "opt.warmup",
    "decay": "opt.schedule",
    "decay_updates": "opt.anneal",
    "agc": "opt.agc",
    "beta1": "opt.beta1",
    "beta2": "opt.beta2",
    "epsilon": "opt.eps",
    "weight_decay": "opt.wd",
}

# Ours -> original, loss scales.
_LOSSES = {
    "recon": "rec",
    "reward": "rew",
    "cont": "con",
    "dyn": "dyn",
    "rep": "rep",
    "actor": "policy",
    "critic": "value",
    "replay_critic": "repval",
}


_NETWORKS = {
    "encoder": "enc.simple",
    "decoder": "dec.simple",
    "reward": "rewhead",
    "cont": "conhead",
    "actor": "policy",
    "critic": "value",
}


def get_option(options: Mapping[str, Any], dotted: str) -> Any:
    """Return an option by its dotted name.

    Raises:
        UserError: If it is missing.
    """
    value: Any = options
    for part in dotted.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise UserError(f"the maintained code's option {dotted} is missing")
        value = value[part]
    return value


def import_options(options: Mapping[str, Any], defaults: ConfigDict) -> tuple[ConfigDict, Widths]:
    """Return our `agent` config and widths for the maintained code's `agent` options.

    Args:
        options: Its `agent` section, nested as there.
        defaults: Our `agent` section; copied, then overwritten.

    Raises:
        UserError: For a missing option, or one that has no counterpart here; names it.
    """
    for dotted, value in _FIXED.items():
        if (theirs := get_option(options, dotted)) != value:
            raise UserError(
                f"the maintained code's {dotted}={theirs!r} is not offered here, only {value!r}"
            )
    widths = _widths(options)
    agent = ConfigDict(defaults.to_dict())
    for ours, dotted in _SAME.items():
        agent[ours] = type(agent[ours])(get_option(options, dotted))
    for ours, theirs in _LOSSES.items():
        agent.loss_scales[ours] = float(get_option(options, f"loss_scales.{theirs}"))
    agent.actor_unimix = 0.0  # its policy.unimix never reaches the distribution
    return agent, widths


def _widths(options: Mapping[str, Any]) -> Widths:
    if (ours := get_option(options, "value.bins")) != (
        theirs := get_option(options, "rewhead.bins")
    ):
        raise UserError(f"the maintained code's value.bins={ours} and rewhead.bins={theirs} differ")
    rssm = get_option(options, "dyn.rssm")
    return Widths(
        rssm["deter"],
        rssm["hidden"],
        rssm["classes"],
        get_option(options, "enc.simple.depth"),
        get_option(options, "dec.simple.depth"),
        {ours: get_option(options, f"{theirs}.units") for ours, theirs in _NETWORKS.items()},
    )


def size_name(widths: Widths) -> str:
    """Return widths as `config.size` spells them out: deter/hidden/classes/depth/units.

    Raises:
        UserError: If networks differ in units or depth, which one size cannot say.
    """
    units = set(widths.units.values())
    if len(units) > 1 or widths.encoder_depth != widths.decoder_depth:
        raise UserError("the maintained code's networks differ in units or depth; one size cannot")
    numbers = (widths.deter, widths.hidden, widths.classes, widths.encoder_depth, units.pop())
    return "/".join(str(number) for number in numbers)
