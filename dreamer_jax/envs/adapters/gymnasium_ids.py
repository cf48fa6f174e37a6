"""Gymnasium ids: finding what is registered under one, and what to install for it."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.envs import registration
from gymnasium.envs.registration import EnvSpec

from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.errors import UserError

_OWN_FAMILY = re.compile(r"gymnasium\.envs\.(\w+)")  # of an entry point of Gymnasium's own


def registered(name: str) -> EnvSpec:
    """Return what is registered under `id`, or, after importing the module, under `module:id`.

    Raises:
        UserError: If there is no such module or id.
    """
    module, _, own = name.rpartition(":")
    if module:
        _import(module, own)
    try:
        return gymnasium.spec(own)
    except gymnasium.error.Error as error:  # its base class for ids of another form
        raise unknown_id(own, error) from error


def unknown_id(name: str, error: Exception) -> UserError:
    """Return the error for an id that is not registered, or not any more."""
    return unknown_name("gymnasium id", name, list(gymnasium.registry), error)


def load_creator(spec: EnvSpec) -> Callable[..., Any]:
    """Import what builds an environment.

    Raises:
        ModuleNotFoundError: If a package it needs is missing.
    """
    entry = spec.entry_point
    if entry is None:
        raise UserError(f"gymnasium:{spec.id} is registered for vectors of environments only")
    return entry if callable(entry) else registration.load_env_creator(entry)


def remedy(spec: EnvSpec, error: ModuleNotFoundError) -> str:
    """Return the command that installs the package an environment lacks."""
    family = _OWN_FAMILY.match(str(spec.entry_point))
    extra = family[1].replace("_", "-") if family else ""
    known = importlib.metadata.metadata("gymnasium").get_all("Provides-Extra") or []
    return f'pip install "gymnasium[{extra}]"' if extra in known else f"pip install {error.name}"


def _import(module: str, name: str) -> None:
    missing = UserError(f"there is no module {module!r} to register {name!r}")
    if not all(part.isidentifier() for part in module.split(".")):
        raise missing
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A package missing inside the module is its author's message to read.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise missing from error
