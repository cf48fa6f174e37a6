"""From config to agent: parameter counts, wiring of every option, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import FLOAT, INT, VECTOR, B, random_batch, tiny_agent, tiny_config

from dreamer_jax.agent import MAIN
from dreamer_jax.config import load_config, load_sizes
from dreamer_jax.errors import UserError
from dreamer_jax.factory import compute_dtype, make_agent
from dreamer_jax.nets.widths import NETWORKS, Widths
from dreamer_jax.types import Space, Spaces

F32 = jnp.dtype("float32")
# The check of docs/algorithm.md 9: one vector of 24 floats, a continuous action of 6 dimensions.
CHECK = Spaces({"vector": Space(FLOAT, (24,))}, {"action": Space(FLOAT, (6,))})
PUBLISHED = {
    "1m": (512, 64, 4, 4, 64),
    "12m": (2048, 256, 16, 16, 256),
    "25m": (3072, 384, 24, 24, 384),
    "50m": (4096, 512, 32, 32, 512),
    "100m": (6144, 768, 48, 48, 768),
    "200m": (8192, 1024, 64, 64, 1024),
    "400m": (12288, 1536, 96, 96, 1536),
}
SIZES = load_sizes()


def _count(size: Any) -> dict[str, int]:
    """Return the number of parameters of each module by building it."""
    agent = make_agent(load_config("default").agent, Widths.from_size(size), CHECK, dtype=F32)
    params = jax.eval_shape(agent.init, jax.random.key(0)).params
    return {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}


def _expected(size: Any) -> dict[str, int]:
    """Return the same numbers from the layer widths of docs/algorithm.md 3 to 5."""
    deter, hidden, classes, _, units = size
    stoch, blocks, bins = 32 * classes, 8, 255
    dense = lambda rows, columns: (rows + 1) * columns
    layer = lambda rows, columns: dense(rows, columns) + columns  # and the norm's scale
    block = lambda rows, columns: blocks * rows * (columns // blocks) + columns
    trunk = layer(deter + stoch, units)
    deep = trunk + 2 * layer(units, units)
    dynamics = layer(deter, hidden) + layer(stoch, hidden) + layer(6, hidden)
    dynamics += block(deter // blocks + 3 * hidden, deter) + deter
    dynamics += block(deter // blocks, 3 * deter)
    dynamics += layer(deter + units, hidden) + dense(hidden, stoch)  # posterior
    dynamics += layer(deter, hidden) + layer(hidden, hidden) + dense(hidden, stoch)  # prior
    return {
        "encoder": layer(24, units) + 2 * layer(units, units),
        "dynamics": dynamics,
        "decoder": deep + dense(units, 24),
        "reward": trunk + dense(units, bins),
        "cont": trunk + dense(units, 1),
        "actor": deep + 2 * dense(units, 6),
        "critic": deep + dense(units, bins),
    }


def test_published_sizes_are_those_of_the_paper() -> None:
    assert {name: tuple(SIZES[name]) for name in PUBLISHED} == PUBLISHED


def test_size_1m_has_exactly_the_published_parameters() -> None:
    count = _count(SIZES["1m"])
    assert count == {
        "dynamics": 364_416,
        "critic": 66_111,
        "reward": 57_663,
        "decoder": 51_096,
        "actor": 50_316,
        "cont": 41_153,
        "encoder": 10_112,
    }
    assert sum(count.values()) == 640_867


@pytest.mark.parametrize("name", SIZES)
def test_every_size_has_the_parameters_of_its_widths(name: str) -> None:
    assert _count(SIZES[name]) == _expected(SIZES[name])


def test_every_network_has_its_own_width() -> None:
    """Widths travel by position and by name; two swapped ones would go unnoticed in a size."""
    units = {name: 10 + index for index, name in enumerate(NETWORKS)}
    pictures = Spaces({"camera": Space(np.dtype("uint8"), (24, 24, 1))} | VECTOR.obs, VECTOR.action)
    widths = Widths(16, 7, 5, encoder_depth=2, decoder_depth=3, units=units)
    agent = make_agent(tiny_config(decoder_blocks=4), widths, pictures, dtype=F32)
    params = jax.eval_shape(agent.init, jax.random.key(0)).params
    for name, width in units.items():
        assert params[name]["mlp"]["layer0"]["dense"]["bias"].shape == (width,)
    assert params["encoder"]["conv"]["conv0"]["bias"].shape == (2 * 2,)
    assert params["decoder"]["conv"]["conv0"]["bias"].shape == (2 * 3,)
    assert params["dynamics"]["from_deter"]["dense"]["kernel"].shape == (16, 7)


class Recorder:
    """A view of a config that remembers which of its keys were read."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self.config, name)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any) -> Any:
        self.read.add(name)
        return self.config.get(name, default)


# The published agent, and one for each named part that reads options which no published part reads.
VARIANTS: tuple[dict[str, Any], ...] = ({},)


def test_every_agent_key_is_read() -> None:
    """An option that nobody reads is worse than a missing one: it seems to work."""
    read: set[str] = set()
    for variant in VARIANTS:
        recorder: Any = Recorder(tiny_config(**variant))
        make_agent(recorder, Widths.from_size(SIZES["1m"]), VECTOR, dtype=F32)
        read |= recorder.read
    plug_ins = {"options"}  # for parts of one's own; see `test_makers.py`
    assert set(recorder.config.keys()) - read == plug_ins


# Option -> (another value, what must then change).
WIRED: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "unimix": (0.2, lambda a: a.world_model.dynamics.unimix),
    "free_nats": (0.2, lambda a: a.world_model.dynamics.free_nats),
    "actor_unimix": (0.2, lambda a: a.behaviors[MAIN].actor.unimix),
    "actor_outscale": (0.2, lambda a: a.behaviors[MAIN].actor.module.outscale),
    "actor_min_std": (0.2, lambda a: a.behaviors[MAIN].actor.module.std_range[0]),
    "actor_max_std": (0.2, lambda a: a.behaviors[MAIN].actor.module.std_range[1]),
    "imag_lambda": (0.2, lambda a: a.behaviors[MAIN].lambda_),
    "replay_lambda": (0.2, lambda a: a.behaviors[MAIN].replay_lambda),
    "entropy_scale": (0.2, lambda a: a.behaviors[MAIN].entropy_scale),
    "slow_regularizer": (0.2, lambda a: a.behaviors[MAIN].slow_regularizer),
    "replay_slow_regularizer": (0.2, lambda a: a.behaviors[MAIN].replay_slow_regularizer),
    "slow_rate": (0.2, lambda a: a.behaviors[MAIN].slow_rate),
    "return_rate": (0.2, lambda a: a.behaviors[MAIN].scaling.rate),
    "return_low": (0.2, lambda a: a.behaviors[MAIN].scaling.low),
    "return_high": (0.2, lambda a: a.behaviors[MAIN].scaling.high),
    "return_limit": (0.2, lambda a: a.behaviors[MAIN].scaling.limit),
    "slow_target": (True, lambda a: a.behaviors[MAIN].slow_target),
    "imag_last": (2, lambda a: a.behaviors[MAIN].imag_last),
    "imag_horizon": (2, lambda a: a.behaviors[MAIN].imag_horizon),
    "encoder_layers": (2, lambda a: a.world_model.encoder.layers),
    "decoder_layers": (2, lambda a: a.world_model.objectives["decoder"].decoder.layers),
    "reward_layers": (2, lambda a: a.world_model.heads["reward"][0].module.layers),
    "cont_layers": (2, lambda a: a.world_model.heads["cont"][0].module.layers),
    "actor_layers": (2, lambda a: a.behaviors[MAIN].actor.module.layers),
    "critic_layers": (2, lambda a: a.behaviors[MAIN].critic.module.layers),
    "dynamics_layers": (2, lambda a: a.world_model.dynamics.net.dynamics_layers),
    "prior_layers": (5, lambda a: a.world_model.dynamics.net.prior_layers),
    "posterior_layers": (2, lambda a: a.world_model.dynamics.net.posterior_layers),
    "groups": (2, lambda a: a.world_model.dynamics.net.groups),
    "blocks": (2, lambda a: a.world_model.dynamics.net.blocks),
    "decoder_blocks": (4, lambda a: a.world_model.objectives["decoder"].decoder.blocks),
    "encoder_strided": (True, lambda a: a.world_model.encoder.strided),
}


@pytest.mark.parametrize("option", WIRED)
def test_an_option_arrives_where_its_name_says(option: str) -> None:
    value, read = WIRED[option]
    assert read(tiny_agent()) != value
    assert read(tiny_agent(**{option: value})) == value


def test_discount_is_inside_the_continue_head_or_outside_but_not_both() -> None:
    gamma = 1 - 1 / 50
    alive = random_batch(VECTOR).records._replace(is_terminal=jnp.zeros((B, 1), bool))
    for contdisc, scale in ((True, gamma), (False, 1.0)):
        agent = tiny_agent(discount_horizon=50, contdisc=contdisc)
        _, target = agent.world_model.heads["cont"]
        behavior: Any = agent.behaviors[MAIN]
        np.testing.assert_allclose(target(alive), np.full((B, 1), scale), rtol=1e-6)
        assert (behavior.contdisc, behavior.gamma) == (contdisc, gamma)


def test_every_observation_key_has_the_recon_scale() -> None:
    spaces = Spaces({"a": Space(FLOAT, (2,)), "b": Space(INT, (), 3)}, VECTOR.action)
    config = tiny_config()
    config.loss_scales.recon = 0.5
    widths = Widths.from_size(SIZES["1m"])
    agent = make_agent(config, widths, spaces, dtype=F32)
    assert set(agent.phases) == {"joint"}
    assert agent.phases["joint"].losses == {
        "recon/a": 0.5,
        "recon/b": 0.5,
        "reward": 1.0,
        "cont": 1.0,
        "dyn": 1.0,
        "rep": 0.1,
        "actor": 1.0,
        "critic": 1.0,
        "replay_critic": 0.3,
    }


def test_actor_and_critic_may_have_their_own_learning_rate() -> None:
    options: dict[str, Any] = {
        "learning_rate": 0.1,
        "actor_learning_rate": 0.2,
        "critic_learning_rate": 0.3,
    }
    names = ("encoder", "dynamics", "decoder", "reward", "cont", "actor", "critic")
    params = {name: {"kernel": jnp.ones(1)} for name in names}
    shared = dict.fromkeys(names, 0.1)
    own = shared | {"actor": 0.2, "critic": 0.3}
    for agent, expected in (
        (tiny_agent(warmup=0, agc=1e9, **options), own),
        (tiny_agent(warmup=0, agc=1e9, learning_rate=0.1), shared),
    ):
        optimizer = agent.phases["joint"].optimizer
        updates, _ = optimizer.update(params, optimizer.init(params), params)
        rates = {name: -float(tree["kernel"][0]) for name, tree in updates.items()}
        assert rates == pytest.approx(expected, rel=1e-4)


def test_compute_dtype_by_device_and_by_name() -> None:
    assert compute_dtype("auto") == jnp.float32  # on a CPU
    assert compute_dtype("bfloat16") == jnp.bfloat16
    with pytest.raises(UserError, match="compute_dtype='half' is unknown; use auto, float32"):
        compute_dtype("half")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 40}, "bins=40.*odd"),
        ({"decay": "step"}, "decay='step' is unknown"),
        ({"decay": "linear", "decay_updates": 5}, "decay_updates=5 must exceed warmup=1000"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_agent(**options)


def _pictures(*shape: int) -> Spaces:
    return Spaces({"camera": Space(np.dtype("uint8"), shape)}, VECTOR.action)


def test_pictures_of_every_workable_size_and_channels_stand_side_by_side() -> None:
    """From 32 to 256 pixels, rectangular, one to four channels and stacks of frames."""
    shapes = {"gray": (32, 64, 1), "colour": (32, 64, 3), "tall": (256, 48, 2)}
    shapes |= {"rgbd": (48, 96, 4), "stack": (48, 96, 12)}
    obs = {key: Space(np.dtype(np.uint8), shape) for key, shape in shapes.items()}
    spaces = Spaces(obs, VECTOR.action)
    agent = tiny_agent(spaces)
    batch = jax.eval_shape(lambda: random_batch(spaces, length=3))
    state = jax.eval_shape(agent.init, jax.random.key(0))
    carry = jax.eval_shape(lambda: agent.initial_carry(B))
    train = partial(agent.train, "joint")
    *_, metrics = jax.eval_shape(train, state, carry, batch, jax.random.key(0))
    assert {f"loss/recon/{key}" for key in shapes} <= set(metrics)
    assert set(state.params["encoder"]) == {f"conv_{h}x{w}" for h, w, _ in shapes.values()}


def test_pictures_that_cannot_be_halved_are_refused_with_a_size_that_can() -> None:
    with pytest.raises(UserError, match=r"84×84 pixels cannot be halved.*pad them to 80×80"):
        tiny_agent(_pictures(84, 84, 1))


def test_channels_that_blocks_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match=r"the 4 channels .* multiple of decoder_blocks=3"):
        tiny_agent(_pictures(24, 24, 1), decoder_blocks=3)


@pytest.mark.parametrize("spaces", [Spaces({}, VECTOR.action), Spaces(VECTOR.obs, {})])
def test_an_agent_must_see_and_act(spaces: Spaces) -> None:
    with pytest.raises(UserError, match="at least one observation key and one action key"):
        tiny_agent(spaces)
