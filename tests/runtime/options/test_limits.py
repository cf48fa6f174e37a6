"""Every option of a config is held against its row of the table, before anything is built."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ml_collections import ConfigDict

from dreamer_jax.config import load_config, presets
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.options.limits import check_limits
from dreamer_jax.runtime.options.ranges import LIMITS, OPEN, is_name


def leaves(tree: dict[str, Any], prefix: str = "") -> set[str]:
    """Return dotted names; an open section counts as one."""
    names = set()
    for key, value in tree.items():
        name = f"{prefix}{key}"
        nested = isinstance(value, dict) and name not in OPEN
        names |= leaves(value, f"{name}.") if nested else {name}
    return names


def changed(option: str, value: Any) -> dict[str, Any]:
    """Return the whole default config with one option changed, of whatever type."""
    config = load_config("default").to_dict()
    *path, last = option.split(".")
    section = config
    for name in path:
        section = section[name]
    section[last] = value
    return config


def test_the_table_has_a_row_for_every_option_and_no_other():
    assert leaves(load_config("default").to_dict()) == {*LIMITS, *OPEN}
    assert not {*LIMITS} & {*OPEN} and len(LIMITS) > 70


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_within_its_limits(name):
    check_limits(load_config(name))


NONSENSE = [
    ("seed", -1, "at least 0 and at most 4,294,967,295"),
    ("seed", 2**32, "at least 0 and at most 4,294,967,295"),
    ("steps", 0, "at least 1"),
    ("steps", 10**16, "at least 1 and at most 1,000,000,000,000,000"),
    ("envs", 10**8, "at least 1 and at most 100,000"),
    ("evaluation.envs", 10**8, "at least 1 and at most 100,000"),
    ("batch_length", 1, "at least 2"),
    ("train_ratio", 0.0, "above 0 and at most 1e+06"),
    ("train_ratio", 1e300, "above 0 and at most 1e+06"),
    ("compute_dtype", "float16", "one of auto, float32, bfloat16"),
    ("env_workers", "many", "one of auto, inline, process, ray"),
    ("faults.timeout", 0.0, "above 0"),
    ("faults.timeout", math.inf, "above 0 and at most 1e+06"),
    ("faults.restarts", -1, "at least 0"),
    ("faults.invalid_values", "ignore", "one of error, drop"),
    ("mesh.fsdp", 0, "at least 1"),
    ("agent.decay", "step", "one of const, linear, cosine"),
    ("agent.learning_rate", -4e-5, "from 0 to"),
    ("agent.critic_learning_rate", math.nan, "from 0 to"),
    ("agent.beta1", 1.0, "from 0 to 0.999999"),
    ("agent.beta2", 2.0, "from 0 to 0.999999"),
    ("agent.epsilon", 0.0, "from 1e-37 to 1"),
    ("agent.agc", 0.0, "above 0"),
    ("agent.return_high", 101.0, "from 0 to 100"),
    ("agent.return_limit", 0.0, "above 0"),
    ("agent.actor_min_std", 0.0, "above 0"),
    ("agent.loss_scales.rep", -0.1, "from 0 to"),
    ("agent.loss_scales.rep", math.nan, "from 0 to"),
    ("agent.loss_scales.own", math.inf, "from 0 to"),
    ("checkpoint.seconds", math.nan, "from 0 to"),
    ("checkpoint.seconds", -1.0, "from 0 to"),
    ("checkpoint.keep", 0, "at least 1"),
    ("replay.context", 2, "at least 0 and at most 1"),
    ("replay.recency", 1.5, "from 0 to 1"),
    ("task", "", "a text that is not empty"),
    ("agent.phases", "", "a text that is not empty"),
    # Of another kind, as a file of one's own or a damaged one may hold.
    ("steps", 1e6, "a whole number"),
    ("steps", True, "a whole number"),
    ("envs", "16", "a whole number"),
    ("train_ratio", "32", "a number"),
    ("train_ratio", None, "a number"),
    ("train_ratio", True, "a number"),
    ("debug_nans", 1, "True or False"),
    ("replay.online", "yes", "True or False"),
    ("size", 12, "a text"),
    ("agent.decay", 3, "one of const, linear, cosine"),
    ("agent.heads.reward", None, "a text"),
    ("env.level", math.nan, "text, numbers (not NaN)"),
    ("env.level", {1, 2}, "text, numbers (not NaN)"),
    ("env.level", b"x", "text, numbers (not NaN)"),
    ("env.level", 1j, "text, numbers (not NaN)"),
    ("env.level", [1, (2, {"a": math.nan})], "text, numbers (not NaN)"),
    ("env.level", 10**40, "text, numbers (not NaN)"),
]


@pytest.mark.parametrize(("option", "value", "text"), NONSENSE)
def test_what_no_run_can_have_is_refused_by_name_value_and_range(option, value, text):
    with pytest.raises(UserError) as refused:
        check_limits(changed(option, value))
    message = str(refused.value)
    assert message.startswith(f"config.{option}=") and f"; it must be {text}" in message
    assert "\n" not in message and len(message) < 200


@pytest.mark.parametrize("option", sorted(LIMITS))
def test_no_option_takes_what_is_no_value(option):
    for value in (math.nan, math.inf, -math.inf, None, [], 2**200, b"", -(2**200)):
        with pytest.raises(UserError, match=rf"config\.{option}=.*; it must be"):
            check_limits(changed(option, value))


@pytest.mark.parametrize("value", [None, True, -3, 0.5, math.inf, "x", "", (1, [2, "a"]), {"a": 1}])
def test_options_of_constructors_are_free(value):
    check_limits(changed("env.level", value))
    check_limits(changed("agent.options.level", value))


def test_bounds_themselves_are_allowed():
    for option, value in [
        ("agent.unimix", 0),
        ("agent.unimix", 1),
        ("seed", 2**32 - 1),
        ("checkpoint.seconds", 0.0),
        ("agent.learning_rate", 0.0),
        ("faults.timeout", 1e6),
        ("agent.objectives.decoder", ""),
    ]:
        check_limits(changed(option, value))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"agent.return_low": 96.0}, "agent.return_low=96.0; it must not exceed return_high=95.0"),
        ({"agent.actor_min_std": 2.0}, "agent.actor_min_std=2.0; it must not exceed max_std=1.0"),
        ({"agent.bins": 254}, "agent.bins=254; it must be odd"),
        ({"agent.blocks": 3}, "agent.blocks=3 does not divide the 2048 units of config.size=12m"),
        ({"size": "13m"}, "no size '13m'"),
        (
            {"envs": 90_000},
            r"config.envs=90,000 environments with a row of 65 records each do not fit into a "
            r"replay of 5,000,000; take fewer, or raise the capacity",
        ),
    ],
)
def test_what_must_agree_is_compared(options, text):
    config = load_config("default")
    config.update_from_flattened_dict(options)
    with pytest.raises(UserError, match=text):
        check_limits(config)


def test_missing_and_unknown_options_are_named():
    with pytest.raises(UserError, match=r"lacks task and \d+ other options; start from"):
        check_limits({})
    config = load_config("default").to_dict()
    del config["replay"]["online"]
    with pytest.raises(UserError, match=r"the config lacks replay\.online; start from"):
        check_limits(config)
    for option in ("extra", "replay.extra", "agent.extra"):
        with pytest.raises(UserError, match=rf"there is no option config\.{option}; .*options are"):
            check_limits(changed(option, 3))
    with pytest.raises(UserError, match=r"no option config\.stesp; did you mean config\.steps\?"):
        check_limits(changed("stesp", 3))
    with pytest.raises(UserError, match=r"config\.replay\.online=.*; it must be True or False"):
        check_limits(changed("replay.online", {"extra": 3}))


@pytest.mark.parametrize("value", [None, 3, [], "x"])
@pytest.mark.parametrize("section", ["agent", "replay", "env", "agent.heads"])
def test_a_section_must_be_one(section, value):
    with pytest.raises(UserError, match=rf"lacks {section}\.|config\.{section}=.* be a section of"):
        check_limits(changed(section, value))


@pytest.mark.parametrize("name", ["a.b", "", "x y", "__class__", "_locked", "1", "ä-b"])
def test_a_name_that_no_config_can_hold_is_refused(name):
    """`ConfigDict` raises for some of them, wherever they come from."""
    config = load_config("default").to_dict()
    config["env"][name] = 3
    with pytest.raises(UserError, match=r"config\.env has an option .*; a name is made of letters"):
        check_limits(config)
    assert not is_name(name)


@pytest.mark.parametrize("name", ["items", "recon/image", "explore/actor", "größe", "get"])
def test_other_names_are_taken(name):
    assert is_name(name)
    config = load_config("default").to_dict()
    config["agent"]["loss_scales"][name] = 1.0
    check_limits(config)
    check_limits(ConfigDict(config))
