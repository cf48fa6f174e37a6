"""Refuses a config that no run can have, before anything is built or written.

One look at the whole: every option is there, nothing else is, each value is of its kind and in its
range (`ranges.py`), and those that must agree do. The same look is taken at the config of a run
directory, which may be damaged or of another version.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from dreamer_jax.config import find_size
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.options.ranges import LIMITS, OPEN, is_name

_SECTIONS = {name.partition(".")[0] for name in LIMITS if "." in name}


def check_limits(config: ConfigDict | Mapping[str, Any]) -> None:
    """Check every option of a whole config.

    Args:
        config: Plain or not.

    Raises:
        UserError: Naming the first option that is missing, unknown, of another kind or out of
            range, and what it must be.
    """
    plain = config.to_dict() if isinstance(config, ConfigDict) else config
    values = dict(_leaves(plain))
    if missing := [name for name in (*LIMITS, *OPEN) if name not in values]:
        others = f" and {len(missing) - 1} other options" if len(missing) > 1 else ""
        raise UserError(f"the config lacks {missing[0]}{others}; start from configs/default.py")
    for name, value in values.items():
        if name in OPEN:
            _check_open(name, value)
        else:
            _check(name, value)
    _check_agreement(values)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield options by dotted name; an open section is one value."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name in _SECTIONS and isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _check(name: str, value: Any) -> None:
    if name not in LIMITS:
        near = difflib.get_close_matches(name, LIMITS, 1)
        hint = f"did you mean config.{near[0]}? " if near else ""
        raise UserError(
            f"there is no option config.{name}; {hint}options are those of configs/default.py"
        )
    if fault := LIMITS[name].fault(value):
        raise UserError(f"config.{name}={reprlib.repr(value)}; it must be {fault}")


def _check_open(section: str, values: Any) -> None:
    if not isinstance(values, Mapping):
        raise UserError(f"config.{section}={reprlib.repr(values)}; it must be a section of options")
    for key, value in values.items():
        if not is_name(key):
            raise UserError(
                f"config.{section} has an option {reprlib.repr(key)}; a name is made of letters, "
                "digits and underscores, and does not begin with an underscore"
            )
        if fault := OPEN[section].fault(value):
            raise UserError(f"config.{section}.{key}={reprlib.repr(value)}; it must be {fault}")


def _check_agreement(values: Mapping[str, Any]) -> None:
    """Check options, each in its range, that must fit each other."""
    size, blocks = find_size(values["size"]), values["agent.blocks"]
    if size.deter % blocks:
        raise UserError(
            f"config.agent.blocks={blocks} does not divide the {size.deter} units of "
            f"config.size={values['size']}"
        )
    if values["agent.bins"] % 2 == 0:
        raise UserError(f"config.agent.bins={values['agent.bins']}; it must be odd")
    low, high = values["agent.return_low"], values["agent.return_high"]
    if low > high:
        raise UserError(f"config.agent.return_low={low}; it must not exceed return_high={high}")
    low, high = values["agent.actor_min_std"], values["agent.actor_max_std"]
    if low > high:
        raise UserError(f"config.agent.actor_min_std={low}; it must not exceed max_std={high}")
    _check_room(values)


def _check_room(values: Mapping[str, Any]) -> None:
    """Check that a row of every environment fits into the replay.

    Otherwise memory and simulators would be asked for that no update could ever read from.
    """
    envs, rows, length = values["envs"], values["batch_size"], values["batch_length"]
    capacity = max(values["replay.capacity"], 4 * rows * length)  # as `make_replay` takes it
    row = length + values["replay.context"]
    if envs * row > capacity:
        raise UserError(
            f"config.envs={envs:,} environments with a row of {row} records each do not fit into "
            f"a replay of {capacity:,}; take fewer, or raise the capacity, config.replay.capacity"
        )
