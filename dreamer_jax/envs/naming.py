"""Messages for names that do not exist, with the nearest ones that do, and the names keys may have.

A record is one flat dict (docs/algorithm.md 1), so a key may be named neither like a signal nor
like a key of the other side.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dreamer_jax.errors import UserError
from dreamer_jax.types import SIGNALS, Spaces


def unknown_name(
    what: str, name: str, known: Iterable[str], reason: Exception | None = None
) -> UserError:
    """Return the error for a name that is not among the known ones."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if not close:
        # Ids carry namespaces and versions that nobody types.
        close = [other for other in known if name.lower() in other.lower()][:3]
    if close:
        hint = f"close to it: {', '.join(close)}"
    elif len(known) <= 20:
        hint = f"known: {', '.join(known)}"
    else:
        hint = str(reason) if reason else f"there are {len(known)} others"
    return UserError(f"unknown {what} {name!r}; {hint}")


def check_options(task: str, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check keywords against the named parameters of a constructor.

    Raises:
        UserError: Names the first unknown option and lists the accepted ones with defaults.
    """
    parameters = inspect.signature(make).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    accepted = {p.name: p for p in parameters if p.kind is not p.POSITIONAL_ONLY}
    for option in options:
        if option not in accepted:
            raise unknown_option(task, option, accepted)


def unknown_option(task: str, option: str, accepted: Mapping[str, inspect.Parameter]) -> UserError:
    """Return the error for an option that `task` does not take."""
    listed = ", ".join(
        name if p.default is p.empty else f"{name}={p.default!r}" for name, p in accepted.items()
    )
    close = difflib.get_close_matches(option, accepted, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return UserError(f"{task} has no option {option!r}{hint}; it accepts {listed or 'no options'}")


def check_names(task: str, spaces: Spaces) -> None:
    """Check that every key of `spaces` can stand in a record.

    Raises:
        UserError: Names the key and what it collides with.
    """
    for key in spaces.obs:
        if key in SIGNALS or key.startswith("log/"):
            raise UserError(
                f"{task} has an observation named {key!r}, a name that records use for "
                "themselves; rename it"
            )
        if key in spaces.action:
            raise UserError(
                f"{task} has an observation and an action named {key!r}; rename one of them"
            )
    for key in spaces.action:
        if key in SIGNALS or key.startswith("log/"):
            raise UserError(
                f"{task} has an action named {key!r}, a name that records use for themselves; "
                "rename it"
            )
