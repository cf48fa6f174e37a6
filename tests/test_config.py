"""Presets: all of them build an agent, none can be mistyped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from tiny import FLOAT, INT, VECTOR

from dreamer_jax.config import config_path, find_size, load_config, load_sizes, presets, with_tuples
from dreamer_jax.errors import UserError
from dreamer_jax.factory import make_agent
from dreamer_jax.nets.widths import Widths
from dreamer_jax.types import Space, Spaces

PICTURE = Spaces({"image": Space(jnp.dtype("uint8"), (64, 64, 3))}, {"jump": Space(INT, (), 18)})
CONTROL = Spaces({"position": Space(FLOAT, (8,))}, VECTOR.action)


def test_the_default_is_a_preset_and_helper_files_are_not() -> None:
    names = presets()
    assert "default" in names and len(names) > 5
    assert not {"__init__", "sizes"} & set(names)


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("spaces", [PICTURE, CONTROL], ids=["picture", "control"])
def test_every_preset_builds_an_agent(name: str, spaces: Spaces) -> None:
    config = load_config(name)
    widths = Widths.from_size(find_size(config.size))
    agent = make_agent(config.agent, widths, spaces, dtype=jnp.dtype("float32"))
    state = jax.eval_shape(agent.init, jax.random.key(config.seed))
    assert state.params["dynamics"]["gates"]["bias"].shape == (3 * widths.deter,)


@pytest.mark.parametrize("name", presets())
def test_presets_change_values_and_never_add_meaning(name: str) -> None:
    """Only `env` may gain keys: those are the suite's constructor arguments."""
    default, preset = load_config("default").to_dict(), load_config(name).to_dict()
    default.pop("env"), preset.pop("env")

    def kinds(tree: object) -> object:
        if isinstance(tree, dict):
            return {key: kinds(value) for key, value in tree.items()}
        return type(tree)

    assert kinds(preset) == kinds(default)


def test_a_loaded_config_is_locked() -> None:
    config = load_config("default")
    with pytest.raises(AttributeError):
        config.agent.unimxi = 0.1
    with pytest.raises(AttributeError):
        config.batchsize = 1
    with pytest.raises(TypeError):
        config.envs = "four"


def test_each_load_is_a_copy_of_its_own() -> None:
    load_config("default").agent.loss_scales.dyn = 7.0
    assert load_config("default").agent.loss_scales.dyn == 1.0


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no preset 'atari100'; did you mean atari100k\?"):
        load_config("atari100")
    with pytest.raises(UserError, match="no preset 'xyz'; presets are atari100k"):
        load_config("xyz")


def test_a_config_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import ml_collections\ndef get_config():\n    return ml_collections.ConfigDict()"
    )
    assert config_path(str(path)) == path
    assert load_config(str(path)).is_locked
    with pytest.raises(UserError, match=r"config file .*none\.py does not exist"):
        load_config(str(tmp_path / "none.py"))


def test_presets_load_from_a_checkout_that_is_not_installed(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    for folder in ("dreamer_jax", "configs"):
        shutil.copytree(root / folder, tmp_path / folder)
    code = "from dreamer_jax.config import load_config; print(load_config('quickstart').task)"
    paths = os.pathsep.join([str(tmp_path), sysconfig.get_paths()["purelib"]])
    command = [sys.executable, "-S", "-c", code]  # -S: no hook of an editable installation
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "gymnasium:CartPole-v1", done.stderr


def test_sizes_have_names_or_are_spelled_out() -> None:
    assert find_size("12m") == load_sizes()["12m"]
    size = find_size("128/32/8/4/48")
    assert (size.deter, size.hidden, size.classes, size.depth, size.units) == (128, 32, 8, 4, 48)


@pytest.mark.parametrize("name", ["13m", "", "1/2/3/4", "1/2/3/4/x", "1/2/3/4/0", "1/2/3/4/-5"])
def test_an_unknown_size_names_those_there_are(name: str) -> None:
    with pytest.raises(UserError, match=r"no size .*config\.size is one of .*12m"):
        find_size(name)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("config.steps = 1e6", r"mine\.py:6: TypeError: .*steps"),
        ("config.agent.nothing.more = 3", r"mine\.py:6: AttributeError: .*nothing"),
        ("raise RuntimeError('mine')", r"mine\.py:6: RuntimeError: mine"),
        ("config = 3", r"get_config\(\) of .*mine\.py returned 3; it must return a ConfigDict"),
        ("(", r"mine\.py:6: SyntaxError"),
        ("import nowhere_to_be_found", r"mine\.py:6: ModuleNotFoundError"),
    ],
)
def test_a_fault_in_a_file_of_ones_own_is_one_line_with_its_place(tmp_path, body, text):
    """A wrong type in a config file was a traceback out of ml_collections."""
    path = tmp_path / "mine.py"
    path.write_text(
        "from dreamer_jax.configs import debug\n\n\n"
        f"def get_config():\n    config = debug.get_config()\n    {body}\n    return config\n"
    )
    with pytest.raises(UserError, match=text):
        load_config(str(path))


def test_a_file_without_a_config_is_said(tmp_path):
    (tmp_path / "mine.py").write_text("x = 3\n")
    with pytest.raises(UserError, match=r"mine\.py: AttributeError: .*get_config"):
        load_config(str(tmp_path / "mine.py"))


def test_sequences_of_a_config_are_tuples():
    value = {"a": [1, [2, (3,)]], "b": {"c": "text", "d": [{"e": []}]}, "f": None}
    assert with_tuples(value) == {
        "a": (1, (2, (3,))),
        "b": {"c": "text", "d": ({"e": ()},)},
        "f": None,
    }
