"""From a task's name to an environment, importing only what that task needs.

A task is `suite:name`, or `package.module:constructor` for anything of one's own; the constructor
is called with the options and may return an `Env`, a `gymnasium.Env`, a `dm_env.Environment` or a
`DeviceEnv`. Environments written in JAX come behind the interface of the others; where they are to
run on the device, `runtime/environments.py` takes them out of it again.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any, NamedTuple

from dreamer_jax.envs.adapters.wrappers import wrap
from dreamer_jax.envs.naming import check_names, check_options, unknown_name
from dreamer_jax.envs.spec import Env
from dreamer_jax.errors import UserError
from dreamer_jax.types import Spaces

# Options of the wrappers, for environments whose constructor does not take them itself.
_WRAPPER_OPTIONS = ("repeat", "time_limit", "size", "fit", "stack", "fill_missing")


class _Suite(NamedTuple):
    module: str
    extra: str  # what to install for it, "" if nothing
    in_jax: bool = False  # whether its environments are written in JAX


_SUITES = {
    "atari": _Suite("dreamer_jax.envs.suites.atari", "atari"),
    "bsuite": _Suite("dreamer_jax.envs.suites.bsuite", "bsuite"),
    "craftax": _Suite("dreamer_jax.device_envs.craftax_env", "craftax", in_jax=True),
    "crafter": _Suite("dreamer_jax.envs.suites.crafter", "crafter"),
    "device": _Suite("dreamer_jax.device_envs.chase", "", in_jax=True),
    "dmc": _Suite("dreamer_jax.envs.suites.dmc", "dmc"),
    "dmlab": _Suite("dreamer_jax.envs.suites.dmlab", ""),
    "gymnasium": _Suite("dreamer_jax.envs.adapters.gymnasium_env", "classic"),
    "locomotion": _Suite("dreamer_jax.envs.suites.locomotion", "locomotion"),
    "memorymaze": _Suite("dreamer_jax.envs.suites.memorymaze", "memorymaze"),
    "minecraft": _Suite("dreamer_jax.envs.suites.minecraft", ""),
    "minigrid": _Suite("dreamer_jax.envs.suites.minigrid", "minigrid"),
    "procgen": _Suite("dreamer_jax.envs.suites.procgen", "procgen"),
    "testing": _Suite("dreamer_jax.envs.testing.suite", ""),
}


def make_env(task: str, **options: Any) -> Env:
    """Build the environment that `task` names.

    Args:
        task: `suite:name` (`gymnasium:CartPole-v1`, `dmc:cartpole_balance`, `atari:pong`), or
            `package.module:constructor`.
        **options: Keywords of the suite's `make` or of the constructor. Environments of one's own
            are also offered those of `wrappers.wrap`: `repeat`, `time_limit`, `size`, `fit`,
            `stack` and `fill_missing`.

    Raises:
        UserError: For an unknown task or option, a package that is not installed, keys that cannot
            stand in a record, or nothing to see or to do.
    """
    suite, colon, name = task.partition(":")
    if not (suite and colon and name):
        raise UserError(
            f"task {task!r} is not of the form suite:name (suites: {', '.join(_SUITES)}) "
            "or package.module:constructor"
        )
    if suite in _SUITES:
        module = _import_suite(suite)
        check_options(task, module.make, options)
        # Some suites import their packages when they build.
        try:
            env = module.make(name, **options)
        except ModuleNotFoundError as error:
            raise _missing(suite, error) from error
        if _SUITES[suite].in_jax:
            env = _on_host(env)
    else:
        env = _make_own(suite, name, options)
    check_names(task, env.spaces)
    _check_filled(task, env.spaces)
    return env


def names_code(task: str) -> bool:
    """Return whether building `task` imports or calls something that is no suite of this package.

    An id of Gymnasium may name a module to import first, `gymnasium:my_module:MyEnv-v0`, and its
    ids for environments of the old package gym take another id among their options.
    """
    suite, _, name = task.partition(":")
    imports = suite == "gymnasium" and (":" in name or name.startswith("GymV2"))
    return suite not in _SUITES or imports


def in_jax(task: str) -> bool:
    """Return whether `task` may be written in JAX; of one's own, only the constructor can tell."""
    suite = task.partition(":")[0]
    return suite not in _SUITES or _SUITES[suite].in_jax


def _check_filled(task: str, spaces: Spaces) -> None:
    """Check that there is anything to see and to do; single keys may be empty."""
    for kind, keys in (("observation", spaces.obs), ("action", spaces.action)):
        if all(0 in space.shape for space in keys.values()):
            names = ", ".join(map(repr, keys))
            found = f"{names} has no elements" if keys else "there are no keys"
            raise UserError(f"{task} has no {kind}: {found}; an agent needs at least one number")


def _import_suite(suite: str) -> ModuleType:
    try:
        return importlib.import_module(_SUITES[suite].module)
    except ModuleNotFoundError as error:
        raise _missing(suite, error) from error


def _missing(suite: str, error: ModuleNotFoundError) -> UserError:
    remedy = f'pip install "dreamer-jax[{_SUITES[suite].extra}]"'
    return UserError(f"{suite} needs the package {error.name!r}, which is not installed: {remedy}")


def _make_own(path: str, name: str, options: dict[str, Any]) -> Env:
    """Call somebody's own constructor and adapt what it returns."""
    constructor = _find(path, name)
    task = f"{path}:{name}"
    own = inspect.signature(constructor).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values())
    wrapping = {
        key: options[key]
        for key in _WRAPPER_OPTIONS
        if key in options and key not in own and not takes_all
    }
    rest = {key: value for key, value in options.items() if key not in wrapping}
    check_options(task, constructor, rest)
    return wrap(_adapt(task, constructor(**rest)), **wrapping)


def _find(path: str, name: str) -> Any:
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        # A package missing inside the user's module is the user's message to read.
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
        if "." not in path:
            raise unknown_name("suite or module", path, _SUITES) from error
        raise UserError(f"there is no module {path!r} to find {name!r} in") from error
    if not callable(constructor := getattr(module, name, None)):
        public = [key for key, value in vars(module).items() if callable(value)]
        raise unknown_name(f"constructor in {path}", name, public)
    return constructor


def _adapt(task: str, env: Any) -> Env:
    """Make an `Env` of any interface known here, without importing what is not already there."""
    # Gymnasium's classes have `reset` and `step` too, so they are asked for first.
    if _is_a(env, "gymnasium", "Env"):
        from dreamer_jax.envs.adapters.gymnasium_env import GymnasiumEnv

        return GymnasiumEnv(env)
    if _is_a(env, "dm_env", "Environment"):
        from dreamer_jax.envs.adapters.dm_environment import DmEnvironment

        return DmEnvironment(env)
    if _is_a(env, "dreamer_jax.device_envs.protocol", "DeviceEnv"):
        return _on_host(env)
    if isinstance(env, Env):
        return env
    if _is_a(env, "gym", "Env"):
        raise UserError(
            f"{task} returned an environment of the old package gym; wrap it by "
            "shimmy.GymV26CompatibilityV0(env=…), or GymV21CompatibilityV0 before gym 0.26"
        )
    raise UserError(
        f"{task} returned a {type(env).__name__}; return a gymnasium.Env, a dm_env.Environment, "
        "a DeviceEnv, an object with the methods of dreamer_jax.envs.spec.Env, or what "
        "dreamer_jax.envs.adapters.functions.from_functions makes of a simulator"
    )


def _on_host(env: Any) -> Env:
    # By name: this package imports nothing that needs JAX.
    return importlib.import_module("dreamer_jax.device_envs.host").HostEnv(env)


def _is_a(env: Any, package: str, name: str) -> bool:
    module = sys.modules.get(package)
    return module is not None and isinstance(env, getattr(module, name))
