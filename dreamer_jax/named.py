"""Code that a config names: by a name of this package, or by an import path `module:attribute`.

Whoever writes an import path on a command line or in a config file of their own runs that code.
Whoever is sent a run directory does not: names that come out of a file of a run are looked at by
`code_named` first (docs/security.md).
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from dreamer_jax.errors import UserError

# Options whose values name code, as dotted names; a section stands for every value in it.
CODE_OPTIONS = (
    "source",
    "log.outputs",
    "agent.encoder",
    "agent.dynamics",
    "agent.objectives",
    "agent.heads",
    "agent.behaviors",
    "agent.actor_loss",
    "agent.critic",
    "agent.phases",
    "agent.optimizer",
)


def find_named(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    """Return what a name stands for.

    Args:
        kind: What it is, for messages: `dynamics`, `behavior`.
        name: A key of `known`, or `module:attribute` of anything that can be imported.
        known: By name.

    Raises:
        UserError: If there is no such name, module or attribute.
    """
    if name in known:
        return known[name]
    path, colon, attribute = name.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"no {kind} {name!r}; {hint}known are {', '.join(sorted(known))}, "
            "and module:attribute of your own"
        )
    return import_path(kind, path, attribute)


def import_path(kind: str, path: str, attribute: str) -> Any:
    """Return an attribute of a module that can be imported.

    Raises:
        UserError: If there is no such module or attribute.
    """
    if not all(path.split(".")):
        raise UserError(f"{kind}: {path!r} is not the name of a module")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        # A package missing inside the user's module is the user's message to read.
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
        raise UserError(f"{kind}: there is no module {path!r} to find {attribute!r} in") from error
    if not callable(found := getattr(module, attribute, None)):
        public = [key for key, value in vars(module).items() if callable(value)]
        near = difflib.get_close_matches(attribute, public, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"{kind}: module {path!r} has no {attribute!r} to call{hint}")
    return found


def code_named(config: Any) -> Iterator[tuple[str, str]]:
    """Yield every option of a nested config that names code by its import path, and the path.

    The task is not among them: `envs.registry.names_code` knows the suites.

    Args:
        config: Whole config, as a ConfigDict or plain; what is missing names nothing.
    """
    # A ConfigDict is no Mapping: its sections would all be taken for missing.
    plain = config.to_dict() if isinstance(config, ConfigDict) else config
    for option in CODE_OPTIONS:
        value: Any = plain
        for part in option.split("."):
            value = value.get(part, "") if isinstance(value, Mapping) else ""
        for name in _texts(value):
            if ":" in name:
                yield option, name


def _texts(value: Any) -> Iterator[str]:
    """Yield the names in an option: of a section, each value; of a list in a text, each part."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, str):
        yield from (part.strip() for part in value.split(",") if part.strip())
