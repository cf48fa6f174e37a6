"""Command lines become configs: presets and paths, typed overrides, nothing global."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from absl import flags

from dreamer_jax.commands.flags import define_config, new_flags, parse
from dreamer_jax.config import config_path, load_config
from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import UserError


def read(*arguments: str, default: str = "default") -> Any:
    values = new_flags()
    rest = define_config(values, default, arguments)
    flags.DEFINE_string("logdir", "", "run directory", flag_values=values)
    parse(values, rest)
    return values


def test_default_preset_is_read_unless_another_is_named():
    assert read().config.to_dict() == load_config("default").to_dict()
    assert read(default="debug").config.to_dict() == load_config("debug").to_dict()
    assert read("--config=debug").config.to_dict() == load_config("debug").to_dict()
    path = str(config_path("debug"))
    assert read("--logdir=x", f"--config={path}").config.to_dict() == load_config(path).to_dict()


def test_overrides_have_the_type_of_what_they_replace():
    values = read(
        "--config.steps=7",
        "--config=debug",
        "--config.train_ratio=2",
        "--config.agent.loss_scales.rep=0.5",
        "--noconfig.replay.online",
        "--config.log.outputs=tensorboard",
        "--config.task=testing:chase",
        "--logdir=x",
    )
    config, expected = values.config, load_config("debug")
    expected.update_from_flattened_dict(
        {
            "steps": 7,
            "train_ratio": 2.0,
            "agent.loss_scales.rep": 0.5,
            "replay.online": False,
            "log.outputs": "tensorboard",
            "task": "testing:chase",
        }
    )
    assert config.to_dict() == expected.to_dict()
    assert isinstance(config.train_ratio, float) and values.logdir == "x"
    assert config.is_locked


def test_tuples_are_overridden_as_tuples():
    assert read("--config=dmc_vision", "--config.env.size=(48, 32)").config.env.size == (48, 32)


def test_of_two_presets_the_last_is_read():
    values = read("--config=debug", "--config=quickstart")
    assert values.config.to_dict() == load_config("quickstart").to_dict()


def test_command_lines_do_not_see_each_other():
    first = read("--config.steps=7")
    assert read().config.steps == load_config("default").steps
    assert first.config.steps == 7
    assert "config" not in flags.FLAGS and "logdir" not in flags.FLAGS


def test_help_lists_the_options_and_stops(capsys):
    with pytest.raises(SystemExit) as stopped:
        read("--config=debug", "--help")
    out = capsys.readouterr().out
    assert stopped.value.code == 0 and "--logdir" in out and "imag_horizon: 15" in out


def test_options_of_the_environment_that_no_preset_names_are_taken_by_their_literal():
    values = read(
        "--config=dmc_proprio",
        "--config.env.repeat=3",  # named, hence typed
        "--config.env.count=3",
        "--config.env.share=0.5",
        "--config.env.size=(48, 32)",
        "--config.env.level=[1, 'a']",
        "--config.env.camera=None",
        "--config.env.name=front left",
        "--config.env.quoted='3'",
        "--config.env.empty=",
        "--config.env.flag",
        "--noconfig.env.other",
        "--config.env.third=False",
        "--config.steps=7",
        "--logdir=x",
    )
    assert values.config.env.to_dict() == load_config("dmc_proprio").env.to_dict() | {
        "repeat": 3,
        "count": 3,
        "share": 0.5,
        "size": (48, 32),
        "level": [1, "a"],
        "camera": None,
        "name": "front left",
        "quoted": "3",
        "empty": "",
        "flag": True,
        "other": False,
        "third": False,
    }
    assert values.config.steps == 7 and values.logdir == "x" and values.config.is_locked


def test_parts_of_the_agent_take_new_names_too():
    """A head, an objective or a behaviour of one's own needs a name that no preset has."""
    values = read(
        "--config.agent.heads.progress=my_module:make",
        "--config.agent.objectives.contrast=my_module:make",
        "--config.agent.behaviors.explore=my_module:make",
        "--config.agent.options.ensemble=5",
        "--config.agent.loss_scales.explore/actor=0.5",
        "--config.agent.loss_scales.progress=2",
        "--config.agent.heads.cont=my_module:other",  # named, hence typed
    )
    agent, before = values.config.agent, load_config("default").agent
    assert agent.heads.to_dict() == before.heads.to_dict() | {
        "progress": "my_module:make",
        "cont": "my_module:other",
    }
    assert agent.objectives.contrast == agent.behaviors.explore == "my_module:make"
    assert agent.options.to_dict() == {"ensemble": 5}
    scales = before.loss_scales.to_dict() | {"explore/actor": 0.5, "progress": 2}
    assert agent.loss_scales.to_dict() == scales
    assert values.config.is_locked


def test_of_two_values_of_an_option_the_last_is_taken():
    assert read("--config.env.noops=3", "--config.env.noops=4").config.env.noops == 4
    assert read("--config.env.noops=0", "--config.env.noops=0.5").config.env.noops == 0.5


def test_an_option_that_the_environment_does_not_take_is_refused_when_it_is_built():
    config = read("--config=atari100k", "--config.env.nops=3").config
    with pytest.raises(UserError, match=r"atari:pong has no option 'nops' \(did you mean 'noops'"):
        make_env(config.task, **config.env.to_dict())


@pytest.mark.parametrize(
    "argument",
    [
        "--config.env.a.b=3",
        "--config.environment.a=3",
        "--config.env.=3",
        "--config.agent.new=3",
        "--config.agent.heads.=3",
        "--config.agent.heads.a b=3",
        "--config.log.new=3",
    ],
)
def test_only_sections_that_are_open_take_new_names(argument):
    with pytest.raises(UserError, match="unknown config key"):
        read(argument)


def test_own_config_file_is_read(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dreamer_jax.configs import debug\n\n"
        "def get_config():\n    config = debug.get_config()\n    config.env.cells = 5\n"
        "    return config\n"
    )
    assert read(f"--config={path}", "--config.env.cells=7").config.env.cells == 7
