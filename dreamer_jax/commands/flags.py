"""Reads absl command lines and turns every mistake in them into one clear line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from dreamer_jax.config import config_path, load_config
from dreamer_jax.errors import UserError


def new_flags() -> flags.FlagValues:
    """Return an empty set of flags, independent of the process-wide one."""
    return flags.FlagValues()


def define_config(values: flags.FlagValues, default: str) -> None:
    """Define `--config=PRESET_OR_PATH` with overrides `--config.key=value`."""
    config_flags.DEFINE_config_file(
        "config",
        str(config_path(default)),
        "preset name or path of a config file",
        lock_config=True,
        flag_values=values,
    )


def parse(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Parse arguments after the command's name.

    Raises:
        UserError: For an unknown flag, config key or preset, or a value of the wrong type.
    """
    arguments = [_resolve_preset(argument) for argument in arguments]
    try:
        rest = values(["dreamer-jax", *arguments])
    except flags.UnrecognizedFlagError as error:
        raise UserError(_unknown_flag(error.flagname, arguments)) from error
    except (AttributeError, KeyError) as error:
        raise UserError(_unknown_key(_first_word(str(error)), arguments)) from error
    except (flags.Error, ValueError, TypeError) as error:
        raise UserError(str(error).replace("\n", " ")) from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; options are written --name=value")


def check_counts(config: ConfigDict) -> None:
    """Refuse counts and rates that no run can have.

    Raises:
        UserError: Naming the first option that is out of range.
    """
    least = {"steps": 1, "envs": 1, "batch_size": 1, "batch_length": 2, "seed": 0}
    for name, bound in least.items():
        if config[name] < bound:
            raise UserError(f"config.{name}={config[name]}; it must be at least {bound}")
    if config.train_ratio <= 0:
        raise UserError(f"config.train_ratio={config.train_ratio}; it must be above 0")
    if config.replay.context not in (0, 1):
        raise UserError(f"config.replay.context={config.replay.context}; it must be 0 or 1")


def _resolve_preset(argument: str) -> str:
    for prefix in ("--config=", "-config="):
        if argument.startswith(prefix):
            return f"--config={config_path(argument.removeprefix(prefix))}"
    return argument


def _first_word(message: str) -> str:
    """Return the key that ml_collections complains about: the first name in its message."""
    found = re.search(r"\w+", message.replace("\\n", " "))
    return found[0] if found else message


def _unknown_flag(name: str, arguments: Sequence[str]) -> str:
    if not name.startswith("config."):
        return f"unknown option --{name}; options are --config, --config.KEY, --logdir"
    return _unknown_key(name.removeprefix("config."), arguments)


def _unknown_key(key: str, arguments: Sequence[str]) -> str:
    files = [a.removeprefix("--config=") for a in arguments if a.startswith("--config=")]
    known = _keys(load_config(files[-1] if files else str(config_path("default"))))
    last = key.rpartition(".")[2]
    names = {k.rpartition(".")[2]: k for k in known}
    near = [names[k] for k in difflib.get_close_matches(last, names, 3)]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"unknown config key {key!r}{hint}"


def _keys(config: ConfigDict, prefix: str = "") -> list[str]:
    keys = []
    for key, value in config.items():
        nested = isinstance(value, ConfigDict)
        keys += _keys(value, f"{prefix}{key}.") if nested else [f"{prefix}{key}"]
    return keys
