"""The maintained code's names, layout and options, both ways, on every shipped parity case."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny import BYTE, VECTOR, random_state, tiny_agent

from dreamer_jax.agent import MAIN
from dreamer_jax.compat.names import export_params, import_optimizer, import_params, original_name
from dreamer_jax.compat.options import import_options
from dreamer_jax.config import load_config
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space, Spaces, TrainState
from experiments.parity import Case, build, read_case

FOLDER = Path(__file__).parents[1] / "parity"
NAMES = sorted(path.name.removesuffix(".expected.npz") for path in FOLDER.glob("*.expected.npz"))
CASES = {name: read_case(str(FOLDER / f"{name}.npz")) for name in NAMES}


def _params(case: Case) -> dict[str, np.ndarray]:
    prefix = "params/"
    return {k.removeprefix(prefix): v for k, v in case.arrays.items() if k.startswith(prefix)}


def _state(case: Case) -> TrainState:
    return build(case)[1]


@pytest.mark.parametrize("name", NAMES)
def test_importing_and_exporting_gives_back_every_parameter(name: str) -> None:
    case = CASES[name]
    original, state = _params(case), _state(case)
    exported = export_params(state, case.spaces.obs)
    assert set(exported) == set(original)
    for key, value in original.items():
        if key != "slowval_count/value":  # counts updates, which a new run has none of
            np.testing.assert_array_equal(exported[key].ravel(), value.ravel(), err_msg=key)
    again = import_params(jax.tree.map(jnp.zeros_like, state), exported, case.spaces.obs)
    jax.tree.map(np.testing.assert_array_equal, again, state)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_parameters_share_a_name(name: str) -> None:
    case = CASES[name]
    state = _state(case)
    count = len(jax.tree.leaves((state.params, state.aux)))  # slow critic and percentiles too
    assert len(export_params(state, case.spaces.obs)) == count + 1  # the number of updates


def test_the_slow_critic_and_the_percentiles_come_along() -> None:
    case = CASES["vector_continuous"]
    state, original = _state(case), _params(case)
    kept = state.aux[MAIN]
    kernel = kept.slow_critic["mlp"]["layer0"]["dense"]["kernel"]
    np.testing.assert_array_equal(kernel, original["slowval/mlp/linear0/kernel"])
    assert (kernel != state.params["critic"]["mlp"]["layer0"]["dense"]["kernel"]).any()
    assert kept.stats == {
        "low": original["retnorm/lo/value"],
        "high": original["retnorm/hi/value"],
    }


@pytest.mark.parametrize("missing", ["dyn/dyngru/kernel", "slowval/head/logits/bias"])
def test_a_missing_parameter_is_named(missing: str) -> None:
    case = CASES["vector_continuous"]
    original = _params(case)
    del original[missing]
    with pytest.raises(UserError, match=f"parameter {missing} is missing"):
        import_params(_state(case), original, case.spaces.obs)


def test_a_parameter_of_another_size_is_named() -> None:
    case = CASES["vector_continuous"]
    original = _params(case)
    original["enc/mlp0/kernel"] = original["enc/mlp0/kernel"][1:]
    with pytest.raises(UserError, match=r"parameter enc/mlp0/kernel has shape \(9, 16\) there"):
        import_params(_state(case), original, case.spaces.obs)


def test_a_parameter_with_its_axes_in_another_order_is_named() -> None:
    case = CASES["vector_continuous"]
    original = _params(case)
    shape = original["enc/mlp0/kernel"].shape
    original["enc/mlp0/kernel"] = original["enc/mlp0/kernel"].T
    with pytest.raises(
        UserError, match=f"enc/mlp0/kernel has shape .{shape[1]}, {shape[0]}. there"
    ):
        import_params(_state(case), original, case.spaces.obs)


def test_what_the_maintained_code_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match="encoder/conv_24x24/conv0/kernel has no counterpart"):
        original_name("encoder", "conv_24x24/conv0/kernel", {})
    two_sizes = {"a": Space(BYTE, (24, 24, 1)), "b": Space(BYTE, (24, 32, 1))}
    agent = tiny_agent(Spaces(two_sizes, VECTOR.action))
    with pytest.raises(UserError, match="has no counterpart in the maintained code"):
        export_params(random_state(agent), two_sizes)


def test_optimiser_slots_follow_their_parameters() -> None:
    case = CASES["mixed"]
    state, obs = _state(case), case.spaces.obs
    trained = {k: v for k, v in _params(case).items() if not k.startswith(("slow", "retnorm"))}
    slots = {f"opt/state/1/1/{key}": value**2 for key, value in trained.items()}
    slots |= {f"opt/state/2/1/{key}": -value for key, value in trained.items()}
    counted = import_optimizer(state, slots | {"opt/state/3/count": np.array(7)}, obs)
    assert set(counted.opt) == {"joint"}
    _, rms, momentum, schedule = counted.opt["joint"]
    same = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6)
    jax.tree.map(same, rms.nu, jax.tree.map(jnp.square, state.params))
    jax.tree.map(same, momentum.ema, jax.tree.map(jnp.negative, state.params))
    assert (rms.count, momentum.count, schedule.count, counted.grad_steps) == (7, 7, 7, 7)
    with pytest.raises(UserError, match="opt/state/3/count is missing"):
        import_optimizer(state, slots, obs)


def _options(**changes: Any) -> dict[str, Any]:
    """Return a case's options with dotted names replaced, or removed where None."""
    options = copy.deepcopy(CASES["vector_continuous"].meta["agent"])
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        section = options
        for part in path:
            section = section[part]
        if value is None:
            del section[last]
        else:
            section[last] = value
    return options


def _import(options: dict[str, Any]) -> ConfigDict:
    return import_options(options, load_config("default").agent)[0]


REFUSED = {
    "ac_grads": True,
    "dyn.typ": "gru",
    "dyn.rssm.act": "relu",
    "dyn.rssm.norm": "layer",
    "dyn.rssm.absolute": True,
    "dyn.rssm.outscale": 0.5,
    "enc.typ": "resnet",
    "enc.simple.symlog": False,
    "enc.simple.outer": True,
    "enc.simple.kernel": 3,
    "enc.simple.mults": [1, 2, 4, 8],
    "dec.simple.outer": True,
    "dec.simple.strided": True,
    "dec.simple.kernel": 3,
    "dec.simple.outscale": 0.0,
    "dec.simple.mults": [1, 2, 4, 8],
    "rewhead.output": "mse",
    "value.output": "mse",
    "conhead.output": "mse",
    "policy_dist_disc": "onehot",
    "policy_dist_cont": "normal",
    "slowvalue.every": 10,
    "retnorm.impl": "meanstd",
    "retnorm.debias": True,
    "valnorm.impl": "meanstd",
    "advnorm.impl": "meanstd",
    "reward_grad": False,
    "repval_loss": False,
    "repval_grad": False,
    "opt.momentum": False,
}


@pytest.mark.parametrize("dotted", REFUSED)
def test_an_option_that_is_not_offered_is_refused_by_name(dotted: str) -> None:
    """Running a checkpoint under other mathematics would give scores, but not its scores."""
    with pytest.raises(UserError, match=f"{dotted}=.* is not offered here, only"):
        _import(_options(**{dotted: REFUSED[dotted]}))


@pytest.mark.parametrize("dotted", ["horizon", "opt.lr", "dyn.rssm.blocks", "loss_scales.rec"])
def test_a_missing_option_is_named(dotted: str) -> None:
    with pytest.raises(UserError, match=f"option {dotted} is missing"):
        _import(_options(**{dotted: None}))


def test_reward_and_value_must_share_their_bins() -> None:
    with pytest.raises(UserError, match=r"value\.bins=255 and rewhead\.bins=41 differ"):
        _import(_options(**{"value.bins": 255, "rewhead.bins": 41}))


@pytest.mark.parametrize(
    ("ours", "dotted", "value"),
    [
        ("unimix", "dyn.rssm.unimix", 0.25),
        ("discount_horizon", "horizon", 50),
        ("imag_lambda", "imag_loss.lam", 0.25),
        ("replay_lambda", "repl_loss.lam", 0.25),
        ("slow_regularizer", "imag_loss.slowreg", 0.25),
        ("replay_slow_regularizer", "repl_loss.slowreg", 0.25),
        ("slow_rate", "slowvalue.rate", 0.25),
        ("slow_target", "imag_loss.slowtar", True),
        ("entropy_scale", "imag_loss.actent", 0.25),
        ("return_high", "retnorm.perchi", 75.0),
        ("actor_min_std", "policy.minstd", 0.25),
        ("learning_rate", "opt.lr", 0.25),
        ("warmup", "opt.warmup", 3),
        ("beta2", "opt.beta2", 0.25),
        ("agc", "opt.agc", 0.25),
        ("contdisc", "contdisc", False),
        ("blocks", "dyn.rssm.blocks", 2),
        ("decoder_blocks", "dec.simple.bspace", 2),
    ],
)
def test_options_arrive_under_our_names(ours: str, dotted: str, value: Any) -> None:
    agent = _import(_options(**{dotted: value}))
    assert agent[ours] == value
    assert agent[ours] != _import(_options())[ours]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("recon", "rec"), ("actor", "policy"), ("critic", "value"), ("replay_critic", "repval")],
)
def test_loss_scales_arrive_under_our_names(ours: str, theirs: str) -> None:
    assert _import(_options(**{f"loss_scales.{theirs}": 0.125})).loss_scales[ours] == 0.125


def test_the_actors_uniform_share_is_dropped_as_it_is_there() -> None:
    assert _import(_options(**{"policy.unimix": 0.3})).actor_unimix == 0.0


def test_defaults_are_not_changed_by_an_import() -> None:
    defaults = load_config("default").agent
    before = defaults.to_dict()
    import_options(_options(), defaults)
    assert defaults.to_dict() == before
