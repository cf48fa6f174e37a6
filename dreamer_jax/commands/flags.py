"""Reads absl command lines and turns every mistake in them into one clear line."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from dreamer_jax.config import load_config
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.options.ranges import OPEN, is_name

_OVERRIDE = re.compile(r"--?(?P<no>no)?config\.(?P<key>[^=]*)(?:=(?P<value>.*))?", re.DOTALL)


def new_flags() -> flags.FlagValues:
    """Return an empty set of flags, independent of the process-wide one."""
    return flags.FlagValues()


def define_config(values: flags.FlagValues, default: str, arguments: Sequence[str]) -> list[str]:
    """Define the overrides `--config.key=value` of the config that `--config=` names.

    Args:
        values: Gets the flag `config`, and one for each override in `arguments`.
        default: Preset to take if `arguments` name none.
        arguments: After the command's name.

    Returns:
        The arguments without `--config=` and without new names in `OPEN` sections: those are in
        the config already, with the type that their literal has.

    Raises:
        UserError: For an unknown preset, file or config key.
    """
    name, rest = default, []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option not in ("--config", "-config"):
            rest.append(argument)
        elif equals:
            name = value
        else:
            raise UserError("write --config=PRESET or --config=PATH, with the equals sign")
    config = load_config(name)
    rest = _take_new_names(config, rest)
    _check_keys(config, rest)
    text = "preset name or path of a config file; --config.KEY=value changes one of its options"
    config_flags.DEFINE_config_dict(
        "config",
        config,
        text,
        lock_config=True,
        flag_values=values,
        # It would otherwise read the command line of the process, whoever calls this.
        sys_argv=["dreamer-jax", *rest],
    )
    return rest


def parse(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Parse arguments after the command's name.

    Raises:
        UserError: For an unknown flag, or a value of the wrong type.
        SystemExit: After printing the options, if `--help` is among the arguments.
    """
    if {"-h", "--help"} & {*arguments}:
        print(values.get_help())
        raise SystemExit(0)
    try:
        rest = values(["dreamer-jax", *arguments])
    except flags.UnrecognizedFlagError as error:
        known = ", ".join(f"--{name}" for name in sorted(values) if "." not in name)
        raise UserError(f"unknown option --{error.flagname}; options are {known}") from error
    except (flags.Error, ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; options are written --name=value")


def _take_new_names(config: ConfigDict, arguments: Sequence[str]) -> list[str]:
    """Add `--config.SECTION.NAME=value` for new names to the config; return the other arguments.

    Whether an environment or a part of the agent has such an option is seen when it is built.
    """
    rest: list[str] = []
    new: dict[str, Any] = {}  # the last one of a name counts, whatever the types of the others
    for argument in arguments:
        found = _OVERRIDE.fullmatch(argument)
        section, _, name = found["key"].rpartition(".") if found else ("", "", "")
        if found is None or section not in OPEN or not _is_new(config, section, name):
            rest.append(argument)
            continue
        value = found["value"]
        new[found["key"]] = not found["no"] if value is None else _literal(value)
    with config.unlocked():
        for key, literal in new.items():
            section, _, name = key.rpartition(".")
            _section(config, section)[name] = literal
    return rest


def _section(config: ConfigDict, dotted: str) -> ConfigDict:
    for part in dotted.split("."):
        config = config[part]
    return config


def _is_new(config: ConfigDict, section: str, name: str) -> bool:
    """Return whether a section can take a name that it does not have yet."""
    return is_name(name) and name not in _section(config, section)


def _literal(text: str) -> Any:
    """Return what a Python literal says, and any other text as it stands."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _check_keys(config: ConfigDict, arguments: Sequence[str]) -> None:
    """Refuse overrides of keys that the config does not have."""
    leaves = _leaves(config)
    for argument in arguments:
        if (found := _OVERRIDE.match(argument)) and (key := found["key"]) not in leaves:
            if any(leaf.startswith(f"{key}.") for leaf in leaves):
                raise UserError(
                    f"config key {key!r} holds options; write --config.{key}.NAME=value"
                )
            last = key.rpartition(".")[2]
            names = {leaf.rpartition(".")[2]: leaf for leaf in leaves}
            near = [names[name] for name in difflib.get_close_matches(last, names, 3)]
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"unknown config key {key!r}{hint}")


def _leaves(config: ConfigDict, prefix: str = "") -> list[str]:
    keys = []
    for key, value in config.items():
        nested = isinstance(value, ConfigDict)
        keys += _leaves(value, f"{prefix}{key}.") if nested else [f"{prefix}{key}"]
    return keys
