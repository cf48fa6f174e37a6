"""Every option of a run and the values that it may have: the table that `limits.py` reads.

A test compares the table with `configs/default.py`, so that an option without a row cannot be
added. What depends on the task or the machine (memory, devices, names of code) is refused where it
is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MOST = 10**15  # of a count; integers up to here are exact in every file that a run writes
_LARGE = 1e12  # of a number whose size means nothing
_DEEPEST = 20  # sections and lists within each other


class Limit(NamedTuple):
    """The values that an option may have."""

    kind: str  # what a value is, in words: "a whole number"
    is_kind: Callable[[Any], bool]
    words: str = ""  # which of that kind are allowed: "at least 1"
    allows: Callable[[Any], bool] = lambda _: True

    def fault(self, value: Any) -> str:
        """Return what a value must be and is not; "" if it is allowed."""
        if not self.is_kind(value):
            return self.kind
        return "" if self.allows(value) else self.words


def whole(least: int, most: int = MOST) -> Limit:
    """Return the limit of a count."""
    is_kind = lambda value: isinstance(value, int) and not isinstance(value, bool)
    words = f"at least {least:,} and at most {most:,}"
    return Limit("a whole number", is_kind, words, lambda value: least <= value <= most)


def number(least: float, most: float = _LARGE, *, above: bool = False) -> Limit:
    """Return the limit of a finite number; `above` leaves out `least` itself."""
    bound = f"above {least:g} and at most {most:g}" if above else f"from {least:g} to {most:g}"
    # False for NaN, whatever it is compared with.
    allows = lambda value: least <= value <= most and not (above and value == least)
    return Limit("a number", _is_number, bound, allows)


def one_of(*names: str) -> Limit:
    """Return the limit of a name from a list."""
    words = f"one of {', '.join(names)}"
    return Limit(words, lambda value: isinstance(value, str), words, lambda value: value in names)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Return whether `config.json` gives a value back as it is, lists as tuples."""
    if depth > _DEEPEST:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_plain(v, depth + 1) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(each, depth + 1) for each in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return value is None or isinstance(value, str) or (_is_number(value) and not math.isnan(value))


FLAG = Limit("True or False", lambda value: isinstance(value, bool))
TEXT = Limit("a text", lambda value: isinstance(value, str))
NAME = TEXT._replace(words="a text that is not empty", allows=bool)
FREE = Limit("text, numbers (not NaN), None, lists or sections of these", _is_plain)

_SHARE = number(0, 1)
_SCALE = number(0)
_POSITIVE = number(0, above=True)
_LAYERS = whole(1, 100)
_DECAY = number(0, 0.999_999)  # nearer to 1, float32 would say 1 and never forget

# Sections that take names which no preset has, and the values in them.
OPEN: dict[str, Limit] = {
    "env": FREE,
    "agent.options": FREE,
    "agent.objectives": TEXT,
    "agent.heads": NAME,
    "agent.behaviors": NAME,
    "agent.loss_scales": _SCALE,
}

LIMITS: dict[str, Limit] = {
    "task": NAME,
    "seed": whole(0, 2**32 - 1),  # beyond, JAX keys would repeat
    "steps": whole(1),
    "envs": whole(1, 100_000),
    "size": NAME,
    "batch_size": whole(1),
    "batch_length": whole(2),
    "train_ratio": number(0, 1e6, above=True),
    "from_checkpoint": TEXT,
    "compute_dtype": one_of("auto", "float32", "bfloat16"),
    "debug_nans": FLAG,
    "stop_after_skips": whole(0),
    "env_workers": one_of("auto", "inline", "process", "ray"),
    "device_steps": whole(0, 100_000),
    "source": NAME,
    "faults.timeout": number(0, 1e6, above=True),
    "faults.restarts": whole(0),
    "faults.invalid_values": one_of("error", "drop"),
    "mesh.fsdp": whole(1, 1_000_000),
    "agent.encoder": NAME,
    "agent.dynamics": NAME,
    "agent.acts": NAME,
    "agent.actor_loss": NAME,
    "agent.critic": NAME,
    "agent.phases": NAME,
    "agent.optimizer": NAME,
    "agent.groups": whole(1, 100_000),
    "agent.blocks": whole(1, 100_000),
    "agent.decoder_blocks": whole(1, 100_000),
    "agent.dynamics_layers": _LAYERS,
    "agent.prior_layers": _LAYERS,
    "agent.posterior_layers": _LAYERS,
    "agent.encoder_layers": _LAYERS,
    "agent.decoder_layers": _LAYERS,
    "agent.reward_layers": _LAYERS,
    "agent.cont_layers": _LAYERS,
    "agent.actor_layers": _LAYERS,
    "agent.critic_layers": _LAYERS,
    "agent.encoder_strided": FLAG,
    "agent.unimix": _SHARE,
    "agent.actor_unimix": _SHARE,
    "agent.actor_outscale": _SCALE,
    "agent.actor_min_std": _POSITIVE,
    "agent.actor_max_std": _POSITIVE,
    "agent.bins": whole(3, 100_001),
    "agent.free_nats": _SCALE,
    "agent.discount_horizon": whole(1, 10**9),
    "agent.contdisc": FLAG,
    "agent.imag_horizon": whole(1, 100_000),
    "agent.imag_last": whole(0),
    "agent.imag_lambda": _SHARE,
    "agent.replay_lambda": _SHARE,
    "agent.entropy_scale": _SCALE,
    "agent.slow_regularizer": _SCALE,
    "agent.replay_slow_regularizer": _SCALE,
    "agent.slow_target": FLAG,
    "agent.slow_rate": _SHARE,
    "agent.return_rate": _SHARE,
    "agent.return_low": number(0, 100),
    "agent.return_high": number(0, 100),
    "agent.return_limit": _POSITIVE,
    "agent.learning_rate": _SCALE,
    "agent.actor_learning_rate": _SCALE,
    "agent.critic_learning_rate": _SCALE,
    "agent.warmup": whole(0),
    "agent.decay": one_of("const", "linear", "cosine"),
    "agent.decay_updates": whole(0),
    "agent.agc": _POSITIVE,
    "agent.beta1": _DECAY,
    "agent.beta2": _DECAY,
    "agent.epsilon": number(1e-37, 1),  # below, float32 would say 0
    "agent.weight_decay": _SCALE,
    "replay.capacity": whole(1),
    "replay.context": whole(0, 1),
    "replay.online": FLAG,
    "replay.recency": _SHARE,
    "log.every": whole(0),
    "log.report_every": whole(0),
    "log.trace_first": whole(0),
    "log.trace_updates": whole(0),
    "log.outputs": TEXT,
    "checkpoint.seconds": _SCALE,
    "checkpoint.keep": whole(1),
    "evaluation.episodes": whole(0),
    "evaluation.envs": whole(1, 100_000),
    "evaluation.video": FLAG,
}


def is_name(name: Any) -> bool:
    """Return whether an open section can take a name: an identifier, slashes allowed in it.

    Losses of several observation keys, or of a behaviour, have a slash in their names.
    """
    known = isinstance(name, str) and name.replace("/", "_").isidentifier()
    return known and not name.startswith("_")
