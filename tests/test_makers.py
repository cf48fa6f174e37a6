"""Parts by their names: what a config may call for, and what it hears if there is no such thing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear import Climb, Linear
from tiny import VECTOR, B, T, random_batch, tiny_agent, tiny_config

from dreamer_jax.agent import MAIN
from dreamer_jax.behavior.equations import Reinforce
from dreamer_jax.errors import UserError
from dreamer_jax.makers import Parts, targets

SCALES = {"recon": 2.0, "recon/camera": 3.0, "actor": 5.0, "explore/critic": 7.0, "critic": 11.0}


def _parts(**scales: float) -> Parts:
    behavior = SimpleNamespace(modules=("actor", "critic"), losses_made=("actor", "critic"))
    context: Any = SimpleNamespace(agent=SimpleNamespace(loss_scales=SCALES | scales))
    world_model: Any = None
    behaviors: Any = {MAIN: behavior, "explore": behavior}
    return Parts(context, world_model, behaviors, lambda _: None)


@pytest.mark.parametrize(
    ("loss", "scale"),
    [
        ("actor", 5.0),
        ("recon/speed", 2.0),  # of its group
        ("recon/camera", 3.0),  # its own comes first
        ("recon/camera/left", 2.0),
        ("explore/actor", 5.0),  # as the main behaviour's loss of that name
        ("explore/critic", 7.0),
    ],
)
def test_a_scale_is_that_of_the_full_name_the_group_or_the_loss(loss: str, scale: float) -> None:
    assert _parts().scales((loss,)) == {loss: scale}


def test_a_loss_without_a_scale_is_named_with_the_option_that_gives_one() -> None:
    message = "loss 'explore/novelty' has no scale; add --config.agent.loss_scales.explore/novelty="
    with pytest.raises(ValueError, match=message):
        _parts().scales(("actor", "explore/novelty"))
    assert _parts(novelty=0.5).scales(("explore/novelty",)) == {"explore/novelty": 0.5}


def test_only_the_main_behaviour_has_no_prefix() -> None:
    parts = _parts()
    assert parts.entries(MAIN) == parts.losses(MAIN) == ("actor", "critic")
    assert parts.entries("explore") == ("explore/actor", "explore/critic")
    assert parts.losses("explore") == ("explore/actor", "explore/critic")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dynamics": "rsmm"}, "no dynamics 'rsmm'; did you mean 'rssm'?"),
        (
            {"objectives": {"decoder": "reconstruct"}},
            "no objective 'reconstruct'; did you mean 'reconstruction'?",
        ),
        ({"heads": {"reward": "twohto"}}, "no head 'twohto'; did you mean 'twohot'?"),
        (
            {"behaviors": {"main": "actorcritic"}},
            "no behavior 'actorcritic'; did you mean 'actor_critic'?",
        ),
        ({"actor_loss": "reinforced"}, "no actor loss 'reinforced'; did you mean 'reinforce'?"),
        ({"encoder": "v33"}, "no encoder 'v33'; did you mean 'v3'?"),
        ({"critic": "twohto"}, "no head 'twohto'; did you mean 'twohot'?"),
        ({"optimizer": "laprob"}, "no optimizer 'laprob'; did you mean 'laprop'?"),
        ({"phases": "joined"}, "no phases 'joined'; did you mean 'joint'?"),
        ({"acts": "mian"}, "config.agent.acts='mian'; it must be one of"),
    ],
)
def test_an_unknown_name_gives_one_clear_error_with_the_nearest(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")) as caught:
        tiny_agent(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"heads": {"ended": "plugins:make_headless"}},
            "make_headless' .* a head without a target",
        ),
        # A published head has a target under its published name alone.
        ({"heads": {"ended": "bernoulli"}}, "heads.ended='bernoulli' .* a head without a target"),
        ({"heads": {"ended": "twohot"}}, r"return \(head, target\), where target maps a Batch"),
        ({"behaviors": {"a/b": "actor_critic"}}, "behaviors.a/b: a name must not contain a slash"),
        (
            {"heads": {"ended": "plugins:make_ended"}, "options": {"scale": 3.0}},
            "loss 'ended' has no scale",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_agent(**options)


def test_a_head_that_behaviours_read_cannot_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    with config.unlocked():
        del config.heads.cont
    monkeypatch.setattr("tiny.tiny_config", lambda **_: config)
    with pytest.raises(UserError, match=r"config.agent.heads lacks \['cont'\], which behaviours"):
        tiny_agent()


def test_a_head_of_ones_own_brings_its_target_and_gets_the_options() -> None:
    agent = tiny_agent(
        heads={"ended": "plugins:make_ended"}, options={"scale": 3.0}, loss_scales={"ended": 0.25}
    )
    model = agent.world_model
    assert tuple(model.heads) == ("reward", "cont", "ended")
    batch = random_batch(VECTOR, context=0).records
    np.testing.assert_array_equal(model.heads["ended"][1](batch), 3.0 * batch.is_last)
    assert agent.phases["joint"].losses["ended"] == 0.25
    assert "ended" in agent.phases["joint"].modules


@pytest.mark.parametrize(
    ("options", "added"),
    [
        (
            {"behaviors": {"explore": "plugins:make_explorer"}},
            {"explore/actor", "explore/critic"},
        ),
        (
            {
                "heads": {"ended": "plugins:make_ended"},
                "options": {"scale": 3.0},
                "loss_scales": {"ended": 1.0},
            },
            {"ended"},
        ),
    ],
)
def test_published_parameters_do_not_depend_on_what_is_added(
    options: dict[str, Any], added: set[str]
) -> None:
    """The random numbers of a run would change with a head that only watches."""
    key = jax.random.key(0)
    plain, more = (jax.jit(tiny_agent(**each).init)(key) for each in ({}, options))
    assert set(more.params) - set(plain.params) == added
    for name, tree in plain.params.items():
        jax.tree.map(np.testing.assert_array_equal, tree, more.params[name])


def test_a_published_kind_of_head_under_a_new_name_is_as_wide_as_reward() -> None:
    """`make_twohot(context, "ended")` was a KeyError: no option gives such a head its layers."""
    agent = tiny_agent(heads={"ended": "plugins:make_twohot_ended"}, loss_scales={"ended": 1.0})
    reward, ended = (agent.world_model.heads[name][0].module for name in ("reward", "ended"))
    assert (ended.layers, ended.units, ended.outputs) == (
        reward.layers,
        reward.units,
        reward.outputs,
    )


def test_without_an_objective_there_is_no_decoder_and_no_loss() -> None:
    agent = tiny_agent(objectives={"decoder": ""})
    assert agent.world_model.modules == ("encoder", "dynamics", "reward", "cont")
    assert set(agent.phases["joint"].losses) == {
        *("dyn", "rep", "reward", "cont", "actor", "critic", "replay_critic")
    }
    assert agent.world_model.decode({}, agent.world_model.dynamics.initial(1)) == {}


def test_actor_losses_come_from_their_makers() -> None:
    made: list[Any] = [
        tiny_agent(actor_loss=name).behaviors[MAIN] for name in ("reinforce", "plugins:make_climb")
    ]
    assert [each.actor_loss for each in made] == [Reinforce(), Climb()]


def test_dynamics_come_from_their_maker() -> None:
    agent = tiny_agent(
        dynamics="plugins:make_linear",
        objectives={"decoder": ""},
        loss_scales={"drift": 1.0},
    )
    assert agent.world_model.dynamics == Linear()


@pytest.mark.parametrize("contdisc", [True, False])
def test_targets_of_the_published_heads(contdisc: bool) -> None:
    config = tiny_config(contdisc=contdisc, discount_horizon=5)
    batch = random_batch(VECTOR, context=0).records
    assert (batch.is_last & ~batch.is_terminal).any() and batch.is_terminal.any()
    made = targets(config)
    assert set(made) == {"reward", "cont"}
    np.testing.assert_array_equal(made["reward"](batch), batch.reward)
    expected = np.where(batch.is_terminal, 0.0, 0.8 if contdisc else 1.0)
    assert expected.shape == (B, T)
    np.testing.assert_allclose(made["cont"](batch), expected, rtol=1e-6)
    assert made["cont"](batch).dtype == jnp.float32


def test_phases_come_from_their_maker_and_name_what_they_train() -> None:
    agent = tiny_agent(phases="plugins:make_in_turn")
    world, policy = agent.phases["world"], agent.phases["policy"]
    assert tuple(agent.phases) == ("world", "policy")
    assert world.modules == ("encoder", "dynamics", "decoder", "reward", "cont")
    assert set(world.losses) == {"dyn", "rep", "recon/speed", "reward", "cont"}
    assert policy.modules == ("actor", "critic")
    assert policy.losses == {"actor": 1.0, "critic": 1.0, "replay_critic": 0.3}
