"""The parts of an agent, made from the config; the tables of names a config may use.

A maker of one's own is any function with the arguments of the makers here, named by its import
path in place of a key of these tables (docs/extending.md).
"""

from dreamer_jax.makers.behaviors import ACTOR_LOSSES, BEHAVIORS, make_actor_critic
from dreamer_jax.makers.context import Context, Parts
from dreamer_jax.makers.dynamics import DYNAMICS, make_rssm
from dreamer_jax.makers.encoders import ENCODERS, make_encoder
from dreamer_jax.makers.heads import HEADS, make_bernoulli, make_twohot, targets
from dreamer_jax.makers.objectives import OBJECTIVES, make_reconstruction
from dreamer_jax.makers.optimizers import OPTIMIZERS, make_laprop
from dreamer_jax.makers.phases import PHASES, make_joint

__all__ = [
    "ACTOR_LOSSES",
    "BEHAVIORS",
    "DYNAMICS",
    "ENCODERS",
    "HEADS",
    "OBJECTIVES",
    "OPTIMIZERS",
    "PHASES",
    "Context",
    "Parts",
    "make_actor_critic",
    "make_bernoulli",
    "make_encoder",
    "make_joint",
    "make_laprop",
    "make_reconstruction",
    "make_rssm",
    "make_twohot",
    "targets",
]
