"""Whatever is typed, declared or configured gives a right result or one clear error.

Nothing is compiled; an agent is only traced.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from fuzz import DTYPES, JSON, SCALARS, SHAPES, fuzz
from gymnasium import spaces as gym
from hypothesis import strategies as st
from ml_collections import ConfigDict

from dreamer_jax.commands.flags import define_config, new_flags, parse
from dreamer_jax.config import find_size, load_config, with_tuples
from dreamer_jax.envs.adapters.gymnasium_spaces import action_keys, observation_keys
from dreamer_jax.envs.naming import check_names
from dreamer_jax.errors import UserError
from dreamer_jax.factory import make_agent
from dreamer_jax.nets.widths import Widths
from dreamer_jax.runtime.options.limits import check_limits
from dreamer_jax.runtime.saving.rundir import RunDir, check_config, read_config
from dreamer_jax.runtime.showing.metrics import read_rows
from dreamer_jax.types import Space, Spaces


def leaves(config: ConfigDict, prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in config.items():
        nested = isinstance(value, ConfigDict)
        found += leaves(value, f"{prefix}{key}.") if nested else [f"{prefix}{key}"]
    return found


LEAVES = leaves(load_config("default"))
TYPED = st.one_of(
    st.integers().map(str), st.floats().map(str), st.text(max_size=8),
    st.sampled_from(["", "1e9", "0x10", "1_000", "True", "no", "None", "[]", "²", "9" * 5000]),
)  # fmt: skip


def overrides(data: st.DataObject, folder: Path) -> None:  # noqa: ARG001
    """Options on the command line: the config that was meant, with its types, or an error."""
    key = st.sampled_from(LEAVES) | st.text(max_size=6) | st.sampled_from(["agent", "env", "env.x"])
    given_options = data.draw(st.lists(st.tuples(key, TYPED), max_size=4))
    arguments = [f"--config.{name}={value}" for name, value in given_options]
    arguments += data.draw(st.lists(TYPED.filter(lambda text: "h" not in text), max_size=1))
    plain = load_config("default")
    values = new_flags()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            parse(values, define_config(values, "default", arguments))
        check_limits(values.config)
    except UserError as error:
        assert str(error)
        return
    assert [leaf for leaf in leaves(values.config) if not leaf.startswith("env.")] == LEAVES
    new = {name.removeprefix("env.") for name, _ in given_options if name.startswith("env.")}
    assert set(values.config.env) == new  # the default names none
    for name in LEAVES:
        ours, theirs = (_get(config, name) for config in (values.config, plain))
        assert type(ours) is type(theirs)
        assert ours == theirs or name in dict(given_options)


def _get(config: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        config = config[part]
    return config


def sizes(data: st.DataObject, folder: Path) -> None:  # noqa: ARG001
    name = data.draw(TYPED | st.lists(TYPED, min_size=5, max_size=5).map("/".join))
    with contextlib.suppress(UserError):
        assert min(find_size(name)) > 0


def values(data: st.DataObject, folder: Path) -> None:  # noqa: ARG001
    """Options of any type, as Python or a file gives them: a config to run with, or an error."""
    plain = load_config("default").to_dict()
    given = data.draw(st.dictionaries(st.sampled_from(LEAVES), SCALARS, min_size=1, max_size=3))
    for name, value in given.items():
        *path, last = name.split(".")
        _get_plain(plain, path)[last] = value
    if data.draw(st.booleans()):
        plain["env"] = data.draw(st.dictionaries(st.text(max_size=3), JSON, max_size=3))
    try:
        check_limits(plain)
    except UserError as error:
        assert str(error) and "\n" not in str(error)
        return
    config = ConfigDict(plain)
    assert with_tuples(config.to_dict()) == with_tuples(plain)
    read = with_tuples(json.loads(json.dumps(plain)))
    assert read == with_tuples(plain)  # a run that is continued finds its own config
    for name in given:
        theirs = _get_plain(load_config("default").to_dict(), name.split("."))
        ours = _get_plain(plain, name.split("."))
        assert isinstance(ours, int | float if isinstance(theirs, float) else type(theirs))
        assert not (isinstance(ours, float) and not math.isfinite(ours))


def _get_plain(tree: Any, path: list[str]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def config_files(data: st.DataObject, folder: Path) -> None:
    """A `config.json` of any content, which is not a config: refused, and left as it is."""
    content = data.draw(JSON.map(lambda x: json.dumps(x).encode()) | st.binary(max_size=40))
    content = data.draw(st.sampled_from([content, content[:-1], b"[" * 10**5]))
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UserError, match="restore it or start a new run"):
        read_config(RunDir(folder))
    with pytest.raises(UserError, match="restore it or start a new run"):
        check_config(RunDir(folder), load_config("debug").to_dict())
    assert (folder / "config.json").read_bytes() == content


def metric_files(data: st.DataObject, folder: Path) -> None:
    row = json.dumps({"policy_steps": 3}).encode() + b"\n"
    junk = data.draw(st.binary(max_size=20) | JSON.map(lambda x: json.dumps(x).encode() + b"\n"))
    (folder / "metrics.jsonl").write_bytes(row + junk + data.draw(st.sampled_from([b"", row])))
    rows = read_rows(folder / "metrics.jsonl")
    assert next(rows) == {"policy_steps": 3}
    with contextlib.suppress(UserError):
        assert all(isinstance(each, dict) for each in rows)


BOXES = st.builds(
    lambda shape, dtype, low, high: gym.Box(min(low, high), max(low, high), shape, dtype),
    SHAPES | st.tuples(st.integers(1, 99), st.integers(1, 99), st.integers(1, 5)),
    st.sampled_from([np.float32, np.float64, np.uint8, np.int32, np.int64]),
    st.sampled_from([0, 1, 100]), st.sampled_from([1, 255]),
)  # fmt: skip
SPACES = st.recursive(
    st.one_of(
        BOXES,
        st.builds(gym.Discrete, st.integers(1, 9), start=st.integers(-3, 3)),
        st.builds(gym.MultiBinary, st.integers(1, 4)),
        st.builds(gym.MultiDiscrete, st.lists(st.integers(1, 5), min_size=1, max_size=3)),
        st.builds(gym.Text, st.integers(1, 4)),
        st.builds(lambda: gym.Box(-np.inf, np.inf, (2,))),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(gym.Tuple),
        st.dictionaries(st.text("ab/", max_size=2), inner, min_size=1, max_size=3).map(gym.Dict),
    ),
    max_leaves=4,
)


def gymnasium_spaces(data: st.DataObject, folder: Path) -> None:  # noqa: ARG001
    """Any nesting of spaces: an agent can be made for it, or an error says why not."""
    obs, action = data.draw(SPACES), data.draw(SPACES)
    try:
        obs_spaces = {key.name: key.leaf.space for key in observation_keys(obs)}
        actions = action_keys(action)
        spaces = Spaces(obs_spaces, actions.spaces)
        check_names("fuzz", spaces)
        _agent(spaces)
    except UserError as error:
        assert str(error)
        return
    rng = np.random.default_rng(0)
    chosen = {
        key: rng.integers(space.classes, size=space.shape).astype(space.dtype)
        if space.classes is not None
        else rng.uniform(-1, 1, space.shape).astype(space.dtype)
        for key, space in spaces.action.items()
    }
    assert action.contains(actions.assemble(chosen))


def _agent(spaces: Spaces) -> Any:
    config = load_config("debug")
    widths = Widths.from_size(find_size("16/8/3/2/8"))
    config.agent.blocks = 4
    agent = make_agent(config.agent, widths, spaces, dtype=np.dtype("float32"))
    return jax.eval_shape(agent.init, jax.random.key(0))


def own_spaces(data: st.DataObject, folder: Path) -> None:  # noqa: ARG001
    """Spaces that somebody's own environment declares, of which any may be nonsense."""
    classes = st.none() | st.integers(-1, 7)
    space = st.builds(lambda d, s, c: Space(np.dtype(d), s, c), DTYPES, SHAPES, classes)
    keys = st.dictionaries(st.text("ab", min_size=1, max_size=2), space, max_size=2)
    spaces = Spaces(data.draw(keys), data.draw(keys))
    with contextlib.suppress(UserError):
        _agent(spaces)


test_texts_and_files_of_options = fuzz(overrides, values, sizes, config_files, metric_files)
# Tracing the initialisers of an agent takes a second.
test_spaces = fuzz(gymnasium_spaces, own_spaces, fast=2, full=100)
