"""Craftax through the adapter: compiling takes minutes, so where it is installed only."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("craftax")

from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("cheap_compile", "broadcasts")


@pytest.fixture(autouse=True)
def broadcasts():
    """The package adds ranks implicitly, which is a mistake only in our own code."""
    import jax

    with jax.numpy_rank_promotion("allow"):
        yield


SHAPES = {
    "Craftax-Symbolic-v1": ("symbols", (8268,), 43),
    "Craftax-Pixels-v1": ("image", (144, 112, 3), 43),
    "Craftax-Classic-Symbolic-v1": ("symbols", (1345,), 17),
    "Craftax-Classic-Pixels-v1": ("image", (64, 64, 3), 17),
}


@pytest.mark.parametrize("name", SHAPES)
def test_spaces_are_those_of_the_records(name):
    """Types of reset and step are compared when the environment is built, without compiling."""
    key, shape, actions = SHAPES[name]
    spaces = make_env(f"craftax:{name}").spaces
    assert {k: s.shape for k, s in spaces.obs.items()} == {key: shape}
    assert spaces.action["action"].classes == actions


def test_classic_keeps_the_contract_and_tells_truncation_from_death():
    make = lambda: make_env("craftax:Craftax-Classic-Symbolic-v1", length=9)
    assert check_env(make, episodes=1) == []
    env, rng = make(), np.random.default_rng(0)
    record, steps = env.reset(3), 0
    while not record["is_last"]:
        assert not any(key.startswith("log/") for key in record)
        action = {k: v[0] for k, v in random_actions(env.spaces.action, rng, 1).items()}
        record, steps = env.step(action), steps + 1
    assert steps <= 9 and not record["is_terminal"]
    achieved = {k: v for k, v in record.items() if k.startswith("log/achievement_")}
    assert len(achieved) == 22 and {float(v) for v in achieved.values()} <= {0.0, 1.0}


def test_unknown_ids_and_options_are_named():
    with pytest.raises(UserError, match=r"unknown Craftax environment 'Craftax-v1'"):
        make_env("craftax:Craftax-v1")
    with pytest.raises(UserError, match="has no option 'repeat'; it accepts length=0"):
        make_env("craftax:Craftax-Symbolic-v1", repeat=2)
